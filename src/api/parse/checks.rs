//! Collects the rules that a request breaks.

use crate::{
    api::{
        error::{ApiError, MAX_VIOLATIONS, Violation},
        limits::Limits,
    },
    domain::{
        geo::GeoPoint,
        ids::{ContentId, UserId},
    },
    proto,
};

/// The rules that a request breaks, collected while it is read to its end.
pub(crate) struct Checks<'a> {
    pub(crate) limits: &'a Limits,
    /// The first violations, as many as an error shows.
    violations: Vec<Violation>,
    /// The number of all violations.
    broken: usize,
}

impl<'a> Checks<'a> {
    pub(crate) fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            violations: Vec::new(),
            broken: 0,
        }
    }

    pub(crate) fn broken(&mut self, field: impl Into<String>, rule: impl Into<String>) {
        self.broken += 1;
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(Violation {
                field: field.into(),
                rule: rule.into(),
            });
        }
    }

    /// The checked value, if no rule is broken. `None` requires that one is.
    ///
    /// # Errors
    /// INVALID_FIELD with all broken rules.
    pub(crate) fn finish<T>(self, checked: Option<T>) -> Result<T, ApiError> {
        match checked {
            Some(checked) if self.violations.is_empty() => Ok(checked),
            _ => Err(ApiError::invalid(self.violations, self.broken)),
        }
    }

    pub(crate) fn user_id(&mut self, field: &str, text: &str) -> Option<UserId> {
        let max = self.limits.max_user_id_bytes;
        if text.len() > max {
            self.broken(field, format!("must be at most {max} bytes"));
            return None;
        }
        UserId::parse(text)
            .map_err(|error| self.broken(field, error.to_string()))
            .ok()
    }

    /// An id that may be unset.
    pub(crate) fn optional_id(&mut self, field: &str, text: String) -> Option<String> {
        let max = self.limits.max_id_bytes;
        if text.len() > max {
            self.broken(field, format!("must be at most {max} bytes"));
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
        max: usize,
        ids: Vec<String>,
    ) -> Vec<ContentId> {
        if !self.count(field, ids.len(), max) {
            return Vec::new();
        }
        ids.into_iter()
            .enumerate()
            .map(|(index, id)| self.content_id(&format!("{field}[{index}]"), id))
            .collect()
    }

    /// The number of items of a list; 0 is the default.
    pub(crate) fn limit(&mut self, given: u32, default_limit: usize) -> usize {
        let limit = match usize::try_from(given).unwrap_or(usize::MAX) {
            0 => default_limit,
            limit => limit,
        };
        let max = self.limits.max_limit;
        if limit > max {
            self.broken("limit", format!("must be 1 to {max}, or 0 for the default"));
        }
        limit
    }

    pub(crate) fn count(&mut self, field: &str, count: usize, max: usize) -> bool {
        if count > max {
            self.broken(
                field,
                format!("must have at most {max} entries, has {count}"),
            );
        }
        count <= max
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
