//! Calls about items. Writes are always waited for: one that was left could
//! come into effect after a later one.

use std::{collections::HashSet, time::Instant};

use recsys::proto::{
    DeleteItemsRequest, GetItemsRequest, ItemOutcome, ItemResult, UpsertItemsRequest,
};
use tokio::sync::OwnedMutexGuard;
use tonic::Code;

use super::{
    dice::Dice,
    load::manner,
    observer::Manner,
    rpc::Rpc,
    shelf::{self, Changing, ITEMS, STEADY, Truth},
    world::World,
};

/// Items in one request while the catalogue is filled.
const FILLED_AT_ONCE: usize = 200;

/// Stores all items in their first form.
pub async fn fill(world: &World) {
    let all: Vec<usize> = (0..ITEMS).collect();
    for indexes in all.chunks(FILLED_AT_ONCE) {
        let items = indexes.iter().map(|index| shelf::item(*index, 0)).collect();
        let request = UpsertItemsRequest { items };
        let reply = world
            .catalog()
            .upsert_items(request)
            .await
            .expect("a catalogue");
        for result in reply.into_inner().results {
            assert_eq!(result.outcome(), ItemOutcome::Stored, "{result:?}");
        }
    }
}

type Held = (usize, OwnedMutexGuard<Changing>);

fn some(world: &World, most: usize, dice: &mut Dice) -> Vec<Held> {
    let taken: Vec<Held> = (0..1 + dice.below(most))
        .filter_map(|_| world.shelf.take(dice))
        .collect();
    touched(world, &taken);
    taken
}

fn touched(world: &World, items: &[Held]) {
    items
        .iter()
        .for_each(|(index, _)| world.shelf.touched(*index));
}

pub async fn upsert(world: &World, dice: &mut Dice) {
    let mut taken = some(world, 5, dice);
    let items = taken
        .iter_mut()
        .map(|(index, item)| {
            item.revision += 1;
            shelf::item(*index, item.revision)
        })
        .collect();
    let begun = Instant::now();
    let request = Manner::Patient.request(UpsertItemsRequest { items });
    let mut client = world.catalog();
    let sent = client.upsert_items(request);
    let reply = world
        .observer
        .call(Rpc::UpsertItems, Manner::Patient, sent)
        .await;
    touched(world, &taken);
    let mut results = reply
        .map(|reply| reply.results)
        .unwrap_or_default()
        .into_iter();
    for (_, item) in &mut taken {
        item.truth = match results.next() {
            Some(result) if result.outcome() == ItemOutcome::Stored => {
                Truth::Revision(item.revision)
            }
            Some(result) => rejected(world, Rpc::UpsertItems, begun, result),
            None => Truth::Unknown,
        };
    }
}

pub async fn delete(world: &World, dice: &mut Dice) {
    let mut taken = some(world, 3, dice);
    let ids = taken.iter().map(|(index, _)| shelf::id(*index)).collect();
    let begun = Instant::now();
    let request = Manner::Patient.request(DeleteItemsRequest { content_ids: ids });
    let mut client = world.catalog();
    let sent = client.delete_items(request);
    let reply = world
        .observer
        .call(Rpc::DeleteItems, Manner::Patient, sent)
        .await;
    touched(world, &taken);
    let mut results = reply
        .map(|reply| reply.results)
        .unwrap_or_default()
        .into_iter();
    for (index, item) in &mut taken {
        item.truth = match results.next() {
            None => Truth::Unknown,
            Some(result) => match (result.outcome(), item.truth) {
                (ItemOutcome::Deleted, Truth::Revision(_) | Truth::Unknown)
                | (ItemOutcome::NotFound, Truth::Deleted | Truth::Unknown) => Truth::Deleted,
                (ItemOutcome::Deleted | ItemOutcome::NotFound, truth) => {
                    let (id, outcome) = (shelf::id(*index), result.outcome());
                    world
                        .observer
                        .wrong(format!("{id}, {truth:?}, was deleted: {outcome:?}"));
                    Truth::Deleted
                }
                _ => rejected(world, Rpc::DeleteItems, begun, result),
            },
        };
    }
}

fn rejected(world: &World, rpc: Rpc, begun: Instant, result: ItemResult) -> Truth {
    let error = result.error.unwrap_or_default();
    let code = Code::from(error.code);
    world
        .observer
        .failed(rpc, begun, code, &error.reason, &error.message);
    Truth::Unknown
}

pub async fn get(world: &World, dice: &mut Dice) {
    let wanted: HashSet<usize> = (0..1 + dice.below(20)).map(|_| dice.below(ITEMS)).collect();
    let manner = manner(dice);
    let request = manner.request(GetItemsRequest {
        content_ids: wanted.iter().map(|index| shelf::id(*index)).collect(),
    });
    let mut client = world.catalog();
    let sent = client.get_items(request);
    let Some(reply) = world.observer.call(Rpc::GetItems, manner, sent).await else {
        return;
    };
    if reply.items.len() + reply.missing_ids.len() != wanted.len() {
        world.observer.wrong("GetItems leaves ids out".to_owned());
    }
    for index in wanted.into_iter().filter(|index| *index < STEADY) {
        let id = shelf::id(index);
        if reply.missing_ids.contains(&id) {
            world.observer.wrong(format!("GetItems lacks {id}"));
        }
    }
}
