//! After the load: every model is what its events and items make of it.
//!
//! A model fades with the time that it was built for, so it is not compared
//! with one that was built later, but with what the library makes of the stored
//! events and items at that same time: they must be equal in every bit.

use std::time::Duration;

use deadpool_redis::redis::{aio::MultiplexedConnection, cmd};
use recsys::{
    adapters::redis::{RedisEventBuffer, RedisSettings},
    domain::{
        event::EventLog, ids::UserId, item::Items, ranking_config::RankingConfig, signals,
        time::Timestamp, user_signals::UserSignals, vector::UnitVector,
    },
    ports::{Deadline, EventBuffer as _, ItemStore as _},
    proto::{self, GetUserSignalsRequest, SignalsSource},
};

use super::{
    checks::Check,
    people::Person,
    shelf,
    support::{WINDOW, redis::pool},
    world::World,
};

/// A model that was built so long before an item changed has not read the
/// change: also one that was read from Qdrant a moment before.
const MARGIN: Duration = Duration::from_secs(10);
const MAX_EVENTS: usize = 5_000;

#[derive(Default)]
struct Sums {
    materialized: usize,
    rebuilt: usize,
    empty: usize,
    changed_since: usize,
    events: usize,
}

struct Library {
    events: RedisEventBuffer,
    items: recsys::adapters::qdrant::QdrantItemStore,
    config: RankingConfig,
}

impl Library {
    /// A user's events and items as they are stored now.
    async fn read(&self, user: &UserId) -> (EventLog, Items) {
        let buffer = self.events.read(user).await.expect("a buffer");
        let log = EventLog::new(buffer.events);
        let ids = signals::items_needed(&log);
        let found = self.items.get(&ids, Deadline::NONE).await.expect("items");
        let known = ids.into_iter().zip(found);
        (
            log,
            known.filter_map(|(id, item)| Some((id, item?))).collect(),
        )
    }
}

pub async fn check(world: &World, redis: &mut MultiplexedConnection) -> Check {
    let mut check = Check::new("every model equals its rebuild");
    let library = Library {
        events: RedisEventBuffer::new(
            pool(&world.rig.redis_url, RedisSettings::default()),
            "",
            WINDOW,
            MAX_EVENTS,
        ),
        items: shelf::store(&world.rig.qdrant.url()),
        config: RankingConfig::default(),
    };
    let mut sums = Sums::default();
    for person in world.people.all() {
        one(world, &library, &person, redis, &mut sums, &mut check).await;
    }
    check.figure(format!(
        "{} models of {} events in all were compared twice: as they were found ({} stored, {} built \
         for the call; of these {} left out, since items that they name changed meanwhile), and \
         built anew after each was deleted from Redis; {} users have none",
        sums.materialized + sums.rebuilt,
        sums.events,
        sums.materialized,
        sums.rebuilt,
        sums.changed_since,
        sums.empty
    ));
    check
}

async fn one(
    world: &World,
    library: &Library,
    person: &Person,
    redis: &mut MultiplexedConnection,
    sums: &mut Sums,
    check: &mut Check,
) {
    let id = &person.id;
    let user = UserId::parse(id).expect("a good id");
    let (log, items) = library.read(&user).await;
    let Some((found, source)) = told(world, id, check).await else {
        return;
    };
    if log.is_empty() {
        sums.empty += 1;
        if source != SignalsSource::Empty {
            check.problem(format!("{id:?} has no events, but a model: {source:?}"));
        }
        return;
    }
    sums.events += log.len();
    match source {
        SignalsSource::Materialized => sums.materialized += 1,
        SignalsSource::Rebuilt => sums.rebuilt += 1,
        SignalsSource::Empty | SignalsSource::Unspecified => {
            check.problem(format!("{id:?} has {} events, but no model", log.len()));
            return;
        }
    }
    let expected = |model: &proto::UserSignals| {
        let at = built_at(model)?;
        let built = signals::build(&user, &log, &items, at, &library.config);
        Some((at, as_sent(&built)))
    };
    let compare = |what: &str, model: &proto::UserSignals, check: &mut Check| {
        let Some((_, expected)) = expected(model) else {
            check.problem(format!("{id:?}, {what}: no time of building"));
            return;
        };
        let fields = differences(&expected, model);
        if !fields.is_empty() {
            check.problem(format!("{id:?}, {what}: {}", fields.join(", ")));
        }
    };
    let since = built_at(&found)
        .unwrap_or(Timestamp::from_micros(0))
        .minus(MARGIN);
    let needed = signals::items_needed(&log);
    if needed
        .iter()
        .any(|item| world.shelf.changed_since(item.as_str(), since))
    {
        sums.changed_since += 1;
    } else {
        compare("as found", &found, check);
    }

    let key = format!("umodel:{id}");
    let _: i64 = cmd("DEL").arg(&key).query_async(redis).await.expect("DEL");
    if let Some((anew, source)) = told(world, id, check).await {
        if source != SignalsSource::Rebuilt {
            check.problem(format!("{id:?} was not built anew: {source:?}"));
        }
        compare("built anew", &anew, check);
    }
}

