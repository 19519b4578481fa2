//! Calls that change nothing, and what their answers must hold.

use std::{collections::HashSet, time::Instant};

use recsys::proto::{
    ExportUserRequest, GeoPoint, GetUserSignalsRequest, RecommendRequest, RecommendResponse,
    TagFilter,
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use super::{
    dice::Dice,
    load::manner,
    observer::Manner,
    rpc::Rpc,
    shelf::{self, ITEMS, TYPES},
    world::World,
};

pub async fn signals(world: &World, dice: &mut Dice) {
    let Some(visit) = world.people.reader(dice) else {
        return;
    };
    let held = visit.held();
    let manner = manner(dice);
    let request = manner.request(GetUserSignalsRequest {
        user_id: visit.person.id.clone(),
        include_vectors: dice.chance(0.3),
    });
    let mut client = world.recommender();
    let sent = client.get_user_signals(request);
    let reply = world.observer.call(Rpc::GetUserSignals, manner, sent).await;
    let Some(signals) = reply.and_then(|reply| reply.signals) else {
        return;
    };
    if (signals.event_count as usize) < held {
        world.observer.wrong(format!(
            "the model of {:?} is of {} events, {held} were acknowledged",
            visit.person.id, signals.event_count
        ));
    }
}

pub async fn export(world: &World, dice: &mut Dice) {
    let Some(visit) = world.people.reader(dice) else {
        return;
    };
    let held = visit.held();
    let manner = manner(dice);
    let request = manner.request(ExportUserRequest {
        user_id: visit.person.id.clone(),
    });
    let mut client = world.recommender();
    let sent = client.export_user(request);
    let Some(export) = world.observer.call(Rpc::ExportUser, manner, sent).await else {
        return;
    };
    if export.events.len() < held {
        world.observer.wrong(format!(
            "{} events of {:?} were given out, {held} were acknowledged",
            export.events.len(),
            visit.person.id
        ));
    }
}

pub async fn recommend(world: &World, dice: &mut Dice) {
    let Some(visit) = world.people.reader(dice) else {
        return;
    };
    let user = if dice.chance(0.05) {
        format!("stranger {}", dice.roll())
    } else {
        visit.person.id.clone()
    };
    let (wanted, open) = wanted(user, dice);
    let exclude: HashSet<String> = wanted.exclude_ids.iter().cloned().collect();
    let manner = manner(dice);
    let begun = Instant::now();
    let request = manner.request(wanted);
    let mut client = world.recommender();
    let sent = client.recommend(request);
    let Some(list) = world.observer.call(Rpc::Recommend, manner, sent).await else {
        return;
    };
    if let Some(wrong) = wrong_items(&list, &exclude) {
        world.observer.wrong(wrong);
    }
    let degraded = list.diagnostics.unwrap_or_default().degraded;
    if !degraded.is_empty() {
        world.observer.lacked(begun, &degraded);
    } else if open && list.items.is_empty() {
        let wrong = "an open list is empty, and lacks nothing".to_owned();
        world.observer.wrong(wrong);
    }
}

/// A request, and whether it takes any item.
fn wanted(user_id: String, dice: &mut Dice) -> (RecommendRequest, bool) {
    let mut wanted = RecommendRequest {
        user_id,
        limit: *dice.pick(&[0, 3, 10, 30]),
        include_content: dice.chance(0.2),
        seed: dice.chance(0.3).then(|| dice.below(1_000) as u32),
        ..RecommendRequest::default()
    };
    if dice.chance(0.2) {
        wanted.exclude_ids = (0..20).map(|_| shelf::id(dice.below(ITEMS))).collect();
    }
    let near = GeoPoint {
        latitude: 57.7,
        longitude: 11.95,
    };
    let theme = shelf::theme(dice.below(100));
    match dice.below(10) {
        0 => wanted.filter = theme,
        1 => wanted.must = vec![tag("theme", &theme)],
        2 => wanted.must_not = vec![tag("theme", &theme)],
        3 => wanted.content_types = vec![(*dice.pick(&TYPES)).to_owned()],
        4 => {
            wanted.near = Some(near);
            wanted.radius_meters = Some(dice.between(500.0, 5_000.0));
        }
        5 => {
            wanted.near = Some(near);
            return (wanted, true);
        }
        _ => return (wanted, true),
    }
    (wanted, false)
}

fn tag(facet: &str, label: &str) -> TagFilter {
    TagFilter {
        facet: facet.to_owned(),
        label: label.to_owned(),
    }
}

fn wrong_items(list: &RecommendResponse, exclude: &HashSet<String>) -> Option<String> {
    let mut listed = HashSet::new();
    list.items.iter().find_map(|item| {
        let id = item.content_id.as_str();
        if exclude.contains(id) {
            return Some(format!("{id} is in a list that excludes it"));
        }
        (!listed.insert(id)).then(|| format!("{id} is in a list twice"))
    })
}

pub async fn health(world: &World) {
    let request = Manner::Patient.request(HealthCheckRequest {
        service: "liveness".to_owned(),
    });
    let mut client = world.health();
    let sent = client.check(request);
    let reply = world
        .observer
        .call(Rpc::Health, Manner::Patient, sent)
        .await;
    if reply.is_some_and(|reply| reply.status() != ServingStatus::Serving) {
        world
            .observer
            .wrong("the process says that it is not alive".to_owned());
    }
}
