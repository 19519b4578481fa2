//! From requests to what the engine takes. Bad input ends here, with every
//! rule that it breaks, by the field's path from the request's root.

mod event;
mod item;
mod recommend;

use crate::{
    api::{
        error::{ApiError, Violation},
        limits::Limits,
    },
    domain::{
        geo::GeoPoint,
        ids::{ContentId, UserId},
    },
    proto,
};

pub(crate) use event::{event, said};
pub(crate) use item::item;
pub(crate) use recommend::recommend;

/// Collects broken rules while a request is read to its end.
pub(crate) struct Checks<'a> {
    pub(crate) limits: &'a Limits,
    violations: Vec<Violation>,
}

impl<'a> Checks<'a> {
    pub(crate) fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            violations: Vec::new(),
        }
    }

    pub(crate) fn broken(&mut self, field: impl Into<String>, rule: impl Into<String>) {
        self.violations.push(Violation {
            field: field.into(),
            rule: rule.into(),
        });
    }

    /// What was read, if no rule is broken. A part that could not be read has
    /// left a broken rule.
    pub(crate) fn finish<T>(self, read: Option<T>) -> Result<T, ApiError> {
        match read {
            Some(read) if self.violations.is_empty() => Ok(read),
            _ => Err(ApiError::invalid(self.violations)),
        }
    }

    pub(crate) fn user_id(&mut self, field: &str, text: &str) -> Option<UserId> {
        let most = self.limits.max_user_id_bytes;
        if text.len() > most {
            self.broken(field, format!("must be at most {most} bytes"));
            return None;
        }
        UserId::parse(text)
            .map_err(|error| self.broken(field, error.to_string()))
            .ok()
    }

    /// An id that may be left out.
    pub(crate) fn optional_id(&mut self, field: &str, text: String) -> Option<String> {
        let most = self.limits.max_id_bytes;
        if text.len() > most {
            self.broken(field, format!("must be at most {most} bytes"));
        }
        (!text.is_empty()).then_some(text)
    }

    pub(crate) fn content_id(&mut self, field: &str, text: String) -> ContentId {
        if text.is_empty() {
            self.broken(field, "must not be empty");
        }
        self.optional_id(field, text).unwrap_or_default().into()
    }

    pub(crate) fn content_ids(
        &mut self,
        field: &str,
        most: usize,
        ids: Vec<String>,
    ) -> Vec<ContentId> {
        if !self.count(field, ids.len(), most) {
            return Vec::new();
        }
        ids.into_iter()
            .enumerate()
            .map(|(index, id)| self.content_id(&format!("{field}[{index}]"), id))
            .collect()
    }

    pub(crate) fn count(&mut self, field: &str, count: usize, most: usize) -> bool {
        if count > most {
            self.broken(
                field,
                format!("must have at most {most} entries, has {count}"),
            );
        }
        count <= most
    }

    pub(crate) fn point(&mut self, field: &str, point: proto::GeoPoint) -> Option<GeoPoint> {
        let read = GeoPoint::new(point.latitude, point.longitude);
        if !(-90.0..=90.0).contains(&point.latitude) {
            self.broken(format!("{field}.latitude"), "must be -90 to 90");
        }
        if !(-180.0..=180.0).contains(&point.longitude) {
            self.broken(format!("{field}.longitude"), "must be -180 to 180");
        }
        read
    }
}
