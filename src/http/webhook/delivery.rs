//! A delivery: its elements become events, which are ingested as a batch of the API
//! would be.

use std::sync::Arc;

use http::{HeaderMap, Request, header::CONTENT_TYPE};
use tonic::body::Body;

use crate::{
    api::{
        error::ApiError,
        limits::Limits,
        parse::{self, UncheckedEvent},
    },
    blocking::{self, LONG_BYTES},
    domain::event::StoredEvent,
    edge::{
        access::Caller,
        body::read,
        deadline::{CallTime, STORE_SHARE},
        load::Account,
        refusal::Refusal,
    },
    engine::Engine,
    http::webhook::{
        body::{self, Encoding},
        element::{Element, MergeIds, SkipReason},
        elements::elements,
        error::WebhookError,
        item_ids,
        json_cost::json_cost,
        mapping, merges,
        report::{DeliveryReport, ElementId, ReportJson},
    },
    ports::Deadline,
    telemetry::meters::{self, EventOutcome},
};

/// Largest delivery, in batches of the API.
const MAX_BATCHES: usize = 10;
/// Most values of an element. An event is stored in at most 64 KiB, with 1,000
/// impressions.
const MAX_VALUES: usize = 20_000;
/// An element is held as its JSON, as its answers, and as its event.
const FORMS: usize = 3;

/// Ingests a delivery and reports on every element.
pub(crate) async fn ingest(
    request: Request<Body>,
    limits: Arc<Limits>,
    merges_users: bool,
) -> Result<ReportJson, WebhookError> {
    let extensions = request.extensions();
    let caller = Caller::of(extensions)?;
    let deadline = CallTime::share(extensions, STORE_SHARE);
    let account = Account::of(extensions);
    let headers = request.headers();
    if !is_json(headers) {
        return Err(WebhookError::NotJson);
    }
    let encoding = Encoding::of(headers)?;
    let max = limits.max_request_bytes;
    let compressed = read(request.into_body(), max, account.as_ref()).await?;

    let is_long = encoding == Encoding::Gzip || compressed.len() >= LONG_BYTES;
    let body = run(is_long, || {
        body::decompress(compressed, encoding, max, account.as_ref())
    })?;
    let max_elements = limits.max_batch_events * MAX_BATCHES;
    let elements = run(is_long, || elements(&body, max_elements));
    let elements = elements.map_err(WebhookError::Delivery)?;
    caller.take_events(elements.len())?;
    let mut report = DeliveryReport::new(elements.len());
    // Batch by batch, so that only the events of one are in memory.
    let (mut next, mut is_reachable) = (0, true);
    while next < elements.len() {
        let mut reading = Reading {
            caller: &caller,
            account: account.as_ref(),
            max_events: limits.max_batch_events,
            merges_users,
            report: &mut report,
            events: Vec::new(),
            merges: Vec::new(),
            reserved: 0,
        };
        next = run(is_long, || reading.read(&elements, next));
        let Reading {
            mut events,
            merges,
            reserved,
            ..
        } = reading;
        let of_items = events.iter_mut().map(|(_, event)| event);
        item_ids::resolve(of_items, &caller.engine, deadline, &mut is_reachable).await;
        let valid = validate(events, &caller.engine, &limits, &mut report).await?;
        store(valid, &caller.engine, deadline, &mut report).await?;
        // After all events of the batch, so that those are merged, too.
        let engine = &caller.engine;
        merges::merge(merges, merges_users, engine, &limits, deadline, &mut report).await;
        if let Some(account) = &account {
            account.release(reserved);
        }
    }
    Ok(report.finish())
}

/// Runs a computation, outside of the runtime's own threads if it is long.
fn run<T>(is_long: bool, compute: impl FnOnce() -> T) -> T {
    if is_long {
        blocking::in_place(compute)
    } else {
        compute()
    }
}

/// A page of another site cannot send this content type without a preflight.
fn is_json(headers: &HeaderMap) -> bool {
    let given = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = given.unwrap_or_default().split(';').next();
    let essence = essence.unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// Reads the elements of a batch.
struct Reading<'a> {
    caller: &'a Caller,
    account: Option<&'a Account>,
    /// A batch ends with the element that has the last of so many events.
    max_events: usize,
    merges_users: bool,
    report: &'a mut DeliveryReport,
    events: Vec<(ElementId, UncheckedEvent)>,
    merges: Vec<(ElementId, MergeIds)>,
    /// Bytes that are reserved for the events.
    reserved: usize,
}

