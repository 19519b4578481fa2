//! Reading, exporting and erasing what is known of a user.

use std::sync::Arc;

use crate::{
    domain::{
        event::{EventLog, StoredEvent},
        ids::UserId,
        time::Timestamp,
        user_signals::UserSignals,
    },
    engine::{Engine, EngineError, Ports, models::refresh::Wanted},
    ports::{ModelSlot, StoredModel, Version},
    telemetry::meters::{self, ModelRead, Rebuild},
};

/// Where a model came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It was stored and is current.
    Materialized,
    /// It was missing, stale or unreadable, and was built from the buffer.
    Rebuilt,
    /// Nothing is known of the user.
    Empty,
}

/// A user's model as it was read.
pub(in crate::engine) struct Known {
    pub(in crate::engine) signals: Arc<UserSignals>,
    pub(in crate::engine) source: Source,
    pub(in crate::engine) incomplete: bool,
}

/// All that is held about a user.
#[derive(Clone, Debug)]
pub struct UserExport {
    /// The events in the window, oldest first.
    pub events: Vec<Arc<StoredEvent>>,
    /// The model.
    pub signals: Arc<UserSignals>,
    /// Every event as it is stored, oldest first.
    pub stored_events: Vec<String>,
    /// The model as it was stored, if it is stored in a written form.
    pub stored_model: Option<String>,
}

impl Engine {
    /// Reads a user's model, rebuilding it if it is not current. An unknown
    /// user has an empty one.
    ///
    /// # Errors
    /// [`EngineError`] if the user's state cannot be read.
    pub async fn signals(&self, user: &UserId) -> Result<(Arc<UserSignals>, Source), EngineError> {
        let known = self.known(user).await?;
        Ok((known.signals, known.source))
    }

    /// Also tells whether the model lacks what its items would have told.
    pub(in crate::engine) async fn known(&self, user: &UserId) -> Result<Known, EngineError> {
        let ports = &self.inner.ports;
        let (slot, mut version) =
            tokio::try_join!(ports.models.load(user), ports.events.version(user))
                .map_err(EngineError::user_state)?;
        // Why the buffer must be read, if there is one.
        let (model, unfit, why) = match slot {
            ModelSlot::Present(model) if self.was_built_here(&model) => {
                (Some(model), None, Rebuild::Behind)
            }
            ModelSlot::Present(model) => (None, Some(model.rank()), Rebuild::Old),
            ModelSlot::Missing | ModelSlot::Erased => (None, None, Rebuild::Missing),
            ModelSlot::Unreadable => (None, None, Rebuild::Unreadable),
        };
        if let (Some(model), Some(seen)) = (&model, version)
            && model.version > seen
        {
            // The buffer was appended to between the two answers; or it was
            // lost, and began anew under a clock that is behind.
            let again = ports.events.version(user).await;
            version = again.map_err(EngineError::user_state)?;
        }
        let now = self.now().await?;
        let (model, source) = match (model, version) {
            (Some(model), Some(version)) if model.version == version && !model.incomplete => {
                if self.is_young(&model, now) {
                    (Some(model), Source::Materialized)
                } else {
                    meters::model_rebuild(Rebuild::Old);
                    // Rebuilt for the catalogue's sake alone: without it, the
                    // stored model still holds every event.
                    let wanted = Wanted {
                        even_incomplete: false,
                        ..Wanted::at(version)
                    };
                    match self.refresh(user, wanted).await {
                        Ok(refreshed) => (refreshed, Source::Rebuilt),
                        Err(_) => (Some(model), Source::Materialized),
                    }
                }
            }
            (model, Some(version)) => {
                meters::model_rebuild(why);
                let wanted = Wanted {
                    // The stored model is of a buffer that is lost, lacks what
                    // items would have told, or is of no use here.
                    instead_of: model
                        .filter(|model| model.version > version || model.incomplete)
                        .map(|model| model.rank())
                        .or(unfit),
                    ..Wanted::at(version)
                };
                (self.refresh(user, wanted).await?, Source::Rebuilt)
            }
            // No buffer to rebuild from: what is there is all there is, for as
            // long as that buffer would have lived.
            (model, None) => (
                model.filter(|model| is_within_window(model, now)),
                Source::Materialized,
            ),
        };
        let known = match model {
            Some(model) if !model.signals.is_blank() => Known {
                signals: model.signals,
                source,
                incomplete: model.incomplete,
            },
            Some(_) | None => Known {
                signals: Arc::new(UserSignals::empty(user.clone())),
                source: Source::Empty,
                incomplete: false,
            },
        };
        meters::model_read(match known.source {
            Source::Materialized => ModelRead::Materialized,
            Source::Rebuilt => ModelRead::Rebuilt,
            Source::Empty => ModelRead::Empty,
        });
        Ok(known)
    }

