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

/// What each connection may send at once: a probe, or all before a first call's message.
const FIRST_BYTES: usize = 1 << 10;

/// What is read at once beyond that.
const PIECE_BYTES: usize = 256;

/// Pieces that each connection may send each second, whatever others send: checks of health.
const OWN_PER_SECOND: NonZeroU32 = NonZeroU32::MIN;

/// Such pieces that it may save up.
const OWN_BURST: NonZeroU32 = NonZeroU32::new(4).unwrap();

/// Pieces that all connections of the port may send each second beyond that.
const SHARED_PER_SECOND: NonZeroU32 = NonZeroU32::new(256).unwrap();

/// Such pieces that they may save up: for clients that read all schemas.
const SHARED_BURST: NonZeroU32 = NonZeroU32::new(1_024).unwrap();

/// How long a connection waits before each piece. Meanwhile its calls are let in, and if
/// one has a key, there are no more pieces.
const SHORT_PAUSE: Duration = Duration::from_millis(1);

/// How long it waits if it and all others have sent too much.
const LONG_PAUSE: Duration = Duration::from_millis(100);

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
}

/// What one connection may send before it has shown a key.
pub(super) struct Pace {
    own: DefaultDirectRateLimiter,
    shared: Arc<SharedPace>,
    /// What may be read now.
    left: usize,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) fn new(shared: &Arc<SharedPace>) -> Self {
        Self {
            own: bucket(OWN_PER_SECOND, OWN_BURST),
            shared: Arc::clone(shared),
            left: FIRST_BYTES,
            pause: None,
        }
    }

    /// Whether a piece may be read now. If so, it counts as read.
    fn may_send_piece(&self) -> bool {
        self.own.check().is_ok() || self.shared.pieces.check().is_ok()
    }

    /// How many bytes may be read now.
    pub(super) fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<usize> {
        let sleep = |pause| Some(Box::pin(tokio::time::sleep(pause)));
        while self.left == 0 {
            let Some(pause) = &mut self.pause else {
                self.pause = sleep(SHORT_PAUSE);
                continue;
            };
            ready!(pause.as_mut().poll(context));
            if self.may_send_piece() {
                self.left = PIECE_BYTES;
                self.pause = None;
            } else {
                self.pause = sleep(LONG_PAUSE);
                if let Some(suppressed) = self.shared.warnings.turn() {
                    warn!(
                        suppressed,
                        "clients that have shown no valid key send too much: they are read slowly"
                    );
                }
            }
        }
        Poll::Ready(self.left)
    }

    /// So many bytes were read.
    pub(super) fn read(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, num::NonZeroU32, time::Instant};

    use super::{
        FIRST_BYTES, OWN_BURST, Pace, SHARED_BURST, SHARED_PER_SECOND, SHORT_PAUSE, SharedPace,
    };

    fn pieces_at_once(pace: &Pace) -> usize {
        std::iter::repeat_with(|| pace.may_send_piece())
            .take_while(|may| *may)
            .count()
    }

    fn of(pieces: NonZeroU32) -> usize {
        pieces.get() as usize
    }

    #[test]
    fn many_clients_without_a_key_together_are_read_at_the_shared_pace() {
        let shared = SharedPace::new();
        let start = Instant::now();
        let clients = (0..20).map(|_| pieces_at_once(&Pace::new(&shared)));
        let pieces: usize = clients.sum();
        let at_once = 20 * of(OWN_BURST) + of(SHARED_BURST);
        let seconds = start.elapsed().as_secs() as usize + 1;
        let later = seconds * (of(SHARED_PER_SECOND) + 20);
        assert!((at_once..=at_once + later).contains(&pieces), "{pieces}");
    }

    #[test]
    fn a_client_that_sends_little_does_not_wait_for_those_that_send_much() {
        let shared = SharedPace::new();
        pieces_at_once(&Pace::new(&shared));
        assert!(pieces_at_once(&Pace::new(&shared)) >= of(OWN_BURST));
    }

    #[tokio::test]
    async fn others_have_their_turn_before_each_piece() {
        let mut pace = Pace::new(&SharedPace::new());
        let mut left = FIRST_BYTES;
        for _ in 0..10 {
            pace.read(left - 1);
            assert_eq!(poll_fn(|context| pace.poll_bytes(context)).await, 1);
            pace.read(1);
            let start = Instant::now();
            left = poll_fn(|context| pace.poll_bytes(context)).await;
            assert!(start.elapsed() >= SHORT_PAUSE);
        }
    }
}
