//! Whether Redis runs the service's scripts: it may lack a command, refuse it, or
//! report no time inside of scripts. The real scripts are run on probe keys, which
//! are removed and, if that fails, expire within seconds.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use deadpool_redis::redis::{RedisResult, cmd};

use super::{
    acl_probe::{AclDenial, AclProbe},
    append::RawReply,
    connection::RedisConnection,
    error::no_time_in_scripts,
    expiry::NO_KEY,
    keys::Keys,
    model_json::{self, ERASED_END, RANK_LENGTH, START},
    pool::RedisPool,
    script::Script,
};
use crate::{
    domain::time::Timestamp,
    ports::{StoreError, StoreErrorKind, Version},
};

/// Time between two runs of the scripts, while they succeed.
const EVERY: Duration = Duration::from_secs(60);
/// Lifetime of what a run writes, in milliseconds.
const LIFETIME_MS: u64 = 10_000;
/// A time before this one, in microseconds since the epoch, is none: the year 2001.
const EARLIEST_US: i64 = 1_000_000_000_000_000;

/// Runs the scripts now and then.
pub(super) struct ScriptProbe {
    append: Script,
    trim: Script,
    erase_events: Script,
    remove_events: Script,
    save: Script,
    erase_model: Script,
    remove_model: Script,
    succeeded: Mutex<Option<Instant>>,
}

impl Default for ScriptProbe {
    fn default() -> Self {
        Self {
            append: Script::new(include_str!("append.lua")),
            trim: Script::new(include_str!("trim.lua")),
            erase_events: Script::new(include_str!("erase_events.lua")),
            remove_events: Script::new(include_str!("remove_events.lua")),
            save: Script::new(include_str!("save.lua")),
            erase_model: Script::new(include_str!("erase_model.lua")),
            remove_model: Script::new(include_str!("remove_model.lua")),
            succeeded: Mutex::new(None),
        }
    }
}

impl ScriptProbe {
    /// Runs the scripts, unless they succeeded less than a minute ago.
    ///
    /// # Errors
    /// As [`ScriptProbe::run`].
    pub(super) async fn run_if_due(&self, pool: &RedisPool, keys: &Keys) -> Result<(), StoreError> {
        let last = *self
            .succeeded
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < EVERY) {
            return Ok(());
        }
        self.run(pool, keys).await?;
        *self
            .succeeded
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(())
    }

    /// Runs the scripts.
    ///
    /// # Errors
    /// [`StoreError`], of the kind `Misconfigured` with the command's name if Redis
    /// lacks or refuses one.
    pub(super) async fn run(&self, pool: &RedisPool, keys: &Keys) -> Result<(), StoreError> {
        let now = pool.now().await?;
        let ran = pool.run("probe", |mut connection| async move {
            self.run_on(&mut connection, keys, now).await
        });
        let time_in_scripts = match ran.await {
            // It is full, which is not a matter of its commands.
            Err(error) if error.kind() == StoreErrorKind::Full => return Ok(()),
            Err(error) if error.kind() == StoreErrorKind::Misconfigured => {
                return Err(name_command(pool, keys).await.caused_by(error));
            }
            ran => ran?,
        };
        if time_in_scripts < EARLIEST_US {
            return Err(no_time_in_scripts(time_in_scripts));
        }
        Ok(())
    }

    /// Returns the time inside of scripts, in microseconds since the epoch.
    async fn run_on(
        &self,
        connection: &mut RedisConnection,
        keys: &Keys,
        now: Timestamp,
    ) -> RedisResult<i64> {
        let (events, model) = (keys.events_probe(), keys.model_probe());
        let (now_us, score) = (now.as_micros(), now.as_millis() / 1_000);
        // The second append exceeds the maximum of one event and compares an id.
        let mut time_in_scripts = 0;
        for (member, id) in [("{}", ""), (r#"{"n":2}"#, r#","event_id":"probe"}"#)] {
            let arguments = ((LIFETIME_MS, 1, 0, now_us, "", ""), (score, member, id));
            let reply: RawReply = self.append.run(connection, &events, &arguments).await?;
            time_in_scripts = reply.5;
        }
        let trim = (LIFETIME_MS, 0, 0, 1, now_us);
        let _: i64 = self.trim.run(connection, &events, &trim).await?;
        let erase = (now_us, 0, LIFETIME_MS, LIFETIME_MS);
        let _: (u8, u8, i64, i64) = self.erase_events.run(connection, &events, &erase).await?;
        // There are no events: it replaces the marker.
        let remove = (now_us, 0, LIFETIME_MS, LIFETIME_MS, NO_KEY, 0);
        let _: (i64, i64) = self.remove_events.run(connection, &events, &remove).await?;
        let rank = model_json::rank(Version(1), Some(now));
        let value = format!("{START}{rank}\"}}");
        let save = (
            &value,
            LIFETIME_MS,
            START,
            RANK_LENGTH,
            "",
            now_us,
            ERASED_END,
        );
        let _: u8 = self.save.run(connection, &model, &save).await?;
        let (version, at) = rank.split_once('-').unwrap_or_default();
        let erase = (LIFETIME_MS, START, version, at, ERASED_END, now_us);
        let _: u8 = self.erase_model.run(connection, &model, &erase).await?;
        let remove = (LIFETIME_MS, START, version, ERASED_END, now_us);
        let _: u8 = self.remove_model.run(connection, &model, &remove).await?;
        for key in [&events, &model] {
            let _: i64 = cmd("UNLINK").arg(key).query_async(connection).await?;
        }
        Ok(time_in_scripts)
    }
}

/// The error that names the commands which Redis lacks or refuses.
async fn name_command(pool: &RedisPool, keys: &Keys) -> StoreError {
    let all = std::slice::from_ref(keys);
    let denials = pool.run("probe", |mut connection| async move {
        let is_cluster = matches!(connection, RedisConnection::Cluster(_));
        AclProbe::new(all, false, is_cluster)
            .run(&mut connection)
            .await
    });
    let mut found = Vec::new();
    for denial in denials.await.unwrap_or_default() {
        found.push(match denial {
            AclDenial::Missing(command) => format!("it lacks {command}"),
            AclDenial::Command(command) => format!("it denies {command} to this user"),
            AclDenial::Keys(prefix) => format!("it denies the keys {prefix}* to this user"),
            AclDenial::Key(key) => format!("it denies the key {key} to this user"),
            AclDenial::Writes(error) => error,
        });
    }
    let what = match found.is_empty() {
        true => "it does not run the service's scripts".to_owned(),
        false => found.join(", "),
    };
    let context = format!("redis is misconfigured: {what}");
    StoreError::new(StoreErrorKind::Misconfigured, context)
}
