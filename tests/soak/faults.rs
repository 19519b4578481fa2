//! Faults, one at a time, and when each was in force.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::{
    calls::{APPENDS, CATALOGUE, Rpc, USER_STATE},
    items::COLLECTION,
    random::Random,
    world::World,
};

/// How long after a fault calls may still fail by it: those in flight have 500 ms
/// (Redis) or 2 s (Qdrant) left to wait, and so has a call that joins them.
const RECOVERY: Duration = Duration::from_secs(3);
/// From the end of a recovery to the next fault.
const CALM_S: (f64, f64) = (4.0, 9.0);
const MODELS_DELETED_AT_ONCE: usize = 30;
const RENAMED: &str = "items-renamed";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoreFault {
    RedisKilled,
    RedisFrozen,
    RedisPaused,
    RedisConnectionsKilled,
    ScriptsFlushed,
    ModelsDeleted,
    RedisFull,
    QdrantHangs,
    QdrantSlow,
    QdrantFails,
    QdrantRefuses,
    QdrantStopped,
    CollectionMissing,
}

use StoreFault::*;

pub const FAULTS: [StoreFault; 13] = [
    RedisKilled,
    RedisFrozen,
    RedisPaused,
    RedisConnectionsKilled,
    ScriptsFlushed,
    ModelsDeleted,
    RedisFull,
    QdrantHangs,
    QdrantSlow,
    QdrantFails,
    QdrantRefuses,
    QdrantStopped,
    CollectionMissing,
];

impl StoreFault {
    pub fn name(self) -> &'static str {
        match self {
            RedisKilled => "redis killed",
            RedisFrozen => "redis frozen",
            RedisPaused => "redis paused",
            RedisConnectionsKilled => "redis connections killed",
            ScriptsFlushed => "scripts flushed",
            ModelsDeleted => "models deleted",
            RedisFull => "redis full",
            QdrantHangs => "qdrant hangs",
            QdrantSlow => "qdrant slow",
            QdrantFails => "qdrant fails",
            QdrantRefuses => "qdrant refuses",
            QdrantStopped => "qdrant stopped",
            CollectionMissing => "collection missing",
        }
    }

    /// Whether this call may fail with this code and reason during the fault. Recommend
    /// works without users' state, and events are taken without the catalogue.
    pub fn explains(self, rpc: Rpc, code: Code, reason: &str) -> bool {
        let (calls, expected): (&[Rpc], _) = match self {
            RedisKilled | RedisFrozen | RedisPaused => {
                (USER_STATE, (Code::Unavailable, "USER_STATE_UNAVAILABLE"))
            }
            RedisFull => (APPENDS, (Code::ResourceExhausted, "USER_STATE_FULL")),
            QdrantHangs | QdrantFails | QdrantStopped => {
                (CATALOGUE, (Code::Unavailable, "CATALOG_UNAVAILABLE"))
            }
            QdrantRefuses => (CATALOGUE, (Code::Internal, "INTERNAL")),
            CollectionMissing => (CATALOGUE, (Code::FailedPrecondition, "NOT_SET_UP")),
            RedisConnectionsKilled | ScriptsFlushed | ModelsDeleted | QdrantSlow => return false,
        };
        calls.contains(&rpc) && (code, reason) == expected
    }

    /// How long it lasts, in seconds.
    fn duration_s(self) -> (f64, f64) {
        match self {
            RedisConnectionsKilled | ScriptsFlushed | ModelsDeleted => (0.0, 0.0),
            RedisKilled | RedisFrozen | RedisPaused | RedisFull => (0.3, 3.0),
            QdrantSlow | QdrantFails | QdrantRefuses | QdrantStopped | CollectionMissing => {
                (0.5, 4.0)
            }
            QdrantHangs => (1.0, 5.0),
        }
    }
}

struct Window {
    fault: StoreFault,
    began: Instant,
    ended: Option<Instant>,
}

impl Window {
    /// Whether the fault, or the recovery from it, was in force at `from` or later.
    fn touches(&self, from: Instant) -> bool {
        self.ended.is_none_or(|ended| ended + RECOVERY >= from)
    }
}

/// When which fault was in force.
#[derive(Default)]
pub struct Timeline(Mutex<Vec<Window>>);

impl Timeline {
    fn begin(&self, fault: StoreFault) {
        self.0.lock().unwrap().push(Window {
            fault,
            began: Instant::now(),
            ended: None,
        });
    }

    fn end(&self) {
        if let Some(window) = self.0.lock().unwrap().last_mut() {
            window.ended = Some(Instant::now());
        }
    }

    /// Whether no fault was in force from `started` until now.
    pub fn is_calm_since(&self, started: Instant) -> bool {
        let windows = self.0.lock().unwrap();
        !windows.last().is_some_and(|last| last.touches(started))
    }

