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
    blocking,
    domain::event::StoredEvent,
    edge::{
        access::Caller,
        deadline::{CallTime, STORE_SHARE},
        load::Account,
    },
    engine::Engine,
    http::webhook::{
        body::{self, Encoding},
        elements::elements,
        error::WebhookError,
        mapping::{self, Element, SkipReason},
        report::{DeliveryReport, ElementId},
    },
    ports::Deadline,
    telemetry::meters::{self, EventOutcome, WebhookOutcome},
};

/// Largest delivery, in batches of the API.
const MAX_BATCHES: usize = 10;
/// Bodies of at least this size are parsed outside of the runtime's own threads.
const LONG_BYTES: usize = 64 << 10;

/// Ingests a delivery and reports on every element that was not stored.
pub(crate) async fn ingest(
    request: Request<Body>,
    limits: Arc<Limits>,
) -> Result<DeliveryReport, WebhookError> {
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
    let compressed = body::read(request.into_body(), max).await?;

    let is_long = encoding == Encoding::Gzip || compressed.len() >= LONG_BYTES;
    let parse = || {
        let body = body::decompress(compressed, encoding, max, account.as_ref())?;
        read(&body, limits.max_batch_events * MAX_BATCHES)
    };
    let (mut report, events) = if is_long {
        blocking::in_place(parse)
    } else {
        parse()
    }?;
    caller.take_events(report.counts.received)?;
    let valid = validate(events, &caller.engine, &limits, &mut report).await?;
    store(valid, &caller.engine, &limits, deadline, &mut report).await?;
    Ok(report.sorted())
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

/// The events of a body with at most `max` elements.
fn read(
    body: &[u8],
    max: usize,
) -> Result<(DeliveryReport, Vec<(ElementId, UncheckedEvent)>), WebhookError> {
    let elements = elements(body, max).map_err(WebhookError::Delivery)?;
    let mut report = DeliveryReport::new(elements.len());
    let mut events = Vec::new();
    for (index, element) in elements.into_iter().enumerate() {
        let Element { message_id, event } = mapping::read(element);
        meters::webhook_element(match &event {
            Ok(_) => WebhookOutcome::Mapped,
            Err(SkipReason::NoUser) => WebhookOutcome::NoUser,
            Err(SkipReason::OtherType) => WebhookOutcome::OtherType,
            Err(SkipReason::Unreadable(_)) => WebhookOutcome::Unreadable,
        });
        let id = ElementId { index, message_id };
        match event {
            Ok(event) => events.push((id, event)),
            Err(reason) => report.skipped(id, &reason),
        }
    }
    Ok((report, events))
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

/// Ingests events in batches of the API's size.
async fn store(
    events: Vec<(ElementId, StoredEvent)>,
    engine: &Engine,
    limits: &Limits,
    deadline: Deadline,
    report: &mut DeliveryReport,
) -> Result<(), WebhookError> {
    let mut events = events.into_iter().peekable();
    while events.peek().is_some() {
        let (ids, batch): (Vec<ElementId>, Vec<StoredEvent>) =
            events.by_ref().take(limits.max_batch_events).unzip();
        let results = engine.receive_batch(batch, deadline).await;
        for (id, result) in ids.into_iter().zip(results.map_err(ApiError::from)?) {
            report.received(id, result);
        }
    }
    Ok(())
}
