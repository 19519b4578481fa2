//! What a run is judged by: a list of problems, and the checks after the load.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use deadpool_redis::redis::{Client, aio::MultiplexedConnection, cmd};
use recsys::proto::GetItemsRequest;
use serde_json::Value;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use super::{
    events,
    items::{self, ITEMS, ItemState, STEADY},
    models,
    users::User,
    world::World,
};

/// Problems that are reported in full.
const MAX_REPORTED: usize = 10;
/// Time for the server to finish appends whose callers went away.
const SETTLE_TIME: Duration = Duration::from_secs(5);
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct SoakCheck {
    pub name: &'static str,
    pub problems: usize,
    /// The first problems.
    pub reported: Vec<String>,
    pub figures: Vec<String>,
}

impl SoakCheck {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            problems: 0,
            reported: Vec::new(),
            figures: Vec::new(),
        }
    }

    pub fn problem(&mut self, what: impl Into<String>) {
        self.problems += 1;
        if self.reported.len() < MAX_REPORTED {
            self.reported.push(what.into());
        }
    }

    pub fn figure(&mut self, what: impl Into<String>) {
        self.figures.push(what.into());
    }

    pub fn passed(&self) -> bool {
        self.problems == 0
    }
}

/// Checks what was recorded of the calls, and what is stored.
pub async fn after_load(world: &World) -> Vec<SoakCheck> {
    tokio::time::sleep(SETTLE_TIME).await;
    let client = Client::open(world.redis_url.as_str()).expect("a valid URL");
    let redis = client.get_multiplexed_async_connection().await;
    let mut redis = redis.expect("a Redis that is up");
    let mut checks: Vec<SoakCheck> = world.recorder.checks().into();
    checks.push(health(world).await);
    checks.push(stored_events(world, &mut redis).await);
    checks.push(models::check(world, &mut redis).await);
    checks.push(stored_items(world).await);
    checks
}

