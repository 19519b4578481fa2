//! Reading, exporting and erasing the data of a user.

use std::sync::Arc;

use super::{
    error::EngineError,
    handle::{Engine, Ports},
    models::SignalsSource,
};
use crate::{
    domain::{
        associations::InterestList,
        event::{EventLog, StoredEvent},
        ids::UserId,
        user_signals::UserSignals,
    },
    ports::{Deadline, ListSlot, ModelSlot, PageStart, StoreErrorKind, StoredPage, Version},
};

/// All data that is stored about a user.
#[derive(Clone, Debug)]
pub struct UserExport {
    /// The events in the window, oldest first.
    pub events: Vec<Arc<StoredEvent>>,
    /// The model.
    pub signals: Arc<UserSignals>,
    /// Every event in its stored form, oldest first.
    pub stored_events: Vec<String>,
    /// The model in its stored form, if the store has one.
    pub stored_model: Option<String>,
    /// The interest list as it is stored; if none is, that of the model.
    pub interests: InterestList,
}

impl Engine {
    /// Reads a user's model, rebuilding it if it is not current. An unknown user
    /// has an empty one.
    ///
    /// # Errors
    /// [`EngineError`] if the user's state cannot be read.
    pub async fn signals(
        &self,
        user: &UserId,
    ) -> Result<(Arc<UserSignals>, SignalsSource), EngineError> {
        let model = self.inner.models.current(user).await?;
        Ok((model.signals, model.source))
    }

    /// Reads all data of a user, if its events take at most `max_bytes` in their stored
    /// form. `None`: they take more.
    ///
    /// # Errors
    /// As [`Engine::signals`].
    pub async fn export(
        &self,
        user: &UserId,
        max_bytes: usize,
    ) -> Result<Option<UserExport>, EngineError> {
        // The stored model is read before the signals, which may rebuild it
        // without the data that another program wrote.
        let stored_model = self.stored_model(user).await?;
        let mut bytes = stored_model.as_ref().map_or(0, String::len);
        let (mut events, mut stored_events) = (Vec::new(), Vec::new());
        let mut start = Some(PageStart::FIRST);
        while let Some(from) = start {
            let page = self.stored_page(user, from).await?;
            bytes += page
                .events
                .iter()
                .map(|event| event.text.len())
                .sum::<usize>();
            if bytes > max_bytes {
                return Ok(None);
            }
            for stored in page.events {
                events.extend(stored.event);
                stored_events.push(stored.text);
            }
            start = page.next;
        }
        let stored_list = self.stored_interests(user).await?;
        let model = self.inner.models.current(user).await?;
        Ok(Some(UserExport {
            events: EventLog::new(events).into_events(),
            interests: stored_list.unwrap_or_else(|| model.signals.interests.clone()),
            signals: model.signals,
            stored_events,
            stored_model,
        }))
    }

    /// Reads a page of a user's stored events.
    ///
    /// # Errors
    /// [`EngineError`] if the user's state cannot be read.
    pub async fn stored_page(
        &self,
        user: &UserId,
        start: PageStart,
    ) -> Result<StoredPage, EngineError> {
        let page = self.inner.ports.events.stored_page(user, start).await;
        page.map_err(EngineError::user_state)
    }

    /// Reads a user's model in its stored form, if the store has one.
    ///
    /// # Errors
    /// [`EngineError`] if the user's state cannot be read.
    pub async fn stored_model(&self, user: &UserId) -> Result<Option<String>, EngineError> {
        let model = self.inner.ports.models.stored(user).await;
        model.map_err(EngineError::user_state)
    }

    /// Reads a user's interest list as it is stored; `None` if none is, or it is
    /// unreadable.
    ///
    /// # Errors
    /// [`EngineError`] if the user's state cannot be read.
    pub async fn stored_interests(
        &self,
        user: &UserId,
    ) -> Result<Option<InterestList>, EngineError> {
        let users = std::slice::from_ref(user);
        let slots = self.inner.ports.associations.lists(users).await;
        let slots = slots.map_err(EngineError::user_state)?;
        let stored = slots.first().and_then(ListSlot::present);
        Ok(stored.and_then(|stored| stored.list().ok()))
    }

    /// Erases a user. Returns whether any data was stored. A write in progress, of
    /// this or another process, cannot restore the user. Nothing is sent to the
    /// stores after `deadline`.
    ///
    /// # Errors
    /// [`EngineError`]; then the user may be erased in part, and it is safe to
    /// call again.
    pub async fn delete_user(
        &self,
        user: &UserId,
        deadline: Deadline,
    ) -> Result<bool, EngineError> {
        let engine = self.clone();
        let user = user.clone();
        let erase = async move { engine.erase(&user, deadline).await };
        let tasks = &self.inner.tasks;
        tasks.spawn_to_completion("delete user", erase).await?
    }

    async fn erase(&self, user: &UserId, deadline: Deadline) -> Result<bool, EngineError> {
        let mut existed = false;
        // Refused by a concurrent erasure, or late: it begins again with a new read.
        while !deadline.remaining().is_zero() {
            self.inner.models.forget(user);
            if let Some(erased) = self.try_erase(user, deadline, &mut existed).await? {
                self.inner.models.forget(user);
                return Ok(erased);
            }
        }
        Err(EngineError::TimedOut)
    }

    /// Erases a user unless that is refused. Adds to `existed` whether there was data,
    /// also when a reply is lost later.
    async fn try_erase(
        &self,
        user: &UserId,
        deadline: Deadline,
        existed: &mut bool,
    ) -> Result<Option<bool>, EngineError> {
        let Ports { events, models, .. } = &self.inner.ports;
        let start = events.begin_erasure(user).await;
        let start = start.map_err(EngineError::user_state)?;
        let (floor, had_model) = match self.model_slot(user).await? {
            ModelSlot::Missing => (Version(0), false),
            ModelSlot::Unreadable => (Version(0), true),
            ModelSlot::Erased(version) => (version, false),
            ModelSlot::Present(model) => (model.version, true),
        };
        *existed |= start.existed || had_model;
        let associations = &self.inner.associations;
        let departure = associations.begin_erasure(user, start.read_at).await?;
        let Some(departure) = departure else {
            return Ok(None);
        };
        let floor = floor.max(departure.floor());
        if deadline.remaining().is_zero() {
            return Err(EngineError::TimedOut);
        }
        let erasure = events.erase(user, start.read_at, floor).await;
        let Some(erasure) = erasure.map_err(EngineError::user_state)? else {
            return Ok(None);
        };
        *existed |= erasure.existed;
        let had_list = associations
            .end_erasure(user, departure, erasure.version)
            .await?;
        let Some(had_list) = had_list else {
            return Ok(None);
        };
        *existed |= had_list;
        if deadline.remaining().is_zero() {
            return Err(EngineError::TimedOut);
        }
        let erased = models.erase(user, &erasure, start.read_at).await;
        let erased = erased.map_err(EngineError::user_state)?;
        Ok(erased.map(|had_model| had_model || *existed))
    }

    /// Reads a user's slot for a model that is about to be removed: a key of another
    /// type is removed as well.
    pub(super) async fn model_slot(&self, user: &UserId) -> Result<ModelSlot, EngineError> {
        let slot = self.inner.ports.models.load(user).await;
        slot.or_else(|error| match error.kind() {
            StoreErrorKind::Corrupt => Ok(ModelSlot::Unreadable),
            StoreErrorKind::Unavailable
            | StoreErrorKind::Misconfigured
            | StoreErrorKind::Full
            | StoreErrorKind::Unprepared
            | StoreErrorKind::Starting => Err(EngineError::user_state(error)),
        })
    }
}
