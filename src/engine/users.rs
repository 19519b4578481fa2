//! Reading, exporting and erasing the data of a user.

use std::sync::Arc;

use super::{
    error::EngineError,
    handle::{Engine, Ports},
    models::SignalsSource,
};
use crate::{
    domain::{
        event::{EventLog, StoredEvent},
        ids::UserId,
        user_signals::UserSignals,
    },
    ports::{PageStart, StoredPage},
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
        let model = self.inner.models.current(user).await?;
        Ok(Some(UserExport {
            events: EventLog::new(events).into_events(),
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

    /// Erases a user. Returns whether any data was stored. A refresh in progress
    /// cannot restore the user.
    ///
    /// # Errors
    /// [`EngineError`]; then the user may be erased in part, and it is safe to
    /// call again.
    pub async fn delete_user(&self, user: &UserId) -> Result<bool, EngineError> {
        let engine = self.clone();
        let user = user.clone();
        let erase = async move { engine.erase(&user).await };
        let tasks = &self.inner.tasks;
        tasks.spawn_to_completion("delete user", erase).await?
    }

    async fn erase(&self, user: &UserId) -> Result<bool, EngineError> {
        let Ports { events, models, .. } = &self.inner.ports;
        let associations = &self.inner.associations;
        let erasure = associations.begin_erasure(user).await?;
        // The buffer is deleted before the model: the marker in place of the model needs a
        // version above the buffer's last one.
        let buffer = events.delete(user).await;
        let buffer = buffer.map_err(EngineError::user_state)?;
        self.inner.models.forget_buffer(user);
        let had_list = associations
            .end_erasure(user, erasure, buffer.floor)
            .await?;
        let had_model = models.erase(user, buffer.floor).await;
        let had_model = had_model.map_err(EngineError::user_state)?;
        Ok(buffer.existed || had_list || had_model)
    }
}