impl Reading<'_> {
    /// Reads elements from the index `first` on. Reserves the memory of each before it is
    /// parsed. Returns the index of the next batch.
    fn read(&mut self, elements: &[&str], first: usize) -> usize {
        let last = elements.len().min(first + self.max_events);
        for (index, element) in elements.iter().enumerate().take(last).skip(first) {
            if self.events.len() >= self.max_events {
                return index;
            }
            let cost = json_cost(element);
            if cost.values > MAX_VALUES {
                let rule = format!("has more than {MAX_VALUES} values");
                self.report
                    .skipped(ElementId::without_id(index), &SkipReason::Unreadable(rule));
                continue;
            }
            if let Err(refusal) = self.reserve(FORMS * cost.bytes) {
                self.refused(ElementId::without_id(index), refusal);
                continue;
            }
            let is_event = self.read_one(element, index);
            // Of its forms, an event keeps one.
            let kept = if is_event { cost.bytes } else { 0 };
            self.reserved += kept;
            if let Some(account) = self.account {
                account.release(FORMS * cost.bytes - kept);
            }
        }
        last
    }

    /// Reads an element. Returns whether it is kept.
    fn read_one(&mut self, element: &str, index: usize) -> bool {
        let Element { message_id, mapped } = mapping::read(element);
        let id = ElementId { index, message_id };
        let mut mapped = match mapped {
            Ok(mapped) => mapped,
            Err(reason) => {
                self.report.skipped(id, &reason);
                return false;
            }
        };
        // The memory and the quota of its first event are taken already.
        let copies = mapped.copies_bytes();
        if copies > 0 {
            let more = mapped.events() - 1;
            if let Err(refusal) = self.reserve(copies) {
                self.refused(id, refusal);
                return false;
            }
            if let Err(refusal) = self.caller.take_events(more) {
                if let Some(account) = self.account {
                    account.release(copies);
                }
                self.refused(id, refusal);
                return false;
            }
            self.reserved += copies;
        }
        if let Some(event) = &mut mapped.event {
            event.anonymous &= self.merges_users;
        }
        if let Some(merge) = mapped.merge.take() {
            self.merges.push((id.clone(), merge));
        }
        for event in mapped.into_events() {
            self.events.push((id.clone(), event));
        }
        true
    }

    fn reserve(&self, bytes: usize) -> Result<(), Refusal> {
        self.account
            .map_or(Ok(()), |account| account.reserve(bytes))
    }

    /// Records an element for which there is no memory or no quota.
    fn refused(&mut self, id: ElementId, refusal: Refusal) {
        let is_final = matches!(
            refusal,
            Refusal::TooMuchMemory { .. } | Refusal::OverQuota { wait: None }
        );
        if is_final {
            // Another try would end in the same way.
            self.report.invalid(id, refusal.into());
        } else {
            self.report.failed(id, refusal.into());
        }
    }
}

/// The valid ones of these events.
async fn validate(
    events: Vec<(ElementId, UncheckedEvent)>,
    engine: &Engine,
    limits: &Limits,
    report: &mut DeliveryReport,
) -> Result<Vec<(ElementId, StoredEvent)>, WebhookError> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let now = engine.now().await.map_err(ApiError::from)?;
    let mut valid = Vec::with_capacity(events.len());
    for (id, event) in events {
        match parse::validate(event, "event", now, limits) {
            Ok(event) => valid.push((id, event)),
            Err(error) => {
                meters::events(EventOutcome::Invalid, 1);
                report.invalid(id, error);
            }
        }
    }
    Ok(valid)
}

/// Ingests the events of a batch.
async fn store(
    events: Vec<(ElementId, StoredEvent)>,
    engine: &Engine,
    deadline: Deadline,
    report: &mut DeliveryReport,
) -> Result<(), WebhookError> {
    if events.is_empty() {
        return Ok(());
    }
    let (ids, events): (Vec<ElementId>, Vec<StoredEvent>) = events.into_iter().unzip();
    let results = engine.receive_batch(events, deadline).await;
    for (id, result) in ids.into_iter().zip(results.map_err(ApiError::from)?) {
        report.received(id, result);
    }
    Ok(())
}
