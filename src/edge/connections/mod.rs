//! The connections of a port. A connection is closed gracefully at a maximum age,
//! and at once if its client sends nothing or does not read its replies. When
//! there are too many, the longest idle ones are closed, and those that only watch
//! health. A client that has shown no key yet is read at a pace.

mod connection;
mod pace;
mod socket;

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::body::Body;
use tower::{Service, ServiceExt as _};
use tracing::{debug, warn};

use crate::{
    edge::{budget::Load, tls::Tls},
    telemetry::{
        meters::{self, ConnectionEnd},
        throttle::Throttle,
    },
};
use pace::{Pace, SharedPace};
use socket::CountingSocket;

use connection::{CONNECTION_BYTES, Spare};
pub(crate) use connection::{Connection, OpenStream, PendingReply};

const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_STREAMS: u32 = 256;
/// Streams of one connection that the client has reset before they were accepted;
/// one more closes the connection. After a network stall the resets of all calls
/// that a client gave up arrive at once, and the default of 20 is soon exceeded.
const MAX_PENDING_RESETS: usize = 4 * MAX_STREAMS as usize;
/// Bytes of a reply that HTTP buffers: what it has buffered no longer counts as
/// unread. Also the limit on request headers in HTTP/1.1.
const MAX_SEND_BUFFER: usize = 64 << 10;
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Pause after a failed accept, which is usually a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// At the limit, 1 of this number of idle connections is evicted at a time.
const EVICTION_DIVISOR: usize = 64;
/// While evicted connections drain, a port may exceed its limit by 1 of this number.
const DRAINING_DIVISOR: usize = 16;
/// The golden ratio: the fractional parts of its multiples are evenly distributed
/// over [0, 1).
const GOLDEN_RATIO: f64 = 0.618_033_988_749_895;

/// The limits on the connections of a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// The port's name in metrics.
    pub(crate) port: &'static str,
    /// Most connections.
    pub(crate) max_connections: usize,
    /// The age, give or take a tenth, at which a connection is closed gracefully.
    pub(crate) max_age: Duration,
    /// How long calls may take to finish on a connection that is being closed.
    pub(crate) grace: Duration,
    /// How long a client may send nothing at first, or leave a reply unread.
    pub(crate) slow_client_timeout: Duration,
    /// Whether HTTP/1.1 is accepted in addition to HTTP/2.
    pub(crate) http1: bool,
    /// Whether clients are read at a pace until they have shown a key.
    pub(crate) paced: bool,
}

/// All connections of a port.
pub(crate) struct Connections {
    policy: Policy,
    tls: Option<Arc<Tls>>,
    open: Mutex<HashMap<usize, Arc<Connection>>>,
    load: Arc<Load>,
    pace: Arc<SharedPace>,
    tasks: TaskTracker,
    /// Cancelled when no more calls are accepted.
    closing: CancellationToken,
    /// Cancelled to end all connections at once.
    aborted: CancellationToken,
    accepted: AtomicUsize,
    warnings: Throttle,
}

