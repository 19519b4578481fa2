//! The connections of a port: each has an age at which it is asked to end, and
//! is ended if its client does not speak or does not take in its replies. If
//! there are too many, those that were idle longest make room.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
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
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::body::Body;
use tower::Service;
use tracing::{debug, warn};

use crate::{
    edge::tls::Tls,
    telemetry::{
        meters::{self, ConnectionEnd},
        throttle::Throttle,
    },
};

const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_STREAMS: u32 = 256;
/// Calls cancelled before they were begun that may await their end on one
/// connection; one more ends it, for all its calls. After a stall of the network
/// those that a client gave up come in one go, and the default of 20 is soon
/// reached.
const MAX_PENDING_RESETS: usize = 4 * MAX_STREAMS as usize;
/// Bytes of a reply that HTTP takes over before they can be sent: what it has
/// taken is no longer seen as untaken. In HTTP/1.1 no request's headers may be
/// larger, either.
const MAX_UNSENT: usize = 64 << 10;
/// What a client of HTTP/2 begins with: 24 bytes.
const PREFACE_BYTES: usize = 24;
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Pause after a connection could not be accepted, for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Of a full port's idle connections, the share that makes room at once.
const ROOM_SHARE: usize = 64;
/// How far above its most a port may be while they take their leave: a share.
const LEAVING_SHARE: usize = 16;
/// Successive multiples of it, each without its whole part, lie evenly in
/// [0, 1): the golden ratio's.
const EVENLY: f64 = 0.618_033_988_749_895;

/// What holds for the connections of a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// Its name in metrics.
    pub(crate) port: &'static str,
    /// Connections at once.
    pub(crate) most: usize,
    /// Age, give or take a tenth, at which one is asked to end.
    pub(crate) age: Duration,
    /// How long calls may then go on.
    pub(crate) grace: Duration,
    /// How long a client may be silent at first, or leave a reply untaken.
    pub(crate) slow_client_timeout: Duration,
    /// Whether HTTP/1.1 is spoken, too.
    pub(crate) http1: bool,
}

/// All connections of a port.
pub(crate) struct Connections {
    policy: Policy,
    tls: Option<Arc<Tls>>,
    open: Mutex<HashMap<usize, Arc<Connection>>>,
    tasks: TaskTracker,
    /// Cancelled when no more calls are taken.
    closing: CancellationToken,
    /// Cancelled when all must end at once.
    ended: CancellationToken,
    accepted: AtomicUsize,
    trouble: Throttle,
}

/// One connection, as its calls know it.
pub(crate) struct Connection {
    /// Cancelled when it takes no more calls: streams without end finish then.
    pub(crate) closing: CancellationToken,
    ended: CancellationToken,
    opened: Instant,
    heard_bytes: AtomicUsize,
    doing: Mutex<Doing>,
}

struct Doing {
    streams: usize,
    idle_since: Instant,
    /// Replies that the client has not taken in yet, since when.
    replies: Vec<(usize, Instant)>,
    next_reply: usize,
}

/// A stream of a connection; it is one less when this is dropped.
pub(crate) struct OpenStream(Arc<Connection>);

/// A reply on its way to the client; taken in when this is dropped.
pub(crate) struct UntakenReply {
    connection: Arc<Connection>,
    number: usize,
}

impl Connection {
    fn new(closing: CancellationToken, ended: CancellationToken) -> Self {
        let now = Instant::now();
        Self {
            closing,
            ended,
            opened: now,
            heard_bytes: AtomicUsize::new(0),
            doing: Mutex::new(Doing {
                streams: 0,
                idle_since: now,
                replies: Vec::new(),
                next_reply: 0,
            }),
        }
    }

    fn doing(&self) -> MutexGuard<'_, Doing> {
        // Changed in single steps, so whole even after a panic.
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a stream that begins.
    pub(crate) fn stream(self: &Arc<Self>) -> OpenStream {
        self.doing().streams += 1;
        OpenStream(Arc::clone(self))
    }

