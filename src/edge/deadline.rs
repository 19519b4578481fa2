//! Deadlines: a call may take what its client's `grpc-timeout` allows, at most the
//! server's limit.
//!
//! The server replies a moment before the client's own timer fires, so that the
//! client sees the server's reply.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use http::{Extensions, HeaderMap};

use crate::{edge::refusal::Refusal, ports::Deadline};

/// The share of a call's time within which stores must answer. The rest is for
/// making a reply of what has arrived.
pub(crate) const STORE_SHARE: f64 = 0.9;

const HEADER: &str = "grpc-timeout";
/// How long before the client's deadline the reply is sent.
const MARGIN: Duration = Duration::from_millis(2);

/// When a call was received and how long it may take: an extension of its request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallTime {
    received: Instant,
    budget: Duration,
}

impl CallTime {
    /// The time of a call that is received now, of at most `longest`.
    pub(crate) fn start(headers: &HeaderMap, longest: Duration) -> Self {
        Self {
            received: Instant::now(),
            budget: timeout(headers).map_or(longest, |timeout| timeout.min(longest)),
        }
    }

    /// How long a call may take; of a stream, each batch.
    pub(crate) fn budget(request: &Extensions) -> Option<Duration> {
        request.get::<Self>().map(|time| time.budget)
    }

    /// The moment when this share of a call's time has passed.
    pub(crate) fn share(request: &Extensions, share: f64) -> Deadline {
        let time = request.get::<Self>();
        time.and_then(|time| time.received.checked_add(time.budget.mul_f64(share)))
            .map_or(Deadline::NONE, Deadline::at)
    }

    /// Runs a call until its deadline. Of a stream that bounds the head of the
    /// reply, not what follows. The timer starts with this call, not with the first
    /// poll.
    pub(crate) fn limit<T>(
        self,
        call: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, Refusal>> {
        let budget = self.budget;
        let timer = tokio::time::sleep(budget.saturating_sub(MARGIN.min(budget / 4)));
        async move {
            tokio::select! {
                biased;
                // The client no longer waits for a reply after the deadline.
                reply = call => if self.received.elapsed() <= budget { return Ok(reply) },
                () = timer => {}
            }
            Err(Refusal::DeadlineExceeded { budget })
        }
    }
}

/// The client's timeout: up to eight digits and a unit. A malformed one is
/// ignored.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
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

    use super::timeout;

    fn read(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", text.parse().unwrap());
        timeout(&headers)
    }

    #[test]
    fn every_unit_is_read_and_nothing_else() {
        assert_eq!(read("2H"), Some(Duration::from_secs(7_200)));
        assert_eq!(read("2M"), Some(Duration::from_secs(120)));
        assert_eq!(read("2S"), Some(Duration::from_secs(2)));
        assert_eq!(read("99999999m"), Some(Duration::from_millis(99_999_999)));
        assert_eq!(read("5u"), Some(Duration::from_micros(5)));
        assert_eq!(read("1n"), Some(Duration::from_nanos(1)));
        for malformed in ["", "m", "5", "5x", "+5m", "123456789m", "é"] {
            assert_eq!(read(malformed), None, "{malformed}");
        }
    }
}
