//! Calls that change what is known of users, and the ledger with it.

use std::time::{Duration, Instant};

use recsys::proto::{
    BatchIngestEventsRequest, DeleteUserRequest, IngestEventRequest, IngestOutcome,
    InteractionEvent,
};
use tonic::Code;

use super::{
    dice::Dice,
    events,
    load::manner,
    observer::{Ended, Manner},
    people::Visit,
    rpc::Rpc,
    world::{Again, World},
};

/// A caller who gets an error sends the event again, mostly.
const SENDS_AGAIN: f64 = 0.8;
const SENDS_TWICE: f64 = 0.1;
/// Longest that a deletion may fail: longer than any fault.
const DELETES_WITHIN: Duration = Duration::from_secs(60);
const GATE_WITHIN: Duration = Duration::from_secs(20);
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

pub async fn ingest(world: &World, dice: &mut Dice) {
    let Some(visit) = world.people.sender(dice) else {
        return;
    };
    let (number, event) = prepared(world, &visit, dice);
    send(world, visit, number, event, manner(dice), dice).await;
}

/// An event that was not acknowledged.
pub async fn again(
    world: &World,
    visit: Visit,
    number: u64,
    event: InteractionEvent,
    dice: &mut Dice,
) {
    visit.sends(number, &event, false);
    send(world, visit, number, event, manner(dice), dice).await;
}

/// A new event, or a late repetition. The ledger knows of it.
fn prepared(world: &World, visit: &Visit, dice: &mut Dice) -> (u64, InteractionEvent) {
    if dice.chance(SENDS_TWICE)
        && let Some((number, mut event)) = visit.recent(dice)
    {
        // The same by its id alone.
        if dice.chance(0.3) {
            event.dwell_seconds = Some(dice.between(0.0, 100.0));
        }
        visit.sends(number, &event, false);
        return (number, event);
    }
    let person = &visit.person;
    let number = world.event_number();
    let (event, too_old) = events::make(person, number, world.is_fat(), dice);
    visit.sends(number, &event, too_old);
    (number, event)
}

async fn send(
    world: &World,
    visit: Visit,
    number: u64,
    event: InteractionEvent,
    manner: Manner,
    dice: &mut Dice,
) {
    let request = manner.request(IngestEventRequest {
        event: Some(event.clone()),
    });
    let mut client = world.recommender();
    let sent = client.ingest_event(request);
    let reply = world.observer.call(Rpc::IngestEvent, manner, sent).await;
    settle(
        world,
        &visit,
        number,
        event,
        reply.map(|reply| reply.outcome()),
        dice,
    );
}

fn settle(
    world: &World,
    visit: &Visit,
    number: u64,
    event: InteractionEvent,
    outcome: Option<IngestOutcome>,
    dice: &mut Dice,
) {
    if let Err(wrong) = visit.answered(number, outcome) {
        world.observer.wrong(wrong);
    }
    if outcome.is_none() && dice.chance(SENDS_AGAIN) {
        world.again.lock().unwrap().push_back(Again {
            due: Instant::now() + Duration::from_secs_f64(dice.between(0.5, 3.0)),
            person: visit.person.clone(),
            number,
            event,
        });
    }
}

pub async fn batch(world: &World, dice: &mut Dice) {
    let visits: Vec<Visit> = (0..1 + dice.below(6))
        .filter_map(|_| world.people.sender(dice))
        .collect();
    if visits.is_empty() {
        return;
    }
    // Which visit each event is of, and its number; none is rubbish.
    let mut whose: Vec<Option<(usize, u64)>> = Vec::new();
    let mut events: Vec<InteractionEvent> = Vec::new();
    for _ in 0..3 + dice.below(20) {
        if dice.chance(0.02) {
            whose.push(None);
            events.push(InteractionEvent::default());
        }
        let visit = dice.below(visits.len());
        let (number, event) = prepared(world, &visits[visit], dice);
        for _ in 0..1 + usize::from(dice.chance(0.03)) {
            whose.push(Some((visit, number)));
            events.push(event.clone());
        }
    }
    let manner = manner(dice);
    let begun = Instant::now();
    let request = manner.request(BatchIngestEventsRequest {
        events: events.clone(),
    });
    let mut client = world.recommender();
    let sent = client.batch_ingest_events(request);
    let reply = world
        .observer
        .call(Rpc::BatchIngestEvents, manner, sent)
        .await;
    let mut results = reply.map(|reply| reply.results);
    if let Some(given) = results.take_if(|given| given.len() != events.len()) {
        let wrong = format!("{} results for {} events", given.len(), events.len());
        world.observer.wrong(wrong);
    }
    let mut results = results.unwrap_or_default().into_iter();
    for (event, whose) in events.into_iter().zip(whose) {
        let result = results.next();
        let outcome = result.as_ref().map(|result| result.outcome());
        let error = result.and_then(|result| result.error).unwrap_or_default();
        let rejected = outcome == Some(IngestOutcome::Rejected);
        let code = Code::from(error.code);
        let Some((visit, number)) = whose else {
            match outcome {
                Some(_) if rejected && code == Code::InvalidArgument => {
                    world.observer.ended(Rpc::BatchIngestEvents, Ended::Refused);
                }
                Some(outcome) => world
                    .observer
                    .wrong(format!("bad input in a batch: {outcome:?}")),
                None => {}
            }
            continue;
        };
        if rejected {
            let (reason, message) = (&error.reason, &error.message);
            world
                .observer
                .failed(Rpc::BatchIngestEvents, begun, code, reason, message);
        }
        let outcome = outcome.filter(|_| !rejected);
        settle(world, &visits[visit], number, event, outcome, dice);
    }
}

/// Deletes a user, however often it takes: what was acknowledged before is
/// then to be gone, and what comes after is to stay.
pub async fn delete(world: &World, dice: &mut Dice) {
    let person = world.people.leaver(dice);
    let Ok(_alone) = tokio::time::timeout(GATE_WITHIN, person.alone()).await else {
        return;
    };
    let held = person.ledger.lock().unwrap().held;
    let deadline = Instant::now() + DELETES_WITHIN;
    for try_number in 1.. {
        let request = Manner::Patient.request(DeleteUserRequest {
            user_id: person.id.clone(),
        });
        let mut client = world.recommender();
        let sent = client.delete_user(request);
        if let Some(reply) = world
            .observer
            .call(Rpc::DeleteUser, Manner::Patient, sent)
            .await
        {
            person.deleted();
            // A try that failed may have deleted all the same.
            if try_number == 1 && held > 0 && !reply.deleted {
                let wrong = format!(
                    "nothing of {:?} was deleted, {held} events were held",
                    person.id
                );
                world.observer.wrong(wrong);
            }
            return;
        }
        if Instant::now() > deadline {
            world
                .observer
                .wrong(format!("{:?} cannot be deleted", person.id));
            return;
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
}
