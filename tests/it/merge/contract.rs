//! The contracts of what a merge calls, for every store.

use std::time::Duration;

use recsys::{
    domain::user_signals::UserSignals,
    ports::{
        AppendOutcome, ListSlot, ModelSlot, ObservedBuffer, SaveOutcome, StoredList, StoredModel,
        Version, WaitingCaller, WriteOutcome,
    },
};

use super::{Stores, engine, id, ingest, merge};

impl Stores {
    async fn append(&self, user: &str, item: &str) -> (AppendOutcome, Version) {
        let events = [self.like(user, item, 5)];
        let caller = WaitingCaller::without_deadline();
        let appended = self.ports.events.append(&id(user), &events, &caller).await;
        let appended = appended.unwrap();
        (appended.outcomes[0], appended.version.unwrap())
    }

    async fn observe(&self, user: &str) -> ObservedBuffer {
        self.ports.events.observe(&id(user)).await.unwrap()
    }

    async fn remove(&self, user: &str, copied: &ObservedBuffer, floor: u64) -> Option<Version> {
        let events = &self.ports.events;
        let user = id(user);
        let removed = events.remove_copied(&user, copied, Version(floor));
        removed.await.unwrap()
    }

    fn model(&self, user: &str, version: Version) -> StoredModel {
        let mut signals = UserSignals::empty(id(user));
        signals.built_at = Some(self.now);
        StoredModel {
            version,
            ranking: None,
            incomplete: false,
            signals: signals.into(),
        }
    }

    async fn save(&self, user: &str, version: Version) -> SaveOutcome {
        let model = self.model(user, version);
        let models = &self.ports.models;
        models
            .save(&id(user), &model, None, self.now)
            .await
            .unwrap()
    }

    async fn save_list(&self, user: &str, version: Version) -> WriteOutcome {
        let list = StoredList::new((version, Some(self.now)), &Default::default());
        let associations = &self.ports.associations;
        let user = id(user);
        let saved = associations.save_list(&user, &list, None, None, self.now);
        saved.await.unwrap().outcome
    }
}

