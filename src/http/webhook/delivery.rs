//! A delivery: its elements become events, and those are ingested as a batch of
//! the API would be.

use std::sync::Arc;

use http::{HeaderMap, Request, Response, header::CONTENT_TYPE};
use serde::Serialize;
use tonic::{Code, body::Body};

use crate::{
    api::{error::ApiError, limits::Limits, parse},
    blocking,
    domain::event::StoredEvent,
    edge::{
        access::Caller,
        deadline::{CallTime, FOR_STORES},
        load::Account,
    },
    engine::{Engine, EngineError, Ingested},
    http::webhook::{
        body::{self, Packing},
        elements,
        mapping::{self, Element, Left, Said},
        reply::{self, Refusal},
    },
    ports::{AppendOutcome, Deadline},
    telemetry::meters::{self, EventOutcome, WebhookOutcome},
};

/// Batches that a delivery may have the elements of.
const MAX_BATCHES: usize = 10;
/// Bytes of a body from which on reading it is long work.
const LONG: usize = 64 << 10;
/// Bytes that are told of an element's name.
const MAX_NAME_BYTES: usize = 128;

/// What became of a delivery.
#[derive(Default, Serialize)]
pub(crate) struct Told {
    #[serde(flatten)]
    pub(crate) counts: Counts,
    /// Whether it is to be sent again.
    #[serde(skip)]
    pub(crate) again: bool,
    not_taken: Vec<NotTaken>,
}

/// Elements by what became of them.
#[derive(Default, Serialize)]
pub(crate) struct Counts {
    received: usize,
    accepted: usize,
    duplicate: usize,
    outside_window: usize,
    no_user: usize,
    other_type: usize,
    invalid: usize,
    pub(crate) failed: usize,
}

/// An element that was not taken, and why.
#[derive(Serialize)]
struct NotTaken {
    index: usize,
    #[serde(rename = "messageId")]
    message_id: Option<String>,
    outcome: &'static str,
    reason: String,
}

/// An element with its place in the delivery.
struct Placed<T> {
    index: usize,
    message_id: Option<String>,
    value: T,
}

/// Takes a delivery. With every element comes what became of it.
pub(crate) async fn take(
    request: Request<Body>,
    limits: Arc<Limits>,
) -> Result<Response<Body>, Refusal> {
    let extensions = request.extensions();
    let caller = extensions.get::<Caller>().cloned();
    let caller = caller.ok_or_else(|| refused(ApiError::bug()))?;
    let deadline = CallTime::share(extensions, FOR_STORES);
    let account = Account::of(extensions);
    let headers = request.headers();
    if !is_json(headers) {
        return Err(Refusal::Type);
    }
    let packing = Packing::of(headers)?;
    let most = limits.max_request_bytes;
    let packed = body::read(request.into_body(), most).await?;

    let long = packing == Packing::Gzip || packed.len() >= LONG;
    let read = || {
        let unpacked = body::unpack(packed, packing, most, account.as_ref())?;
        read(&unpacked, limits.max_batch_events * MAX_BATCHES)
    };
    let (mut told, said) = if long {
        blocking::in_place(read)
    } else {
        read()
    }?;
    caller.send(told.counts.received).map_err(refused)?;
    let good = check(said, &caller.engine, &limits, &mut told).await?;
    ingest(good, &caller.engine, &limits, deadline, &mut told).await?;
    told.not_taken.sort_by_key(|element| element.index);
    Ok(reply::told(&told))
}

fn refused(error: ApiError) -> Refusal {
    Refusal::Status(error.into())
}

