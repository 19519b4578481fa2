//! A few users and items, and the associations between them.

use std::{collections::BTreeMap, time::Duration};

use proptest::{collection::vec, prelude::*};
use recsys::{
    domain::{
        event::{InteractionEvent, StoredEvent},
        event_member,
        ids::{ContentId, UserId},
        ranking::scorers::Scorer,
        ranking_config::RankingConfig,
        time::Timestamp,
    },
    engine::{
        AssociationSettings, Deadlines, Engine, EngineSettings, ListRequest, Ports, Recommendation,
    },
    ports::Deadline,
};

pub const USERS: usize = 8;
pub const ITEMS: usize = 6;

/// An engine that refreshes associations only when it is called to.
pub fn engine(ports: &Ports, config: &RankingConfig) -> Engine {
    let settings = EngineSettings {
        associations: AssociationSettings {
            background: false,
            ..AssociationSettings::default()
        },
        ..EngineSettings::default()
    };
    Engine::new(ports.clone(), config.clone(), settings)
}

pub fn user(number: usize) -> UserId {
    UserId::parse(&format!("u{number}")).unwrap()
}

pub fn item(number: usize) -> ContentId {
    format!("i{number:03}").into()
}

pub fn event(kind: &str, of: usize, about: usize, time: Timestamp) -> StoredEvent {
    let mut event = InteractionEvent::new(user(of), kind, time);
    event.content_id = Some(item(about));
    event_member::encode(event).unwrap()
}

/// Three likes of each user, one second apart, the latest at `now`.
pub fn likes(now: Timestamp) -> Vec<StoredEvent> {
    let of_user = |of| (0..3).map(move |step| (of, step));
    let likes = (0..USERS).flat_map(of_user).enumerate();
    let likes = likes.map(|(index, (of, step))| {
        let ago = Duration::from_secs((3 * USERS - index) as u64);
        event("like", of, (of + step) % ITEMS, now.minus(ago))
    });
    likes.collect()
}

pub async fn ingest(engine: &Engine, events: Vec<StoredEvent>) {
    let results = engine.ingest_batch(events, Deadline::NONE).await;
    assert!(results.unwrap().iter().all(Result::is_ok));
}

pub async fn list(engine: &Engine, of: usize) -> Recommendation {
    let request = ListRequest {
        seed: Some(1),
        ..ListRequest::for_user(user(of), 10)
    };
    let list = engine.list(&request, Deadlines::UNLIMITED).await;
    list.unwrap()
}

pub fn is_collaborative(list: &Recommendation) -> bool {
    list.items.iter().any(|item| {
        let part = item.scored.breakdown.part(Scorer::Collaborative);
        part.is_some_and(|part| part > 0.0)
    })
}

/// The packed lists of all users, and the members of all audiences with their times.
pub type State = (
    Vec<Option<Vec<u8>>>,
    BTreeMap<String, Vec<(String, Timestamp)>>,
);

pub async fn state(ports: &Ports) -> State {
    let store = &ports.associations;
    let users: Vec<UserId> = (0..USERS).map(user).collect();
    let lists = store.lists(&users).await.unwrap();
    let lists = lists
        .iter()
        .map(|slot| Some(slot.present()?.packed().to_vec()));
    let mut audiences = BTreeMap::new();
    for item in (0..ITEMS).map(item) {
        let audience = store.audience(&item, 500).await.unwrap();
        let members = audience.members().iter();
        let members = members.map(|member| (member.user.as_str().to_owned(), member.time));
        audiences.insert(item.to_string(), members.collect());
    }
    (lists.collect(), audiences)
}

/// The neighbors of all items with their weights.
pub type Rows = Vec<Vec<(String, f64)>>;

pub async fn rows(ports: &Ports) -> Rows {
    let items: Vec<ContentId> = (0..ITEMS).map(item).collect();
    let rows = ports.associations.rows(&items).await.unwrap();
    let rows = rows.iter().map(|row| {
        let row = row.iter().flat_map(|row| row.iter());
        row.map(|(item, weight)| (item.to_owned(), weight))
            .collect()
    });
    rows.collect()
}

/// An event: its kind, user, item and time.
pub type Act = (usize, usize, usize, u64);

pub fn acts() -> impl Strategy<Value = Vec<Act>> {
    // Few times, so that some are equal.
    vec((0..3_usize, 0..USERS, 0..ITEMS, 1..40_u64), 1..60)
}

pub fn stored(acts: impl IntoIterator<Item = Act>, now: Timestamp) -> Vec<StoredEvent> {
    let event = |(kind, of, about, ago)| {
        let kind = ["like", "view", "dislike"][kind];
        event(kind, of, about, now.minus(Duration::from_secs(ago)))
    };
    acts.into_iter().map(event).collect()
}
