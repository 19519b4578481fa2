//! A TCP proxy in front of a real server. It passes everything through until a fault is
//! injected.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// The direction of bytes: to the server, or back from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Requests,
    Replies,
}

/// How a connection ends, on both sides of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Close,
    Reset,
}

/// How new connections are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepting {
    Normally,
    /// They are accepted and reset at once.
    AndResetting,
    /// The port does not listen.
    Nothing,
}

#[derive(Clone, Debug)]
struct Rules {
    /// The port to which new connections are forwarded.
    target: u16,
    accepting: Accepting,
    holds: [bool; 2],
    delays: [Duration; 2],
    /// Incremented to reset all connections.
    resets: u64,
}

/// After how many bytes the next connection is cut.
struct Cut {
    way: Way,
    remaining: usize,
    end: End,
}

struct ProxyState {
    rules: watch::Sender<Rules>,
    cut: Mutex<Option<Cut>>,
    /// Whether the port listens.
    listens: watch::Sender<bool>,
    accepted: AtomicUsize,
    seen: [AtomicU64; 2],
}

/// A proxy on a free port of the loopback. Dropping it closes its connections.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<ProxyState>,
    running: JoinHandle<()>,
}

impl Proxy {
    /// In front of a port of the loopback.
    pub async fn to(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let rules = Rules {
            target,
            accepting: Accepting::Normally,
            holds: [false; 2],
            delays: [Duration::ZERO; 2],
            resets: 0,
        };
        let shared = Arc::new(ProxyState {
            rules: watch::Sender::new(rules),
            cut: Mutex::new(None),
            listens: watch::Sender::new(true),
            accepted: AtomicUsize::new(0),
            seen: Default::default(),
        });
        let address = listener.local_addr().unwrap();
        let running = tokio::spawn(shared.clone().accept(listener, address));
        Self {
            address,
            shared,
            running,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number of connections so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// The number of bytes received so far, passed through or not.
    pub fn seen(&self, way: Way) -> u64 {
        self.shared.seen[way as usize].load(Ordering::SeqCst)
    }

    /// Refuses new connections. Open ones stay.
    pub async fn refuse(&self) {
        self.change(|rules| rules.accepting = Accepting::Nothing);
        self.until_listening(false).await;
    }

    /// Accepts and resets new connections. Open ones stay.
    pub fn turn_away(&self) {
        self.change(|rules| rules.accepting = Accepting::AndResetting);
    }

    /// Resets all connections.
    pub fn reset(&self) {
        self.change(|rules| rules.resets += 1);
    }

    /// Ends one connection after this many more bytes in a direction, counted over all
    /// connections.
    pub fn cut_after(&self, remaining: usize, way: Way, end: End) {
        *self.shared.cut.lock().unwrap() = Some(Cut {
            way,
            remaining,
            end,
        });
    }

    /// Holds all bytes back in both directions, as a network partition does. They are
    /// delivered later.
    pub fn hold(&self) {
        self.change(|rules| rules.holds = [true; 2]);
    }

    /// Holds all bytes back in one direction.
    pub fn hold_one(&self, way: Way) {
        self.change(|rules| rules.holds[way as usize] = true);
    }

    /// Delays all bytes in one direction.
    pub fn delay(&self, way: Way, delay: Duration) {
        self.change(|rules| rules.delays[way as usize] = delay);
    }

    /// Forwards new connections to another port.
    pub fn lead_to(&self, target: u16) {
        self.change(|rules| rules.target = target);
    }

    /// Ends all faults. Bytes held back are delivered. The target stays.
    pub async fn heal(&self) {
        *self.shared.cut.lock().unwrap() = None;
        self.change(|rules| {
            rules.accepting = Accepting::Normally;
            rules.holds = [false; 2];
            rules.delays = [Duration::ZERO; 2];
        });
        self.until_listening(true).await;
    }

    fn change(&self, change: impl FnOnce(&mut Rules)) {
        self.shared.rules.send_modify(change);
    }

    async fn until_listening(&self, expected: bool) {
        let mut listens = self.shared.listens.subscribe();
        listens
            .wait_for(|listens| *listens == expected)
            .await
            .unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl ProxyState {
    async fn accept(self: Arc<Self>, mut listener: TcpListener, address: SocketAddr) {
        let mut rules = self.rules.subscribe();
        let mut connections = JoinSet::new();
        loop {
            if rules.borrow_and_update().accepting == Accepting::Nothing {
                drop(listener);
                // Bound without listening: connections are refused, and no other process
                // gets the port.
                let closed = TcpSocket::new_v4().unwrap();
                closed.set_reuseaddr(true).unwrap();
                closed.bind(address).unwrap();
                self.listens.send_replace(false);
                let opened = rules.wait_for(|rules| rules.accepting != Accepting::Nothing);
                drop(opened.await.unwrap());
                listener = closed.listen(1_024).unwrap();
                self.listens.send_replace(true);
            }
            tokio::select! {
                accepted = listener.accept() => {
                    let (client, _) = accepted.unwrap();
                    self.accepted.fetch_add(1, Ordering::SeqCst);
                    if rules.borrow().accepting == Accepting::AndResetting {
                        reset(&client);
                    } else {
                        let rules = rules.borrow().clone();
                        connections.spawn(self.clone().connect(client, rules));
                    }
                }
                _ = rules.changed() => {}
                Some(_) = connections.join_next() => {}
            }
        }
    }

    /// Forwards a connection to its end, to the target at the time it was made.
    async fn connect(self: Arc<Self>, mut client: TcpStream, made: Rules) {
        let Rules { target, resets, .. } = made;
        let mut rules = self.rules.subscribe();
        let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else {
            return reset(&client);
        };
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let end = tokio::select! {
            end = self.pump(Way::Requests, from_client, to_server) => end,
            end = self.pump(Way::Replies, from_server, to_client) => end,
            _ = rules.wait_for(|rules| rules.resets != resets) => End::Reset,
        };
        if end == End::Reset {
            reset(&client);
            reset(&server);
        }
    }

    /// Forwards bytes in one direction until the connection ends.
    async fn pump(
        &self,
        way: Way,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> End {
        let mut rules = self.rules.subscribe();
        let mut buffer = vec![0; 16 << 10];
        loop {
            let read = match from.read(&mut buffer).await {
                Ok(0) => return End::Close,
                Ok(read) => read,
                Err(_) => return End::Reset,
            };
            self.seen[way as usize].fetch_add(read as u64, Ordering::SeqCst);
            let released = rules.wait_for(|rules| !rules.holds[way as usize]);
            let delay = released.await.unwrap().delays[way as usize];
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let (passed, end) = self.cut(way, read);
            if to.write_all(&buffer[..passed]).await.is_err() {
                return End::Reset;
            }
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// How many of these bytes pass, and how the connection then ends.
    fn cut(&self, way: Way, bytes: usize) -> (usize, Option<End>) {
        let mut next = self.cut.lock().unwrap();
        match next.as_mut().filter(|cut| cut.way == way) {
            None => (bytes, None),
            Some(cut) if bytes < cut.remaining => {
                cut.remaining -= bytes;
                (bytes, None)
            }
            Some(cut) => {
                let last = (cut.remaining, Some(cut.end));
                *next = None;
                last
            }
        }
    }
}

/// Makes a connection end with RST instead of FIN when it is dropped.
fn reset(connection: &TcpStream) {
    // The other side may have closed it already.
    let _ = connection.set_zero_linger();
}
