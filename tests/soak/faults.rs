//! What goes wrong, one thing at a time.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::{
    dice::Dice,
    rig::COLLECTION,
    rpc::{APPENDS, CATALOGUE, Rpc, USER_STATE},
    weather::RECOVERY,
    world::World,
};

/// Calm from the end of a recovery to the next fault, in seconds.
const CALM_S: (f64, f64) = (4.0, 9.0);
/// Users whose models are deleted at once.
const MODELS_AT_ONCE: usize = 30;
const ASIDE: &str = "items-aside";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
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

use Fault::*;

pub const FAULTS: [Fault; 13] = [
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

impl Fault {
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

    /// Which calls may fail for it, and how they must say so. Nothing else may
    /// fail: recommending does without users' state, and taking events in does
    /// without the catalogue.
    fn failures(self) -> (&'static [Rpc], Code, &'static str) {
        match self {
            RedisKilled | RedisFrozen | RedisPaused => {
                (USER_STATE, Code::Unavailable, "USER_STATE_UNAVAILABLE")
            }
            RedisFull => (APPENDS, Code::ResourceExhausted, "USER_STATE_FULL"),
            QdrantHangs | QdrantFails | QdrantStopped => {
                (CATALOGUE, Code::Unavailable, "CATALOG_UNAVAILABLE")
            }
            QdrantRefuses => (CATALOGUE, Code::Internal, "INTERNAL"),
            CollectionMissing => (CATALOGUE, Code::FailedPrecondition, "NOT_SET_UP"),
            RedisConnectionsKilled | ScriptsFlushed | ModelsDeleted | QdrantSlow => {
                (&[], Code::Ok, "")
            }
        }
    }

    pub fn explains(self, rpc: Rpc, code: Code, reason: &str) -> bool {
        let (calls, wanted, wanted_reason) = self.failures();
        calls.contains(&rpc) && code == wanted && reason == wanted_reason
    }

    /// How long it lasts, in seconds.
    fn lasts_s(self) -> (f64, f64) {
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

/// Plays faults until it is told to stop, or until `until`; then all is well
/// again. All kinds come, in a new order, before one comes again.
pub async fn play(world: &Arc<World>, mut dice: Dice, stop: &CancellationToken) {
    let mut waiting: Vec<Fault> = Vec::new();
    loop {
        let calm = RECOVERY + Duration::from_secs_f64(dice.between(CALM_S.0, CALM_S.1));
        if stop
            .run_until_cancelled(tokio::time::sleep(calm))
            .await
            .is_none()
        {
            return;
        }
        if waiting.is_empty() {
            waiting = FAULTS.into();
            dice.shuffle(&mut waiting);
        }
        if let Some(fault) = waiting.pop() {
            let (least, most) = fault.lasts_s();
            let lasts = Duration::from_secs_f64(dice.between(least, most));
            world.observer.weather.begin(fault);
            tokio::task::block_in_place(|| begin(world, fault, lasts, &mut dice));
            let _ = stop.run_until_cancelled(tokio::time::sleep(lasts)).await;
            tokio::task::block_in_place(|| end(world, fault));
            world.observer.weather.end();
        }
    }
}

fn begin(world: &World, fault: Fault, lasts: Duration, dice: &mut Dice) {
    let (redis, qdrant) = (&world.rig.redis, &world.rig.qdrant);
    match fault {
        RedisKilled => redis.lock().unwrap().kill(),
        RedisFrozen => redis.lock().unwrap().freeze(),
        RedisPaused => {
            let ms = lasts.as_millis().max(1).to_string();
            redis.lock().unwrap().cli(&["CLIENT", "PAUSE", &ms, "ALL"]);
        }
        RedisConnectionsKilled => {
            redis
                .lock()
                .unwrap()
                .cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        }
        ScriptsFlushed => {
            redis.lock().unwrap().cli(&["SCRIPT", "FLUSH"]);
        }
        ModelsDeleted => {
            let keys = world.people.some(MODELS_AT_ONCE, dice);
            let keys: Vec<String> = keys.iter().map(|id| format!("umodel:{id}")).collect();
            let command: Vec<&str> = ["DEL"]
                .into_iter()
                .chain(keys.iter().map(String::as_str))
                .collect();
            redis.lock().unwrap().cli(&command);
        }
        RedisFull => world.rig.limit_redis("1"),
        QdrantHangs => qdrant.hang(),
        QdrantSlow => qdrant.delay(Duration::from_millis(dice.between(50.0, 500.0) as u64)),
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
            qdrant.fail(*dice.pick(&codes), "made to fail");
        }
        QdrantRefuses => {
            let codes = [Code::InvalidArgument, Code::Unimplemented, Code::OutOfRange];
            qdrant.fail(*dice.pick(&codes), "made to refuse");
        }
        QdrantStopped => qdrant.stop(),
        CollectionMissing => qdrant.rename_collection(COLLECTION, ASIDE),
    }
}

fn end(world: &World, fault: Fault) {
    let (redis, qdrant) = (&world.rig.redis, &world.rig.qdrant);
    match fault {
        RedisKilled => {
            let mut redis = redis.lock().unwrap();
            redis.restart();
            // It reads its file first.
            redis.until(&["PING"], |told| told == "PONG");
        }
        RedisFrozen => redis.lock().unwrap().thaw(),
        RedisPaused => {
            redis.lock().unwrap().cli(&["CLIENT", "UNPAUSE"]);
        }
        RedisFull => world.rig.limit_redis("0"),
        QdrantHangs | QdrantSlow | QdrantFails | QdrantRefuses => qdrant.heal(),
        QdrantStopped => qdrant.restart(),
        CollectionMissing => qdrant.rename_collection(ASIDE, COLLECTION),
        RedisConnectionsKilled | ScriptsFlushed | ModelsDeleted => {}
    }
}
