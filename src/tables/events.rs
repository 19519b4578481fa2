//! Rows as events.

use std::path::Path;

use serde_json::{Map, Value};

use super::{
    cells,
    columns::Values,
    error::{NumberedRow, TableError},
    fields::{EVENT_FIELDS, event as field},
    mapping::{InvalidMapping, Mapping, MappingOption},
    rows::Rows,
};
use crate::domain::{
    event::{EndReason, InteractionEvent},
    ids::{ContentId, UserId},
    time::Timestamp,
};

/// Longest user id and other ids, in bytes, as the API has them.
const MAX_USER_ID_BYTES: usize = 256;
const MAX_ID_BYTES: usize = 512;
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

/// How the columns of a file become events.
#[derive(Clone, Debug, Default)]
pub struct EventColumns {
    /// Which column is which field.
    pub mapping: Mapping,
    /// The type of events that name none. `None`: they are ratings or views.
    pub default_type: Option<String>,
}

impl EventColumns {
    /// Reads the values of the flags `--map` and `--event-type`.
    ///
    /// # Errors
    /// [`InvalidMapping`] as of [`Mapping::parse`].
    pub fn parse(map: &[String], event_type: Option<&str>) -> Result<Self, InvalidMapping> {
        Ok(Self {
            mapping: Mapping::parse(MappingOption::Map, map.iter().map(String::as_str))?,
            default_type: event_type.map(str::to_owned),
        })
    }
}

/// The events of a file, in the file's order.
pub struct EventFile {
    rows: Rows,
    /// The type of events that name none.
    default_type: Option<String>,
}

impl EventFile {
    /// Opens a file of events.
    ///
    /// # Errors
    /// [`TableError`] if it cannot be read, or no column is the user or the
    /// time.
    pub fn open(path: &Path, columns: &EventColumns) -> Result<Self, TableError> {
        let file = Self {
            rows: Rows::open(path, &EVENT_FIELDS, &columns.mapping)?,
            default_type: columns.default_type.clone(),
        };
        if file.rows.has_header() {
            file.require_columns()?;
        }
        Ok(file)
    }

    fn require_columns(&self) -> Result<(), TableError> {
        let has_sessions = self.rows.columns().has(field::SESSION_ID);
        let user = if has_sessions {
            "user_id=customer (with the session's column each session counts as a user)"
        } else {
            "user_id=customer"
        };
        self.rows.require(field::USER_ID, user)?;
        self.rows.require(field::EVENT_TIME, "event_time=created")
    }

    /// The next event with its line number, or why that line is none.
    ///
    /// # Errors
    /// [`TableError::Io`] if the file cannot be read further, and at the end of JSON
    /// [`TableError::Column`] if no row has a user or a time.
    pub fn next_event(&mut self) -> Result<Option<NumberedRow<InteractionEvent>>, TableError> {
        let Some((number, values)) = self.rows.next_row()? else {
            return self.require_columns().map(|()| None);
        };
        let values = values.map_err(|reason| format!("not an event: {reason}"));
        let default_type = self.default_type.as_deref();
        let event = values.and_then(|values| event(&values, default_type));
        Ok(Some((number, event)))
    }

    /// Bytes of the file that were read so far, before they are unpacked; may be
    /// ahead of the last event.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.rows.bytes_read()
    }

    /// Warnings about the columns, complete after the last row.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let columns = self.rows.columns();
        let lacks = |fields: &[usize]| !fields.iter().any(|field| columns.has(*field));
        let mut warnings = self.rows.warnings();
        // Without rows nothing is known of JSON.
        if lacks(&[field::USER_ID]) {
            return warnings;
        }
        if lacks(&[field::CONTENT_ID, field::CLICKED_ID, field::IMPRESSIONS]) {
            let effect = ": no event names an item";
            warnings.push(columns.without(field::CONTENT_ID, effect, "content_id=article"));
        }
        // A log of one kind of event has no column of types, and no other columns.
        let has_type = self.default_type.is_some() || !lacks(&[field::EVENT_TYPE, field::RATING]);
        if !has_type && columns.has_others() {
            let effect = ": all events count as views";
            let example =
                "event_type=action, or the type of all, for example --event-type purchase";
            warnings.push(columns.without(field::EVENT_TYPE, effect, example));
        }
        warnings
    }
}