async fn health(world: &World) -> SoakCheck {
    let mut check = SoakCheck::new("the server is healthy when the faults are over");
    let deadline = Instant::now() + RECOVERY_TIMEOUT;
    loop {
        let request = HealthCheckRequest {
            service: "recsys.v1.RecommenderService".to_owned(),
        };
        let reply = world.health().check(request).await;
        match reply.map(|reply| reply.into_inner().status()) {
            Ok(ServingStatus::Serving) => return check,
            status if Instant::now() > deadline => {
                check.problem(format!("its health is {status:?}"));
                return check;
            }
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Every acknowledged event is in its buffer exactly once, and nothing of what was
/// deleted.
async fn stored_events(world: &World, redis: &mut MultiplexedConnection) -> SoakCheck {
    let mut check = SoakCheck::new("every acknowledged event is stored exactly once");
    let (mut stored, mut deleted, mut uncertain) = (0, 0, 0);
    let users = world.users.all();
    for user in &users {
        let copies = copies(user, redis, &mut check).await;
        let ledger = user.ledger.lock().unwrap();
        for number in copies
            .keys()
            .filter(|number| !ledger.events.contains_key(number))
        {
            check.problem(format!("event {number} of {:?} was never sent", user.id));
        }
        for (number, state) in &ledger.events {
            let found = copies.get(number).copied().unwrap_or_default();
            let wrong = match state.stored_in_life {
                _ if found > 1 => Some("stored more than once"),
                _ if state.too_old => (found > 0).then_some("older than the window, and stored"),
                Some(life) if life == ledger.life => {
                    stored += 1;
                    (found == 0).then_some("acknowledged, and lost")
                }
                Some(_) if !state.uncertain => {
                    deleted += 1;
                    (found > 0).then_some("deleted, and stored")
                }
                Some(_) | None => {
                    uncertain += 1;
                    None
                }
            };
            if let Some(wrong) = wrong {
                let (id, life) = (&user.id, ledger.life);
                check.problem(format!(
                    "event {number} of {id:?}, life {life}: {wrong}: {state:?}"
                ));
            }
        }
    }
    let keys: HashSet<String> = users
        .iter()
        .flat_map(|user| [format!("evt:{}", user.id), format!("umodel:{}", user.id)])
        .collect();
    let found: Vec<String> = cmd("KEYS").arg("*").query_async(redis).await.expect("keys");
    for key in found.iter().filter(|key| !keys.contains(*key)) {
        check.problem(format!("an unexpected key: {key:?}"));
    }
    check.figure(format!(
        "{} users; {stored} acknowledged events are stored, {deleted} were deleted, {uncertain} were not acknowledged",
        users.len()
    ));
    check
}

/// How often each event is in the user's buffer.
async fn copies(
    user: &User,
    redis: &mut MultiplexedConnection,
    check: &mut SoakCheck,
) -> HashMap<u64, usize> {
    let key = format!("evt:{}", user.id);
    let mut range = cmd("ZRANGE");
    let members = range.arg(&key).arg(0).arg(-1).query_async(redis).await;
    let members: Vec<String> = members.expect("a buffer");
    let mut copies = HashMap::new();
    for member in &members {
        match event_number(member, &user.id) {
            Some(number) => *copies.entry(number).or_default() += 1,
            None => check.problem(format!("{:?} has an unreadable event: {member}", user.id)),
        }
    }
    if members.is_empty() {
        let mut get = cmd("GET");
        let model = get
            .arg(format!("umodel:{}", user.id))
            .query_async(redis)
            .await;
        let model: Option<String> = model.expect("a model");
        if let Some(model) = model.filter(|model| !is_erasure_marker(model)) {
            check.problem(format!("{:?} has no events, but a model: {model}", user.id));
        }
    }
    copies
}

fn event_number(member: &str, user: &str) -> Option<u64> {
    let event: Value = serde_json::from_str(member).ok()?;
    let is_of_user = event.get("user_id")?.as_str()? == user;
    events::number(event.get("event_id")?.as_str()?).filter(|_| is_of_user)
}

fn is_erasure_marker(model: &str) -> bool {
    let model: Value = serde_json::from_str(model).unwrap_or_default();
    let keys = model.as_object().map(|object| object.len());
    model.get("erased") == Some(&Value::Bool(true)) && keys == Some(2)
}

/// Items are as their last acknowledged change left them.
async fn stored_items(world: &World) -> SoakCheck {
    let mut check = SoakCheck::new("every acknowledged item is stored, every deleted one gone");
    let states = world.items.states().await;
    let request = GetItemsRequest {
        content_ids: states.iter().map(|(index, _)| items::id(*index)).collect(),
    };
    let reply = world.catalog().get_items(request).await;
    let reply = reply.expect("a catalogue").into_inner();
    let mut known = 0;
    for (index, state) in states {
        let expected = match state {
            ItemState::Unknown => continue,
            ItemState::Revision(revision) => Some(items::title(index, revision)),
            ItemState::Deleted => None,
        };
        known += 1;
        let id = items::id(index);
        let found = reply.items.iter().find(|item| item.content_id == id);
        let found = found.map(|item| item.title.clone());
        if found != expected {
            check.problem(format!("{id} is {found:?}, not {expected:?}"));
        }
    }
    check.figure(format!("{known} of {} changing items", ITEMS - STEADY));
    check
}

/// The server ran all the time, stops when asked, and logged no panic.
pub fn server(world: &World) -> SoakCheck {
    let mut check = SoakCheck::new("the server runs to the end, and stops when asked");
    let mut server = world.server();
    let unreadable = server
        .metrics()
        .lines()
        .any(|line| line.starts_with("recsys_unreadable_total") && !line.ends_with(" 0"));
    if unreadable {
        check.problem("something stored could not be read");
    }
    if let Some(status) = server.ended() {
        check.problem(format!("it ended: {status}"));
        return check;
    }
    let asked = Instant::now();
    match server.stop() {
        Some(status) if status.success() => {}
        status => check.problem(format!("it stopped with {status:?}")),
    }
    let stopped_after = asked.elapsed().as_secs_f64();
    let log = server.log();
    for line in log.lines().filter(|line| line.contains("panic")) {
        check.problem(format!("logged: {line}"));
    }
    let count = |level: &str| log.lines().filter(|line| line.contains(level)).count();
    check.figure(format!(
        "stopped within {stopped_after:.1} s; {} warnings and {} errors logged",
        count(" WARN "),
        count(" ERROR ")
    ));
    check
}
