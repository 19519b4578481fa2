//! Simulates a shop.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use super::{
    choices::{Chooser, WorldDay},
    items::{item_id, make_catalogue, make_items},
    settings::WorldSettings,
};
use crate::{
    domain::{
        event::InteractionEvent,
        ids::{ContentId, UserId},
        item::Item,
        time::Timestamp,
    },
    eval::rng::SeededRng,
};

/// 2026-01-01T00:00:00Z.
const START_MICROS: i64 = 1_767_225_600_000_000;
const DAY_SECONDS: f64 = 86_400.0;
/// Seconds between two choices in a visit, at least and at most.
const PAUSE: (f64, f64) = (30.0, 180.0);

/// A simulated world.
#[derive(Clone, Debug)]
pub struct World {
    /// The items.
    pub catalogue: Vec<Item>,
    /// The events in the order in which they were delivered: late ones late,
    /// repeated ones twice.
    pub events: Vec<InteractionEvent>,
    /// Each choice before it was made, by the id of the view that it led to; empty
    /// unless [`WorldSettings::best_list`] is above 0.
    pub choices: BTreeMap<String, Choice>,
    /// Visitors who logged in, with their user id from then on.
    pub logins: Vec<(UserId, UserId)>,
}

/// A choice before it is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The most likely items, the most likely first: no list has a higher chance
    /// of a hit.
    pub best: Vec<ContentId>,
    /// The probability that one of them is chosen.
    pub hit_probability: f64,
}

struct WorldUser {
    known_as: UserId,
    /// Their user id before they log in, and the visit after which they do.
    visitor: Option<(UserId, usize)>,
    interests: [usize; 2],
    seen: HashSet<u32>,
    last: Option<u32>,
    visits: usize,
}

/// Simulates a world from its first to its last day.
#[must_use]
pub fn generate(settings: &WorldSettings) -> World {
    let items = make_items(settings);
    let catalogue = make_catalogue(settings, &items);
    let mut rng = SeededRng::new(settings.seed, 3);
    let mut users: Vec<WorldUser> = (0..settings.users)
        .map(|user| new_user(user, settings, &mut rng))
        .collect();
    let visits = visits(settings, &mut rng);

    let mut simulation = Simulation {
        settings,
        rng,
        events: Vec::new(),
        choices: BTreeMap::new(),
    };
    let mut day = (0, WorldDay::new(settings, &items, 0));
    for (seconds, user) in visits {
        let today = (seconds / DAY_SECONDS) as u32;
        if today != day.0 {
            day = (today, WorldDay::new(settings, &items, today));
        }
        let user = &mut users[user];
        user.visits += 1;
        if user.visits > 1 && simulation.rng.chance(settings.drift) {
            user.interests[0] = simulation.rng.below(settings.themes.max(1));
        }
        let mut now = seconds;
        for step in 0..count(settings.items_per_visit, &mut simulation.rng) {
            let shown = day.1.front_page(&user.seen);
            if step == 0 && !shown.is_empty() {
                simulation.show(user, &shown, now);
            }
            let chooser = Chooser {
                settings,
                items: &items,
                day: &day.1,
                interests: user.interests,
                seen: &user.seen,
                last: user.last,
                shown: &shown,
            };
            let Some(item) = chooser.choose(&mut simulation.rng) else {
                break;
            };
            let id = simulation.next_id();
            if settings.best_list > 0 {
                let choice = best(&chooser.probabilities(), settings.best_list);
                simulation.choices.insert(id.clone(), choice);
            }
            now = simulation.engage(user, item, id, now);
            user.seen.insert(item);
            user.last = Some(item);
        }
    }
    let logins = users.iter().filter_map(|user| {
        let (visitor, login) = user.visitor.as_ref()?;
        (user.visits > *login).then(|| (visitor.clone(), user.known_as.clone()))
    });
    World {
        logins: logins.collect(),
        catalogue,
        events: delivered(simulation.events, settings),
        choices: simulation.choices,
    }
}

fn new_user(user: usize, settings: &WorldSettings, rng: &mut SeededRng) -> WorldUser {
    let named = |name: String| UserId::parse(&name).ok();
    let themes = settings.themes.max(1);
    let visitor = rng.chance(settings.anonymous).then(|| 1 + rng.below(3));
    WorldUser {
        known_as: user_id(&format!("u{user:05}")),
        visitor: visitor.and_then(|visits| Some((named(format!("v{user:05}"))?, visits))),
        interests: [rng.below(themes), rng.below(themes)],
        seen: HashSet::new(),
        last: None,
        visits: 0,
    }
}