async fn told(
    world: &World,
    user: &str,
    check: &mut Check,
) -> Option<(proto::UserSignals, SignalsSource)> {
    let request = GetUserSignalsRequest {
        user_id: user.to_owned(),
        include_vectors: true,
    };
    match world.recommender().get_user_signals(request).await {
        Ok(reply) => {
            let reply = reply.into_inner();
            let source = reply.source();
            Some((reply.signals.unwrap_or_default(), source))
        }
        Err(status) => {
            check.problem(format!("{user:?} cannot be read: {status}"));
            None
        }
    }
}

fn built_at(model: &proto::UserSignals) -> Option<Timestamp> {
    let at = model.built_at?;
    Timestamp::from_proto_parts(at.seconds, at.nanos)
}

/// As the API tells a model with its vectors.
fn as_sent(model: &UserSignals) -> proto::UserSignals {
    let ids =
        |ids: &[recsys::domain::ids::ContentId]| ids.iter().map(ToString::to_string).collect();
    let vector = |vector: &Option<UnitVector>| {
        vector
            .as_ref()
            .map(|vector| vector.as_slice().to_vec())
            .unwrap_or_default()
    };
    let behavior = &model.behavior;
    assert!(model.demographics.is_empty(), "no answer is mapped here");
    proto::UserSignals {
        user_id: model.user_id.as_str().to_owned(),
        positives: model
            .positives
            .iter()
            .map(|(id, weight)| (id.to_string(), *weight))
            .collect(),
        negatives: model
            .negatives
            .iter()
            .map(|(id, weight)| (id.to_string(), *weight))
            .collect(),
        viewed: ids(&model.viewed),
        recent_views: ids(&model.recent_views),
        tag_affinity: model.tag_affinity.clone(),
        tag_aversion: model.tag_aversion.clone(),
        taste_vector: vector(&model.taste_vector),
        recency_vector: vector(&model.recency_vector),
        behavior: Some(proto::BehaviorSummary {
            n_views: behavior.n_views as u32,
            n_positive: behavior.n_positive as u32,
            n_negative: behavior.n_negative as u32,
            avg_dwell_ratio: behavior.avg_dwell_ratio,
            completion_rate: behavior.completion_rate,
            revisit_rate: behavior.revisit_rate,
            depth: behavior.depth,
        }),
        demographics: None,
        is_cold: model.is_cold(),
        built_at: model.built_at.map(|at| {
            let (seconds, nanos) = at.to_proto_parts();
            prost_types::Timestamp { seconds, nanos }
        }),
        event_count: model.event_count as u32,
    }
}

/// The fields that differ.
fn differences(expected: &proto::UserSignals, model: &proto::UserSignals) -> Vec<&'static str> {
    let fields = [
        ("positives", expected.positives == model.positives),
        ("negatives", expected.negatives == model.negatives),
        ("viewed", expected.viewed == model.viewed),
        ("recent_views", expected.recent_views == model.recent_views),
        ("tag_affinity", expected.tag_affinity == model.tag_affinity),
        ("tag_aversion", expected.tag_aversion == model.tag_aversion),
        ("taste_vector", expected.taste_vector == model.taste_vector),
        (
            "recency_vector",
            expected.recency_vector == model.recency_vector,
        ),
        ("behavior", expected.behavior == model.behavior),
        ("event_count", expected.event_count == model.event_count),
        ("something", expected == model),
    ];
    let mut differ: Vec<&str> = fields
        .iter()
        .filter(|(_, same)| !same)
        .map(|(name, _)| *name)
        .collect();
    if differ.len() > 1 {
        differ.pop();
    }
    differ
}
