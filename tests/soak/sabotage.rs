//! Damage done on purpose, to show that the checks find it.

use std::{sync::Arc, time::Duration};

use deadpool_redis::redis::{aio::MultiplexedConnection, cmd};
use recsys::domain::item::Item;
use tokio_util::sync::CancellationToken;

use super::{
    events,
    people::Person,
    settings::Sabotage,
    shelf::{self, STEADY},
    world::World,
};

const HIDDEN: Duration = Duration::from_secs(2);
const SLOWNESS: Duration = Duration::from_millis(100);

impl Sabotage {
    /// What is called calm must not be excused by a fault.
    pub fn wants_calm(self) -> bool {
        matches!(self, Self::HideFault | Self::SlowDown)
    }
}

/// Damage from a time of the load on.
pub async fn during(
    world: &Arc<World>,
    sabotage: Option<Sabotage>,
    from: Duration,
    stop: &CancellationToken,
) {
    if stop
        .run_until_cancelled(tokio::time::sleep(from))
        .await
        .is_none()
    {
        return;
    }
    match sabotage {
        Some(Sabotage::HideFault) => {
            world.rig.limit_redis("1");
            tokio::time::sleep(HIDDEN).await;
            world.rig.limit_redis("0");
        }
        Some(Sabotage::SlowDown) => world.rig.qdrant.delay(SLOWNESS),
        Some(Sabotage::Grow) => world.fatten(),
        _ => {}
    }
}

/// Damage when the load is over, before anything is checked.
pub async fn after(world: &World, sabotage: Option<Sabotage>, redis: &mut MultiplexedConnection) {
    match sabotage {
        Some(Sabotage::LoseEvent) => {
            let (person, number) = held(world);
            let key = format!("evt:{}", person.id);
            let member = member(&key, number, redis).await;
            let _: i64 = cmd("ZREM")
                .arg(&key)
                .arg(member)
                .query_async(redis)
                .await
                .unwrap();
        }
        Some(Sabotage::DoubleEvent) => {
            let (person, number) = held(world);
            let key = format!("evt:{}", person.id);
            let member = member(&key, number, redis)
                .await
                .replacen("\"session ", "\"Session ", 1);
            let score: f64 = cmd("ZSCORE")
                .arg(&key)
                .arg(&member)
                .query_async(redis)
                .await
                .unwrap_or(2e9);
            let _: i64 = cmd("ZADD")
                .arg(&key)
                .arg(score)
                .arg(member)
                .query_async(redis)
                .await
                .unwrap();
        }
        Some(Sabotage::ReviveEvent) => revive(world, redis).await,
        Some(Sabotage::TamperModel) => {
            let (person, _) = held(world);
            let key = format!("umodel:{}", person.id);
            let model: String = cmd("GET").arg(&key).query_async(redis).await.unwrap();
            let tampered = model.replacen("\"event_count\":", "\"event_count\":1", 1);
            assert_ne!(model, tampered);
            let _: () = cmd("SET")
                .arg(&key)
                .arg(tampered)
                .arg("KEEPTTL")
                .query_async(redis)
                .await
                .unwrap();
        }
        Some(Sabotage::TamperItem) => {
            let store = shelf::store(&world.rig.qdrant.url());
            let changed = (0..STEADY / 10).map(|index| Item {
                word_count: 10_000,
                ..Item::new(shelf::id(index))
            });
            store.put(changed.collect()).await.unwrap();
        }
        Some(Sabotage::Crash) => world.rig.server.lock().unwrap().crash(),
        Some(Sabotage::HideFault | Sabotage::SlowDown | Sabotage::Grow) | None => {}
    }
}

/// Some event that is to be there, of a user whose items stay as they are.
fn held(world: &World) -> (Arc<Person>, u64) {
    let found = world
        .people
        .all()
        .into_iter()
        .filter(|person| !person.curious)
        .find_map(|person| {
            let ledger = person.ledger.lock().unwrap();
            let held = |number: &&u64| ledger.fates[number].held_in == Some(ledger.life);
            let number = ledger.fates.keys().find(held).copied()?;
            drop(ledger);
            Some((person, number))
        });
    found.expect("an acknowledged event")
}

async fn member(key: &str, number: u64, redis: &mut MultiplexedConnection) -> String {
    let members: Vec<String> = cmd("ZRANGE")
        .arg(key)
        .arg(0)
        .arg(-1)
        .query_async(redis)
        .await
        .unwrap();
    let ending = format!(",\"event_id\":\"{}\"}}", events::event_id(number));
    members
        .into_iter()
        .find(|member| member.ends_with(&ending))
        .unwrap()
}

async fn revive(world: &World, redis: &mut MultiplexedConnection) {
    let found = world.people.all().into_iter().find_map(|person| {
        let ledger = person.ledger.lock().unwrap();
        let gone = |number: &&u64| {
            let fate = ledger.fates[number];
            fate.held_in.is_some_and(|life| life < ledger.life) && !fate.open
        };
        let number = ledger.fates.keys().find(gone).copied()?;
        Some((person.id.clone(), number))
    });
    let (id, number) = found.expect("an event of before a deletion");
    let event = serde_json::json!({
        "user_id": id, "event": "SHARED", "event_id": events::event_id(number),
    });
    let now = events::after(0.0)
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let key = format!("evt:{id}");
    let _: i64 = cmd("ZADD")
        .arg(key)
        .arg(now.as_secs())
        .arg(event.to_string())
        .query_async(redis)
        .await
        .unwrap();
}
