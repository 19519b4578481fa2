//! Long work beside the reactor, so that it holds up nobody else.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs what may take long on this thread, while another one takes over its
/// other tasks. A runtime with a single thread has none to spare: there it is
/// just run. Called within a runtime.
pub fn in_place<T>(work: impl FnOnce() -> T) -> T {
    if Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::in_place;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn other_tasks_go_on_meanwhile() {
        let busy = tokio::spawn(async {
            let (tell, told) = mpsc::channel();
            tokio::spawn(async move { tell.send("done").unwrap() });
            // The only worker is busy here until the other task has run.
            in_place(|| told.recv_timeout(Duration::from_secs(60)))
        });
        assert_eq!(busy.await.unwrap(), Ok("done"));
    }

    #[tokio::test]
    async fn on_a_single_thread_it_is_just_run() {
        assert_eq!(in_place(|| 7), 7);
    }
}
