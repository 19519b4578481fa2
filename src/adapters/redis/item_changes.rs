//! Which items processes have written or removed, in a stream `item_changes:<collection>`
//! of limited length. A process that holds copies of items reads those again.
//!
//! An entry has a field `by`, the process that added it, and a field `id` for each item;
//! or a field `all`: any item may have changed.

use std::time::Duration;

use deadpool_redis::redis::{Cmd, cmd, pipe};
use uuid::Uuid;

use super::{keys::Keys, pool::RedisPool};
use crate::{domain::ids::ContentId, ports::StoreError};

/// Entries that the stream keeps, approximately.
const MAX_ENTRIES: usize = 4_096;
/// Ids of an entry.
const IDS_PER_ENTRY: usize = 100;
/// Entries of a page.
const PAGE_ENTRIES: usize = 256;

const BY: &str = "by";
const ID: &[u8] = b"id";
const ALL: &[u8] = b"all";

/// A place in a stream: the id of an entry that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeCursor(String);

/// Entries of a stream that follow a cursor.
#[derive(Clone, Debug)]
pub struct ChangePage {
    /// The last of them, or the cursor itself if there are none.
    pub cursor: ChangeCursor,
    /// Items that other processes have changed; some of them perhaps twice.
    pub ids: Vec<ContentId>,
    /// Whether another process may have changed any item.
    pub all: bool,
    /// How long the first entry of another process has been in the stream; `None` if there
    /// is no such entry, or the server's time is not known.
    pub lag: Option<Duration>,
    /// Whether more entries may follow.
    pub is_full: bool,
}

/// The stream of a collection's changes.
pub struct ItemChanges {
    pool: RedisPool,
    key: String,
    process: String,
}

impl ItemChanges {
    /// The stream of a collection, in the Redis of a pool. `key_prefix` is that of all
    /// tenants.
    #[must_use]
    pub fn new(pool: RedisPool, key_prefix: &str, collection: &str) -> Self {
        Self {
            pool,
            key: Keys::new(key_prefix).item_changes(collection),
            process: Uuid::new_v4().simple().to_string(),
        }
    }

    /// Announces that these items have changed. Repeating it does no harm.
    ///
    /// # Errors
    /// [`StoreError`]; then some of them may be announced.
    pub async fn announce(&self, ids: &[ContentId]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut entries = pipe();
        for ids in ids.chunks(IDS_PER_ENTRY) {
            let mut entry = self.entry();
            for id in ids {
                entry.arg(ID).arg(id.as_str());
            }
            entries.add_command(entry);
        }
        let entries = &entries;
        let added = self
            .pool
            .run("announce_changes", |mut connection| async move {
                entries
                    .query_async::<Vec<String>>(&mut connection)
                    .await
                    .map(|_| ())
            });
        added.await
    }

    /// Announces that any item may have changed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn announce_all(&self) -> Result<(), StoreError> {
        let mut entry = self.entry();
        entry.arg(ALL).arg(1);
        self.pool
            .query::<String>("announce_changes", &entry)
            .await
            .map(|_| ())
    }

    /// Adds an entry without items. Changes that are announced later follow it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn mark(&self) -> Result<ChangeCursor, StoreError> {
        let mark = self.entry();
        let marked = self.pool.query("mark_changes", &mark).await;
        marked.map(ChangeCursor)
    }

    /// The entries after a cursor. `None` if the stream lacks the entry of the cursor: later
    /// ones may be lost, too.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn after(&self, cursor: &ChangeCursor) -> Result<Option<ChangePage>, StoreError> {
        let mut range = cmd("XRANGE");
        range.arg(&self.key).arg(&cursor.0).arg("+");
        range.arg("COUNT").arg(PAGE_ENTRIES + 1);
        let entries: Vec<(String, Vec<Vec<u8>>)> = self.pool.query("read_changes", &range).await?;
        let mut entries = entries.into_iter();
        if entries.next().is_none_or(|(id, _)| id != cursor.0) {
            return Ok(None);
        }
        let mut page = ChangePage {
            cursor: cursor.clone(),
            ids: Vec::new(),
            all: false,
            lag: None,
            is_full: entries.len() == PAGE_ENTRIES,
        };
        for (id, fields) in entries {
            let mut is_own = false;
            for pair in fields.chunks_exact(2) {
                let (name, value) = (pair[0].as_slice(), pair[1].as_slice());
                if name == BY.as_bytes() {
                    is_own = value == self.process.as_bytes();
                } else if is_own {
                    break;
                } else if name == ALL {
                    page.all = true;
                } else if name == ID
                    && let Ok(id) = std::str::from_utf8(value)
                {
                    page.ids.push(id.into());
                }
            }
            if !is_own && page.lag.is_none() {
                page.lag = self.age(&id);
            }
            page.cursor = ChangeCursor(id);
        }
        Ok(Some(page))
    }

    /// Time since an entry was added, by its id, which begins with the server's time.
    fn age(&self, id: &str) -> Option<Duration> {
        let (added_ms, _) = id.split_once('-')?;
        let added_ms: i64 = added_ms.parse().ok()?;
        let age_ms = self.pool.known_time()?.as_millis() - added_ms;
        Some(Duration::from_millis(u64::try_from(age_ms).unwrap_or(0)))
    }

    /// The command that adds an entry of this process, without items.
    fn entry(&self) -> Cmd {
        let mut entry = cmd("XADD");
        entry.arg(&self.key).arg("MAXLEN").arg("~").arg(MAX_ENTRIES);
        entry.arg("*").arg(BY).arg(&self.process);
        entry
    }
}
