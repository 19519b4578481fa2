//! One connection, as its calls see it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

/// The client's connection preface of HTTP/2 has 24 bytes.
const PREFACE_BYTES: usize = 24;

/// A connection: an extension of each of its requests.
pub(crate) struct Connection {
    /// Cancelled when no more calls are accepted: endless streams must finish.
    pub(crate) closing: CancellationToken,
    /// Cancelled to end the connection at once.
    pub(crate) aborted: CancellationToken,
    opened: Instant,
    received_bytes: AtomicUsize,
    activity: Mutex<Activity>,
}

struct Activity {
    streams: usize,
    idle_since: Instant,
    /// Replies that the client has not read yet, with when they were sent.
    pending_replies: Vec<(usize, Instant)>,
    next_reply: usize,
}

/// An open stream of a connection; closed when this is dropped.
pub(crate) struct OpenStream(Arc<Connection>);

/// A reply that the client has not read yet; read when this is dropped.
pub(crate) struct PendingReply {
    connection: Arc<Connection>,
    number: usize,
}

impl Connection {
    pub(crate) fn new(closing: CancellationToken, aborted: CancellationToken) -> Self {
        let now = Instant::now();
        Self {
            closing,
            aborted,
            opened: now,
            received_bytes: AtomicUsize::new(0),
            activity: Mutex::new(Activity {
                streams: 0,
                idle_since: now,
                pending_replies: Vec::new(),
                next_reply: 0,
            }),
        }
    }

    fn activity(&self) -> MutexGuard<'_, Activity> {
        // Every change is a single step, so the value is consistent even after a
        // panic.
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a stream.
    pub(crate) fn stream(self: &Arc<Self>) -> OpenStream {
        self.activity().streams += 1;
        OpenStream(Arc::clone(self))
    }

    /// Marks a reply as sent but not read yet.
    pub(crate) fn reply(self: &Arc<Self>) -> PendingReply {
        let mut activity = self.activity();
        let number = activity.next_reply;
        activity.next_reply += 1;
        activity.pending_replies.push((number, Instant::now()));
        PendingReply {
            connection: Arc::clone(self),
            number,
        }
    }

    /// Counts bytes from the client, as far as the length of a preface.
    pub(crate) fn received(&self, bytes: usize) {
        if self.received_bytes.load(Ordering::Relaxed) < PREFACE_BYTES {
            self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Since when the connection has had no stream. `None`: it has one.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let activity = self.activity();
        (activity.streams == 0).then_some(activity.idle_since)
    }

    /// Whether the client has sent less than a preface within `timeout`.
    pub(crate) fn is_silent(&self, timeout: Duration) -> bool {
        self.received_bytes.load(Ordering::Relaxed) < PREFACE_BYTES
            && self.opened.elapsed() > timeout
    }

    /// Whether a reply has been waiting to be read for longer than `timeout`.
    pub(crate) fn is_slow(&self, timeout: Duration) -> bool {
        let activity = self.activity();
        let mut pending = activity.pending_replies.iter();
        pending.any(|(_, since)| since.elapsed() > timeout)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut activity = self.0.activity();
        activity.streams -= 1;
        activity.idle_since = Instant::now();
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        let mut activity = self.connection.activity();
        activity
            .pending_replies
            .retain(|(number, _)| *number != self.number);
    }
}
