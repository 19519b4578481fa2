//! The signals that stop a server.

use tokio::signal::unix::{SignalKind, signal};
use tracing::error;

use super::server::Stop;

/// The exit code after a second signal: 128 + SIGINT, as shells report it.
const INTERRUPTED: i32 = 130;

/// A [`Stop`] that SIGTERM and SIGINT trigger. SIGINT skips the drain delay: someone
/// at a terminal waits. A second signal ends the process at once.
///
/// The signals are handled from the call on, so that none that comes before the
/// server is up ends the process without a drain.
#[must_use]
pub fn stop_on_signal() -> Stop {
    let stop = Stop::default();
    let stopping = stop.clone();
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        error!("signals cannot be handled; stop this process with SIGKILL");
        return stop;
    };
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => stopping.no_delay.cancel(),
        }
        stopping.drain.cancel();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(INTERRUPTED);
    });
    stop
}
