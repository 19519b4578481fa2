//! The mixed load: which calls are made, and what their answers must be.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use recsys::proto::{
    BatchIngestEventsRequest, DeleteItemsRequest, DeleteUserRequest, ErrorDetail,
    ExportUserRequest, GeoPoint, GetUserSignalsRequest, IngestEventRequest, IngestOutcome,
    InteractionEvent, ItemOutcome, RecommendRequest, TagFilter, UpsertItemsRequest,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Code, Response, Status};

use super::{
    calls::{CallStyle, Rpc},
    events,
    items::{self, ITEMS, ItemState, TYPES},
    random::Random,
    users::Visit,
    world::{Retry, World},
};

const MAX_IN_FLIGHT: usize = 1_500;
/// How long calls in flight at the end may take.
const LAST_CALLS_TIMEOUT: Duration = Duration::from_secs(100);
const RETRIES_FAILED: f64 = 0.8;
const SENDS_AGAIN: f64 = 0.1;
/// How long a deletion may fail: longer than any fault.
const DELETE_TIMEOUT: Duration = Duration::from_secs(60);
const EXCLUSIVE_TIMEOUT: Duration = Duration::from_secs(20);

const MIX: [(u32, Rpc); 8] = [
    (480, Rpc::IngestEvent),
    (40, Rpc::BatchIngestEvents),
    (120, Rpc::Recommend),
    (170, Rpc::GetUserSignals),
    (15, Rpc::ExportUser),
    (6, Rpc::DeleteUser),
    (20, Rpc::UpsertItems),
    (7, Rpc::DeleteItems),
];

/// Makes calls at an even rate until `stop`, and waits for their ends.
pub async fn run(
    world: &Arc<World>,
    rate: u32,
    mut random: Random,
    stop: &CancellationToken,
) -> Result<(), &'static str> {
    let tasks = TaskTracker::new();
    // Missed ticks are made up for.
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    let mut result = Ok(());
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if tasks.len() >= MAX_IN_FLIGHT {
            result = Err("too many calls are in flight");
            continue;
        }
        let mut caller = LoadCaller {
            world: Arc::clone(world),
            random: random.fork(),
        };
        let retry = {
            let mut retries = world.retries.lock().unwrap();
            retries.pop_front_if(|next| next.due <= Instant::now())
        };
        let rpc = *random.weighted(&MIX);
        tasks.spawn(async move {
            match retry {
                Some(retry) => caller.retry(retry).await,
                None => caller.call(rpc).await,
            };
        });
    }
    tasks.close();
    tokio::time::timeout(LAST_CALLS_TIMEOUT, tasks.wait())
        .await
        .map_err(|_| "some calls never end")
        .and(result)
}

struct LoadCaller {
    world: Arc<World>,
    random: Random,
}

impl LoadCaller {
    /// `None` if the call could not be made or failed; its end is recorded.
    async fn call(&mut self, rpc: Rpc) -> Option<()> {
        match rpc {
            Rpc::IngestEvent => self.ingest().await,
            Rpc::BatchIngestEvents => self.batch().await,
            Rpc::Recommend => self.recommend().await,
            Rpc::GetUserSignals => self.signals().await,
            Rpc::ExportUser => self.export().await,
            Rpc::DeleteUser => self.delete_user().await,
            Rpc::UpsertItems => self.upsert_items().await,
            Rpc::DeleteItems => self.delete_items().await,
        }
    }