    /// The faults in force from `started` until now, the latest first, and how long ago
    /// each ended.
    pub fn since(&self, started: Instant) -> Vec<(StoreFault, Duration)> {
        let windows = self.0.lock().unwrap();
        let latest = windows.iter().rev();
        latest
            .take_while(|window| window.touches(started))
            .map(|window| {
                let ago = window.ended.map(|ended| ended.elapsed());
                (window.fault, ago.unwrap_or_default())
            })
            .collect()
    }

    /// The names of the faults that began since then.
    pub fn names_since(&self, from: Instant) -> Vec<&'static str> {
        let windows = self.0.lock().unwrap();
        let latest = windows.iter().filter(|window| window.began >= from);
        latest.map(|window| window.fault.name()).collect()
    }

    pub fn count(&self, fault: StoreFault) -> usize {
        let windows = self.0.lock().unwrap();
        windows
            .iter()
            .filter(|window| window.fault == fault)
            .count()
    }
}

/// Injects faults until `stop`; then all stores work again. All kinds occur, in a new
/// order, before one repeats.
pub async fn play(world: &World, mut random: Random, stop: &CancellationToken) {
    let mut pending: Vec<StoreFault> = Vec::new();
    loop {
        let calm = RECOVERY + Duration::from_secs_f64(random.between(CALM_S.0, CALM_S.1));
        let waited = stop.run_until_cancelled(tokio::time::sleep(calm)).await;
        if waited.is_none() {
            return;
        }
        if pending.is_empty() {
            pending = FAULTS.into();
            random.shuffle(&mut pending);
        }
        if let Some(fault) = pending.pop() {
            let (least, most) = fault.duration_s();
            let duration = Duration::from_secs_f64(random.between(least, most));
            world.timeline.begin(fault);
            tokio::task::block_in_place(|| begin(world, fault, duration, &mut random));
            let _ = stop.run_until_cancelled(tokio::time::sleep(duration)).await;
            tokio::task::block_in_place(|| end(world, fault));
            world.timeline.end();
        }
    }
}

fn begin(world: &World, fault: StoreFault, duration: Duration, random: &mut Random) {
    let qdrant = &world.qdrant;
    let mut redis = world.redis.lock().unwrap();
    let redis_command = |arguments: &[&str]| drop(redis.cli(arguments));
    match fault {
        RedisKilled => redis.kill(),
        RedisFrozen => redis.freeze(),
        RedisPaused => {
            let ms = duration.as_millis().max(1).to_string();
            redis_command(&["CLIENT", "PAUSE", &ms, "ALL"]);
        }
        RedisConnectionsKilled => redis_command(&["CLIENT", "KILL", "TYPE", "normal"]),
        ScriptsFlushed => redis_command(&["SCRIPT", "FLUSH"]),
        ModelsDeleted => {
            for _ in 0..MODELS_DELETED_AT_ONCE {
                redis_command(&["DEL", &format!("umodel:{}", world.users.any(random).id)]);
            }
        }
        RedisFull => redis_command(&["CONFIG", "SET", "maxmemory", "1"]),
        QdrantHangs => qdrant.hang(),
        QdrantSlow => qdrant.delay(Duration::from_millis(random.between(50.0, 500.0) as u64)),
        QdrantFails => {
            let codes = [
                Code::Unavailable,
                Code::Internal,
                Code::Unknown,
                Code::ResourceExhausted,
                Code::Aborted,
                Code::DeadlineExceeded,
                Code::PermissionDenied,
            ];
            qdrant.fail(*random.pick(&codes), "injected");
        }
        QdrantRefuses => {
            let codes = [Code::InvalidArgument, Code::Unimplemented, Code::OutOfRange];
            qdrant.fail(*random.pick(&codes), "injected");
        }
        QdrantStopped => qdrant.stop(),
        CollectionMissing => qdrant.rename_collection(COLLECTION, RENAMED),
    }
}

fn end(world: &World, fault: StoreFault) {
    let qdrant = &world.qdrant;
    let mut redis = world.redis.lock().unwrap();
    match fault {
        RedisKilled => {
            redis.restart();
            // It loads its file first.
            redis.until(&["PING"], |reply| reply == "PONG");
        }
        RedisFrozen => redis.thaw(),
        RedisPaused => drop(redis.cli(&["CLIENT", "UNPAUSE"])),
        RedisFull => drop(redis.cli(&["CONFIG", "SET", "maxmemory", "0"])),
        QdrantHangs | QdrantSlow | QdrantFails | QdrantRefuses => qdrant.heal(),
        QdrantStopped => qdrant.restart(),
        CollectionMissing => qdrant.rename_collection(RENAMED, COLLECTION),
        RedisConnectionsKilled | ScriptsFlushed | ModelsDeleted => {}
    }
}
