//! What one call occupies.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Extensions;
use tokio_util::sync::CancellationToken;

use crate::{
    edge::{
        connections::{Connection, OpenStream, PendingReply},
        load::budget::{Load, overloaded},
        refusal::{BoxError, Protocol, Refusal},
    },
    telemetry::meters::Shed,
};

/// What a call occupies in addition to its messages.
const CALL_BYTES: usize = 4 << 10;
/// Most bytes that a stream may keep allocated while it is idle.
const MAX_IDLE_BYTES: usize = 64 << 10;
/// How often a stream's request that found no permit tries again.
const PERMIT_RETRY: Duration = Duration::from_millis(20);

/// A call and what it occupies, which is released when this is dropped.
pub(crate) struct OpenCall {
    load: Arc<Load>,
    connection: Option<Arc<Connection>>,
    _stream: Option<OpenStream>,
    /// Whether requests and replies alternate on it.
    pub(crate) is_stream: bool,
    protocol: &'static dyn Protocol,
    bytes: AtomicUsize,
    /// Bytes of the largest request of a stream so far: its buffer has that size.
    largest_request: AtomicUsize,
    in_flight: AtomicBool,
}

/// Allows a stream's request to be worked on; returned when this is dropped.
pub(crate) struct Permit<'a>(&'a OpenCall);

impl OpenCall {
    /// A call that starts now.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`].
    pub(crate) fn start(
        load: &Arc<Load>,
        connection: Option<Arc<Connection>>,
        stream: Option<OpenStream>,
        is_stream: bool,
        protocol: &'static dyn Protocol,
    ) -> Result<Arc<Self>, Refusal> {
        if let Some(limit) = load.full() {
            return Err(overloaded(limit));
        }
        let call = Self {
            load: Arc::clone(load),
            connection,
            _stream: stream,
            is_stream,
            protocol,
            bytes: AtomicUsize::new(0),
            largest_request: AtomicUsize::new(0),
            in_flight: AtomicBool::new(false),
        };
        call.hold(CALL_BYTES).map_err(overloaded)?;
        Ok(Arc::new(call))
    }

    /// Cancelled when a stream must end.
    pub(crate) fn closing(&self) -> CancellationToken {
        let connection = self.connection.as_ref();
        connection.map_or_else(CancellationToken::new, |connection| {
            connection.closing.clone()
        })
    }

    /// Waits for a permit to work on a stream's request.
    pub(crate) async fn permit(&self) -> Permit<'_> {
        while self.start_work().is_err() {
            tokio::time::sleep(PERMIT_RETRY).await;
        }
        Permit(self)
    }

    /// Whether a part of a stream's next request has arrived.
    pub(crate) fn has_partial_request(&self) -> bool {
        let idle = CALL_BYTES + self.largest_request.load(Ordering::Relaxed);
        self.bytes.load(Ordering::Relaxed) > idle
    }

    /// Releases a stream's request. The size of the largest one stays counted: the
    /// stream's buffer does not shrink.
    pub(crate) fn release_request(&self) {
        let held = self.bytes.load(Ordering::Relaxed);
        let largest = self.largest_request.load(Ordering::Relaxed);
        let request = held.saturating_sub(CALL_BYTES + largest);
        let largest = largest.max(request);
        self.largest_request.store(largest, Ordering::Relaxed);
        self.bytes.store(CALL_BYTES + largest, Ordering::Relaxed);
        self.load.release(held.saturating_sub(CALL_BYTES + largest));
    }

    /// Whether the stream keeps so much memory that it must not be idle.
    pub(crate) fn is_large(&self) -> bool {
        self.largest_request.load(Ordering::Relaxed) > MAX_IDLE_BYTES
    }

    pub(crate) fn hold(&self, bytes: usize) -> Result<(), Shed> {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.load.hold(bytes)
    }

    /// The call counts as in flight from now on: its request is complete.
    pub(crate) fn start_work(&self) -> Result<(), Shed> {
        if !self.in_flight.load(Ordering::Relaxed) {
            self.load.start_call()?;
            self.in_flight.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(crate) fn end_work(&self) {
        if self.in_flight.swap(false, Ordering::Relaxed) {
            self.load.end_call();
        }
    }

    /// Marks a reply as sent but not read yet.
    pub(crate) fn pending_reply(&self) -> Option<PendingReply> {
        self.connection.as_ref().map(Connection::reply)
    }

    /// The error that a request's body ends with if there is no room for the rest.
    pub(crate) fn body_error(&self, limit: Shed) -> BoxError {
        self.protocol.body_error(overloaded(limit))
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.end_work();
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.end_work();
        self.load.release(self.bytes.load(Ordering::Relaxed));
    }
}

/// A call's account of bytes, for memory that a handler needs in addition to the
/// messages: an extension of its request.
#[derive(Clone)]
pub(crate) struct Account(pub(crate) Arc<OpenCall>);

impl Account {
    /// The account of a request with these extensions, if it has one.
    pub(crate) fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get::<Self>().cloned()
    }

    /// Adds bytes until the call has ended.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`].
    pub(crate) fn hold(&self, bytes: usize) -> Result<(), Refusal> {
        self.0.hold(bytes).map_err(overloaded)
    }
}