    async fn record<T>(
        &self,
        rpc: Rpc,
        style: CallStyle,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Option<T> {
        let recorder = &self.world.recorder;
        recorder.call(&self.world.timeline, rpc, style, call).await
    }

    fn wrong(&self, what: String) {
        self.world.recorder.wrong(what);
    }

    fn style(&mut self) -> CallStyle {
        let random = &mut self.random;
        match random.below(100) {
            0..3 => {
                let deadline = random.between(500.0, 20_000.0) as u64;
                CallStyle::ShortDeadline(Duration::from_micros(deadline))
            }
            3..6 => {
                let after = random.between(0.0, 10_000.0) as u64;
                CallStyle::Cancelled(Duration::from_micros(after))
            }
            _ => CallStyle::Patient,
        }
    }

    /// A new event, or one that was sent before; the ledger knows of it.
    fn next_event(&mut self, visit: &Visit) -> (u64, InteractionEvent) {
        if self.random.chance(SENDS_AGAIN)
            && let Some((number, mut event)) = visit.recent_event(&mut self.random)
        {
            // The same event by its id alone.
            if self.random.chance(0.3) {
                event.dwell_seconds = Some(self.random.between(0.0, 100.0));
            }
            visit.sending(number, &event, false);
            return (number, event);
        }
        let number = self.world.next_event_number();
        let (event, too_old) = events::random_event(&visit.user, number, &mut self.random);
        visit.sending(number, &event, too_old);
        (number, event)
    }

    async fn ingest(&mut self) -> Option<()> {
        let visit = self.world.users.sender(&mut self.random)?;
        let (number, event) = self.next_event(&visit);
        self.send(visit, number, event).await
    }

    async fn retry(&mut self, retry: Retry) -> Option<()> {
        let visit = Visit::of(&retry.user)?;
        visit.sending(retry.number, &retry.event, false);
        self.send(visit, retry.number, retry.event).await
    }

    async fn send(&mut self, visit: Visit, number: u64, event: InteractionEvent) -> Option<()> {
        let style = self.style();
        let request = style.request(IngestEventRequest {
            event: Some(event.clone()),
        });
        let mut client = self.world.recommender();
        let reply = self.record(Rpc::IngestEvent, style, client.ingest_event(request));
        let outcome = reply.await.map(|reply| reply.outcome());
        self.answered(&visit, number, event, outcome);
        Some(())
    }

    fn answered(
        &mut self,
        visit: &Visit,
        number: u64,
        event: InteractionEvent,
        outcome: Option<IngestOutcome>,
    ) {
        if let Err(wrong) = visit.answered(number, outcome) {
            self.wrong(wrong);
        }
        if outcome.is_none() && self.random.chance(RETRIES_FAILED) {
            let delay = Duration::from_secs_f64(self.random.between(0.5, 3.0));
            self.world.retries.lock().unwrap().push_back(Retry {
                due: Instant::now() + delay,
                user: Arc::clone(&visit.user),
                number,
                event,
            });
        }
    }

    async fn batch(&mut self) -> Option<()> {
        let visits: Vec<Visit> = (0..1 + self.random.below(6))
            .filter_map(|_| self.world.users.sender(&mut self.random))
            .collect();
        let mut sent = Vec::new();
        for _ in 0..3 + self.random.below(20) {
            let visit = visits.get(self.random.below(visits.len()))?;
            let (number, event) = self.next_event(visit);
            for _ in 0..1 + usize::from(self.random.chance(0.03)) {
                sent.push((visit, number, event.clone()));
            }
        }
        let style = self.style();
        let started = Instant::now();
        let request = style.request(BatchIngestEventsRequest {
            events: sent.iter().map(|(_, _, event)| event.clone()).collect(),
        });
        let mut client = self.world.recommender();
        let call = client.batch_ingest_events(request);
        let reply = self.record(Rpc::BatchIngestEvents, style, call).await;
        let results = reply.map(|reply| reply.results).unwrap_or_default();
        if !results.is_empty() && results.len() != sent.len() {
            self.wrong(format!(
                "{} results for {} events",
                results.len(),
                sent.len()
            ));
        }
        let mut results = results.into_iter();
        for (visit, number, event) in sent {
            let result = results.next();
            let mut outcome = result.as_ref().map(|result| result.outcome());
            if outcome == Some(IngestOutcome::Rejected) {
                outcome = None;
                let error = result.and_then(|result| result.error).unwrap_or_default();
                self.world.recorder.failed(
                    &self.world.timeline,
                    Rpc::BatchIngestEvents,
                    started,
                    Code::from(error.code),
                    &error.reason,
                    &error.message,
                );
            }
            self.answered(visit, number, event, outcome);
        }
        Some(())
    }

    /// Deletes a user, and retries until it is acknowledged: what was acknowledged before
    /// must be gone then, and what comes after must stay.
    async fn delete_user(&mut self) -> Option<()> {
        let user = self.world.users.to_delete(&mut self.random);
        let exclusive = tokio::time::timeout(EXCLUSIVE_TIMEOUT, user.exclusive());
        let _exclusive = exclusive.await.ok()?;
        let stored = user.ledger.lock().unwrap().stored;
        let deadline = Instant::now() + DELETE_TIMEOUT;
        let mut is_first = true;
        while Instant::now() < deadline {
            let request = CallStyle::Patient.request(DeleteUserRequest {
                user_id: user.id.clone(),
            });
            let mut client = self.world.recommender();
            let call = client.delete_user(request);
            let reply = self.record(Rpc::DeleteUser, CallStyle::Patient, call).await;
            if let Some(reply) = reply {
                user.deleted();
                // A try that failed may have deleted all the same.
                if is_first && stored > 0 && !reply.deleted {
                    self.wrong(format!("{:?}: nothing deleted of {stored} events", user.id));
                }
                return Some(());
            }
            is_first = false;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.wrong(format!("{:?} cannot be deleted", user.id));
        None
    }

    async fn signals(&mut self) -> Option<()> {
        let visit = self.world.users.reader(&mut self.random)?;
        let stored = visit.stored();
        let style = self.style();
        let request = style.request(GetUserSignalsRequest {
            user_id: visit.user.id.clone(),
            include_vectors: self.random.chance(0.3),
        });
        let mut client = self.world.recommender();
        let call = client.get_user_signals(request);
        let reply = self.record(Rpc::GetUserSignals, style, call).await?;
        let count = reply.signals?.event_count as usize;
        if count < stored {
            let id = &visit.user.id;
            self.wrong(format!(
                "model of {id:?}: {count} events, {stored} acknowledged"
            ));
        }
        Some(())
    }

    async fn export(&mut self) -> Option<()> {
        let visit = self.world.users.reader(&mut self.random)?;
        let stored = visit.stored();
        let style = self.style();
        let request = style.request(ExportUserRequest {
            user_id: visit.user.id.clone(),
        });
        let mut client = self.world.recommender();
        let call = client.export_user(request);
        let count = self
            .record(Rpc::ExportUser, style, call)
            .await?
            .events
            .len();
        if count < stored {
            let id = &visit.user.id;
            self.wrong(format!(
                "export of {id:?}: {count} events, {stored} acknowledged"
            ));
        }
        Some(())
    }

    async fn recommend(&mut self) -> Option<()> {
        let visit = self.world.users.reader(&mut self.random)?;
        let user_id = match self.random.chance(0.05) {
            true => format!("stranger {}", self.random.next()),
            false => visit.user.id.clone(),
        };
        let (list, is_open) = self.list_request(user_id);
        let excluded: HashSet<String> = list.exclude_ids.iter().cloned().collect();
        let style = self.style();
        let started = Instant::now();
        let mut client = self.world.recommender();
        let call = client.recommend(style.request(list));
        let list = self.record(Rpc::Recommend, style, call).await?;
        let mut listed = HashSet::new();
        for item in &list.items {
            if excluded.contains(&item.content_id) || !listed.insert(&item.content_id) {
                self.wrong(format!("{} is excluded or listed twice", item.content_id));
            }
        }
        let degraded = list.diagnostics.unwrap_or_default().degraded;
        if !degraded.is_empty() {
            let recorder = &self.world.recorder;
            recorder.degraded(&self.world.timeline, started, &degraded);
        } else if is_open && list.items.is_empty() {
            self.wrong("a list without a filter is empty".to_owned());
        }
        Some(())
    }

    /// A request, and whether it admits every item.
    fn list_request(&mut self, user_id: String) -> (RecommendRequest, bool) {
        let random = &mut self.random;
        let mut list = RecommendRequest {
            user_id,
            limit: *random.pick(&[0, 3, 10, 30]),
            include_content: random.chance(0.2),
            seed: random.chance(0.3).then(|| random.below(1_000) as u32),
            ..RecommendRequest::default()
        };
        if random.chance(0.2) {
            list.exclude_ids = (0..20).map(|_| items::id(random.below(ITEMS))).collect();
        }
        let near = GeoPoint {
            latitude: 57.7,
            longitude: 11.95,
        };
        let theme = items::theme(random.below(100));
        let tag = TagFilter {
            facet: "theme".to_owned(),
            label: theme.clone(),
        };
        match random.below(10) {
            0 => list.filter = theme,
            1 => list.must = vec![tag],
            2 => list.must_not = vec![tag],
            3 => list.content_types = vec![(*random.pick(&TYPES)).to_owned()],
            4 => {
                list.near = Some(near);
                list.radius_meters = Some(random.between(500.0, 5_000.0));
            }
            5 => {
                list.near = Some(near);
                return (list, true);
            }
            _ => return (list, true),
        }
        (list, false)
    }

    /// Writes of items are neither hurried nor cancelled: one that is left alone could
    /// take effect after a later one.
    async fn upsert_items(&mut self) -> Option<()> {
        let mut locked = self.world.items.lock_some(5, &mut self.random)?;
        let items = locked.iter_mut().map(|(index, item)| {
            item.revision += 1;
            item.state = ItemState::Unknown;
            items::item(*index, item.revision)
        });
        let request = CallStyle::Patient.request(UpsertItemsRequest {
            items: items.collect(),
        });
        let started = Instant::now();
        let mut client = self.world.catalog();
        let call = client.upsert_items(request);
        let reply = self
            .record(Rpc::UpsertItems, CallStyle::Patient, call)
            .await?;
        for ((_, item), result) in locked.iter_mut().zip(reply.results) {
            if result.outcome() == ItemOutcome::Stored {
                item.state = ItemState::Revision(item.revision);
            } else {
                self.item_failed(Rpc::UpsertItems, started, result.error);
            }
        }
        Some(())
    }

    async fn delete_items(&mut self) -> Option<()> {
        let mut locked = self.world.items.lock_some(3, &mut self.random)?;
        let content_ids = locked.iter().map(|(index, _)| items::id(*index)).collect();
        let request = CallStyle::Patient.request(DeleteItemsRequest { content_ids });
        let started = Instant::now();
        let mut client = self.world.catalog();
        let call = client.delete_items(request);
        let before: Vec<ItemState> = locked
            .iter_mut()
            .map(|(_, item)| std::mem::take(&mut item.state))
            .collect();
        let reply = self
            .record(Rpc::DeleteItems, CallStyle::Patient, call)
            .await?;
        for (((index, item), before), result) in locked.iter_mut().zip(before).zip(reply.results) {
            match (result.outcome(), before) {
                (ItemOutcome::Deleted, ItemState::Deleted)
                | (ItemOutcome::NotFound, ItemState::Revision(_)) => {
                    let id = items::id(*index);
                    self.wrong(format!("{id}, {before:?}: {:?}", result.outcome()));
                }
                (ItemOutcome::Deleted | ItemOutcome::NotFound, _) => {
                    item.state = ItemState::Deleted
                }
                _ => self.item_failed(Rpc::DeleteItems, started, result.error),
            }
        }
        Some(())
    }

    fn item_failed(&self, rpc: Rpc, started: Instant, error: Option<ErrorDetail>) {
        let error = error.unwrap_or_default();
        let code = Code::from(error.code);
        let (recorder, timeline) = (&self.world.recorder, &self.world.timeline);
        recorder.failed(timeline, rpc, started, code, &error.reason, &error.message);
    }
}
