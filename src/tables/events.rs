//! Rows as events.

use std::path::Path;

use serde_json::{Map, Value};

use super::{
    cells,
    columns::{Values, listed},
    error::TableError,
    fields::{EVENT_FIELDS, event as field},
    mapping::Mapping,
    rows::Rows,
};
use crate::domain::{
    event::{EndReason, InteractionEvent},
    ids::{ContentId, UserId},
    time::Timestamp,
};

/// Longest user id and item id, in bytes, as the API has them.
const MAX_USER_ID_BYTES: usize = 256;
const MAX_CONTENT_ID_BYTES: usize = 512;
/// Longest event type, in bytes.
const MAX_EVENT_TYPE_BYTES: usize = 128;
/// Longest dwell time, in seconds.
const MAX_DWELL_SECONDS: f64 = 86_400.0;
/// Highest rating.
const MAX_RATING: f64 = 5.0;

/// The type of an event that names none, …
const VIEW: &str = "view";
/// … and of one that has a rating.
const RATING: &str = "rating";

/// The events of a file, in the file's order.
pub struct EventFile {
    rows: Rows,
}

impl EventFile {
    /// Opens a file of events.
    ///
    /// # Errors
    /// [`TableError`] if it cannot be read, or no column is the user or the
    /// time.
    pub fn open(path: &Path, mapping: &Mapping) -> Result<Self, TableError> {
        let rows = Rows::open(path, &EVENT_FIELDS, mapping)?;
        let columns = rows.column_names();
        // The columns of JSON are known once it is read.
        if !columns.is_empty() {
            for (needed, example) in [
                (field::USER_ID, "user_id=customer"),
                (field::EVENT_TIME, "event_time=created"),
            ] {
                if !rows.has_column(needed) {
                    return Err(TableError::Column {
                        path: path.to_owned(),
                        reason: format!(
                            "no column is known as {}; the columns are {}; name the right one, \
                             for example --map {example}{}",
                            EVENT_FIELDS[needed].name,
                            listed(columns.iter().copied()),
                            session_advice(needed, &rows)
                        ),
                    });
                }
            }
        }
        Ok(Self { rows })
    }

    /// The next event with its line number, or why that line is none.
    ///
    /// # Errors
    /// [`TableError::Io`] if the file cannot be read further.
    pub fn next_event(
        &mut self,
    ) -> Result<Option<(u64, Result<InteractionEvent, String>)>, TableError> {
        let row = self.rows.next_row()?;
        Ok(row.map(|(number, values)| (number, values.and_then(|values| event(&values)))))
    }

    /// What is odd about the columns. To be called after the last row.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.rows.warnings()
    }
}

fn session_advice(needed: usize, rows: &Rows) -> &'static str {
    if needed == field::USER_ID && rows.has_column(field::SESSION_ID) {
        " (with the session's column each session counts as a user)"
    } else {
        ""
    }
}

