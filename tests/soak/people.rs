//! Users, and what the server acknowledged of each.
//!
//! Users come and go, so that what the server holds stays about the same: one
//! that has sent its events is succeeded by a new one. It stays in Redis, and
//! after many others it is deleted. Any may be deleted before, and goes on.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex},
};

use recsys::proto::{IngestOutcome, InteractionEvent};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use super::{dice::Dice, shelf::FAMILIES};

/// Events that a user sends before another one takes its place.
const EVENTS: (f64, f64) = (60.0, 200.0);
/// Former users who are kept.
const KEPT: usize = 1_500;
/// Latest events of a user that may be sent again.
const RECENT: usize = 8;
const TRIES: usize = 16;

/// What is known of an event's fate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fate {
    /// In which of its user's lives it was last acknowledged as stored.
    pub held_in: Option<u32>,
    /// Whether some sending was not answered by an acknowledgement: that one
    /// may have come into effect, and at any time since.
    pub open: bool,
    /// Whether it is older than the window, so never to be stored.
    pub too_old: bool,
}

#[derive(Default)]
pub struct Ledger {
    /// Rises with each acknowledged deletion.
    pub life: u32,
    pub fates: HashMap<u64, Fate>,
    /// Events that were acknowledged in this life.
    pub held: usize,
    recent: VecDeque<(u64, InteractionEvent)>,
    left: usize,
}

pub struct Person {
    pub id: String,
    /// Whether its events name items that change.
    pub curious: bool,
    /// Whose items its events name.
    pub family: usize,
    /// Held for reading by calls about the user, for writing by its deletion:
    /// only so is it known what came before and what after.
    gate: Arc<RwLock<()>>,
    pub ledger: Mutex<Ledger>,
}

/// A call about a user, during which the user is not deleted.
pub struct Visit {
    pub person: Arc<Person>,
    _gate: OwnedRwLockReadGuard<()>,
}

impl Visit {
    pub fn of(person: &Arc<Person>) -> Option<Self> {
        let gate = Arc::clone(&person.gate).try_read_owned().ok()?;
        Some(Self {
            person: Arc::clone(person),
            _gate: gate,
        })
    }

    /// An event is about to be sent, for the first time or again.
    pub fn sends(&self, number: u64, event: &InteractionEvent, too_old: bool) {
        let mut ledger = self.person.ledger.lock().unwrap();
        let Entry::Vacant(new) = ledger.fates.entry(number) else {
            return;
        };
        new.insert(Fate {
            too_old,
            ..Fate::default()
        });
        ledger.left = ledger.left.saturating_sub(1);
        ledger.recent.push_back((number, event.clone()));
        if ledger.recent.len() > RECENT {
            ledger.recent.pop_front();
        }
    }

    /// An event was answered, or not. Says what is wrong with the answer.
    pub fn answered(&self, number: u64, outcome: Option<IngestOutcome>) -> Result<(), String> {
        let mut ledger = self.person.ledger.lock().unwrap();
        let life = ledger.life;
        let fate = ledger.fates.get_mut(&number).expect("it was sent");
        let wrong = match outcome {
            None => {
                fate.open = true;
                return Ok(());
            }
            Some(IngestOutcome::Accepted | IngestOutcome::Duplicate) => {
                let new = fate.held_in.replace(life) != Some(life);
                let too_old = fate.too_old;
                ledger.held += usize::from(new);
                too_old
            }
            Some(IngestOutcome::OutsideWindow) => !fate.too_old,
            Some(IngestOutcome::Unspecified | IngestOutcome::Rejected) => true,
        };
        if wrong {
            return Err(format!(
                "event {number} of {:?}: {outcome:?}",
                self.person.id
            ));
        }
        Ok(())
    }

    /// Events that were acknowledged, and not deleted since.
    pub fn held(&self) -> usize {
        self.person.ledger.lock().unwrap().held
    }

    pub fn recent(&self, dice: &mut Dice) -> Option<(u64, InteractionEvent)> {
        let ledger = self.person.ledger.lock().unwrap();
        (!ledger.recent.is_empty()).then(|| ledger.recent[dice.below(ledger.recent.len())].clone())
    }
}

impl Person {
    fn new(number: usize, dice: &mut Dice) -> Self {
        // Nothing in an id has a meaning.
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
            curious: dice.chance(0.25),
            family: dice.below(FAMILIES),
            gate: Arc::default(),
            ledger: Mutex::new(Ledger {
                left: dice.between(EVENTS.0, EVENTS.1) as usize,
                ..Ledger::default()
            }),
        }
    }

    /// Waits until nothing is called about the user, and keeps it so.
    pub async fn alone(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.gate).write_owned().await
    }

    /// The deletion was acknowledged.
    pub fn deleted(&self) {
        let mut ledger = self.ledger.lock().unwrap();
        ledger.life += 1;
        ledger.held = 0;
    }

    fn is_done(&self) -> bool {
        self.ledger.lock().unwrap().left == 0
    }
}

#[derive(Default)]
struct Crowd {
    active: Vec<Arc<Person>>,
    former: VecDeque<Arc<Person>>,
    all: Vec<Arc<Person>>,
}

impl Crowd {
    fn newcomer(&mut self, dice: &mut Dice) -> Arc<Person> {
        let person = Arc::new(Person::new(self.all.len(), dice));
        self.all.push(Arc::clone(&person));
        person
    }
}

pub struct People(Mutex<Crowd>);

impl People {
    pub fn new(active: usize, dice: &mut Dice) -> Self {
        let mut crowd = Crowd::default();
        crowd.active = (0..active).map(|_| crowd.newcomer(dice)).collect();
        Self(Mutex::new(crowd))
    }

    /// A user who sends events, and is not being deleted.
    pub fn sender(&self, dice: &mut Dice) -> Option<Visit> {
        let mut crowd = self.0.lock().unwrap();
        (0..TRIES).find_map(|_| {
            let place = dice.below(crowd.active.len());
            if crowd.active[place].is_done() {
                let next = crowd.newcomer(dice);
                let former = std::mem::replace(&mut crowd.active[place], next);
                crowd.former.push_back(former);
            }
            Visit::of(&crowd.active[place])
        })
    }

    /// Any user who is not being deleted.
    pub fn reader(&self, dice: &mut Dice) -> Option<Visit> {
        (0..TRIES).find_map(|_| Visit::of(&self.anyone(dice)))
    }

    pub fn anyone(&self, dice: &mut Dice) -> Arc<Person> {
        let crowd = self.0.lock().unwrap();
        if crowd.former.is_empty() || dice.chance(0.8) {
            Arc::clone(&crowd.active[dice.below(crowd.active.len())])
        } else {
            Arc::clone(&crowd.former[dice.below(crowd.former.len())])
        }
    }

    /// Whom to delete: the oldest of too many former users, or anyone.
    pub fn leaver(&self, dice: &mut Dice) -> Arc<Person> {
        let mut crowd = self.0.lock().unwrap();
        if crowd.former.len() > KEPT
            && let Some(oldest) = crowd.former.pop_front()
        {
            return oldest;
        }
        drop(crowd);
        self.anyone(dice)
    }

    /// Ids of some users.
    pub fn some(&self, count: usize, dice: &mut Dice) -> Vec<String> {
        (0..count).map(|_| self.anyone(dice).id.clone()).collect()
    }

    /// All that there ever were.
    pub fn all(&self) -> Vec<Arc<Person>> {
        self.0.lock().unwrap().all.clone()
    }
}
