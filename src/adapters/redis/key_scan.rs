//! The ids of all users or items that have a key, read page by page with SCAN.

use std::collections::BTreeMap;

use deadpool_redis::redis::{
    Cmd, ErrorKind, RedisResult, Value,
    cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
    cmd, from_redis_value,
};
use serde::{Deserialize, Serialize};

use super::{
    advice::parse_info, connection::RedisConnection, error::malformed_reply, keys::Keys,
    pool::RedisPool,
};
use crate::ports::StoreError;

/// Keys that Redis looks at for one page.
const PAGE_KEYS: usize = 512;

/// A kind of key with an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScannedKind {
    /// Event buffers, by user id.
    Events,
    /// Audiences, by item id.
    Audiences,
}

/// A master, as it is when it is scanned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanNode {
    /// Its slots, from and to; empty without a cluster.
    slots: Vec<(u16, u16)>,
    /// The id of the server's run; `None` if the ACL denies INFO.
    run_id: Option<String>,
}

impl ScanNode {
    /// Whether a cursor of an earlier process is valid: a server that has restarted
    /// orders its keys anew.
    #[must_use]
    pub fn is_resumable(&self) -> bool {
        self.run_id.is_some()
    }

    fn slot(&self) -> Option<u16> {
        self.slots.first().map(|(from, _)| *from)
    }
}

/// A page of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedPage {
    /// Ids, some of them perhaps twice or on several pages.
    pub ids: Vec<String>,
    /// Where the next page starts; 0 after the last.
    pub cursor: u64,
}

/// Scans the keys under one prefix. A key that exists during the whole scan of its
/// master is found.
#[derive(Clone)]
pub struct KeyScan {
    pool: RedisPool,
    keys: Keys,
}

impl KeyScan {
    /// Scans the keys that begin with `key_prefix`.
    #[must_use]
    pub fn new(pool: RedisPool, key_prefix: &str) -> Self {
        Self {
            pool,
            keys: Keys::new(key_prefix),
        }
    }

    /// The start of the keys.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.keys.prefix()
    }

    /// The masters, in the order of their slots.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn nodes(&self) -> Result<Vec<ScanNode>, StoreError> {
        let slots = self.pool.run("cluster_slots", |connection| async move {
            match connection {
                RedisConnection::Node(_) => Ok(vec![Vec::new()]),
                RedisConnection::Cluster(_) => masters(connection).await,
            }
        });
        let mut nodes = Vec::new();
        for slots in slots.await? {
            let mut node = ScanNode {
                slots,
                run_id: None,
            };
            node.run_id = self.run_id(node.slot()).await?;
            nodes.push(node);
        }
        Ok(nodes)
    }

    async fn run_id(&self, slot: Option<u16>) -> Result<Option<String>, StoreError> {
        let mut info = cmd("INFO");
        info.arg("server");
        let text = self.pool.run("info", |connection| {
            let info = info.clone();
            async move {
                match send(connection, slot, info).await {
                    // The ACL may deny it.
                    Err(error) if matches!(error.kind(), ErrorKind::Server(_)) => Ok(None),
                    Err(error) if error.kind() == ErrorKind::Extension => Ok(None),
                    reply => Ok(Some(from_redis_value::<String>(reply?)?)),
                }
            }
        });
        let mut info = text.await?.map(|text| parse_info(&text));
        Ok(info.as_mut().and_then(|info| info.remove("run_id")))
    }

    /// The page of a master that starts at a cursor; the first starts at 0.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn page(
        &self,
        node: &ScanNode,
        kind: ScannedKind,
        cursor: u64,
    ) -> Result<ScannedPage, StoreError> {
        let prefix = match kind {
            ScannedKind::Events => self.keys.events_probe(),
            ScannedKind::Audiences => self.keys.audience(&"".into()),
        };
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern(&prefix));
        scan.arg("COUNT").arg(PAGE_KEYS).arg("TYPE").arg("zset");
        let reply = self.pool.run("scan", |connection| {
            let scan = scan.clone();
            async move { send(connection, node.slot(), scan).await }
        });
        let reply = reply.await?;
        let reply: (u64, Vec<Vec<u8>>) =
            from_redis_value(reply).map_err(|_| malformed_reply("scan"))?;
        let (cursor, keys) = reply;
        let id = |key: Vec<u8>| {
            let key = String::from_utf8(key).ok()?;
            let id = key.strip_prefix(&prefix)?;
            (!id.is_empty()).then(|| id.to_owned())
        };
        Ok(ScannedPage {
            ids: keys.into_iter().filter_map(id).collect(),
            cursor,
        })
    }
}

/// The pattern of the keys that begin with a prefix.
fn pattern(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for character in prefix.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('*');
    pattern
}

/// Sends a command to the master of a slot, or to the only server.
async fn send(connection: RedisConnection, slot: Option<u16>, command: Cmd) -> RedisResult<Value> {
    match (connection, slot) {
        (RedisConnection::Cluster(mut cluster), Some(slot)) => {
            let master = Route::new(slot, SlotAddr::Master);
            let routing = SingleNodeRoutingInfo::SpecificNode(master);
            let routing = RoutingInfo::SingleNode(routing);
            cluster.route_command(command, routing).await
        }
        (mut connection, _) => command.query_async(&mut connection).await,
    }
}

/// The slots of each master of a cluster.
async fn masters(mut connection: RedisConnection) -> RedisResult<Vec<Vec<(u16, u16)>>> {
    let mut slots = cmd("CLUSTER");
    slots.arg("SLOTS");
    let ranges: Vec<Vec<Value>> = slots.query_async(&mut connection).await?;
    let mut masters: BTreeMap<String, Vec<(u16, u16)>> = BTreeMap::new();
    for range in ranges {
        let mut fields = range.into_iter();
        let (Some(from), Some(to), Some(master)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let master: Vec<Value> = from_redis_value(master)?;
        // The address, the port and the id.
        let id = master.into_iter().nth(2).unwrap_or(Value::Nil);
        let range = (from_redis_value(from)?, from_redis_value(to)?);
        masters
            .entry(from_redis_value(id)?)
            .or_default()
            .push(range);
    }
    let mut masters: Vec<_> = masters.into_values().collect();
    for slots in &mut masters {
        slots.sort_unstable();
    }
    masters.sort_unstable();
    Ok(masters)
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn a_prefix_is_not_a_pattern() {
        assert_eq!(pattern("shop:evt:"), "shop:evt:*");
        assert_eq!(pattern(r"a*[b]?\:"), r"a\*\[b\]\?\\:*");
    }
}
