//! The load: in a closed loop, where each caller sends its next call after a reply; or
//! at a fixed rate, where a call's latency counts from when it was due, so that the
//! histogram includes the time in a queue.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use hdrhistogram::Histogram;
use tonic::{
    Status,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};

use super::wire::Raw;

/// Significant digits of a duration, which is at most a minute.
const FIGURES: u8 = 3;
const LONGEST_US: u64 = 60_000_000;
/// Calls in flight at a fixed rate; with more, the server does not keep up.
const MAX_IN_FLIGHT: usize = 4_096;

/// A method, and the message of its nth call.
#[derive(Clone)]
pub struct RpcCall {
    pub method: &'static str,
    pub message: Arc<dyn Fn(u64) -> Bytes + Send + Sync>,
}

/// How many connections, and calls in flight on each.
#[derive(Clone, Copy)]
pub struct Shape {
    pub connections: usize,
    pub in_flight: usize,
}

/// The result of a load.
pub struct Measured {
    pub seconds: f64,
    pub failed: u64,
    /// Of the first call that failed.
    pub first_failure: Option<Status>,
    /// In microseconds, of the calls that succeeded.
    pub latency: Histogram<u64>,
    pub reply_bytes: u64,
}

impl Measured {
    pub fn calls(&self) -> u64 {
        self.latency.len()
    }

    pub fn per_second(&self) -> f64 {
        self.calls() as f64 / self.seconds
    }

    /// In microseconds.
    pub fn quantile(&self, share: f64) -> u64 {
        self.latency.value_at_quantile(share)
    }
}

pub struct Driver {
    channels: Vec<Channel>,
    shape: Shape,
}

/// Numbers all calls of all loads.
static NEXT: AtomicU64 = AtomicU64::new(0);

fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

struct Tally {
    latency: Histogram<u64>,
    failed: u64,
    first_failure: Option<Status>,
    reply_bytes: u64,
}

impl Tally {
    fn new() -> Self {
        Self {
            latency: Histogram::new_with_max(LONGEST_US, FIGURES).expect("a supported precision"),
            failed: 0,
            first_failure: None,
            reply_bytes: 0,
        }
    }

