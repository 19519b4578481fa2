//! The engine's error, and its log lines.

use std::sync::Arc;

use tracing::{error, warn};

use crate::{
    ports::{Deadline, StoreError, StoreErrorKind},
    telemetry::throttle::Throttle,
};

/// The store that an engine error comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependency {
    /// Event buffers and user models.
    UserState,
    /// Items.
    Catalogue,
}

/// A use case failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// A store failed.
    #[error("{dependency:?} store failed")]
    Store {
        /// The store.
        dependency: Dependency,
        /// Its error.
        source: Arc<StoreError>,
    },
    /// The catalogue lacks the item that similar ones were to be listed for.
    #[error("the catalogue lacks the item")]
    UnknownItem,
    /// The caller's deadline has passed. Work that has started continues.
    #[error("deadline exceeded")]
    TimedOut,
    /// A task of the engine panicked: a bug.
    #[error("a task panicked")]
    Panicked,
}

impl EngineError {
    /// A failure of the store of users' state. Logs it.
    pub(super) fn user_state(source: StoreError) -> Self {
        log_failure(Dependency::UserState, &source);
        Self::store(Dependency::UserState, source)
    }

    /// A failure of the catalogue. Logs it.
    pub(super) fn catalogue(source: StoreError) -> Self {
        log_failure(Dependency::Catalogue, &source);
        Self::store(Dependency::Catalogue, source)
    }

    /// A failure of a read with a deadline. If the deadline has passed, that is
    /// the error, and not the catalogue's.
    pub(super) fn catalogue_within(deadline: Deadline) -> impl Fn(StoreError) -> Self {
        move |source| {
            let late =
                source.kind() == StoreErrorKind::Unavailable && deadline.remaining().is_zero();
            if late {
                Self::TimedOut
            } else {
                Self::catalogue(source)
            }
        }
    }

    /// Whether the settings of a store, or of the server behind it, are wrong.
    #[must_use]
    pub fn is_misconfigured(&self) -> bool {
        match self {
            Self::Store { source, .. } => source.kind() == StoreErrorKind::Misconfigured,
            Self::UnknownItem | Self::TimedOut | Self::Panicked => false,
        }
    }

    /// How far a store is that is loading its data.
    #[must_use]
    pub fn progress(&self) -> Option<String> {
        match self {
            Self::Store { source, .. } => {
                (source.kind() == StoreErrorKind::Starting).then(|| source.to_string())
            }
            Self::UnknownItem | Self::TimedOut | Self::Panicked => None,
        }
    }

    /// A failure of a store. Does not log it.
    pub(super) fn store(dependency: Dependency, source: StoreError) -> Self {
        Self::Store {
            dependency,
            source: Arc::new(source),
        }
    }
}

/// Logs a failed call with its whole chain of causes. Nothing else logs it.
///
/// At most one line per second for each store and kind of failure: an outage fails
/// every call, and must not hide other failures.
pub(super) fn log_failure(dependency: Dependency, source: &StoreError) {
    static THROTTLES: [[Throttle; StoreErrorKind::COUNT]; 2] =
        [const { [const { Throttle::new() }; StoreErrorKind::COUNT] }; 2];
    let throttle = &THROTTLES[dependency as usize][source.kind() as usize];
    let Some(suppressed) = throttle.turn() else {
        return;
    };
    let cause = source as &dyn std::error::Error;
    match source.kind() {
        StoreErrorKind::Unavailable | StoreErrorKind::Full | StoreErrorKind::Starting => {
            warn!(?dependency, suppressed, error = cause, "store failed");
        }
        StoreErrorKind::Misconfigured => {
            error!(
                ?dependency,
                suppressed,
                error = cause,
                "settings of store are wrong"
            );
        }
        StoreErrorKind::Unprepared => {
            error!(
                ?dependency,
                suppressed,
                error = cause,
                "store is not set up"
            );
        }
        StoreErrorKind::Corrupt => {
            error!(?dependency, suppressed, error = cause, "store is corrupt");
        }
    }
}
