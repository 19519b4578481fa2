//! A TCP proxy of the test's own, in front of a real server. It lets all
//! through, until it is told what goes wrong.

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

/// Which way bytes go: to the server, or back from it.
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

/// What becomes of new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Open,
    /// Accepted, and reset at once.
    TurnsAway,
    /// Nobody listens.
    Closed,
}

#[derive(Clone, Debug)]
struct Rules {
    /// Where new connections lead.
    target: u16,
    door: Door,
    holds: [bool; 2],
    delays: [Duration; 2],
    /// Rises with each reset of all connections.
    resets: u64,
}

/// When the next connection is cut.
struct Cut {
    way: Way,
    left: usize,
    end: End,
}

struct Shared {
    rules: watch::Sender<Rules>,
    cut: Mutex<Option<Cut>>,
    /// Whether anyone listens.
    listens: watch::Sender<bool>,
    accepted: AtomicUsize,
    seen: [AtomicU64; 2],
}

/// A proxy on a free port of the loopback; it ends with its connections when
/// dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    running: JoinHandle<()>,
}

impl Proxy {
    /// In front of what listens on a port of the loopback.
    pub async fn to(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let rules = Rules {
            target,
            door: Door::Open,
            holds: [false; 2],
            delays: [Duration::ZERO; 2],
            resets: 0,
        };
        let shared = Arc::new(Shared {
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

    /// How many connections were made so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many bytes came so far, let through or not.
    pub fn seen(&self, way: Way) -> u64 {
        self.shared.seen[way as usize].load(Ordering::SeqCst)
    }

    /// New connections are refused; those that are open stay.
    pub async fn refuse(&self) {
        self.change(|rules| rules.door = Door::Closed);
        self.until_listening(false).await;
    }

    /// New connections are accepted, and reset at once; those that are open
    /// stay.
    pub fn turn_away(&self) {
        self.change(|rules| rules.door = Door::TurnsAway);
    }

    /// Resets all connections.
    pub fn reset(&self) {
        self.change(|rules| rules.resets += 1);
    }

    /// Ends the connection over which so many more bytes went that way, all
    /// connections taken together. Once.
    pub fn cut_after(&self, left: usize, way: Way, end: End) {
        *self.shared.cut.lock().unwrap() = Some(Cut { way, left, end });
    }

    /// Nothing goes through either way, and nobody is told: the bytes come
    /// late, as they do after a partition of the network.
    pub fn hold(&self) {
        self.change(|rules| rules.holds = [true; 2]);
    }

    /// Holds what goes one way.
    pub fn hold_one(&self, way: Way) {
        self.change(|rules| rules.holds[way as usize] = true);
    }

    /// What comes that way waits so long before it goes on.
    pub fn delay(&self, way: Way, delay: Duration) {
        self.change(|rules| rules.delays[way as usize] = delay);
    }

    /// Leads new connections to another port.
    pub fn lead_to(&self, target: u16) {
        self.change(|rules| rules.target = target);
    }

    /// Ends all faults. What was held goes through; the target stays.
    pub async fn heal(&self) {
        *self.shared.cut.lock().unwrap() = None;
        self.change(|rules| {
            rules.door = Door::Open;
            rules.holds = [false; 2];
            rules.delays = [Duration::ZERO; 2];
        });
        self.until_listening(true).await;
    }

    fn change(&self, change: impl FnOnce(&mut Rules)) {
        self.shared.rules.send_modify(change);
    }

    async fn until_listening(&self, wanted: bool) {
        let mut listens = self.shared.listens.subscribe();
        listens
            .wait_for(|listens| *listens == wanted)
            .await
            .unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Shared {
    async fn accept(self: Arc<Self>, mut listener: TcpListener, address: SocketAddr) {
        let mut rules = self.rules.subscribe();
        let mut connections = JoinSet::new();
        loop {
            if rules.borrow_and_update().door == Door::Closed {
                drop(listener);
                // Bound and not listened on: who connects is refused, and
                // nobody else gets the port.
                let closed = TcpSocket::new_v4().unwrap();
                closed.set_reuseaddr(true).unwrap();
                closed.bind(address).unwrap();
                self.listens.send_replace(false);
                let opened = rules.wait_for(|rules| rules.door != Door::Closed);
                drop(opened.await.unwrap());
                listener = closed.listen(1_024).unwrap();
                self.listens.send_replace(true);
            }
            tokio::select! {
                accepted = listener.accept() => {
                    let (client, _) = accepted.unwrap();
                    self.accepted.fetch_add(1, Ordering::SeqCst);
                    if rules.borrow().door == Door::TurnsAway {
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

    /// Carries a connection to its end, under the rules of when it was made.
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

    /// Carries bytes one way until the connection ends.
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
            let free = rules.wait_for(|rules| !rules.holds[way as usize]);
            let delay = free.await.unwrap().delays[way as usize];
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let (goes, end) = self.cut(way, read);
            if to.write_all(&buffer[..goes]).await.is_err() {
                return End::Reset;
            }
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// How many of so many bytes go on, and how the connection ends then.
    fn cut(&self, way: Way, bytes: usize) -> (usize, Option<End>) {
        let mut next = self.cut.lock().unwrap();
        match next.as_mut().filter(|cut| cut.way == way) {
            None => (bytes, None),
            Some(cut) if bytes < cut.left => {
                cut.left -= bytes;
                (bytes, None)
            }
            Some(cut) => {
                let last = (cut.left, Some(cut.end));
                *next = None;
                last
            }
        }
    }
}

/// Has a connection end with RST, and not with FIN, when it is dropped.
fn reset(connection: &TcpStream) {
    // The other side may have ended it already.
    let _ = connection.set_zero_linger();
}
