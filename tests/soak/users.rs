//! Users, and what the server acknowledged of each.
//!
//! A user that has sent its events is replaced by a new one, so that the server holds
//! about the same at any time. The former users stay in Redis; the oldest of too many
//! are deleted. Any user may be deleted before, and goes on sending.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex},
};

use recsys::proto::{IngestOutcome, InteractionEvent};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use super::{items::FAMILIES, random::Random};

/// How many events a user sends.
const EVENTS: (f64, f64) = (60.0, 200.0);
const MAX_FORMER_USERS: usize = 1_500;
/// Latest events of a user that may be sent again.
const RECENT: usize = 8;
const TRIES: usize = 16;

/// What is known of an event.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventState {
    /// The life of its user in which it was last acknowledged as stored.
    pub stored_in_life: Option<u32>,
    /// Whether some sending was not acknowledged: it may take effect at any time.
    pub uncertain: bool,
    /// Whether it is older than the window, so that it must not be stored.
    pub too_old: bool,
}

#[derive(Default)]
pub struct Ledger {
    /// How often the user was deleted.
    pub life: u32,
    pub events: HashMap<u64, EventState>,
    /// Events that were acknowledged in this life.
    pub stored: usize,
    recent: VecDeque<(u64, InteractionEvent)>,
    remaining: usize,
}

pub struct User {
    pub id: String,
    /// Whether its events name items that change.
    pub names_changing_items: bool,
    /// The family of items that its events name.
    pub family: usize,
    /// Read by calls about the user, written by its deletion: so every call is known to
    /// be before or after it.
    gate: Arc<RwLock<()>>,
    pub ledger: Mutex<Ledger>,
}

/// A call about a user, during which the user is not deleted.
pub struct Visit {
    pub user: Arc<User>,
    _gate: OwnedRwLockReadGuard<()>,
}

impl Visit {
    /// `None` while the user is being deleted.
    pub fn of(user: &Arc<User>) -> Option<Self> {
        Some(Self {
            _gate: Arc::clone(&user.gate).try_read_owned().ok()?,
            user: Arc::clone(user),
        })
    }

    /// Records that an event is about to be sent, for the first time or again.
    pub fn sending(&self, number: u64, event: &InteractionEvent, too_old: bool) {
        let mut ledger = self.user.ledger.lock().unwrap();
        let Entry::Vacant(new) = ledger.events.entry(number) else {
            return;
        };
        new.insert(EventState {
            too_old,
            ..EventState::default()
        });
        ledger.remaining = ledger.remaining.saturating_sub(1);
        ledger.recent.push_back((number, event.clone()));
        if ledger.recent.len() > RECENT {
            ledger.recent.pop_front();
        }
    }

    /// Records an answer, or its absence. An error says what is wrong with the answer.
    pub fn answered(&self, number: u64, outcome: Option<IngestOutcome>) -> Result<(), String> {
        let mut ledger = self.user.ledger.lock().unwrap();
        let life = ledger.life;
        let state = ledger.events.get_mut(&number).expect("it was sent");
        let wrong = match outcome {
            None => {
                state.uncertain = true;
                false
            }
            Some(IngestOutcome::Accepted | IngestOutcome::Duplicate) => {
                let new = state.stored_in_life.replace(life) != Some(life);
                let too_old = state.too_old;
                ledger.stored += usize::from(new);
                too_old
            }
            Some(IngestOutcome::OutsideWindow) => !state.too_old,
            Some(
                IngestOutcome::Unspecified | IngestOutcome::Rejected | IngestOutcome::NotStored,
            ) => true,
        };
        if wrong {
            return Err(format!("event {number} of {:?}: {outcome:?}", self.user.id));
        }
        Ok(())
    }

    /// Events that were acknowledged and not deleted since.
    pub fn stored(&self) -> usize {
        self.user.ledger.lock().unwrap().stored
    }

    pub fn recent_event(&self, random: &mut Random) -> Option<(u64, InteractionEvent)> {
        let ledger = self.user.ledger.lock().unwrap();
        let index = random.below(ledger.recent.len());
        ledger.recent.get(index).cloned()
    }
}

impl User {
    fn new(number: usize, random: &mut Random) -> Self {
        // Ids that a careless key or pattern would confuse.
        let id = match number % 8 {
            0 => format!("user {number}"),
            1 => format!("évt:{number}"),
            2 => format!("{{{number}}}"),
            3 => format!("*{number}"),
            4 => format!("umodel:evt:{number}"),
            _ => format!("u{number}"),
        };
        Self {
            id,
            names_changing_items: random.chance(0.25),
            family: random.below(FAMILIES),
            gate: Arc::default(),
            ledger: Mutex::new(Ledger {
                remaining: random.between(EVENTS.0, EVENTS.1) as usize,
                ..Ledger::default()
            }),
        }
    }

    /// Waits until no call about the user is in flight, and keeps it so.
    pub async fn exclusive(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.gate).write_owned().await
    }

    /// Records that the deletion was acknowledged.
    pub fn deleted(&self) {
        let mut ledger = self.ledger.lock().unwrap();
        ledger.life += 1;
        ledger.stored = 0;
    }

    fn has_sent_all(&self) -> bool {
        self.ledger.lock().unwrap().remaining == 0
    }
}

#[derive(Default)]
struct UserLists {
    active: Vec<Arc<User>>,
    former: VecDeque<Arc<User>>,
    all: Vec<Arc<User>>,
}

impl UserLists {
    fn add(&mut self, random: &mut Random) -> Arc<User> {
        let user = Arc::new(User::new(self.all.len(), random));
        self.all.push(Arc::clone(&user));
        user
    }
}

pub struct Users(Mutex<UserLists>);

impl Users {
    pub fn new(active: usize, random: &mut Random) -> Self {
        let mut lists = UserLists::default();
        lists.active = (0..active).map(|_| lists.add(random)).collect();
        Self(Mutex::new(lists))
    }

    /// A user who sends events, and is not being deleted.
    pub fn sender(&self, random: &mut Random) -> Option<Visit> {
        let mut lists = self.0.lock().unwrap();
        (0..TRIES).find_map(|_| {
            let index = random.below(lists.active.len());
            if lists.active[index].has_sent_all() {
                let next = lists.add(random);
                let former = std::mem::replace(&mut lists.active[index], next);
                lists.former.push_back(former);
            }
            Visit::of(&lists.active[index])
        })
    }

    /// Any user who is not being deleted.
    pub fn reader(&self, random: &mut Random) -> Option<Visit> {
        (0..TRIES).find_map(|_| Visit::of(&self.any(random)))
    }

    pub fn any(&self, random: &mut Random) -> Arc<User> {
        let lists = self.0.lock().unwrap();
        let index = random.below(lists.former.len());
        match lists.former.get(index) {
            Some(former) if random.chance(0.2) => Arc::clone(former),
            _ => Arc::clone(random.pick(&lists.active)),
        }
    }

    /// The user to delete: the oldest of too many former users, or any.
    pub fn to_delete(&self, random: &mut Random) -> Arc<User> {
        {
            let mut lists = self.0.lock().unwrap();
            if lists.former.len() > MAX_FORMER_USERS
                && let Some(oldest) = lists.former.pop_front()
            {
                return oldest;
            }
        }
        self.any(random)
    }

    /// All users of the run.
    pub fn all(&self) -> Vec<Arc<User>> {
        self.0.lock().unwrap().all.clone()
    }
}