#[tokio::test]
async fn copied_events_are_removed_only_if_they_are_still_those_that_were_observed() {
    for stores in Stores::all().await {
        let name = stores.name;
        let nothing = stores.observe("u").await;
        assert_eq!((nothing.version, nothing.events), (None, 0), "{name}");
        stores.append("u", "a").await;
        let one = stores.observe("u").await;
        assert_eq!(one.events, 1, "{name}");
        let (_, version) = stores.append("u", "b").await;
        assert_eq!(stores.remove("u", &one, 0).await, None, "{name}");
        assert_eq!(stores.remove("u", &nothing, 0).await, None, "{name}");
        let two = stores.observe("u").await;
        assert_eq!((two.version, two.events), (Some(version), 2), "{name}");
        let removed = stores.remove("u", &two, 0).await.unwrap();
        assert!(removed > version, "{name}");
        let left = stores.observe("u").await;
        assert_eq!((left.version, left.events), (None, 0), "{name}");
        assert_eq!(stores.remove("u", &two, 0).await, None, "{name}");
        // Also if there is nothing left, with a higher version each time.
        let floor = removed.0 + 1_000_000;
        let again = stores.remove("u", &left, floor).await.unwrap();
        assert!(again.0 > floor, "{name}");
        assert!(stores.events("u").await.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn an_append_after_a_merge_is_not_refused_and_takes_a_higher_version() {
    for stores in Stores::all().await {
        let name = stores.name;
        stores.append("u", "a").await;
        let copied = stores.observe("u").await;
        let removed = stores.remove("u", &copied, 0).await.unwrap();
        let (outcome, version) = stores.append("u", "b").await;
        assert_eq!(outcome, AppendOutcome::Accepted, "{name}");
        assert!(version > removed, "{name}");
        assert_eq!(stores.observe("u").await.events, 1, "{name}");
    }
}

#[tokio::test]
async fn what_was_observed_before_an_erasure_is_not_removed_and_the_erasure_still_counts() {
    for stores in [Stores::redis().await, Stores::cluster().await] {
        let name = stores.name;
        let before = stores.observe("u").await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        let events = &stores.ports.events;
        let start = events.begin_erasure(&id("u")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
        let erasure = events.erase(&id("u"), start.read_at, Version(0)).await;
        let erasure = erasure.unwrap().unwrap();
        assert_eq!(stores.remove("u", &before, 0).await, None, "{name}");
        let after = stores.observe("u").await;
        let version = stores.remove("u", &after, 0).await.unwrap();
        assert!(version > erasure.version, "{name}");
        // The marker has the erasure's time: an erasure that read before it is refused.
        let late = events.erase(&id("u"), start.read_at, Version(0)).await;
        assert_eq!(late.unwrap(), None, "{name}");
    }
}

#[tokio::test]
async fn a_model_of_copied_events_is_removed_and_not_saved_again() {
    for stores in Stores::all().await {
        let (name, models, user) = (stores.name, &stores.ports.models, id("u"));
        let read_at = stores.now;
        for version in [5, 7] {
            assert_eq!(stores.save("u", Version(version)).await, SaveOutcome::Saved);
            let removed = models.remove_copied(&user, Version(version + 1), read_at);
            assert!(removed.await.unwrap(), "{name}");
            let slot = models.load(&user).await.unwrap();
            assert_eq!(slot, ModelSlot::Erased(Version(version + 1)), "{name}");
            let saved = stores.save("u", Version(version + 1)).await;
            assert_eq!(saved, SaveOutcome::Superseded, "{name}");
        }
        // Of later events.
        assert_eq!(
            stores.save("u", Version(9)).await,
            SaveOutcome::Saved,
            "{name}"
        );
        let removed = models.remove_copied(&user, Version(8), read_at).await;
        assert!(removed.unwrap(), "{name}");
        let slot = models.load(&user).await.unwrap();
        assert!(matches!(slot, ModelSlot::Present(_)), "{name}: {slot:?}");
        let late = models.remove_copied(&user, Version(99), read_at.minus(Duration::from_secs(31)));
        assert!(!late.await.unwrap(), "{name}");
        assert!(matches!(
            models.load(&user).await.unwrap(),
            ModelSlot::Present(_)
        ));
    }
}

#[tokio::test]
async fn an_erasure_and_a_merge_leave_the_higher_version_and_the_time_of_the_erasure() {
    for stores in Stores::all().await {
        let (name, events, models) = (stores.name, &stores.ports.events, &stores.ports.models);
        let start = events.begin_erasure(&id("u")).await.unwrap();
        let erasure = events.erase(&id("u"), start.read_at, Version(0)).await;
        let erasure = erasure.unwrap().unwrap();
        let higher = Version(erasure.version.0 + 10);
        let merged = models.remove_copied(&id("u"), higher, start.read_at).await;
        assert!(merged.unwrap(), "{name}");
        let erased = models.erase(&id("u"), &erasure, start.read_at).await;
        assert_eq!(erased.unwrap(), Some(false), "{name}");
        assert_eq!(
            models.load(&id("u")).await.unwrap(),
            ModelSlot::Erased(higher),
            "{name}"
        );
        if name == "memory" {
            // Its clock stands still: nothing is before the erasure.
            continue;
        }
        let before = start.read_at.minus(Duration::from_micros(1));
        let late = models
            .remove_copied(&id("u"), Version(higher.0 + 1), before)
            .await;
        assert!(!late.unwrap(), "{name}: before the erasure");
    }
}

#[tokio::test]
async fn a_list_of_copied_events_is_removed_and_one_of_later_events_stays() {
    for stores in Stores::all().await {
        let (name, user) = (stores.name, id("u"));
        let associations = &stores.ports.associations;
        let slot = async || {
            let slots = associations.lists(std::slice::from_ref(&user)).await;
            slots.unwrap().remove(0)
        };
        assert_eq!(
            stores.save_list("u", Version(5)).await,
            WriteOutcome::Written
        );
        let removed = associations.remove_copied_list(&user, Version(6), stores.now);
        assert!(
            removed.await.unwrap().unwrap().present().is_some(),
            "{name}"
        );
        assert_eq!(slot().await, ListSlot::Erased(Version(6)), "{name}");
        let saved = stores.save_list("u", Version(5)).await;
        assert_eq!(saved, WriteOutcome::Superseded, "{name}");
        assert_eq!(
            stores.save_list("u", Version(8)).await,
            WriteOutcome::Written
        );
        let removed = associations.remove_copied_list(&user, Version(7), stores.now);
        assert_eq!(
            removed.await.unwrap().unwrap().version(),
            Some(Version(8)),
            "{name}"
        );
        assert!(slot().await.present().is_some(), "{name}");
        let old = stores.now.minus(Duration::from_secs(31));
        let late = associations
            .remove_copied_list(&user, Version(99), old)
            .await;
        assert_eq!(late.unwrap(), None, "{name}");
    }
}

#[tokio::test]
async fn a_merge_in_the_contract_moves_events_models_and_audiences() {
    for stores in Stores::all().await {
        let (name, engine) = (stores.name, engine(stores.ports.clone()));
        for (user, item, age) in [("v", "i001", 9), ("v", "i002", 8), ("u", "i003", 7)] {
            ingest(&engine, stores.like(user, item, age)).await;
        }
        let merged = merge(&engine, "v", "u").await;
        assert_eq!((merged.moved, merged.duplicates), (2, 0), "{name}");
        assert!(stores.events("v").await.is_empty(), "{name}");
        assert_eq!(stores.events("u").await.len(), 3, "{name}");
        for item in ["i001", "i002", "i003"] {
            assert_eq!(stores.audience(item).await, ["u"], "{name} {item}");
        }
        let slots = stores.ports.associations.lists(&[id("v"), id("u")]).await;
        let slots = slots.unwrap();
        assert!(matches!(slots[0], ListSlot::Erased(_)), "{name}");
        assert_eq!(
            slots[1].present().unwrap().list().unwrap().entries().len(),
            3,
            "{name}"
        );
        let slot = stores.ports.models.load(&id("v")).await.unwrap();
        assert!(matches!(slot, ModelSlot::Erased(_)), "{name}");
    }
}
