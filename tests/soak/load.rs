//! The mixed load: which calls come, and when.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    appends, catalogue, dice::Dice, observer::Manner, people::Visit, reads, rubbish, world::World,
};

/// Calls under way at the most; one more is left out, and told.
const AT_ONCE: usize = 1_500;
/// Longest that what is under way at the end may take.
const LAST_CALLS: Duration = Duration::from_secs(100);

#[derive(Clone, Copy)]
enum Job {
    Ingest,
    Batch,
    Recommend,
    Signals,
    Export,
    Delete,
    Upsert,
    GetItems,
    DeleteItems,
    Health,
    Rubbish,
}

const MIX: [(u32, Job); 11] = [
    (480, Job::Ingest),
    (40, Job::Batch),
    (120, Job::Recommend),
    (170, Job::Signals),
    (15, Job::Export),
    (6, Job::Delete),
    (20, Job::Upsert),
    (50, Job::GetItems),
    (7, Job::DeleteItems),
    (50, Job::Health),
    (42, Job::Rubbish),
];

/// How a call that may be made in any way is made.
pub fn manner(dice: &mut Dice) -> Manner {
    match dice.below(100) {
        0..3 => Manner::Hurried(Duration::from_micros(dice.between(500.0, 20_000.0) as u64)),
        3..6 => Manner::Leaving(Duration::from_micros(dice.between(0.0, 10_000.0) as u64)),
        _ => Manner::Patient,
    }
}

/// Calls at an even rate until it is told to stop, and waits for their ends.
/// Returns how many calls were left out because too many were under way.
pub async fn run(
    world: &Arc<World>,
    rate: u32,
    mut dice: Dice,
    stop: &CancellationToken,
) -> Result<usize, &'static str> {
    let tasks = TaskTracker::new();
    let mut left_out = 0;
    // Ticks that were missed are made up for.
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let mut dice = dice.fork();
        if tasks.len() >= AT_ONCE {
            left_out += 1;
            continue;
        }
        if let Some(again) = due(world) {
            if let Some(visit) = Visit::of(&again.person) {
                let world = Arc::clone(world);
                tasks.spawn(async move {
                    appends::again(&world, visit, again.number, again.event, &mut dice).await;
                });
            }
            continue;
        }
        let job = *dice.weighed(&MIX);
        let world = Arc::clone(world);
        tasks.spawn(async move { call(&world, job, &mut dice).await });
    }
    tasks.close();
    match tokio::time::timeout(LAST_CALLS, tasks.wait()).await {
        Ok(()) => Ok(left_out),
        Err(_) => Err("calls that never end"),
    }
}

fn due(world: &World) -> Option<super::world::Again> {
    let mut again = world.again.lock().unwrap();
    again.pop_front_if(|next| next.due <= Instant::now())
}

async fn call(world: &World, job: Job, dice: &mut Dice) {
    match job {
        Job::Ingest => appends::ingest(world, dice).await,
        Job::Batch => appends::batch(world, dice).await,
        Job::Recommend => reads::recommend(world, dice).await,
        Job::Signals => reads::signals(world, dice).await,
        Job::Export => reads::export(world, dice).await,
        Job::Delete => appends::delete(world, dice).await,
        Job::Upsert => catalogue::upsert(world, dice).await,
        Job::GetItems => catalogue::get(world, dice).await,
        Job::DeleteItems => catalogue::delete(world, dice).await,
        Job::Health => reads::health(world).await,
        Job::Rubbish => rubbish::send(world, dice).await,
    }
}
