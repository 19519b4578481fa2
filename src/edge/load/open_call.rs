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
        budget::{Load, Share, overloaded},
        connections::{Connection, OpenStream, PendingReply},
        refusal::{BoxError, Protocol, Refusal},
    },
    telemetry::meters::{self, Shed},
};

/// What a call occupies in addition to its messages.
const CALL_BYTES: usize = 4 << 10;
/// Most bytes that a stream may keep allocated while it is idle.
const MAX_IDLE_BYTES: usize = 64 << 10;
/// How often a stream's request that found no permit tries again.
const PERMIT_RETRY: Duration = Duration::from_millis(20);

/// Which of its messages a call streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Streams {
    None,
    /// One request has many replies.
    Replies,
    /// Requests and replies alternate.
    Both,
}

/// A call and what it occupies, which is released when this is dropped.
pub(crate) struct OpenCall {
    load: Arc<Load>,
    /// The share of the caller; `None`: there are no tenants.
    share: Option<Arc<Share>>,
    connection: Option<Arc<Connection>>,
    _stream: Option<OpenStream>,
    pub(crate) streams: Streams,
    protocol: &'static dyn Protocol,
    bytes: AtomicUsize,
    /// Those of `bytes` that were reserved for what is made of a request.
    reserved: AtomicUsize,
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
        share: Option<Arc<Share>>,
        connection: Option<Arc<Connection>>,
        stream: Option<OpenStream>,
        streams: Streams,
        protocol: &'static dyn Protocol,
    ) -> Result<Arc<Self>, Refusal> {
        if let Some(limit) = load.full() {
            return Err(overloaded(limit));
        }
        let call = Self {
            load: Arc::clone(load),
            share,
            connection,
            _stream: stream,
            streams,
            protocol,
            bytes: AtomicUsize::new(0),
            reserved: AtomicUsize::new(0),
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

    /// Releases a stream's request and all that was reserved for it. The size of the
    /// largest request stays counted: the stream's buffer does not shrink.
    pub(crate) fn release_request(&self) {
        self.release(self.reserved.load(Ordering::Relaxed));
        let held = self.bytes.load(Ordering::Relaxed);
        let largest = self.largest_request.load(Ordering::Relaxed);
        let request = held.saturating_sub(CALL_BYTES + largest);
        let largest = largest.max(request);
        self.largest_request.store(largest, Ordering::Relaxed);
        self.bytes.store(CALL_BYTES + largest, Ordering::Relaxed);
        self.load
            .release(self.share(), held.saturating_sub(CALL_BYTES + largest));
    }

    /// Whether the stream keeps so much memory that it must not be idle.
    pub(crate) fn is_large(&self) -> bool {
        self.largest_request.load(Ordering::Relaxed) > MAX_IDLE_BYTES
    }

    fn share(&self) -> Option<&Share> {
        self.share.as_deref()
    }

    /// Counts bytes of a message.
    pub(crate) fn hold(&self, bytes: usize) -> Result<(), Shed> {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.load.hold(self.share(), bytes)
    }

    /// Counts bytes that will be allocated.
    ///
    /// # Errors
    /// [`Refusal`]; then nothing is counted.
    fn reserve(&self, bytes: usize) -> Result<(), Refusal> {
        let max = self.load.max_reservation(self.share());
        if bytes > max {
            meters::shed(Shed::Bytes);
            return Err(Refusal::TooMuchMemory { bytes, max });
        }
        self.load.reserve(self.share(), bytes).map_err(overloaded)?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Releases bytes that were reserved.
    fn release(&self, bytes: usize) {
        self.reserved.fetch_sub(bytes, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.load.release(self.share(), bytes);
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

    /// Counts bytes of a reply until they are written to the socket.
    pub(crate) fn send(&self, bytes: usize) {
        if let Some(connection) = &self.connection {
            // These exist already: only later calls are refused.
            let _ = connection.send(bytes, &self.load, self.share.as_ref());
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
        self.load
            .release(self.share(), self.bytes.load(Ordering::Relaxed));
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

    /// Counts bytes that will be allocated, until the call has ended or, in a stream,
    /// until the request is answered.
    ///
    /// # Errors
    /// [`Refusal`]; then nothing is counted.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<(), Refusal> {
        self.0.reserve(bytes)
    }

    /// Releases bytes that were reserved and are freed.
    pub(crate) fn release(&self, bytes: usize) {
        self.0.release(bytes);
    }
}