fn event(values: &Values, default_type: Option<&str>) -> Result<InteractionEvent, String> {
    let value = |field: usize| values.fields[field].as_ref();
    let id = |field: usize, most_bytes: usize| -> Result<Option<String>, String> {
        let name = EVENT_FIELDS[field].name;
        let id = value(field).map(|value| cells::id(value, values.untyped));
        let id = id.transpose();
        let id = id.map_err(|rule| format!("{name} {rule}"))?;
        match id.flatten() {
            Some(id) if id.len() > most_bytes => {
                Err(format!("{name} must be at most {most_bytes} bytes"))
            }
            id => Ok(id),
        }
    };
    let other_id = |field: usize| id(field, MAX_ID_BYTES);

    let user = id(field::USER_ID, MAX_USER_ID_BYTES)?.ok_or("user_id must be set")?;
    let user = UserId::parse(&user).map_err(|rule| format!("user_id {rule}"))?;
    let time = time(value(field::EVENT_TIME))?;
    let rating = rating(value(field::RATING))?;
    let event_type = match id(field::EVENT_TYPE, MAX_EVENT_TYPE_BYTES)? {
        Some(event_type) => event_type,
        None => match default_type {
            Some(event_type) => event_type.to_owned(),
            None if rating.is_some() => RATING.to_owned(),
            None => VIEW.to_owned(),
        },
    };

    let mut event = InteractionEvent::new(user, event_type, time);
    event.event_id = other_id(field::EVENT_ID)?;
    event.session_id = other_id(field::SESSION_ID)?;
    event.request_id = other_id(field::REQUEST_ID)?;
    event.content_id = other_id(field::CONTENT_ID)?.map(ContentId::from);
    event.dwell_seconds = dwell(value(field::DWELL_SECONDS))?;
    event.end_reason = end_reason(value(field::END_REASON))?;
    event.query_text = text(field::QUERY_TEXT, value(field::QUERY_TEXT))?;
    event.clicked_id = other_id(field::CLICKED_ID)?;
    event.impressions = impressions(value(field::IMPRESSIONS), values.untyped)?;
    event.survey_answers = answers(value(field::SURVEY_ANSWERS))?;
    if let Some(rating) = rating {
        event
            .survey_answers
            .insert("rating".to_owned(), cells::json_number(rating));
    }
    Ok(event)
}

fn text(field: usize, value: Option<&Value>) -> Result<Option<String>, String> {
    let Some(value) = value else {
        return Ok(None);
    };
    match cells::text(value) {
        Some(text) => Ok(Some(text)),
        None => Err(format!("{} must be a text", EVENT_FIELDS[field].name)),
    }
}

fn time(value: Option<&Value>) -> Result<Timestamp, String> {
    let value = value.ok_or("event_time must be set")?;
    cells::time(value).ok_or_else(|| {
        let advice = if is_date_of_another_order(value) {
            "; write dates with the year first, as 2026-11-29"
        } else {
            ""
        };
        format!(
            "event_time must be a time such as 2026-11-29T18:39:52Z, or seconds or milliseconds \
             since 1970, not {value}{advice}"
        )
    })
}

/// Whether a text begins with a date such as `29/11/2026` or `2026/11/29`. Which of its
/// numbers is the month cannot be detected.
fn is_date_of_another_order(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default().trim();
    let date = text.split([' ', 'T']).next().unwrap_or_default();
    let parts: Vec<&str> = date.split(['/', '.', '-']).collect();
    parts.len() == 3 && parts.iter().all(|part| part.parse::<u16>().is_ok())
}

fn rating(value: Option<&Value>) -> Result<Option<f64>, String> {
    let Some(value) = value else {
        return Ok(None);
    };
    match cells::number(value) {
        Some(rating) if (0.0..=MAX_RATING).contains(&rating) => Ok(Some(rating)),
        Some(rating) => Err(format!(
            "rating must be 0 to 5, not {rating}; convert other scales to five stars first"
        )),
        None => Err(format!("rating must be a number, not {value}")),
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
            "dwell_seconds must be a number of seconds, 0 to {MAX_DWELL_SECONDS}, not {value}"
        )),
    }
}

/// Also with the prefix of the API's JSON, in any case.
fn end_reason(value: Option<&Value>) -> Result<Option<EndReason>, String> {
    let text = text(field::END_REASON, value)?.unwrap_or_default();
    let name = text.to_lowercase();
    let name = name.strip_prefix("end_reason_").unwrap_or(&name);
    if ["", "unspecified"].contains(&name) {
        return Ok(None);
    }
    match EndReason::parse(name) {
        Some(reason) => Ok(Some(reason)),
        None => Err(format!(
            "end_reason must be next_button, link, close_button or abandon, not {text:?}"
        )),
    }
}

fn impressions(value: Option<&Value>, untyped: bool) -> Result<Vec<ContentId>, String> {
    let entries = value.map(cells::list).unwrap_or_default();
    entries
        .iter()
        .filter_map(|entry| cells::id(entry, untyped).transpose())
        .map(|id| {
            id.map(ContentId::from)
                .map_err(|rule| format!("impressions {rule}"))
        })
        .collect()
}

fn answers(value: Option<&Value>) -> Result<Map<String, Value>, String> {
    match value {
        None => Ok(Map::new()),
        Some(Value::Object(answers)) => Ok(answers.clone()),
        Some(_) => Err("survey_answers must be a JSON object".to_owned()),
    }
}
