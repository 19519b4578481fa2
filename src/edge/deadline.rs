//! Deadlines: a call gets what its client's `grpc-timeout` allows, at most
//! what the server does, and is then answered `DEADLINE_EXCEEDED`.
//!
//! The answer comes a moment before the client's own timer ends, so that it is
//! the server's that is heard.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{HeaderMap, Request, Response};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use crate::{api::error::ApiError, ports::Deadline};

/// The share of a call's time in which stores must answer: the rest is for
/// making a reply of what there is by then.
pub(crate) const FOR_STORES: f64 = 0.9;

const HEADER: &str = "grpc-timeout";
/// How much earlier than the client's deadline the answer is given.
const AHEAD: Duration = Duration::from_millis(2);

/// Puts [`DeadlineService`] around a service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeadlineLayer {
    /// The longest that a call may take.
    pub(crate) longest: Duration,
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = DeadlineService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService {
            inner,
            longest: self.longest,
        }
    }
}

/// How long a call may take, and since when; goes along with its request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallTime {
    received: Instant,
    budget: Duration,
}

impl CallTime {
    /// How long a call may take; for a stream: each part of it.
    pub(crate) fn budget(request: &http::Extensions) -> Option<Duration> {
        request.get::<Self>().map(|time| time.budget)
    }

    /// When this share of a call's time has passed.
    pub(crate) fn share(request: &http::Extensions, share: f64) -> Deadline {
        let time = request.get::<Self>();
        time.and_then(|time| time.received.checked_add(time.budget.mul_f64(share)))
            .map_or(Deadline::NONE, Deadline::at)
    }
}

/// A service whose calls end in time. A stream's first reply is bounded, what
/// follows is not.
#[derive(Clone, Debug)]
pub(crate) struct DeadlineService<S> {
    inner: S,
    longest: Duration,
}

impl<S, B> Service<Request<B>> for DeadlineService<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let received = Instant::now();
        let asked = asked_for(request.headers());
        let budget = asked.map_or(self.longest, |asked| asked.min(self.longest));
        request
            .extensions_mut()
            .insert(CallTime { received, budget });
        let reply = self.inner.call(request);
        // Begun here and not when first polled: the client's clock runs already.
        let cut = tokio::time::sleep(budget.saturating_sub(AHEAD.min(budget / 4)));
        Box::pin(async move {
            tokio::select! {
                biased;
                // A reply after the deadline finds nobody waiting for it.
                reply = reply => if received.elapsed() <= budget { return reply },
                () = cut => {}
            }
            Ok(Status::from(ApiError::deadline_exceeded(budget)).into_http())
        })
    }
}

/// The client's timeout: up to eight digits and a unit. A malformed one is
/// ignored.
fn asked_for(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(HEADER)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3_600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderMap;

    use super::asked_for;

    fn asked(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", text.parse().unwrap());
        asked_for(&headers)
    }

    #[test]
    fn reads_every_unit_and_nothing_else() {
        assert_eq!(asked("2H"), Some(Duration::from_secs(7_200)));
        assert_eq!(asked("2M"), Some(Duration::from_secs(120)));
        assert_eq!(asked("2S"), Some(Duration::from_secs(2)));
        assert_eq!(asked("99999999m"), Some(Duration::from_millis(99_999_999)));
        assert_eq!(asked("5u"), Some(Duration::from_micros(5)));
        assert_eq!(asked("1n"), Some(Duration::from_nanos(1)));
        for malformed in ["", "m", "5", "5x", "+5m", "123456789m", "é"] {
            assert_eq!(asked(malformed), None, "{malformed}");
        }
    }
}