/// A page of another site can send no such request without being asked first.
fn is_json(headers: &HeaderMap) -> bool {
    let given = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = given.unwrap_or_default().split(';').next();
    let essence = essence.unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// What the elements say, apart from those that say nothing.
fn read(body: &[u8], most: usize) -> Result<(Told, Vec<Placed<Said>>), Refusal> {
    let elements = elements::elements(body, most).map_err(Refusal::Delivery)?;
    let mut told = Told::default();
    told.counts.received = elements.len();
    let mut all_said = Vec::new();
    for (index, element) in elements.into_iter().enumerate() {
        let Element { message_id, said } = mapping::read(element);
        meters::webhook_element(match &said {
            Ok(_) => WebhookOutcome::Mapped,
            Err(Left::NoUser) => WebhookOutcome::NoUser,
            Err(Left::OtherType) => WebhookOutcome::OtherType,
            Err(Left::Unreadable(_)) => WebhookOutcome::Unreadable,
        });
        match said {
            Ok(value) => all_said.push(Placed {
                index,
                message_id,
                value,
            }),
            Err(left) => {
                let (count, outcome) = match &left {
                    Left::NoUser => (&mut told.counts.no_user, "no_user"),
                    Left::OtherType => (&mut told.counts.other_type, "other_type"),
                    Left::Unreadable(_) => (&mut told.counts.invalid, "invalid"),
                };
                *count += 1;
                told.leave(index, message_id, outcome, left.to_string());
            }
        }
    }
    Ok((told, all_said))
}

/// Those that keep the API's rules.
async fn check(
    said: Vec<Placed<Said>>,
    engine: &Engine,
    limits: &Limits,
    told: &mut Told,
) -> Result<Vec<Placed<StoredEvent>>, Refusal> {
    if said.is_empty() {
        return Ok(Vec::new());
    }
    let now = engine.now().await;
    let now = now.map_err(|error| refused(error.into()))?;
    let mut good = Vec::with_capacity(said.len());
    for element in said {
        let (index, message_id) = (element.index, element.message_id);
        match parse::said(element.value, "event", now, limits) {
            Ok(value) => good.push(Placed {
                index,
                message_id,
                value,
            }),
            Err(error) => {
                meters::events(EventOutcome::Invalid, 1);
                told.counts.invalid += 1;
                told.leave(index, message_id, "invalid", error.into_detail().message);
            }
        }
    }
    Ok(good)
}

async fn ingest(
    good: Vec<Placed<StoredEvent>>,
    engine: &Engine,
    limits: &Limits,
    deadline: Deadline,
    told: &mut Told,
) -> Result<(), Refusal> {
    let mut good = good.into_iter().peekable();
    while good.peek().is_some() {
        let mut names = Vec::new();
        let batch: Vec<StoredEvent> = good
            .by_ref()
            .take(limits.max_batch_events)
            .map(|element| {
                names.push((element.index, element.message_id));
                element.value
            })
            .collect();
        let results = engine.ingest_batch(batch, deadline).await;
        let results = results.map_err(|error| refused(error.into()))?;
        for ((index, message_id), result) in names.into_iter().zip(results) {
            told.settle(index, message_id, result);
        }
    }
    Ok(())
}

impl Told {
    fn settle(
        &mut self,
        index: usize,
        message_id: Option<String>,
        result: Result<Ingested, EngineError>,
    ) {
        let counts = &mut self.counts;
        match result.map(|ingested| ingested.outcome) {
            Ok(AppendOutcome::Accepted) => counts.accepted += 1,
            Ok(AppendOutcome::Duplicate) => counts.duplicate += 1,
            Ok(AppendOutcome::OutsideWindow) => {
                counts.outside_window += 1;
                let why = "is older than events are kept, or than the newest that are kept";
                self.leave(index, message_id, "outside_window", why.to_owned());
            }
            Err(error) => {
                counts.failed += 1;
                let detail = ApiError::from(error).into_detail();
                // What is a bug of ours would be one again.
                self.again |= Code::from_i32(detail.code) != Code::Internal;
                self.leave(index, message_id, "failed", detail.message);
            }
        }
    }

    fn leave(
        &mut self,
        index: usize,
        message_id: Option<String>,
        outcome: &'static str,
        reason: String,
    ) {
        let message_id = message_id.map(|mut id| {
            id.truncate(id.floor_char_boundary(MAX_NAME_BYTES));
            id
        });
        self.not_taken.push(NotTaken {
            index,
            message_id,
            outcome,
            reason,
        });
    }
}