#[expect(
    clippy::expect_used,
    reason = "the names of users are made here and hold no control characters"
)]
fn user_id(name: &str) -> UserId {
    UserId::parse(name).expect("a name")
}

/// All visits in the order of time: seconds from the start, and the user.
fn visits(settings: &WorldSettings, rng: &mut SeededRng) -> Vec<(f64, usize)> {
    let span = f64::from(settings.days) * DAY_SECONDS;
    let mut visits = Vec::new();
    for user in 0..settings.users {
        // Users come from some day on.
        let from = rng.unit() * 0.6 * span;
        for _ in 0..count(settings.visits, rng) {
            visits.push((from + rng.unit() * (span - from), user));
        }
    }
    visits.sort_by(|(a, a_user), (b, b_user)| a.total_cmp(b).then_with(|| a_user.cmp(b_user)));
    visits
}

/// At least 1, of this mean: geometric, so that some have many.
fn count(mean: f64, rng: &mut SeededRng) -> usize {
    const MOST: usize = 1_000;
    let goes_on = 1.0 - 1.0 / mean.max(1.0);
    let mut count = 1;
    while count < MOST && rng.chance(goes_on) {
        count += 1;
    }
    count
}

fn best(probabilities: &[f64], count: usize) -> Choice {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|a, b| {
        probabilities[*b]
            .total_cmp(&probabilities[*a])
            .then_with(|| a.cmp(b))
    });
    order.truncate(count);
    Choice {
        hit_probability: order.iter().map(|item| probabilities[*item]).sum(),
        best: order
            .iter()
            .map(|item| item_id(*item as u32).into())
            .collect(),
    }
}

struct Simulation<'a> {
    settings: &'a WorldSettings,
    rng: SeededRng,
    events: Vec<InteractionEvent>,
    choices: BTreeMap<String, Choice>,
}

impl Simulation<'_> {
    fn next_id(&self) -> String {
        format!("e{:07}", self.events.len())
    }

    fn event(&self, user: &WorldUser, kind: &str, seconds: f64) -> InteractionEvent {
        let time = Timestamp::from_micros(START_MICROS).plus(Duration::from_secs_f64(seconds));
        let name = match &user.visitor {
            Some((visitor, login)) if user.visits <= *login => visitor,
            Some(_) | None => &user.known_as,
        };
        let mut event = InteractionEvent::new(name.clone(), kind, time);
        event.session_id = Some(format!("{}-{}", name.as_str(), user.visits));
        event
    }

    /// The front page as the user saw it.
    fn show(&mut self, user: &WorldUser, shown: &[u32], now: f64) {
        let mut event = self.event(user, "product list viewed", now);
        event.event_id = Some(self.next_id());
        event.impressions = shown.iter().map(|item| item_id(*item).into()).collect();
        self.events.push(event);
    }

    /// A view of an item, and sometimes a cart and a purchase; returns the end time.
    fn engage(&mut self, user: &WorldUser, item: u32, id: String, now: f64) -> f64 {
        let pause = |rng: &mut SeededRng| PAUSE.0 + rng.unit() * (PAUSE.1 - PAUSE.0);
        let mut now = now + pause(&mut self.rng);
        let mut event = self.event(user, "product viewed", now);
        event.event_id = Some(id);
        event.content_id = Some(item_id(item).into());
        if self.settings.dwell {
            let dwell = 20.0 + self.rng.unit() * 100.0;
            event.dwell_seconds = Some(dwell.round());
        }
        self.events.push(event);
        for kind in ["product added", "purchase"] {
            if !self.rng.chance(self.settings.carts) {
                break;
            }
            now += pause(&mut self.rng);
            let mut event = self.event(user, kind, now);
            event.event_id = Some(self.next_id());
            event.content_id = Some(item_id(item).into());
            self.events.push(event);
        }
        now
    }
}

/// The events in the order in which they arrive.
fn delivered(events: Vec<InteractionEvent>, settings: &WorldSettings) -> Vec<InteractionEvent> {
    let mut rng = SeededRng::new(settings.seed, 4);
    let hour = Duration::from_secs(3_600);
    let mut arrivals = Vec::with_capacity(events.len());
    for event in events {
        let late = |rng: &mut SeededRng| event.time.plus(hour.mul_f64(rng.unit() * 24.0));
        let arrives = if rng.chance(settings.late) {
            late(&mut rng)
        } else {
            event.time
        };
        if rng.chance(settings.duplicates) {
            arrivals.push((late(&mut rng), event.clone()));
        }
        arrivals.push((arrives, event));
    }
    arrivals.sort_by_key(|(arrives, _)| *arrives);
    arrivals.into_iter().map(|(_, event)| event).collect()
}
