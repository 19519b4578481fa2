//! User models: the strings `umodel:<user_id>`.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use deadpool_redis::redis::{Cmd, FromRedisValue, cmd, pipe};
use tracing::warn;

use super::{
    connection::RedisConnection,
    expiry::{milliseconds, version},
    keys::Keys,
    model_cache::{CachedModel, ModelCache},
    model_json::{self, ERASED_END, HEAD_BYTES, RANK_LENGTH, START},
    pool::RedisPool,
    script::Script,
};
use crate::{
    domain::{ids::UserId, json::json_fault, time::Timestamp},
    ports::{
        ERASED_FOR, Erasure, ModelSlot, ModelStore, ObservedVersion, Rank, SaveOutcome, StoreError,
        StoreErrorKind, StoredModel, Version,
    },
    telemetry::meters::{self, Unreadable},
};

/// How user models in Redis are kept.
#[derive(Clone, Debug)]
pub struct ModelStoreOptions {
    /// The text that all keys begin with.
    pub key_prefix: String,
    /// Time to live of a model after a save.
    pub ttl: Duration,
    /// Memory for copies of models in this process, in bytes.
    pub cache_max_bytes: u64,
}

/// User models in Redis.
pub struct RedisModelStore {
    pool: RedisPool,
    keys: Keys,
    ttl: Duration,
    save: Script,
    erase: Script,
    remove: Script,
    cache: ModelCache,
    unreadable_logged: AtomicBool,
}

impl RedisModelStore {
    /// Models in the Redis of a pool.
    #[must_use]
    pub fn new(pool: RedisPool, options: ModelStoreOptions) -> Self {
        Self {
            pool,
            keys: Keys::new(&options.key_prefix),
            ttl: options.ttl,
            save: Script::new(include_str!("save.lua")),
            erase: Script::new(include_str!("erase_model.lua")),
            remove: Script::new(include_str!("remove_model.lua")),
            cache: ModelCache::of_models(options.cache_max_bytes),
            unreadable_logged: AtomicBool::new(false),
        }
    }

    /// Reads the first bytes of a stored model.
    fn head_command(&self, user: &UserId) -> Cmd {
        let mut command = cmd("GETRANGE");
        command
            .arg(self.keys.model(user))
            .arg(0)
            .arg(HEAD_BYTES - 1);
        command
    }

    fn get_command(&self, user: &UserId) -> Cmd {
        let mut command = cmd("GET");
        command.arg(self.keys.model(user));
        command
    }

    /// The cached model, if the stored one begins with `head`.
    fn current(cached: &CachedModel, head: &[u8]) -> Option<ModelSlot> {
        let is_current = cached.has_head(head);
        ModelCache::count_lookup(is_current);
        is_current.then(|| ModelSlot::Present(cached.model.clone()))
    }

    /// Decodes what was read and caches it. `erasures` is from before the read.
    fn slot(&self, user: &UserId, value: Option<&[u8]>, erasures: u64) -> ModelSlot {
        let Some(value) = value else {
            self.cache.remove(user);
            return ModelSlot::Missing;
        };
        let slot = model_json::decode(user, value).unwrap_or_else(|error| {
            meters::unreadable(Unreadable::Model);
            if !self.unreadable_logged.swap(true, Ordering::Relaxed) {
                let error = json_fault(&error);
                warn!(
                    error,
                    "rebuilding an unreadable model in redis; further ones are not logged"
                );
            }
            ModelSlot::Unreadable
        });
        match &slot {
            ModelSlot::Present(model) => self.cache.insert_text(user, value, model, erasures),
            ModelSlot::Missing | ModelSlot::Unreadable | ModelSlot::Erased(_) => {
                self.cache.remove(user);
            }
        }
        slot
    }

    async fn read_with_version(
        &self,
        user: &UserId,
    ) -> Result<(ModelSlot, ObservedVersion), StoreError> {
        let (observed_at, erasures) = (self.pool.now().await?, self.cache.erasures());
        let observed = |expiry| ObservedVersion {
            version: version(expiry),
            observed_at,
        };
        let Some(cached) = self.cache.get(user) else {
            ModelCache::count_lookup(false);
            let model = self.get_command(user);
            let (value, expiry): (Option<Vec<u8>>, _) = self.query_both(user, &model).await?;
            return Ok((
                self.slot(user, value.as_deref(), erasures),
                observed(expiry),
            ));
        };
        let head = self.head_command(user);
        let (head, expiry): (Vec<u8>, _) = self.query_both(user, &head).await?;
        if let Some(slot) = Self::current(&cached, &head) {
            return Ok((slot, observed(expiry)));
        }
        let value = self.get("load", user).await?;
        Ok((
            self.slot(user, value.as_deref(), erasures),
            observed(expiry),
        ))
    }

