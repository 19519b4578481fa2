//! Attributes events to the lists that they result from.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::{
    arm::{Arm, ArmResult},
    arms::Arms,
    counted::CountedKeys,
};
use crate::domain::{
    event::InteractionEvent,
    experiments::{RequestIdKeys, SignedId},
    ids::{ContentId, UserId},
    meaning::EventMeaning,
    ranking_config::RankingConfig,
    time::Timestamp,
};

/// The placements and variants of a ranking file, with what was counted of them.
pub(crate) struct Experiments {
    arms: Arms,
    /// Without them, lists have plain ids, and no event is attributed.
    keys: Option<RequestIdKeys>,
    counted: CountedKeys,
}

/// The list that an event may result from.
#[derive(Clone, Debug)]
pub(crate) struct Attribution {
    list: SignedId,
    event_time: Timestamp,
    item: Option<ContentId>,
}

impl Experiments {
    pub(crate) fn new(config: &RankingConfig, keys: Option<RequestIdKeys>) -> Self {
        let arms = Arms::new(config);
        for arm in arms.all() {
            arm.start_series();
        }
        Self {
            arms,
            keys,
            counted: CountedKeys::default(),
        }
    }

    pub(crate) fn placements(&self) -> impl Iterator<Item = &Arc<str>> {
        self.arms.placements()
    }

    /// How a list is made.
    pub(crate) fn arm(&self, placement: Option<&str>, user: Option<&UserId>) -> &Arc<Arm> {
        self.arms.of(placement, user)
    }

    /// Counts a list.
    pub(crate) fn count_list(&self, arm: &Arm, items: usize) {
        if arm.is_counted() {
            arm.count_list(items);
        }
    }

    /// Whether lists of an arm have a signed id.
    pub(crate) fn signs(&self, arm: &Arm) -> bool {
        self.keys.is_some() && arm.is_counted()
    }

    /// The id of a list that is made now; `None` if lists of this arm have a plain id.
    pub(crate) fn signed_id<'a>(
        &self,
        arm: &Arm,
        user: Option<&UserId>,
        items: impl Iterator<Item = &'a ContentId>,
        now: Timestamp,
        nonce: u64,
    ) -> Option<String> {
        let keys = self.keys.as_ref().filter(|_| self.signs(arm))?;
        keys.sign(&SignedId::new(arm.id()?, now, nonce, items), user)
    }

    /// The list that an event sends back; `None` if its `request_id` has no valid
    /// signature for the event's user, or the event's item was not in the list.
    pub(crate) fn attribution(&self, event: &InteractionEvent) -> Option<Attribution> {
        let keys = self.keys.as_ref()?;
        let list = keys.verify(event.request_id.as_deref()?, &event.user_id)?;
        let item = event.content_id.clone();
        let is_listed = item.as_ref().is_none_or(|item| list.has(item));
        is_listed.then_some(Attribution {
            list,
            event_time: event.time,
            item,
        })
    }

    /// Counts an accepted event, unless it is too late, or its list's item was counted
    /// with this meaning.
    pub(crate) fn count_event(
        &self,
        attribution: &Attribution,
        meaning: EventMeaning,
        now: Timestamp,
    ) {
        let Attribution {
            list,
            event_time,
            item,
        } = attribution;
        if list.can_lead_to(*event_time, now) && self.counted.add(key(list, item, meaning)) {
            self.arms.with_id(list.arm).count_event(meaning);
        }
    }

    pub(crate) fn results(&self) -> Vec<ArmResult> {
        self.arms.all().filter_map(|arm| arm.result()).collect()
    }

    pub(crate) fn attributes(&self) -> bool {
        self.keys.is_some()
    }
}

/// Of an item of a list with a meaning.
fn key(list: &SignedId, item: &Option<ContentId>, meaning: EventMeaning) -> u64 {
    let item = item.as_ref().map_or("", ContentId::as_str);
    let text = [
        &list.nonce.to_be_bytes(),
        meaning.as_str().as_bytes(),
        &[0],
        item.as_bytes(),
    ];
    xxh3_64(&text.concat())
}
