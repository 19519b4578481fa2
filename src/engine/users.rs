//! Reading, exporting and erasing the data of a user.

use std::sync::Arc;

use super::{
    error::EngineError,
    handle::{Engine, Ports},
    models::SignalsSource,
};
use crate::domain::{
    event::{EventLog, StoredEvent},
    ids::UserId,
    user_signals::UserSignals,
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

    /// Reads all data of a user.
    ///
    /// # Errors
    /// As [`Engine::signals`].
    pub async fn export(&self, user: &UserId) -> Result<UserExport, EngineError> {
        let Ports { events, models, .. } = &self.inner.ports;
        // The stored model is read before the signals, which may rebuild it
        // without the data that another program wrote.
        let (snapshot, stored_events, stored_model) =
            tokio::try_join!(events.read(user), events.stored(user), models.stored(user))
                .map_err(EngineError::user_state)?;
        let model = self.inner.models.current(user).await?;
        Ok(UserExport {
            events: EventLog::new(snapshot.events).into_events(),
            signals: model.signals,
            stored_events,
            stored_model,
        })
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
        // The buffer is deleted first: the marker in place of the model needs a
        // version above the buffer's last one.
        let buffer = events.delete(user).await;
        let buffer = buffer.map_err(EngineError::user_state)?;
        self.inner.models.forget_buffer(user);
        let had_model = models.erase(user, buffer.floor).await;
        Ok(buffer.existed || had_model.map_err(EngineError::user_state)?)
    }
}