    /// Sends a command about a user's model together with one that reads the expiry of
    /// the user's buffer.
    async fn query_both<T: FromRedisValue>(
        &self,
        user: &UserId,
        of_model: &Cmd,
    ) -> Result<(T, i64), StoreError> {
        let mut of_buffer = cmd("PEXPIRETIME");
        of_buffer.arg(self.keys.events(user));
        let (mut both, of_buffer) = (pipe(), &of_buffer);
        both.add_command(of_model.clone());
        both.add_command(of_buffer.clone());
        let both = &both;
        let query = |mut connection: RedisConnection| async move {
            match &connection {
                RedisConnection::Node(_) => both.query_async(&mut connection).await,
                // The keys may be on different nodes.
                RedisConnection::Cluster(cluster) => {
                    let (mut first, mut second) = (cluster.clone(), cluster.clone());
                    tokio::try_join!(
                        of_model.query_async(&mut first),
                        of_buffer.query_async(&mut second)
                    )
                }
            }
        };
        self.pool.run("load", query).await
    }

    async fn get(
        &self,
        operation: &'static str,
        user: &UserId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.pool.query(operation, &self.get_command(user)).await
    }
}

#[async_trait]
impl ModelStore for RedisModelStore {
    async fn load(&self, user: &UserId) -> Result<ModelSlot, StoreError> {
        let erasures = self.cache.erasures();
        if let Some(cached) = self.cache.get(user) {
            let head: Vec<u8> = self.pool.query("load", &self.head_command(user)).await?;
            if let Some(slot) = Self::current(&cached, &head) {
                return Ok(slot);
            }
        } else {
            ModelCache::count_lookup(false);
        }
        let value = self.get("load", user).await?;
        Ok(self.slot(user, value.as_deref(), erasures))
    }

    async fn load_with_version(
        &self,
        user: &UserId,
    ) -> Option<Result<(ModelSlot, ObservedVersion), StoreError>> {
        Some(self.read_with_version(user).await)
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
        read_at: Timestamp,
    ) -> Result<SaveOutcome, StoreError> {
        let text = model_json::encode(model).map_err(|error| {
            StoreError::new(StoreErrorKind::Corrupt, "model cannot be written").caused_by(error)
        })?;
        let key = self.keys.model(user);
        // A rank without a time is that of an erased user's marker.
        let replaced = match instead_of {
            Some((version, Some(built_at))) => model_json::rank(version, Some(built_at)),
            Some((_, None)) | None => String::new(),
        };
        let arguments = (
            &text,
            milliseconds(self.ttl),
            START,
            RANK_LENGTH,
            replaced,
            read_at.as_micros(),
            ERASED_END,
        );
        let erasures = self.cache.erasures();
        // Does not wait for replicas: a lost model is rebuilt.
        let saved: bool = self
            .pool
            .run("save", |mut connection| {
                let (save, key, arguments) = (&self.save, &key, &arguments);
                async move { save.run(&mut connection, key, arguments).await }
            })
            .await?;
        if !saved {
            return Ok(SaveOutcome::Superseded);
        }
        meters::model_bytes(text.len());
        self.cache
            .insert_text(user, text.as_bytes(), model, erasures);
        Ok(SaveOutcome::Saved)
    }

    async fn erase(
        &self,
        user: &UserId,
        erasure: &Erasure,
        read_at: Timestamp,
    ) -> Result<Option<bool>, StoreError> {
        let key = self.keys.model(user);
        let rank = model_json::rank(erasure.version, Some(erasure.at));
        let (version, at) = rank.split_once('-').unwrap_or_default();
        let arguments = (
            milliseconds(ERASED_FOR),
            START,
            version,
            at,
            ERASED_END,
            read_at.as_micros(),
        );
        let erased = self
            .pool
            .write("erase_model", &key, &self.erase, &arguments)
            .await;
        // Also after an error, as the model may be gone.
        self.cache.erase(user);
        let reply: u8 = erased?;
        Ok((reply > 0).then_some(reply > 1))
    }

    async fn remove_copied(
        &self,
        user: &UserId,
        version: Version,
        read_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let key = self.keys.model(user);
        let rank = model_json::rank(version, None);
        let (version, _) = rank.split_once('-').unwrap_or_default();
        let arguments = (
            milliseconds(ERASED_FOR),
            START,
            version,
            ERASED_END,
            read_at.as_micros(),
        );
        let removed = self
            .pool
            .write("remove_model", &key, &self.remove, &arguments)
            .await;
        // Also after an error, as the model may be gone.
        self.cache.erase(user);
        removed
    }
}
