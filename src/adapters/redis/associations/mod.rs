//! What other users did: the sorted sets `aud:<item>`, `pop` and `trend`, and the
//! strings `lst:<user_id>` and `nbr:<item>`.

mod each;
mod stored_list;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use deadpool_redis::redis::{Cmd, Value, cmd, from_redis_value};
use tracing::warn;

use super::{
    buffer_store::from_score, error::malformed_reply, expiry::milliseconds, keys::Keys,
    model_json::VERSION_DIGITS, pool::RedisPool, script::Script,
};
use crate::{
    domain::{
        associations::{Audience, AudienceMember, NeighborRow},
        ids::{ContentId, UserId},
        time::Timestamp,
    },
    ports::{
        AssociationStore, AudienceChanges, ERASED_FOR, Engagement, ListSlot, MAX_POPULAR,
        MAX_READ_AGE, PopularityRanking, Rank, SavedList, StoreError, StoredList, Version,
        WriteOutcome,
    },
    telemetry::meters::{self, Unreadable},
};
use each::{query_each, run_each};

/// What other users did, in Redis.
pub struct RedisAssociationStore {
    pool: RedisPool,
    keys: Keys,
    window: Duration,
    scripts: Scripts,
    unreadable_logged: AtomicBool,
}

struct Scripts {
    join: Script,
    settle: Script,
    save_list: Script,
    erase_list: Script,
    remove_list: Script,
    save_row: Script,
    rank: Script,
}

impl RedisAssociationStore {
    /// Associations in the Redis of a pool, under keys that begin with
    /// `key_prefix`. They expire one `window` after their last write.
    #[must_use]
    pub fn new(pool: RedisPool, key_prefix: &str, window: Duration) -> Self {
        Self {
            pool,
            keys: Keys::new(key_prefix),
            window,
            scripts: Scripts {
                join: Script::new(include_str!("join.lua")),
                settle: Script::new(include_str!("settle.lua")),
                save_list: Script::new(include_str!("save_list.lua")),
                erase_list: Script::new(include_str!("erase_list.lua")),
                remove_list: Script::new(include_str!("remove_list.lua")),
                save_row: Script::new(include_str!("save_row.lua")),
                rank: Script::new(include_str!("rank.lua")),
            },
            unreadable_logged: AtomicBool::new(false),
        }
    }

    /// The text of a value, or `None` for a value of another type.
    fn bytes(&self, value: Value) -> Option<Vec<u8>> {
        if value == Value::Nil {
            return None;
        }
        from_redis_value(value).unwrap_or_else(|_| {
            self.count_unreadable("not a text");
            None
        })
    }

    fn count_unreadable(&self, error: &str) {
        meters::unreadable(Unreadable::Association);
        if !self.unreadable_logged.swap(true, Ordering::Relaxed) {
            warn!(
                error,
                "ignoring an unreadable association in redis; further ones are not logged"
            );
        }
    }

    fn ranking(&self, ranking: PopularityRanking) -> String {
        match ranking {
            PopularityRanking::Popular => self.keys.popular(),
            PopularityRanking::Trending => self.keys.trending(),
        }
    }

    /// Replaces a user's list by a marker. Returns the slot as it was; `None` if that is
    /// refused.
    async fn replace_list(
        &self,
        operation: &'static str,
        script: &Script,
        user: &UserId,
        version: Version,
        read_at: Timestamp,
    ) -> Result<Option<ListSlot>, StoreError> {
        let arguments = (
            milliseconds(ERASED_FOR),
            version.0,
            VERSION_DIGITS,
            read_at.as_micros(),
            microseconds(MAX_READ_AGE),
        );
        let key = self.keys.list(user);
        let replaced = self.pool.write(operation, &key, script, &arguments);
        let stored: Option<Vec<u8>> = replaced.await?;
        Ok(stored.map(|value| stored_list::decode(Some(value))))
    }

    async fn get_each(
        &self,
        operation: &'static str,
        keys: impl Iterator<Item = String>,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let commands: Vec<Cmd> = keys
            .map(|key| {
                let mut command = cmd("GET");
                command.arg(key);
                command
            })
            .collect();
        let values = query_each(&self.pool, operation, &commands).await?;
        Ok(values.into_iter().map(|value| self.bytes(value)).collect())
    }
}

