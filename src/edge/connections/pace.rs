//! How fast a connection is read that has had no call with a key yet.
//!
//! Each stream costs a client some tens of bytes and the server some tens of
//! microseconds, whether it is let in or not. Without a pace a few clients that have no
//! key keep all processors busy.

use std::{
    num::NonZeroU32,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use governor::{DefaultDirectRateLimiter, Quota};
use tokio::time::Sleep;
use tracing::warn;

use crate::telemetry::throttle::Throttle;

/// What is read at once. Then others have their turn.
const PIECE_BYTES: usize = 256;

/// Pieces that each connection may send each second, whatever others send: for checks of
/// health.
const OWN_PER_SECOND: NonZeroU32 = NonZeroU32::MIN;

/// Pieces that each connection may send at once: for a probe, a first call with its key.
const OWN_BURST: NonZeroU32 = NonZeroU32::new(8).unwrap();

/// Pieces that all connections of the port may send each second beyond that.
const SHARED_PER_SECOND: NonZeroU32 = NonZeroU32::new(256).unwrap();

/// Pieces that they may send at once beyond that: for a client that reads all schemas.
const SHARED_BURST: NonZeroU32 = NonZeroU32::new(1_024).unwrap();

/// How long a connection waits that has sent too much.
const PAUSE: Duration = Duration::from_millis(100);

fn bucket(per_second: NonZeroU32, burst: NonZeroU32) -> DefaultDirectRateLimiter {
    DefaultDirectRateLimiter::direct(Quota::per_second(per_second).allow_burst(burst))
}

/// What all connections of a port may send before they have shown a key.
pub(super) struct SharedPace {
    pieces: DefaultDirectRateLimiter,
    warnings: Throttle,
}

impl SharedPace {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            pieces: bucket(SHARED_PER_SECOND, SHARED_BURST),
            warnings: Throttle::new(),
        })
    }

    fn report_pause(&self) {
        if let Some(suppressed) = self.warnings.turn() {
            warn!(
                suppressed,
                "clients that have shown no key send too much: they are read slowly"
            );
        }
    }
}

/// What one connection may send before it has shown a key.
pub(super) struct Pace {
    own: DefaultDirectRateLimiter,
    shared: Arc<SharedPace>,
    /// What may be read of the present piece.
    left: usize,
    /// Whether others have had their turn since the last piece.
    yielded: bool,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) fn new(shared: &Arc<SharedPace>) -> Self {
        Self {
            own: bucket(OWN_PER_SECOND, OWN_BURST),
            shared: Arc::clone(shared),
            left: 0,
            yielded: true,
            pause: None,
        }
    }

    /// How many bytes may be read now.
    pub(super) fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<usize> {
        while self.left == 0 {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            if !self.yielded {
                self.yielded = true;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.own.check().is_ok() || self.shared.pieces.check().is_ok() {
                self.left = PIECE_BYTES;
            } else {
                self.shared.report_pause();
                self.pause = Some(Box::pin(tokio::time::sleep(PAUSE)));
            }
        }
        Poll::Ready(self.left)
    }

    /// So many bytes were read.
    pub(super) fn read(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
        if self.left == 0 {
            self.yielded = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, task::Context, time::Instant};

    use futures_util::task::noop_waker;

    use super::{OWN_BURST, PIECE_BYTES, Pace, SHARED_BURST, SHARED_PER_SECOND, SharedPace};

    /// The pieces that a connection may send before it is paused.
    fn pieces_at_once(pace: &mut Pace) -> usize {
        let waker = noop_waker();
        let mut context = Context::from_waker(&waker);
        let mut pieces = 0;
        while pace.pause.is_none() {
            if pace.poll_bytes(&mut context).is_ready() {
                pace.read(PIECE_BYTES);
                pieces += 1;
            }
        }
        pieces
    }

    fn of(number: NonZeroU32) -> usize {
        number.get() as usize
    }

    #[tokio::test]
    async fn many_clients_without_a_key_together_are_read_at_the_shared_pace() {
        let shared = SharedPace::new();
        let start = Instant::now();
        let mut pieces = 0;
        for _ in 0..20 {
            pieces += pieces_at_once(&mut Pace::new(&shared));
        }
        let own = 20 * (of(OWN_BURST) + 1);
        let later = (start.elapsed().as_secs() as usize + 1) * of(SHARED_PER_SECOND);
        assert!(pieces >= 20 * of(OWN_BURST) + of(SHARED_BURST), "{pieces}");
        assert!(pieces <= own + of(SHARED_BURST) + later, "{pieces}");
    }

    #[tokio::test]
    async fn a_client_that_sends_little_does_not_wait_for_those_that_send_much() {
        let shared = SharedPace::new();
        pieces_at_once(&mut Pace::new(&shared));
        assert!(pieces_at_once(&mut Pace::new(&shared)) >= of(OWN_BURST));
    }

    #[tokio::test]
    async fn others_have_their_turn_after_each_piece() {
        let waker = noop_waker();
        let mut context = Context::from_waker(&waker);
        let mut pace = Pace::new(&SharedPace::new());
        for _ in 0..of(OWN_BURST) {
            assert!(pace.poll_bytes(&mut context).is_ready());
            pace.read(PIECE_BYTES - 1);
            assert!(pace.poll_bytes(&mut context).is_ready());
            pace.read(1);
            assert!(pace.poll_bytes(&mut context).is_pending());
        }
    }
}