    fn record(&mut self, started: Instant, result: Result<Bytes, Status>) {
        match result {
            Ok(reply) => {
                let took = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.latency.saturating_record(took);
                self.reply_bytes += reply.len() as u64;
            }
            Err(status) => {
                self.failed += 1;
                self.first_failure.get_or_insert(status);
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.latency.add(other.latency).expect("the same precision");
        self.failed += other.failed;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        self.reply_bytes += other.reply_bytes;
    }

    fn over(self, seconds: f64) -> Measured {
        Measured {
            seconds,
            failed: self.failed,
            first_failure: self.first_failure,
            latency: self.latency,
            reply_bytes: self.reply_bytes,
        }
    }
}

impl Driver {
    pub async fn connect(address: &str, shape: Shape) -> Self {
        let mut channels = Vec::new();
        for _ in 0..shape.connections {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
            channels.push(
                endpoint
                    .tcp_nodelay(true)
                    .connect()
                    .await
                    .expect("a server"),
            );
        }
        Self { channels, shape }
    }

    pub async fn closed_loop(&self, call: &RpcCall, span: Duration) -> Measured {
        let started = Instant::now();
        let end = started + span;
        let mut callers = Vec::new();
        for channel in &self.channels {
            for _ in 0..self.shape.in_flight {
                let (channel, call) = (channel.clone(), call.clone());
                callers.push(tokio::spawn(async move {
                    let mut tally = Tally::new();
                    while Instant::now() < end {
                        let message = (call.message)(next());
                        let started = Instant::now();
                        tally.record(started, send(&channel, call.method, message).await);
                    }
                    tally
                }));
            }
        }
        let mut all = Tally::new();
        for caller in callers {
            all.add(caller.await.expect("a caller"));
        }
        all.over(started.elapsed().as_secs_f64())
    }

    /// One caller, which makes `first` before each call that is measured, with the same
    /// number.
    pub async fn one_after(&self, first: &RpcCall, call: &RpcCall, span: Duration) -> Measured {
        let end = Instant::now() + span;
        let channel = &self.channels[0];
        let mut tally = Tally::new();
        while Instant::now() < end {
            let number = next();
            let message = (call.message)(number);
            if let Err(status) = send(channel, first.method, (first.message)(number)).await {
                tally.record(Instant::now(), Err(status));
                continue;
            }
            let started = Instant::now();
            tally.record(started, send(channel, call.method, message).await);
        }
        tally.over(span.as_secs_f64())
    }

    /// A stream on each connection; its next message follows the reply to the last.
    pub async fn streams(&self, call: &RpcCall, span: Duration) -> Measured {
        let started = Instant::now();
        let end = started + span;
        let callers: Vec<_> = self
            .channels
            .iter()
            .map(|channel| tokio::spawn(stream(channel.clone(), call.clone(), end)))
            .collect();
        let mut all = Tally::new();
        for caller in callers {
            all.add(caller.await.expect("a caller"));
        }
        all.over(started.elapsed().as_secs_f64())
    }

    /// Starts calls; the future waits for their ends.
    pub fn start(&self, call: &RpcCall, calls: usize) -> impl Future<Output = ()> + use<> {
        let started: Vec<_> = (0..calls)
            .map(|index| {
                let channel = self.channels[index % self.channels.len()].clone();
                let message = (call.message)(next());
                let method = call.method;
                tokio::spawn(async move { send(&channel, method, message).await })
            })
            .collect();
        async {
            for call in started {
                let _ = call.await;
            }
        }
    }

    /// `None` if the server does not keep up with the rate.
    pub async fn at_rate(&self, call: &RpcCall, rate: f64, span: Duration) -> Option<Measured> {
        let all = Arc::new(Mutex::new(Tally::new()));
        let in_flight_limit = Arc::new(tokio::sync::Semaphore::new(MAX_IN_FLIGHT));
        let started = Instant::now();
        let every = Duration::from_secs_f64(1.0 / rate);
        let calls = (span.as_secs_f64() * rate) as u32;
        let mut keeps_up = true;
        for index in 0..calls {
            let due = started + every * index;
            if due > Instant::now() {
                tokio::time::sleep_until(due.into()).await;
            }
            let Ok(permit) = Arc::clone(&in_flight_limit).try_acquire_owned() else {
                keeps_up = false;
                break;
            };
            let message = (call.message)(next());
            let channel = self.channels[index as usize % self.channels.len()].clone();
            let (method, all) = (call.method, Arc::clone(&all));
            tokio::spawn(async move {
                let result = send(&channel, method, message).await;
                all.lock().expect("no caller panics").record(due, result);
                drop(permit);
            });
        }
        let sent_after = started.elapsed();
        let _ = in_flight_limit.acquire_many(MAX_IN_FLIGHT as u32).await;
        let mut all = all.lock().expect("no caller panics");
        let all = std::mem::replace(&mut *all, Tally::new());
        keeps_up.then(|| all.over(sent_after.as_secs_f64()))
    }
}

async fn send(channel: &Channel, method: &'static str, message: Bytes) -> Result<Bytes, Status> {
    let mut client = Grpc::new(channel.clone()).max_decoding_message_size(usize::MAX);
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static(method);
    let reply = client
        .unary(tonic::Request::new(message), path, Raw)
        .await?;
    Ok(reply.into_inner())
}

async fn stream(channel: Channel, call: RpcCall, end: Instant) -> Tally {
    let mut tally = Tally::new();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let messages = futures_util::stream::unfold(receiver, |mut receiver| async {
        Some((receiver.recv().await?, receiver))
    });
    let mut client = Grpc::new(channel).max_decoding_message_size(usize::MAX);
    client.ready().await.expect("a server");
    let path = PathAndQuery::from_static(call.method);
    let request = tonic::Request::new(messages);
    let mut replies = match client.streaming(request, path, Raw).await {
        Ok(replies) => replies.into_inner(),
        Err(status) => {
            tally.record(Instant::now(), Err(status));
            return tally;
        }
    };
    while Instant::now() < end {
        let message = (call.message)(next());
        let started = Instant::now();
        if sender.send(message).await.is_err() {
            break;
        }
        let reply = replies.message().await.transpose();
        let reply = reply.unwrap_or_else(|| Err(Status::unavailable("the stream ended")));
        let ended = reply.is_err();
        tally.record(started, reply);
        if ended {
            break;
        }
    }
    tally
}
