//! Recovery from panics. A panic is a bug; it fails its own call with an internal error
//! and affects no other call.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
};

use tracing::error;

use crate::{edge::refusal::Refusal, telemetry::meters};

/// Runs a call, or a part of a stream, of the method at `path`.
///
/// # Errors
/// [`Refusal::Internal`] if it panics. The log has the panic.
pub(crate) async fn catch_panic<T>(
    path: &str,
    work: impl Future<Output = T>,
) -> Result<T, Refusal> {
    let mut work = pin!(work);
    poll_fn(move |context| {
        // Work that panicked is never polled again, so nothing observes a state
        // that it left inconsistent.
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => {
                meters::panicked();
                error!(method = path, panic = text_of(&*panic), "a call panicked");
                std::task::Poll::Ready(Err(Refusal::Internal))
            }
        }
    })
    .await
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("of unknown kind")
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::{catch_panic, text_of};
    use crate::{edge::refusal::Refusal, telemetry::meters};

    #[test]
    fn a_panic_is_an_internal_error_and_is_counted() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = recorder.handle();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let call = catch_panic("/panic", async {
            tokio::task::yield_now().await;
            panic!("a bug, for a test")
        });
        let result: Result<(), _> =
            metrics::with_local_recorder(&recorder, || runtime.block_on(call));
        assert_eq!(result, Err(Refusal::Internal));
        let counted = format!("{} 1", meters::PANICS);
        assert!(metrics.render().contains(&counted), "{}", metrics.render());
    }

    #[test]
    fn the_log_has_the_text_of_a_panic() {
        let text = |bug: fn()| {
            let panic = std::panic::catch_unwind(bug).unwrap_err();
            text_of(&*panic).to_owned()
        };
        assert_eq!(text(|| panic!("a bug")), "a bug");
        assert_eq!(text(|| std::panic::panic_any("7".to_owned())), "7");
        assert_eq!(text(|| std::panic::panic_any(7)), "of unknown kind");
    }
}
