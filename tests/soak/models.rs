//! After the load: every model equals what the library builds of the stored events and
//! items, as of the time at which the model was built.

use deadpool_redis::redis::{aio::MultiplexedConnection, cmd};
use recsys::{
    adapters::{
        qdrant::QdrantItemStore,
        redis::{RedisEventBuffer, RedisSettings},
    },
    domain::{
        event::EventLog,
        ids::{ContentId, UserId},
        item::Items,
        ranking_config::RankingConfig,
        signals,
        time::Timestamp,
        user_signals::UserSignals,
        vector::UnitVector,
    },
    ports::{Deadline, EventBuffer as _, ItemStore as _},
    proto::{self, GetUserSignalsRequest, SignalsSource},
};

use super::{
    checks::SoakCheck,
    items,
    support::{
        WINDOW,
        redis::{event_buffer, pool},
    },
    users::User,
    world::World,
};

const MAX_EVENTS: usize = 5_000;

#[derive(Default)]
struct ModelCounts {
    stored: usize,
    rebuilt: usize,
    empty: usize,
    events: usize,
}

struct SoakStores {
    events: RedisEventBuffer,
    items: QdrantItemStore,
}

impl SoakStores {
    async fn read(&self, user: &UserId) -> (EventLog, Items) {
        let buffer = self.events.read(user).await.expect("a buffer");
        let log = EventLog::new(buffer.events);
        let ids = signals::items_needed(&log);
        let items = self.items.get(&ids, Deadline::NONE).await.expect("items");
        let items = ids.into_iter().zip(items);
        let items = items.filter_map(|(id, item)| Some((id, item?))).collect();
        (log, items)
    }
}

pub async fn check(world: &World, redis: &mut MultiplexedConnection) -> SoakCheck {
    let mut check = SoakCheck::new("every model equals its rebuild");
    let pool = pool(&world.redis_url, RedisSettings::default());
    let stores = SoakStores {
        events: event_buffer(&pool, "", WINDOW, MAX_EVENTS),
        items: items::store(&world.qdrant.url()),
    };
    let mut counts = ModelCounts::default();
    for user in world.users.all() {
        if let Err(problem) = compare(world, &stores, &user, redis, &mut counts).await {
            check.problem(format!("{:?}: {problem}", user.id));
        }
    }
    check.figure(format!(
        "{} stored and {} rebuilt models of {} events; each compared again after its deletion; {} users have none",
        counts.stored, counts.rebuilt, counts.events, counts.empty
    ));
    check
}

async fn compare(
    world: &World,
    stores: &SoakStores,
    user: &User,
    redis: &mut MultiplexedConnection,
    counts: &mut ModelCounts,
) -> Result<(), String> {
    let user_id = UserId::parse(&user.id).expect("a valid id");
    let (log, items) = stores.read(&user_id).await;
    let differences = |model: &proto::UserSignals| {
        let at = model.built_at.ok_or("no time of building")?;
        let at = Timestamp::from_proto_parts(at.seconds, at.nanos).ok_or("no valid time")?;
        let config = RankingConfig::default();
        let expected = to_proto(&signals::build(&user_id, &log, &items, at, &config));
        if *model == expected {
            return Ok(());
        }
        Err(format!("the model is {model:?}, not {expected:?}"))
    };

    let (model, source) = read(world, &user.id).await?;
    match (source, log.is_empty()) {
        (SignalsSource::Empty, true) => {
            counts.empty += 1;
            return Ok(());
        }
        (SignalsSource::Materialized, false) => counts.stored += 1,
        (SignalsSource::Rebuilt, false) => counts.rebuilt += 1,
        _ => {
            return Err(format!(
                "{} events, and a model that is {source:?}",
                log.len()
            ));
        }
    }
    counts.events += log.len();
    // Items that changed since the model was built are not in it.
    if !user.names_changing_items {
        differences(&model)?;
    }
    let mut delete = cmd("DEL");
    let deleted = delete.arg(format!("umodel:{}", user.id)).query_async(redis);
    deleted.await.map(|_: i64| ()).expect("a Redis that is up");
    let (rebuilt, source) = read(world, &user.id).await?;
    if source != SignalsSource::Rebuilt {
        return Err(format!("a deleted model is {source:?}"));
    }
    differences(&rebuilt)
}

async fn read(world: &World, user: &str) -> Result<(proto::UserSignals, SignalsSource), String> {
    let request = GetUserSignalsRequest {
        user_id: user.to_owned(),
        include_vectors: true,
    };
    let reply = world.recommender().get_user_signals(request).await;
    let reply = reply.map_err(|status| status.to_string())?.into_inner();
    let source = reply.source();
    Ok((reply.signals.unwrap_or_default(), source))
}

/// The model as the API returns it with its vectors.
fn to_proto(model: &UserSignals) -> proto::UserSignals {
    let ids = |ids: &[ContentId]| ids.iter().map(ToString::to_string).collect();
    let vector = |vector: &Option<UnitVector>| {
        let values = vector.as_ref().map(|vector| vector.to_vec());
        values.unwrap_or_default()
    };
    let weights = |map: &std::collections::BTreeMap<ContentId, f64>| {
        let weights = map.iter().map(|(id, weight)| (id.to_string(), *weight));
        weights.collect()
    };
    let behavior = &model.behavior;
    proto::UserSignals {
        user_id: model.user_id.as_str().to_owned(),
        positives: weights(&model.positives),
        negatives: weights(&model.negatives),
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
        // The default configuration maps no answer.
        demographics: None,
        is_cold: model.is_cold(),
        built_at: model.built_at.map(|at| {
            let (seconds, nanos) = at.to_proto_parts();
            prost_types::Timestamp { seconds, nanos }
        }),
        event_count: model.event_count as u32,
    }
}
