//! Long computations that must not delay other tasks.

use std::thread::available_parallelism;

use tokio::runtime::{Handle, RuntimeFlavor};

/// Reading or converting a message of more bytes is a long computation.
pub const LONG_BYTES: usize = 64 << 10;

/// Runs a long computation on this thread, while another thread takes over its
/// other tasks. A single-threaded runtime has no other thread: its tasks wait. Must
/// be called within a runtime.
pub fn in_place<T>(work: impl FnOnce() -> T) -> T {
    if Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}

/// The number of processors that this process may use; 1 if that is not known. Reads files:
/// too slow for each call.
#[must_use]
pub fn processors() -> usize {
    available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::in_place;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn other_tasks_run_meanwhile() {
        let busy = tokio::spawn(async {
            let (sender, receiver) = mpsc::channel();
            tokio::spawn(async move { sender.send("done").unwrap() });
            // Blocks the only worker until the other task has run.
            in_place(|| receiver.recv_timeout(Duration::from_secs(60)))
        });
        assert_eq!(busy.await.unwrap(), Ok("done"));
    }

    #[tokio::test]
    async fn on_a_single_thread_the_work_is_run_directly() {
        assert_eq!(in_place(|| 7), 7);
    }
}
