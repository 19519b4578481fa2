//! After the load: every acknowledged event is in its buffer exactly once, and
//! nothing of what was deleted is.

use std::collections::{BTreeMap, HashMap, HashSet};

use deadpool_redis::redis::{aio::MultiplexedConnection, cmd};
use serde_json::Value;

use super::{
    checks::Check,
    events,
    people::{Fate, Person},
    world::World,
};

#[derive(Default)]
struct Sums {
    held: usize,
    gone: usize,
    unsure: usize,
    lives: u32,
}

pub async fn check(world: &World, redis: &mut MultiplexedConnection) -> Check {
    let mut check = Check::new("every acknowledged event is stored exactly once");
    let mut sums = Sums::default();
    let mut keys = HashSet::new();
    for person in world.people.all() {
        keys.extend([
            format!("evt:{}", person.id),
            format!("umodel:{}", person.id),
        ]);
        one(&person, redis, &mut sums, &mut check).await;
    }
    check.figure(format!(
        "{} users were deleted {} times in all; {} acknowledged events are there, {} of before a \
         deletion are gone, {} were never acknowledged and may be either way",
        world.people.all().len(),
        sums.lives,
        sums.held,
        sums.gone,
        sums.unsure
    ));
    let there: Vec<String> = cmd("KEYS").arg("*").query_async(redis).await.expect("keys");
    for key in there {
        if !keys.contains(&key) {
            check.problem(format!("a key of nobody: {key:?}"));
        }
    }
    check
}

async fn one(
    person: &Person,
    redis: &mut MultiplexedConnection,
    sums: &mut Sums,
    check: &mut Check,
) {
    let id = &person.id;
    let key = format!("evt:{id}");
    let members: Vec<String> = cmd("ZRANGE")
        .arg(&key)
        .arg(0)
        .arg(-1)
        .query_async(redis)
        .await
        .expect("a buffer");
    let mut copies: HashMap<u64, usize> = HashMap::new();
    for member in &members {
        match number(member, id) {
            Some(number) => *copies.entry(number).or_default() += 1,
            None => check.problem(format!("{id:?} has a strange event: {member}")),
        }
    }
    if members.is_empty() {
        let key = format!("umodel:{id}");
        let model: Option<String> = cmd("GET")
            .arg(&key)
            .query_async(redis)
            .await
            .expect("a model");
        if let Some(model) = model.filter(|model| !is_marker(model)) {
            check.problem(format!("{id:?} has no events, but a model: {model}"));
        }
    }
    let ledger = person.ledger.lock().unwrap();
    sums.lives += ledger.life;
    let sent: BTreeMap<u64, Fate> = ledger
        .fates
        .iter()
        .map(|(number, fate)| (*number, *fate))
        .collect();
    for (number, fate) in sent {
        let found = copies.remove(&number).unwrap_or_default();
        let life = ledger.life;
        let wrong = match fate.held_in {
            _ if found > 1 => Some("is there more than once"),
            _ if fate.too_old => (found > 0).then_some("is older than the window, and there"),
            Some(held_in) if held_in == life => {
                sums.held += 1;
                (found == 0).then_some("was acknowledged, and is lost")
            }
            Some(_) if !fate.open => {
                sums.gone += 1;
                (found > 0).then_some("was acknowledged before a deletion, and is there")
            }
            Some(_) | None => {
                sums.unsure += 1;
                None
            }
        };
        if let Some(wrong) = wrong {
            check.problem(format!(
                "event {number} of {id:?} {wrong}: {fate:?}, life {life}"
            ));
        }
    }
    for number in copies.keys() {
        check.problem(format!("event {number} is with {id:?}, who never sent it"));
    }
}

/// Which event of this user a member is.
fn number(member: &str, user: &str) -> Option<u64> {
    let event: Value = serde_json::from_str(member).ok()?;
    if event.get("user_id")?.as_str()? != user {
        return None;
    }
    events::number(event.get("event_id")?.as_str()?)
}

/// Whether it only says that the user was erased.
fn is_marker(model: &str) -> bool {
    let read: Value = serde_json::from_str(model).unwrap_or_default();
    let keys = read.as_object().map(|object| object.len());
    read.get("erased") == Some(&Value::Bool(true)) && keys == Some(2)
}
