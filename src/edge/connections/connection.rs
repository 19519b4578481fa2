//! One connection, as its calls see it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

use futures_util::task::AtomicWaker;
use tokio_util::sync::CancellationToken;

use crate::edge::budget::{Load, Share};

/// What a connection occupies besides its calls.
pub(crate) const CONNECTION_BYTES: usize = 8 << 10;

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
    /// Whether there has been a call with a key.
    trusted: AtomicBool,
    /// Wakes the reader when there is.
    reader: AtomicWaker,
    activity: Mutex<Activity>,
    unsent: Mutex<Unsent>,
    load: Arc<Load>,
}

struct Activity {
    /// Streams of calls that have a key, or need none because there are no keys.
    keyed: usize,
    /// Streams of health and reflection.
    free: usize,
    /// Since when there has been no stream, or none but free ones.
    idle_since: Instant,
    /// Since when the socket has taken no bytes, if some are waiting.
    blocked_since: Option<Instant>,
    /// Replies that the client has not read yet, with when they were sent.
    pending_replies: Vec<(usize, Instant)>,
    next_reply: usize,
}

/// Bytes of replies that are not written to the socket yet, and whose they are.
#[derive(Default)]
struct Unsent {
    bytes: usize,
    share: Option<Arc<Share>>,
}

/// Why a connection may be closed to make room for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spare {
    /// It has no stream.
    Idle,
    /// It has streams of health and reflection only.
    Watching,
}

/// An open stream of a connection; closed when this is dropped.
pub(crate) struct OpenStream {
    connection: Arc<Connection>,
    is_free: bool,
}

/// A reply that the client has not read yet; read when this is dropped.
pub(crate) struct PendingReply {
    connection: Arc<Connection>,
    number: usize,
}

impl Connection {
    pub(crate) fn new(
        closing: CancellationToken,
        aborted: CancellationToken,
        load: &Arc<Load>,
    ) -> Self {
        let now = Instant::now();
        // The number of connections is limited so that this fits.
        let _ = load.hold(None, CONNECTION_BYTES);
        Self {
            closing,
            aborted,
            opened: now,
            received_bytes: AtomicUsize::new(0),
            trusted: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            load: Arc::clone(load),
            unsent: Mutex::default(),
            activity: Mutex::new(Activity {
                keyed: 0,
                free: 0,
                idle_since: now,
                blocked_since: None,
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

    /// Opens a stream of a call that was let in.
    pub(crate) fn keyed_stream(self: &Arc<Self>) -> OpenStream {
        self.activity().keyed += 1;
        if !self.trusted.swap(true, Ordering::AcqRel) {
            self.reader.wake();
        }
        OpenStream {
            connection: Arc::clone(self),
            is_free: false,
        }
    }

    /// Opens a stream of health or reflection.
    pub(crate) fn free_stream(self: &Arc<Self>) -> OpenStream {
        let mut activity = self.activity();
        if activity.keyed + activity.free == 0 {
            activity.idle_since = Instant::now();
        }
        activity.free += 1;
        OpenStream {
            connection: Arc::clone(self),
            is_free: true,
        }
    }

    /// Whether there has been a call that has a key, or needs none because there are no
    /// keys. If not, `reader` is woken by the first one.
    pub(crate) fn is_trusted(&self, reader: &Waker) -> bool {
        let is_trusted = || self.trusted.load(Ordering::Acquire);
        is_trusted() || {
            self.reader.register(reader);
            is_trusted()
        }
    }

    pub(crate) fn has_keyed_stream(&self) -> bool {
        self.activity().keyed > 0
    }

    fn unsent(&self) -> MutexGuard<'_, Unsent> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts bytes of a reply until they are written to the socket, on the share of its
    /// caller. Returns whether they fit.
    pub(crate) fn send(&self, bytes: usize, load: &Load, share: Option<&Arc<Share>>) -> bool {
        let mut unsent = self.unsent();
        let is_same = match (&unsent.share, share) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        let mut added = bytes;
        if !is_same {
            load.release(unsent.share.as_deref(), unsent.bytes);
            added += unsent.bytes;
            unsent.share = share.cloned();
        }
        unsent.bytes += bytes;
        load.hold(share.map(Arc::as_ref), added).is_ok()
    }

    /// The socket has taken bytes. Some are HTTP's own: so less is counted than waits, by
    /// no more than a small part.
    pub(crate) fn written(&self, bytes: usize) {
        let mut unsent = self.unsent();
        let released = bytes.min(unsent.bytes);
        unsent.bytes -= released;
        self.load.release(unsent.share.as_deref(), released);
        drop(unsent);
        self.activity().blocked_since = None;
    }

    /// The socket takes no bytes for now.
    pub(crate) fn blocked(&self) {
        self.activity()
            .blocked_since
            .get_or_insert_with(Instant::now);
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

    /// Whether, and since when, the connection may be closed to make room for another.
    pub(crate) fn spare(&self) -> Option<(Spare, Instant)> {
        let activity = self.activity();
        match (activity.keyed, activity.free) {
            (0, 0) => Some((Spare::Idle, activity.idle_since)),
            (0, _) => Some((Spare::Watching, activity.idle_since)),
            _ => None,
        }
    }

    /// Whether the client has sent less than a preface within `timeout`.
    pub(crate) fn is_silent(&self, timeout: Duration) -> bool {
        self.received_bytes.load(Ordering::Relaxed) < PREFACE_BYTES
            && self.opened.elapsed() > timeout
    }

    /// Whether a reply has been waiting to be read, or to be written to the socket, for
    /// longer than `timeout`.
    pub(crate) fn is_slow(&self, timeout: Duration) -> bool {
        let activity = self.activity();
        let blocked = activity.blocked_since;
        if blocked.is_some_and(|since| since.elapsed() > timeout) {
            return true;
        }
        let mut pending = activity.pending_replies.iter();
        pending.any(|(_, since)| since.elapsed() > timeout)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut activity = self.connection.activity();
        if self.is_free {
            activity.free -= 1;
        } else {
            activity.keyed -= 1;
        }
        // A connection that watches is not renewed by the end of one of its watches.
        if !self.is_free || activity.free == 0 {
            activity.idle_since = Instant::now();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let unsent = std::mem::take(&mut *self.unsent());
        self.load.release(unsent.share.as_deref(), unsent.bytes);
        self.load.release(None, CONNECTION_BYTES);
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
