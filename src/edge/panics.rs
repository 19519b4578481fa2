//! A panic in a call is a bug, and that call's alone: it is answered
//! `INTERNAL` with a fixed text, and the connection and process go on.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context, Poll},
};

use http::{Request, Response};
use tonic::{Status, body::Body};
use tower::{Layer, Service};
use tracing::error;

use crate::{api::error::ApiError, telemetry::meters};

/// Puts [`CatchPanic`] around a service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CatchPanicLayer;

impl<S> Layer<S> for CatchPanicLayer {
    type Service = CatchPanic<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CatchPanic { inner }
    }
}

/// A service whose calls do not panic.
#[derive(Clone, Debug)]
pub(crate) struct CatchPanic<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for CatchPanic<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let method = request.uri().path().to_owned();
        let mut reply = Box::pin(self.inner.call(request));
        Box::pin(poll_fn(move |context| {
            // A call that panicked is never polled again, so nobody sees what
            // it may have left half done in itself.
            catch_unwind(AssertUnwindSafe(|| reply.as_mut().poll(context))).unwrap_or_else(
                |panic| Poll::Ready(Ok(Status::from(noted(&method, &*panic)).into_http())),
            )
        }))
    }
}

/// Does a part of a stream, of which the layer sees only the beginning.
pub(crate) async fn caught<T>(method: &str, work: impl Future<Output = T>) -> Result<T, ApiError> {
    let mut work = pin!(work);
    poll_fn(move |context| {
        // As above: a stream whose part panicked ends.
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(done) => done.map(Ok),
            Err(panic) => Poll::Ready(Err(noted(method, &*panic))),
        }
    })
    .await
}

fn noted(method: &str, panic: &(dyn Any + Send)) -> ApiError {
    meters::panicked();
    error!(method, panic = text_of(panic), "a call panicked");
    ApiError::bug()
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
    use std::{convert::Infallible, future::pending};

    use http::{Request, Response};
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tonic::{Status, body::Body};
    use tower::{Layer as _, Service as _, service_fn};

    use super::{CatchPanicLayer, text_of};
    use crate::telemetry::meters;

    #[test]
    fn a_panic_is_internal_and_counted() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = recorder.handle();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let panics = |request: Request<Body>| async move {
            assert_ne!(request.uri().path(), "/panic", "a bug, for a test");
            pending::<Result<Response<Body>, Infallible>>().await
        };
        let mut service = CatchPanicLayer.layer(service_fn(panics));
        let call = service.call(Request::get("/panic").body(Body::empty()).unwrap());
        let reply = metrics::with_local_recorder(&recorder, || runtime.block_on(call)).unwrap();
        let status = Status::from_header_map(reply.headers()).unwrap();
        assert_eq!(status.code(), tonic::Code::Internal);
        let counted = format!("{} 1", meters::PANICS);
        assert!(metrics.render().contains(&counted), "{}", metrics.render());
    }

    #[test]
    fn what_a_panic_says_is_told() {
        let told = |bug: fn()| {
            let panic = std::panic::catch_unwind(bug).unwrap_err();
            text_of(&*panic).to_owned()
        };
        assert_eq!(told(|| panic!("a bug")), "a bug");
        assert_eq!(told(|| std::panic::panic_any("7".to_owned())), "7");
        assert_eq!(told(|| std::panic::panic_any(7)), "of unknown kind");
    }
}