impl Connections {
    /// Connections whose memory is counted in `load`. They may occupy half of it: if that
    /// allows fewer than the policy, so many are accepted.
    pub(crate) fn new(mut policy: Policy, tls: Option<Arc<Tls>>, load: Arc<Load>) -> Arc<Self> {
        let affordable = (load.max_reservation(None) / 2 / CONNECTION_BYTES).max(1);
        if affordable < policy.max_connections {
            warn!(
                port = policy.port,
                max_connections = affordable,
                "RECSYS_MAX_BUFFERED_BYTES allows fewer connections than configured"
            );
            policy.max_connections = affordable;
        }
        Arc::new(Self {
            policy,
            load,
            tls,
            pace: SharedPace::new(),
            open: Mutex::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            aborted: CancellationToken::new(),
            accepted: AtomicUsize::new(0),
            warnings: Throttle::new(),
        })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<usize, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts connections until [`Connections::close`]. Adds the [`Connection`] to
    /// the extensions of every request.
    pub(crate) async fn accept<S>(self: Arc<Self>, listener: TcpListener, service: S)
    where
        S: PortService<Request<Incoming>>,
    {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        if !self.policy.http1 {
            builder = builder.http2_only();
        }
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.policy.slow_client_timeout)
            .max_buf_size(MAX_SEND_BUFFER);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_send_buf_size(MAX_SEND_BUFFER)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        let mut sweeps = tokio::time::interval(SWEEP_INTERVAL);
        sweeps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.closing.cancelled() => return,
                _ = sweeps.tick() => self.sweep(),
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.serve(stream, &builder, &service),
                    // The client closed it already.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => {
                        if let Some(suppressed) = self.warnings.turn() {
                            let error = &error as &dyn std::error::Error;
                            warn!(error, suppressed, "cannot accept a connection");
                        }
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    /// Serves a new connection in a task of its own, or drops it if there are too
    /// many.
    fn serve<S>(
        self: &Arc<Self>,
        stream: TcpStream,
        builder: &auto::Builder<TokioExecutor>,
        service: &S,
    ) where
        S: PortService<Request<Incoming>>,
    {
        if self.open().len() >= self.policy.max_connections && !self.evict() {
            meters::connection_ended(ConnectionEnd::Full);
            if let Some(suppressed) = self.warnings.turn() {
                let max_connections = self.policy.max_connections;
                warn!(
                    max_connections,
                    suppressed, "too many connections: a new one is refused"
                );
            }
            return;
        }
        // Without it small replies are delayed (Nagle). A socket that refuses the
        // option works without.
        let _ = stream.set_nodelay(true);
        let connection = Arc::new(Connection::new(
            self.closing.child_token(),
            self.aborted.child_token(),
            &self.load,
        ));
        let number = self.accepted.fetch_add(1, Ordering::Relaxed);
        let open = {
            let mut open = self.open();
            open.insert(number, Arc::clone(&connection));
            open.len()
        };
        meters::connections(self.policy.port, open);
        let of_requests = Arc::clone(&connection);
        let service = service
            .clone()
            .map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(Arc::clone(&of_requests));
                request
            });
        let (port, builder) = (Arc::clone(self), builder.clone());
        self.tasks.spawn(async move {
            match &port.tls {
                None => {
                    port.run(stream, &builder, service, &connection, number)
                        .await;
                }
                Some(tls) => {
                    let handshake = tls.acceptor(port.policy.http1).accept(stream);
                    let handshake =
                        tokio::time::timeout(port.policy.slow_client_timeout, handshake);
                    // There are no calls yet that could be finished.
                    let handshake = connection.closing.run_until_cancelled(handshake);
                    match handshake.await {
                        Some(Ok(Ok(stream))) => {
                            port.run(stream, &builder, service, &connection, number)
                                .await;
                        }
                        Some(Ok(Err(error))) => {
                            debug!(%error, "tls handshake failed");
                            meters::connection_ended(ConnectionEnd::Tls);
                        }
                        Some(Err(_)) => meters::connection_ended(ConnectionEnd::Silent),
                        None => {}
                    }
                }
            }
            let open = {
                let mut open = port.open();
                open.remove(&number);
                open.len()
            };
            meters::connections(port.policy.port, open);
        });
    }

    async fn run<I, S>(
        &self,
        stream: I,
        builder: &auto::Builder<TokioExecutor>,
        service: S,
        connection: &Arc<Connection>,
        number: usize,
    ) where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        S: PortService<Request<Incoming>>,
    {
        let io = TokioIo::new(CountingSocket {
            stream,
            connection: Arc::clone(connection),
            pace: self.policy.paced.then(|| Pace::new(&self.pace)),
        });
        let serving = builder.serve_connection(io, TowerToHyperService::new(service));
        let mut serving = pin!(serving);
        tokio::select! {
            // How a client ends its connection does not matter.
            _ = serving.as_mut() => return,
            () = connection.aborted.cancelled() => return,
            () = connection.closing.cancelled() => {}
            () = tokio::time::sleep(self.policy.max_age.mul_f64(share_of_age(number))) => {
                meters::connection_ended(ConnectionEnd::Age);
                connection.closing.cancel();
            }
        }
        serving.as_mut().graceful_shutdown();
        tokio::select! {
            _ = serving => {}
            () = connection.aborted.cancelled() => {}
            () = tokio::time::sleep(self.policy.grace) => {}
        }
    }

    /// Ends connections whose clients send nothing or do not read replies.
    fn sweep(&self) {
        let timeout = self.policy.slow_client_timeout;
        for connection in self.open().values() {
            let end = if connection.is_silent(timeout) {
                ConnectionEnd::Silent
            } else if connection.is_slow(timeout) {
                ConnectionEnd::Slow
            } else {
                continue;
            };
            if !connection.aborted.is_cancelled() {
                meters::connection_ended(end);
                connection.aborted.cancel();
            }
        }
    }

    /// Closes connections that have no call with a key; `false` if there is none. First
    /// those that are idle for longest; if none is, or if the watching ones are more than
    /// half of all, those that watch health for longest. Gracefully at first; at once if
    /// too many that were closed gracefully are still there.
    fn evict(&self) -> bool {
        let max = self.policy.max_connections;
        let overcrowded = self.open().len() >= max + max / DRAINING_DIVISOR;
        let (mut idle, mut watching): (Vec<(Instant, Arc<Connection>)>, Vec<_>) =
            (Vec::new(), Vec::new());
        for connection in self.open().values() {
            let is_closing = connection.closing.is_cancelled() && !overcrowded;
            if is_closing || connection.aborted.is_cancelled() {
                continue;
            }
            match connection.spare() {
                Some((Spare::Idle, since)) => idle.push((since, Arc::clone(connection))),
                Some((Spare::Watching, since)) => watching.push((since, Arc::clone(connection))),
                None => {}
            }
        }
        let mut spare = if idle.is_empty() || watching.len() > max / 2 {
            watching
        } else {
            idle
        };
        if spare.is_empty() {
            return false;
        }
        spare.sort_unstable_by_key(|(since, _)| *since);
        for (_, connection) in spare.iter().take((spare.len() / EVICTION_DIVISOR).max(1)) {
            meters::connection_ended(ConnectionEnd::Full);
            connection.closing.cancel();
            if overcrowded {
                connection.aborted.cancel();
            }
        }
        true
    }

    /// Accepts no more connections and calls, and waits up to `timeout` for those
    /// in progress; then ends them. Returns whether all finished in time.
    pub(crate) async fn close(&self, timeout: Duration) -> bool {
        self.closing.cancel();
        self.tasks.close();
        let finished = tokio::time::timeout(timeout, self.tasks.wait()).await;
        self.aborted.cancel();
        self.tasks.wait().await;
        finished.is_ok()
    }
}

/// A service that can be served on a port.
pub(crate) trait PortService<R>:
    Service<R, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<R, S> PortService<R> for S where
    S: Service<R, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// The share of the maximum age that a connection may reach, from 0.9 to 1.1:
/// connections that were opened together do not end together.
fn share_of_age(number: usize) -> f64 {
    0.9 + 0.2 * (number as f64 * GOLDEN_RATIO).fract()
}

#[cfg(test)]
mod tests {
    use super::share_of_age;

    #[test]
    fn connections_opened_together_end_spread_over_a_fifth_of_their_age() {
        let mut in_tenths = [0; 10];
        for share in (0..100).map(share_of_age) {
            assert!((0.9..1.1).contains(&share), "{share}");
            in_tenths[((share - 0.9) * 50.0) as usize] += 1;
        }
        assert!(in_tenths.iter().all(|number| *number >= 8), "{in_tenths:?}");
    }
}