    /// Whether a model was built under this ranking file and vector size.
    fn was_built_here(&self, model: &StoredModel) -> bool {
        // A model of another program names no ranking file: it is taken as it
        // is, for as long as there is nothing newer to build from.
        let ranked_alike = model
            .ranking
            .is_none_or(|ranking| ranking == self.inner.fingerprint);
        ranked_alike && self.fits_catalogue(&model.signals)
    }

    /// Whether a model's vectors are as long as the catalogue's, as far as that
    /// is known.
    pub(in crate::engine) fn fits_catalogue(&self, signals: &UserSignals) -> bool {
        let Some(size) = self.inner.ports.items.vector_size() else {
            return true;
        };
        [&signals.taste_vector, &signals.recency_vector]
            .into_iter()
            .flatten()
            .all(|vector| vector.size() == size)
    }

    fn is_young(&self, model: &StoredModel, now: Timestamp) -> bool {
        model
            .signals
            .built_at
            .is_some_and(|built_at| now < built_at.plus(self.inner.settings.model_max_age))
    }

    /// Gives out all that is held about a user.
    ///
    /// # Errors
    /// As [`Engine::signals`].
    pub async fn export(&self, user: &UserId) -> Result<UserExport, EngineError> {
        let Ports { events, models, .. } = &self.inner.ports;
        // The stored model before the signals: they may build it anew, without
        // what another program had written there.
        let (snapshot, stored_events, stored_model) =
            tokio::try_join!(events.read(user), events.stored(user), models.stored(user))
                .map_err(EngineError::user_state)?;
        let (signals, _) = self.signals(user).await?;
        Ok(UserExport {
            events: EventLog::new(snapshot.events).into_events(),
            signals,
            stored_events,
            stored_model,
        })
    }

    /// Forgets a user. Returns whether anything was held. No refresh under way
    /// can bring the user back.
    ///
    /// # Errors
    /// [`EngineError`]; then the user may be forgotten in part, and asking
    /// again does no harm.
    pub async fn delete_user(&self, user: &UserId) -> Result<bool, EngineError> {
        let engine = self.clone();
        let user = user.clone();
        self.to_the_end("delete user", async move {
            let ports = &engine.inner.ports;
            // The buffer goes first: its last version is what the marker at
            // the model's place must exceed.
            let buffer = ports
                .events
                .delete(&user)
                .await
                .map_err(EngineError::user_state)?;
            // What a refresh was to be built from is gone.
            engine.inner.lanes.forget(&user);
            let had_model = ports
                .models
                .erase(&user, buffer.floor)
                .await
                .map_err(EngineError::user_state)?;
            Ok(buffer.existed || had_model)
        })
        .await?
    }
}

/// A version is the time at which the buffer expires. A model of another
/// program has the lowest one, and only its own time to live.
fn is_within_window(model: &StoredModel, now: Timestamp) -> bool {
    let now = u64::try_from(now.as_millis()).unwrap_or_default();
    model.version == Version(0) || model.version.0 > now
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::is_within_window;
    use crate::{
        domain::{ids::UserId, time::Timestamp, user_signals::UserSignals},
        ports::{StoredModel, Version},
    };

    #[test]
    fn without_a_buffer_a_model_counts_for_as_long_as_that_would_have_lived() {
        let now = Timestamp::from_micros(5_000_999);
        for (version, counts) in [(0, true), (4_999, false), (5_000, false), (5_001, true)] {
            let model = StoredModel {
                version: Version(version),
                ranking: None,
                incomplete: false,
                signals: Arc::new(UserSignals::empty(UserId::parse("u").unwrap())),
            };
            assert_eq!(is_within_window(&model, now), counts, "{version}");
        }
    }
}
