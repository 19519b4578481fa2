//! User models: the strings `umodel:<user_id>`.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use deadpool_redis::redis::cmd;
use tracing::warn;

use super::{
    connection::RedisPool,
    keys::Keys,
    known_models::KnownModels,
    model_json::{self, ERASED_END, HEAD_BYTES, RANK_LENGTH, START, VERSION_DIGITS},
    script::Script,
};
use crate::{
    domain::{ids::UserId, json::json_fault},
    ports::{
        ERASED_FOR, ModelSlot, ModelStore, Rank, SaveOutcome, StoreError, StoreErrorKind,
        StoredModel, Version,
    },
    telemetry::meters::{self, Unreadable},
};

/// User models in Redis.
pub struct RedisModelStore {
    pool: RedisPool,
    keys: Keys,
    ttl: Duration,
    save: Script,
    erase: Script,
    known: KnownModels,
    told_unreadable: AtomicBool,
}

impl RedisModelStore {
    /// A store whose models live for `ttl` after a save, under keys that begin
    /// with `prefix`.
    #[must_use]
    pub fn new(pool: RedisPool, prefix: &str, ttl: Duration) -> Self {
        let cache_bytes = pool.settings().model_cache_max_bytes;
        Self {
            pool,
            keys: Keys::new(prefix),
            known: KnownModels::new(cache_bytes),
            ttl,
            save: Script::new(include_str!("save.lua")),
            erase: Script::new(include_str!("erase.lua")),
            told_unreadable: AtomicBool::new(false),
        }
    }

    /// With so much memory for the models that it knows.
    #[must_use]
    pub fn knowing(mut self, max_bytes: u64) -> Self {
        self.known = KnownModels::new(max_bytes);
        self
    }

    /// The model that is known, if it still is what is stored.
    async fn load_known(&self, user: &UserId) -> Result<Option<StoredModel>, StoreError> {
        let Some(known) = self.known.get(user) else {
            KnownModels::note(false);
            return Ok(None);
        };
        let key = self.keys.model(user);
        let head: Vec<u8> = self
            .pool
            .run("load", |mut connection| {
                let mut command = cmd("GETRANGE");
                command.arg(&key).arg(0).arg(HEAD_BYTES - 1);
                async move { command.query_async(&mut connection).await }
            })
            .await?;
        let is_current = known.begins(&head);
        KnownModels::note(is_current);
        Ok(is_current.then(|| known.model.clone()))
    }

    async fn get(&self, what: &'static str, user: &UserId) -> Result<Option<Vec<u8>>, StoreError> {
        let key = self.keys.model(user);
        self.pool
            .run(what, |mut connection| {
                let key = &key;
                async move { cmd("GET").arg(key).query_async(&mut connection).await }
            })
            .await
    }
}

#[async_trait]
impl ModelStore for RedisModelStore {
    async fn load(&self, user: &UserId) -> Result<ModelSlot, StoreError> {
        let removals = self.known.removals();
        if let Some(model) = self.load_known(user).await? {
            return Ok(ModelSlot::Present(model));
        }
        let Some(value) = self.get("load", user).await? else {
            self.known.forget(user);
            return Ok(ModelSlot::Missing);
        };
        let slot = model_json::decode(user, &value).unwrap_or_else(|error| {
            meters::unreadable(Unreadable::Model);
            if !self.told_unreadable.swap(true, Ordering::Relaxed) {
                let error = json_fault(&error);
                warn!(
                    error,
                    "a model in redis cannot be read and is rebuilt; further ones are not logged"
                );
            }
            ModelSlot::Unreadable
        });
        match &slot {
            ModelSlot::Present(model) => self.known.keep(user, &value, model, removals),
            ModelSlot::Missing | ModelSlot::Unreadable | ModelSlot::Erased => {
                self.known.forget(user);
            }
        }
        Ok(slot)
    }

    async fn stored(&self, user: &UserId) -> Result<Option<String>, StoreError> {
        let value = self.get("stored_model", user).await?;
        Ok(value
            .filter(|value| !model_json::is_marker(value))
            .map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    async fn save(
        &self,
        user: &UserId,
        model: &StoredModel,
        instead_of: Option<Rank>,
    ) -> Result<SaveOutcome, StoreError> {
        let value = model_json::encode(model).map_err(|error| {
            StoreError::new(StoreErrorKind::Corrupt, "model cannot be written").caused_by(error)
        })?;
        let bytes = value.len();
        let key = self.keys.model(user);
        let ttl_ms = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        // A rank without a time is that of an erased user's marker.
        let replaced = match instead_of {
            Some((version, Some(built_at))) => model_json::rank(version, Some(built_at)),
            Some((_, None)) | None => String::new(),
        };
        let arguments = (value, ttl_ms, START, RANK_LENGTH, replaced);
        let removals = self.known.removals();
        let saved: bool = self
            .pool
            .run("save", |mut connection| {
                let (save, key, arguments) = (&self.save, &key, &arguments);
                async move { save.run(&mut connection, key, arguments).await }
            })
            .await?;
        Ok(if saved {
            meters::model_bytes(bytes);
            self.known
                .keep(user, arguments.0.as_bytes(), model, removals);
            SaveOutcome::Saved
        } else {
            SaveOutcome::Superseded
        })
    }

    async fn erase(&self, user: &UserId, floor: Version) -> Result<bool, StoreError> {
        let key = self.keys.model(user);
        let erased_for_ms = u64::try_from(ERASED_FOR.as_millis()).unwrap_or(u64::MAX);
        let arguments = (erased_for_ms, START, floor.0, VERSION_DIGITS, ERASED_END);
        let had_model = self
            .pool
            .write("erase", &key, &self.erase, &arguments)
            .await;
        // Whatever the answer was, it may be gone.
        self.known.removed(user);
        had_model
    }
}
