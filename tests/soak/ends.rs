//! After the load: calm, the checks of what is stored, and the server's end.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use deadpool_redis::redis::{Client, aio::MultiplexedConnection};
use recsys::proto::GetItemsRequest;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use super::{
    buffers,
    checks::Check,
    models, sabotage,
    settings::Sabotage,
    shelf::{self, Truth},
    witness::MOST,
    world::World,
};

/// Time for the server to end what calls began that nobody waits for.
const SETTLES: Duration = Duration::from_secs(5);
/// Longest until it calls itself well again.
const WELL_WITHIN: Duration = Duration::from_secs(30);

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// A task that panics ends alone: it must not be overlooked.
pub fn count_panics() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        tell(panic);
    }));
}

/// Checks what is stored, and what was noted of the calls.
pub async fn settled(world: &World, damage: Option<Sabotage>) -> Vec<Check> {
    tokio::time::sleep(SETTLES).await;
    let mut checks: Vec<Check> = world.observer.checks().into();
    let mut redis = redis(world).await;
    checks.push(well(world).await);
    sabotage::after(world, damage, &mut redis).await;
    checks.push(buffers::check(world, &mut redis).await);
    checks.push(models::check(world, &mut redis).await);
    checks.push(catalogue(world).await);
    checks
}

async fn redis(world: &World) -> MultiplexedConnection {
    let client = Client::open(world.rig.redis_url.as_str()).expect("a good URL");
    client
        .get_multiplexed_async_connection()
        .await
        .expect("a Redis that is up")
}

/// Whether the server says that all its stores answer.
async fn well(world: &World) -> Check {
    let mut check = Check::new("the server is well when the faults are over");
    let deadline = Instant::now() + WELL_WITHIN;
    loop {
        let request = HealthCheckRequest {
            service: "recsys.v1.RecommenderService".to_owned(),
        };
        let reply = world.health().check(request).await;
        match reply.map(|reply| reply.into_inner().status()) {
            Ok(ServingStatus::Serving) => return check,
            told if Instant::now() > deadline => {
                check.problem(format!("its health is {told:?}"));
                return check;
            }
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Whether items are as their last acknowledged change left them.
async fn catalogue(world: &World) -> Check {
    let mut check = Check::new("every acknowledged item is there, every deleted one gone");
    let truths = world.shelf.truths().await;
    let request = GetItemsRequest {
        content_ids: truths.iter().map(|(index, _)| shelf::id(*index)).collect(),
    };
    let reply = match world.catalog().get_items(request).await {
        Ok(reply) => reply.into_inner(),
        Err(status) => {
            check.problem(format!("items cannot be read: {status}"));
            return check;
        }
    };
    let mut known = 0;
    for (index, truth) in truths {
        let id = shelf::id(index);
        let found = reply.items.iter().find(|item| item.content_id == id);
        let expected = match truth {
            Truth::Unknown => continue,
            Truth::Revision(revision) => Some(shelf::title(index, revision)),
            Truth::Deleted => None,
        };
        known += 1;
        if found.map(|item| &item.title) != expected.as_ref() {
            check.problem(format!(
                "{id} is {:?}, not {expected:?}",
                found.map(|item| &item.title)
            ));
        }
    }
    check.figure(format!(
        "{known} of {} changing items are known",
        shelf::ITEMS - shelf::STEADY
    ));
    check
}

/// Whether the server is the one that was started, stops when asked, and has
/// nothing to be ashamed of in its log.
pub fn server(world: &World) -> Check {
    let mut check = Check::new("the server lives to the end, and stops when asked");
    let mut server = world.rig.server.lock().unwrap();
    let pid = server.pid();
    let unreadable = server
        .metrics()
        .lines()
        .filter(|line| line.starts_with("recsys_unreadable_total") && !line.ends_with(" 0"))
        .count();
    if unreadable > 0 {
        check.problem("something stored could not be read");
    }
    if let Some(status) = server.ended() {
        check.problem(format!("process {pid} ended by itself: {status}"));
        return check;
    }
    let asked = Instant::now();
    match server.stop() {
        Some(status) if status.success() => {}
        Some(status) => check.problem(format!("its end was {status}")),
        None => check.problem("it does not stop"),
    }
    let took = asked.elapsed();
    let log = server.logged();
    for line in log.lines().filter(|line| line.contains("panic")) {
        check.problem(format!("the log has: {line}"));
    }
    let of_level = |level: &str| log.lines().filter(|line| line.contains(level)).count();
    check.figure(format!(
        "process {pid} all along, stopped within {:.1} s; its log has {} lines, {} warnings, {} errors",
        took.as_secs_f64(),
        log.lines().count(),
        of_level(" WARN "),
        of_level(" ERROR ")
    ));
    check
}

/// Whether this program did what it meant to.
pub fn driver(world: &World, left_out: &Result<usize, &'static str>, took: Duration) -> Check {
    let mut check = Check::new("the load was as it was meant");
    match left_out {
        Ok(0) => {}
        Ok(calls) => check.problem(format!("{calls} calls were left out: too many under way")),
        Err(wrong) => check.problem(*wrong),
    }
    let stalled = world.observer.witness.stalled();
    if stalled > took.mul_f64(MOST) {
        let seconds = stalled.as_secs_f64();
        check.problem(format!(
            "the machine is too busy: it let wait for {seconds:.1} s"
        ));
    }
    let panics = PANICS.load(Ordering::Relaxed);
    if panics > 0 {
        check.problem(format!("{panics} tasks of the driver panicked"));
    }
    check
}