/// A time as a score.
fn score(time: Timestamp) -> String {
    let micros = time.as_micros();
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

fn microseconds(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn write_outcome(operation: &'static str, reply: i64) -> Result<WriteOutcome, StoreError> {
    match reply {
        0 => Ok(WriteOutcome::Superseded),
        1 => Ok(WriteOutcome::Written),
        2 => Ok(WriteOutcome::TooOld),
        _ => Err(malformed_reply(operation)),
    }
}

/// The items whose reply is 0.
fn refused(engagements: &[Engagement], replies: Vec<i64>) -> Vec<ContentId> {
    let refused = engagements.iter().zip(replies);
    refused
        .filter(|(_, reply)| *reply == 0)
        .map(|((item, _), _)| item.clone())
        .collect()
}

#[async_trait]
impl AssociationStore for RedisAssociationStore {
    async fn join_audiences(
        &self,
        user: &UserId,
        engagements: &[Engagement],
        audience_max: usize,
        read_at: Timestamp,
    ) -> Result<Vec<ContentId>, StoreError> {
        let calls = engagements.iter().map(|(item, time)| {
            let arguments = vec![
                user.as_str().to_owned(),
                score(*time),
                audience_max.to_string(),
                read_at.as_micros().to_string(),
                microseconds(MAX_READ_AGE).to_string(),
                milliseconds(self.window).to_string(),
            ];
            (self.keys.audience(item), arguments)
        });
        let calls: Vec<_> = calls.collect();
        let replies = run_each(&self.pool, "join_audience", &self.scripts.join, &calls).await?;
        Ok(refused(engagements, replies))
    }

    async fn leave_audiences(
        &self,
        user: &UserId,
        engagements: &[Engagement],
        read_at: Timestamp,
    ) -> Result<Vec<ContentId>, StoreError> {
        let calls = engagements.iter().map(|(item, time)| {
            let arguments = vec![
                read_at.as_micros().to_string(),
                microseconds(MAX_READ_AGE).to_string(),
                "0".to_owned(),
                user.as_str().to_owned(),
                score(*time),
                String::new(),
            ];
            (self.keys.audience(item), arguments)
        });
        let calls: Vec<_> = calls.collect();
        let replies = run_each(&self.pool, "leave_audience", &self.scripts.settle, &calls).await?;
        Ok(refused(engagements, replies))
    }

    async fn audience(
        &self,
        item: &ContentId,
        audience_max: usize,
    ) -> Result<Audience, StoreError> {
        let mut command = cmd("ZREVRANGE");
        command
            .arg(self.keys.audience(item))
            .arg(0)
            .arg(audience_max.saturating_sub(1))
            .arg("WITHSCORES");
        let members: Vec<(Vec<u8>, f64)> = self.pool.query("audience", &command).await?;
        let oldest = self.pool.now().await?.minus(self.window);
        let members = members.into_iter().filter_map(|(user, score)| {
            let time = from_score(score);
            let user = String::from_utf8(user).ok();
            let user = user.and_then(|user| UserId::parse(&user).ok());
            if user.is_none() {
                self.count_unreadable("a member is not a user id");
            }
            Some(AudienceMember { user: user?, time }).filter(|_| time >= oldest)
        });
        Ok(Audience::new(members.collect(), audience_max))
    }

    async fn audience_sizes(&self, items: &[ContentId]) -> Result<Vec<usize>, StoreError> {
        let commands: Vec<Cmd> = items
            .iter()
            .map(|item| {
                let mut command = cmd("ZCARD");
                command.arg(self.keys.audience(item));
                command
            })
            .collect();
        let sizes = query_each(&self.pool, "audience_sizes", &commands).await?;
        // A key of another type is no audience.
        let size = |size: Value| from_redis_value(size).unwrap_or(0);
        Ok(sizes.into_iter().map(size).collect())
    }

    async fn settle_audience(
        &self,
        item: &ContentId,
        changes: &AudienceChanges,
        read_at: Timestamp,
    ) -> Result<WriteOutcome, StoreError> {
        let mut arguments = vec![
            read_at.as_micros().to_string(),
            microseconds(MAX_READ_AGE).to_string(),
            microseconds(self.window).to_string(),
        ];
        for (user, read, time) in &changes.moved {
            arguments.extend([user.as_str().to_owned(), score(*read), score(*time)]);
        }
        for (user, read) in &changes.removed {
            arguments.extend([user.as_str().to_owned(), score(*read), String::new()]);
        }
        let calls = [(self.keys.audience(item), arguments)];
        let replies = run_each(&self.pool, "settle_audience", &self.scripts.settle, &calls).await?;
        Ok(match replies.first() {
            Some(1) => WriteOutcome::Written,
            Some(_) => WriteOutcome::TooOld,
            None => return Err(malformed_reply("settle_audience")),
        })
    }

    async fn lists(&self, users: &[UserId]) -> Result<Vec<ListSlot>, StoreError> {
        let keys = users.iter().map(|user| self.keys.list(user));
        let values = self.get_each("lists", keys).await?;
        let slot = |value| {
            let slot = stored_list::decode(value);
            if slot == ListSlot::Unreadable {
                self.count_unreadable("not an interest list");
            }
            slot
        };
        Ok(values.into_iter().map(slot).collect())
    }

    async fn save_list(
        &self,
        user: &UserId,
        list: &StoredList,
        replaces: Option<Rank>,
        read: Option<Rank>,
        read_at: Timestamp,
    ) -> Result<SavedList, StoreError> {
        let value = stored_list::encode(list);
        let rank_bytes = value.len() - list.packed().len();
        // A rank without a time is that of an erased user's marker.
        let replaced = replaces.filter(|(_, built_at)| built_at.is_some());
        let arguments = (
            value,
            milliseconds(self.window),
            rank_bytes,
            replaced.map(stored_list::rank_text).unwrap_or_default(),
            read_at.as_micros(),
            microseconds(MAX_READ_AGE),
            read.map(stored_list::rank_text).unwrap_or_default(),
        );
        let key = self.keys.list(user);
        let (saved, replaced): (i64, Vec<u8>) = self
            .pool
            .run("save_list", |mut connection| {
                let (script, key, arguments) = (&self.scripts.save_list, &key, &arguments);
                async move { script.run(&mut connection, key, arguments).await }
            })
            .await?;
        Ok(SavedList {
            outcome: write_outcome("save_list", saved)?,
            replaced: stored_list::decode(Some(replaced)).present().cloned(),
        })
    }

    async fn erase_list(
        &self,
        user: &UserId,
        version: Version,
        read_at: Timestamp,
    ) -> Result<Option<ListSlot>, StoreError> {
        let script = &self.scripts.erase_list;
        self.replace_list("erase_list", script, user, version, read_at)
            .await
    }

    async fn remove_copied_list(
        &self,
        user: &UserId,
        version: Version,
        read_at: Timestamp,
    ) -> Result<Option<ListSlot>, StoreError> {
        let script = &self.scripts.remove_list;
        self.replace_list("remove_list", script, user, version, read_at)
            .await
    }

    async fn rows(&self, items: &[ContentId]) -> Result<Vec<Option<NeighborRow>>, StoreError> {
        let keys = items.iter().map(|item| self.keys.row(item));
        let values = self.get_each("rows", keys).await?;
        let row = |value: Option<Vec<u8>>| {
            let row = NeighborRow::decode(&value?);
            row.inspect_err(|error| self.count_unreadable(&error.to_string()))
                .ok()
        };
        Ok(values.into_iter().map(row).collect())
    }

    async fn save_row(
        &self,
        item: &ContentId,
        row: &NeighborRow,
    ) -> Result<WriteOutcome, StoreError> {
        let value = if row.is_empty() {
            Vec::new()
        } else {
            row.encode()
        };
        let arguments = (
            value,
            milliseconds(self.window),
            row.built_at().as_micros(),
            microseconds(MAX_READ_AGE),
        );
        let key = self.keys.row(item);
        let saved: i64 = self
            .pool
            .run("save_row", |mut connection| {
                let (script, key, arguments) = (&self.scripts.save_row, &key, &arguments);
                async move { script.run(&mut connection, key, arguments).await }
            })
            .await?;
        write_outcome("save_row", saved)
    }

    async fn rank_popularity(
        &self,
        ranking: PopularityRanking,
        item: &ContentId,
        key: Option<f64>,
    ) -> Result<(), StoreError> {
        let arguments = vec![
            item.as_str().to_owned(),
            key.map(|key| key.to_string()).unwrap_or_default(),
            MAX_POPULAR.to_string(),
            milliseconds(self.window).to_string(),
        ];
        let calls = [(self.ranking(ranking), arguments)];
        run_each(&self.pool, "rank_popularity", &self.scripts.rank, &calls).await?;
        Ok(())
    }

    async fn popularity(
        &self,
        ranking: PopularityRanking,
    ) -> Result<Vec<(ContentId, f64)>, StoreError> {
        let mut command = cmd("ZRANGE");
        command
            .arg(self.ranking(ranking))
            .arg(0)
            .arg(-1)
            .arg("WITHSCORES");
        let items: Vec<(Vec<u8>, f64)> = self.pool.query("popularity", &command).await?;
        let items = items.into_iter().filter_map(|(item, key)| {
            let item = String::from_utf8(item).ok()?;
            Some((ContentId::from(item), key))
        });
        Ok(items.collect())
    }
}