    /// Notes a reply that begins to go out.
    pub(crate) fn reply(self: &Arc<Self>) -> UntakenReply {
        let mut doing = self.doing();
        let number = doing.next_reply;
        doing.next_reply += 1;
        doing.replies.push((number, Instant::now()));
        UntakenReply {
            connection: Arc::clone(self),
            number,
        }
    }

    fn idle_since(&self) -> Option<Instant> {
        let doing = self.doing();
        (doing.streams == 0).then_some(doing.idle_since)
    }

    fn is_silent(&self, timeout: Duration) -> bool {
        self.heard_bytes.load(Ordering::Relaxed) < PREFACE_BYTES && self.opened.elapsed() > timeout
    }

    fn is_slow(&self, timeout: Duration) -> bool {
        let doing = self.doing();
        doing
            .replies
            .iter()
            .any(|(_, since)| since.elapsed() > timeout)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut doing = self.0.doing();
        doing.streams -= 1;
        doing.idle_since = Instant::now();
    }
}

impl Drop for UntakenReply {
    fn drop(&mut self) {
        let mut doing = self.connection.doing();
        doing.replies.retain(|(number, _)| *number != self.number);
    }
}

impl Connections {
    pub(crate) fn new(policy: Policy, tls: Option<Arc<Tls>>) -> Arc<Self> {
        Arc::new(Self {
            policy,
            tls,
            open: Mutex::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            ended: CancellationToken::new(),
            accepted: AtomicUsize::new(0),
            trouble: Throttle::new(),
        })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<usize, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes connections until [`Connections::close`]; then listens no more.
    pub(crate) async fn accept<S>(self: Arc<Self>, listener: TcpListener, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send,
    {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        if !self.policy.http1 {
            builder = builder.http2_only();
        }
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.policy.slow_client_timeout)
            .max_buf_size(MAX_UNSENT);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_send_buf_size(MAX_UNSENT)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT);
        let mut sweeps = tokio::time::interval(SWEEP_EVERY);
        sweeps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.closing.cancelled() => return,
                _ = sweeps.tick() => self.sweep(),
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.take(stream, &builder, &service),
                    // The client has gone again.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => {
                        if let Some(untold) = self.trouble.turn() {
                            let error = &error as &dyn std::error::Error;
                            warn!(error, untold, "a connection cannot be accepted");
                        }
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    fn take<S>(
        self: &Arc<Self>,
        stream: TcpStream,
        builder: &auto::Builder<TokioExecutor>,
        service: &S,
    ) where
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send,
    {
        if self.open().len() >= self.policy.most && !self.make_room() {
            meters::connection_ended(ConnectionEnd::Full);
            if let Some(untold) = self.trouble.turn() {
                let most = self.policy.most;
                warn!(most, untold, "too many connections: a new one is refused");
            }
            return;
        }
        // Without it small replies would wait for each other; a socket that
        // refuses it works all the same.
        let _ = stream.set_nodelay(true);
        let connection = Arc::new(Connection::new(
            self.closing.child_token(),
            self.ended.child_token(),
        ));
        let number = self.accepted.fetch_add(1, Ordering::Relaxed);
        let open = {
            let mut open = self.open();
            open.insert(number, Arc::clone(&connection));
            open.len()
        };
        meters::connections(self.policy.port, open);
        let service = Known {
            service: service.clone(),
            connection: Arc::clone(&connection),
        };
        let (port, builder) = (Arc::clone(self), builder.clone());
        self.tasks.spawn(async move {
            match &port.tls {
                None => {
                    port.run(stream, &builder, service, &connection, number)
                        .await
                }
                Some(tls) => {
                    let greeted = tls.acceptor(port.policy.http1).accept(stream);
                    let greeted = tokio::time::timeout(port.policy.slow_client_timeout, greeted);
                    // It has no calls yet that could be finished.
                    let greeted = connection.closing.run_until_cancelled(greeted);
                    match greeted.await {
                        Some(Ok(Ok(stream))) => {
                            port.run(stream, &builder, service, &connection, number)
                                .await;
                        }
                        Some(Ok(Err(error))) => {
                            debug!(%error, "no tls with a client");
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
        service: Known<S>,
        connection: &Arc<Connection>,
        number: usize,
    ) where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send,
    {
        let io = TokioIo::new(Heard {
            stream,
            connection: Arc::clone(connection),
        });
        let serving = builder.serve_connection(io, TowerToHyperService::new(service));
        let mut serving = pin!(serving);
        tokio::select! {
            // How a client breaks a connection is its own business.
            _ = serving.as_mut() => return,
            () = connection.ended.cancelled() => return,
            () = connection.closing.cancelled() => {}
            () = tokio::time::sleep(self.policy.age.mul_f64(share_of_age(number))) => {
                meters::connection_ended(ConnectionEnd::Age);
                connection.closing.cancel();
            }
        }
        serving.as_mut().graceful_shutdown();
        tokio::select! {
            _ = serving => {}
            () = connection.ended.cancelled() => {}
            () = tokio::time::sleep(self.policy.grace) => {}
        }
    }

    /// Ends connections whose clients do not speak, or do not take in replies.
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
            if !connection.ended.is_cancelled() {
                meters::connection_ended(end);
                connection.ended.cancel();
            }
        }
    }

    /// Asks those that were idle longest to end; `false` if none is idle. If
    /// too many have not ended yet that were asked, there is no more asking.
    fn make_room(&self) -> bool {
        let most = self.policy.most;
        let crowded = self.open().len() >= most + most / LEAVING_SHARE;
        let mut idle: Vec<(Instant, Arc<Connection>)> = self
            .open()
            .values()
            .filter(|connection| crowded || !connection.closing.is_cancelled())
            .filter(|connection| !connection.ended.is_cancelled())
            .filter_map(|connection| Some((connection.idle_since()?, Arc::clone(connection))))
            .collect();
        if idle.is_empty() {
            return false;
        }
        idle.sort_unstable_by_key(|(since, _)| *since);
        for (_, connection) in idle.iter().take((idle.len() / ROOM_SHARE).max(1)) {
            meters::connection_ended(ConnectionEnd::Full);
            connection.closing.cancel();
            if crowded {
                connection.ended.cancel();
            }
        }
        true
    }

    /// Takes no more connections and calls, and waits at most so long for those
    /// that are there. Says whether all have ended by themselves.
    pub(crate) async fn close(&self, at_most: Duration) -> bool {
        self.closing.cancel();
        self.tasks.close();
        let ended = tokio::time::timeout(at_most, self.tasks.wait()).await;
        self.ended.cancel();
        self.tasks.wait().await;
        ended.is_ok()
    }
}

/// The share of the age that a connection may have, give or take a tenth:
/// those that are made together do not end together.
fn share_of_age(number: usize) -> f64 {
    0.9 + 0.2 * (number as f64 * EVENLY).fract()
}

/// A service whose calls know their connection.
#[derive(Clone)]
struct Known<S> {
    service: S,
    connection: Arc<Connection>,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for Known<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        request
            .extensions_mut()
            .insert(Arc::clone(&self.connection));
        self.service.call(request)
    }
}

/// A socket that notes whether anything was heard on it.
struct Heard<I> {
    stream: I,
    connection: Arc<Connection>,
}

impl<I: AsyncRead + Unpin> AsyncRead for Heard<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let heard = &self.connection.heard_bytes;
        if heard.load(Ordering::Relaxed) < PREFACE_BYTES {
            heard.fetch_add(buffer.filled().len() - before, Ordering::Relaxed);
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Heard<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::share_of_age;

    #[test]
    fn connections_made_together_are_spread_over_a_fifth_of_their_age() {
        let mut in_tenths = [0; 10];
        for share in (0..100).map(share_of_age) {
            assert!((0.9..1.1).contains(&share), "{share}");
            in_tenths[((share - 0.9) * 50.0) as usize] += 1;
        }
        assert!(in_tenths.iter().all(|number| *number >= 8), "{in_tenths:?}");
    }
}
