//! Shutdown: calls in flight are completed within a bound, and instances can be restarted
//! one after the other without a failed call. A stalled process fails its liveness probe.

use std::{
    io::{Read as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use recsys::{
    api::limits::Limits,
    app::server::{OtherPorts, Port, Stop, serve},
    domain::ranking_config::RankingConfig,
    edge::{access::Access, settings::ServerSettings},
    http::admin::Admin,
    ports::ModelSlot,
    proto::{self, recommender_service_client::RecommenderServiceClient},
};
use tokio::net::TcpListener;
use tokio_stream::StreamExt as _;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    operations::Faulty,
    support::{
        MemoryWorld,
        items::half_circle,
        program::{Served, recsys},
        redis::{RedisServer, free_port},
        server::{NOW, liked, named},
    },
};

#[tokio::test]
async fn a_call_that_never_ends_does_not_block_shutdown() {
    let stores = Faulty::new();
    stores.hold_appends.store(true, Ordering::SeqCst);
    let settings = ServerSettings {
        drain_timeout: Duration::from_millis(100),
        request_timeout: Duration::from_secs(3_600),
        ..ServerSettings::default()
    };
    let server = stores.serve_with(settings).await;
    let mut client = server.recommender();
    let event = Some(liked("u", "i001"));
    let call = tokio::spawn(async move {
        client
            .ingest_event(proto::IngestEventRequest { event })
            .await
    });
    while stores.begun.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let stopped = tokio::spawn(server.stopped());
    assert!(call.await.unwrap().is_err(), "its connection was closed");
    // The append in flight and its refresh are still completed.
    stores.hold_appends.store(false, Ordering::SeqCst);
    stopped.await.unwrap().unwrap();
    let user = recsys::domain::ids::UserId::parse("u").unwrap();
    let ports = &stores.world.ports;
    assert_eq!(ports.events.read(&user).await.unwrap().events.len(), 1);
    let model = ports.models.load(&user).await.unwrap();
    assert!(matches!(model, ModelSlot::Present(_)), "{model:?}");
}

#[test]
fn a_second_signal_ends_the_process_immediately() {
    let mut served = Served::start(recsys(&["serve"]).env("RECSYS_DRAIN_DELAY", "1h"));
    served.signal("-TERM");
    served.logged("still serving");
    served.signal("-TERM");
    assert_eq!(served.child.wait().unwrap().code(), Some(130));
}

/// Two instances of the program, which are restarted one after the other.
struct Fleet {
    ports: [u16; 2],
    redis: String,
}

impl Fleet {
    fn start(&self, index: usize) -> Served {
        Served::start_at(
            recsys(&["serve"])
                .env("REDIS_URL", &self.redis)
                .env("RECSYS_DRAIN_DELAY", "1s"),
            &format!("127.0.0.1:{}", self.ports[index]),
        )
    }
}

/// An instance as a client with health-based load balancing sees it.
struct Backend {
    channel: Channel,
    ready: Arc<AtomicBool>,
}

impl Backend {
    /// Watches `readiness`, as gRPC's client-side health checking does.
    fn watch(port: u16) -> Self {
        let channel = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))
            .unwrap()
            .connect_lazy();
        let ready = Arc::new(AtomicBool::new(false));
        let (watched, status) = (channel.clone(), ready.clone());
        tokio::spawn(async move {
            loop {
                let request = HealthCheckRequest {
                    service: "readiness".to_owned(),
                };
                if let Ok(reply) = HealthClient::new(watched.clone()).watch(request).await {
                    let mut statuses = reply.into_inner();
                    while let Some(Ok(update)) = statuses.next().await {
                        let serving = update.status() == ServingStatus::Serving;
                        status.store(serving, Ordering::SeqCst);
                    }
                }
                status.store(false, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self { channel, ready }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_fails_no_call() {
    const CALLS: usize = 10_000;
    let redis = RedisServer::start();
    let fleet = Fleet {
        ports: [free_port(), free_port()],
        redis: redis.url(),
    };
    let mut instances = [fleet.start(0), fleet.start(1)];
    let backends: Arc<Vec<Backend>> = Arc::new(
        fleet
            .ports
            .iter()
            .map(|port| Backend::watch(*port))
            .collect(),
    );
    let next = Arc::new(AtomicUsize::new(0));
    let served = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let (failed, failures) = mpsc::channel();

    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (backends, next, served, failed) = (
                backends.clone(),
                next.clone(),
                served.clone(),
                failed.clone(),
            );
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= CALLS {
                        return;
                    }
                    // Round robin over those that are ready.
                    let index = loop {
                        let ready =
                            |index: &usize| backends[index % 2].ready.load(Ordering::SeqCst);
                        match (number..number + 2).find(ready) {
                            Some(index) => break index % 2,
                            None => tokio::time::sleep(Duration::from_millis(5)).await,
                        }
                    };
                    let mut client = RecommenderServiceClient::new(backends[index].channel.clone());
                    let user = format!("u{}", number % 100);
                    let result = if number % 4 == 0 {
                        let request = proto::RecommendRequest {
                            user_id: user,
                            ..Default::default()
                        };
                        client.recommend(request).await.map(|_| ())
                    } else {
                        let event = Some(named(&number.to_string(), liked(&user, "2001")));
                        let request = proto::IngestEventRequest { event };
                        client.ingest_event(request).await.map(|_| ())
                    };
                    match result {
                        Ok(()) => {
                            served[index].fetch_add(1, Ordering::SeqCst);
                        }
                        Err(status) => failed.send((number, status)).unwrap(),
                    }
                }
            })
        })
        .collect();

    for (restarted, at) in [(0, CALLS / 5), (1, 2 * CALLS / 5), (0, 3 * CALLS / 5)] {
        while next.load(Ordering::SeqCst) < at {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        instances[restarted].signal("-TERM");
        let ended = instances[restarted].child.wait().unwrap();
        assert!(ended.success(), "{ended}");
        instances[restarted] = fleet.start(restarted);
        while !backends[restarted].ready.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    for caller in callers {
        caller.await.unwrap();
    }
    let failures: Vec<_> = failures.try_iter().collect();
    assert!(
        failures.is_empty(),
        "{} calls failed: {:?}",
        failures.len(),
        failures[0]
    );
    for served in served.iter() {
        assert!(served.load(Ordering::SeqCst) > CALLS / 10);
    }
    // Every acknowledged event is stored once.
    let mut stored = 0;
    for user in 0..100 {
        let count = redis.cli(&["ZCARD", &format!("evt:u{user}")]);
        stored += count.parse::<usize>().unwrap();
    }
    assert_eq!(stored, CALLS - CALLS / 4);
}

#[test]
fn a_stalled_runtime_fails_liveness_until_it_recovers() {
    let (started, admin_address) = mpsc::channel();
    let release = Arc::new(AtomicBool::new(false));
    let held = release.clone();
    // A runtime of its own, with an admin port.
    let process = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let stop = Stop::default();
        runtime.spawn({
            let stop = stop.clone();
            async move {
                let world = MemoryWorld::new(NOW, &RankingConfig::default(), half_circle(3));
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
                started.send(admin.local_addr().unwrap()).unwrap();
                serve(
                    Access::open(world.engine(RankingConfig::default())),
                    Limits::default(),
                    ServerSettings::default(),
                    Port {
                        listener,
                        tls: None,
                    },
                    OtherPorts {
                        admin: Some(Admin {
                            listener: admin,
                            metrics: Arc::new(String::new),
                            log: None,
                        }),
                        ..OtherPorts::default()
                    },
                    stop,
                )
                .await
                .unwrap();
            }
        });
        while !held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
        // Block its only thread.
        let (unblock, wait) = mpsc::channel::<()>();
        runtime.spawn(async move {
            let _ = wait.recv();
        });
        while held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(unblock);
        while !held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let admin = admin_address.recv().unwrap();
    let until = |path: &str, expected: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        loop {
            let mut stream = std::net::TcpStream::connect(admin).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut reply = String::new();
            stream.read_to_string(&mut reply).unwrap();
            if reply.starts_with(expected) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    until("/livez", "HTTP/1.1 200");
    until("/readyz", "HTTP/1.1 200");
    release.store(true, Ordering::SeqCst);
    until("/livez", "HTTP/1.1 503");
    release.store(false, Ordering::SeqCst);
    until("/livez", "HTTP/1.1 200");
    release.store(true, Ordering::SeqCst);
    process.join().unwrap();
}