fn event(values: &Values) -> Result<InteractionEvent, String> {
    let value = |field: usize| values.fields[field].as_ref();
    let id = |field: usize| -> Result<Option<String>, String> {
        let name = EVENT_FIELDS[field].name;
        let id = value(field).map(cells::id).transpose();
        let id = id.map_err(|rule| format!("{name}: {rule}"))?;
        Ok(id.filter(|id| !id.is_empty()))
    };
    let content_id = |field: usize| -> Result<Option<ContentId>, String> {
        let id = id(field)?;
        if id
            .as_ref()
            .is_some_and(|id| id.len() > MAX_CONTENT_ID_BYTES)
        {
            let name = EVENT_FIELDS[field].name;
            return Err(format!(
                "{name}: must be at most {MAX_CONTENT_ID_BYTES} bytes"
            ));
        }
        Ok(id.map(ContentId::from))
    };

    let user = id(field::USER_ID)?.ok_or("user_id: must be set")?;
    if user.len() > MAX_USER_ID_BYTES {
        return Err(format!(
            "user_id: must be at most {MAX_USER_ID_BYTES} bytes"
        ));
    }
    let user = UserId::parse(&user).map_err(|error| format!("user_id: {error}"))?;
    let time = time(value(field::EVENT_TIME))?;
    let rating = rating(value(field::RATING))?;
    let kind = match id(field::EVENT_TYPE)? {
        Some(kind) if kind.len() > MAX_EVENT_TYPE_BYTES => {
            return Err(format!(
                "event_type: must be at most {MAX_EVENT_TYPE_BYTES} bytes"
            ));
        }
        Some(kind) => kind,
        None if rating.is_some() => RATING.to_owned(),
        None => VIEW.to_owned(),
    };

    let mut event = InteractionEvent::new(user, kind, time);
    event.event_id = id(field::EVENT_ID)?;
    event.session_id = id(field::SESSION_ID)?;
    event.request_id = id(field::REQUEST_ID)?;
    event.content_id = content_id(field::CONTENT_ID)?;
    event.dwell_seconds = dwell(value(field::DWELL_SECONDS))?;
    event.end_reason = end_reason(value(field::END_REASON))?;
    event.query_text = value(field::QUERY_TEXT).and_then(cells::text);
    event.clicked_id = id(field::CLICKED_ID)?;
    event.impressions = impressions(value(field::IMPRESSIONS))?;
    event.survey_answers = answers(value(field::SURVEY_ANSWERS))?;
    if let Some(rating) = rating {
        event
            .survey_answers
            .insert("rating".to_owned(), cells::json_number(rating));
    }
    Ok(event)
}

fn time(value: Option<&Value>) -> Result<Timestamp, String> {
    let value = value.ok_or("event_time: must be set")?;
    cells::time(value).ok_or_else(|| {
        format!(
            "event_time: {value} is no time; write 2026-11-29T18:39:52Z, or seconds or \
             milliseconds since 1970"
        )
    })
}

fn rating(value: Option<&Value>) -> Result<Option<f64>, String> {
    let Some(value) = value else {
        return Ok(None);
    };
    match cells::number(value) {
        Some(rating) if (0.0..=MAX_RATING).contains(&rating) => Ok(Some(rating)),
        Some(rating) => Err(format!(
            "rating: {rating} is not 0 to 5; bring another scale to five stars first"
        )),
        None => Err(format!("rating: {value} is not a number")),
    }
}

fn dwell(value: Option<&Value>) -> Result<Option<f64>, String> {
    let Some(value) = value else {
        return Ok(None);
    };
    let dwell = cells::number(value).filter(|dwell| (0.0..=MAX_DWELL_SECONDS).contains(dwell));
    match dwell {
        Some(dwell) => Ok(Some(dwell)),
        None => Err(format!(
            "dwell_seconds: {value} is not a number of seconds, 0 to {MAX_DWELL_SECONDS}"
        )),
    }
}

/// Also with the prefix of the API's JSON, in any case.
fn end_reason(value: Option<&Value>) -> Result<Option<EndReason>, String> {
    let text = value.and_then(cells::text).unwrap_or_default();
    let name = text.to_lowercase();
    let name = name.strip_prefix("end_reason_").unwrap_or(&name);
    if ["", "unspecified"].contains(&name) {
        return Ok(None);
    }
    match EndReason::parse(name) {
        Some(reason) => Ok(Some(reason)),
        None => Err(format!(
            "end_reason: {text:?} is not next_button, link, close_button or abandon"
        )),
    }
}

fn impressions(value: Option<&Value>) -> Result<Vec<ContentId>, String> {
    let entries = value.map(cells::list).unwrap_or_default();
    entries
        .iter()
        .map(|entry| {
            cells::id(entry)
                .map(ContentId::from)
                .map_err(|rule| format!("impressions: {rule}"))
        })
        .collect()
}

fn answers(value: Option<&Value>) -> Result<Map<String, Value>, String> {
    match value {
        None => Ok(Map::new()),
        Some(Value::Object(answers)) => Ok(answers.clone()),
        Some(_) => Err("survey_answers: must be a JSON object".to_owned()),
    }
}
