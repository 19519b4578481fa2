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
    model_json::{self, ERASED_END, RANK_LENGTH, START, VERSION_DIGITS},
    script::Script,
};
use crate::{
    domain::ids::UserId,
    meters::{self, Unreadable},
    ports::{ModelSlot, ModelStore, SaveOutcome, StoreError, StoreErrorKind, StoredModel, Version},
};

/// How long an erased user's marker stays.
const ERASED_FOR_MS: u64 = 60_000;

/// User models in Redis.
pub struct RedisModelStore {
    pool: RedisPool,
    keys: Keys,
    ttl: Duration,
    save: Script,
    erase: Script,
    told_unreadable: AtomicBool,
}

impl RedisModelStore {
    /// A store whose models live for `ttl` after a save, under keys that begin
    /// with `prefix`.
    #[must_use]
    pub fn new(pool: RedisPool, prefix: &str, ttl: Duration) -> Self {
        Self {
            pool,
            keys: Keys::new(prefix),
            ttl,
            save: Script::new(include_str!("save.lua")),
            erase: Script::new(include_str!("erase.lua")),
            told_unreadable: AtomicBool::new(false),
        }
    }
}

#[async_trait]
impl ModelStore for RedisModelStore {
    async fn load(&self, user: &UserId) -> Result<ModelSlot, StoreError> {
        let key = self.keys.model(user);
        let value: Option<Vec<u8>> = self
            .pool
            .run("load", |mut connection| {
                let key = &key;
                async move { cmd("GET").arg(key).query_async(&mut connection).await }
            })
            .await?;
        let Some(value) = value else {
            return Ok(ModelSlot::Missing);
        };
        Ok(model_json::decode(user, &value).unwrap_or_else(|error| {
            meters::unreadable(Unreadable::Model);
            if !self.told_unreadable.swap(true, Ordering::Relaxed) {
                warn!(%error, "a model in redis cannot be read and is rebuilt; further ones are not logged");
            }
            ModelSlot::Missing
        }))
    }

    async fn save(&self, user: &UserId, model: &StoredModel) -> Result<SaveOutcome, StoreError> {
        let value = model_json::encode(model).map_err(|error| {
            StoreError::new(StoreErrorKind::Corrupt, "model cannot be written").caused_by(error)
        })?;
        let key = self.keys.model(user);
        let ttl_ms = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        let arguments = (value, ttl_ms, START, RANK_LENGTH);
        let saved: bool = self
            .pool
            .run("save", |mut connection| {
                let (save, key, arguments) = (&self.save, &key, &arguments);
                async move { save.run(&mut connection, key, arguments).await }
            })
            .await?;
        Ok(if saved {
            SaveOutcome::Saved
        } else {
            SaveOutcome::Superseded
        })
    }

    async fn erase(&self, user: &UserId, buffer: Option<Version>) -> Result<bool, StoreError> {
        let key = self.keys.model(user);
        let buffer = buffer.map_or(0, |version| version.0);
        let arguments = (ERASED_FOR_MS, START, buffer, VERSION_DIGITS, ERASED_END);
        self.pool
            .run("erase", |mut connection| {
                let (erase, key, arguments) = (&self.erase, &key, &arguments);
                async move { erase.run(&mut connection, key, arguments).await }
            })
            .await
    }
}
