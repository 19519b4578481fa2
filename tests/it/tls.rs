//! TLS on the port of the API: who is served, and certificates reloaded under load.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use recsys::proto::{self, recommender_service_client::RecommenderServiceClient};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::support::{
    certificates::Certificates,
    program::{Served, recsys},
    server::{liked, named},
};

fn with_tls(certificates: &Certificates) -> Command {
    let mut command = recsys(&["serve"]);
    command
        .env("RECSYS_TLS_CERT_FILE", certificates.path("server.pem"))
        .env("RECSYS_TLS_KEY_FILE", certificates.path("server.key"));
    command
}

fn trusting(authorities: &[&Certificates]) -> ClientTlsConfig {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authorities = authorities
        .iter()
        .map(|authority| Certificate::from_pem(authority.text("ca.pem")));
    ClientTlsConfig::new()
        .ca_certificates(authorities)
        .domain_name("localhost")
}

fn showing(config: ClientTlsConfig, certificates: &Certificates, name: &str) -> ClientTlsConfig {
    config.identity(Identity::from_pem(
        certificates.text(&format!("{name}.pem")),
        certificates.text(&format!("{name}.key")),
    ))
}

async fn connected(
    served: &Served,
    config: ClientTlsConfig,
) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(format!("https://{}", served.address))?
        .tls_config(config)?
        .connect()
        .await
}

async fn ingest(channel: Channel, number: usize) -> Result<(), tonic::Status> {
    let event = Some(named(&number.to_string(), liked("u", "2001")));
    let request = proto::IngestEventRequest { event };
    let mut client = RecommenderServiceClient::new(channel);
    client.ingest_event(request).await.map(|_| ())
}

async fn is_served(served: &Served, config: ClientTlsConfig) -> bool {
    // In TLS 1.3 a client learns with the first reply that it was refused.
    match connected(served, config).await {
        Ok(channel) => ingest(channel, 0).await.is_ok(),
        Err(_) => false,
    }
}

#[tokio::test]
async fn only_tls_is_served_and_clients_verify_the_server() {
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let served = Served::start(&mut with_tls(&ours));
    assert!(is_served(&served, trusting(&[&ours])).await);
    assert!(!is_served(&served, trusting(&[&theirs])).await);
    let plain = Endpoint::from_shared(format!("http://{}", served.address)).unwrap();
    let refused = match plain.connect().await {
        Ok(channel) => ingest(channel, 1).await.is_err(),
        Err(_) => true,
    };
    assert!(refused, "plaintext was answered");
    assert!(is_served(&served, trusting(&[&ours])).await);
}

#[tokio::test]
async fn client_certificates_must_match_the_ca_bundle_and_the_names() {
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    ours.issue("shop", "shop.example");
    ours.issue("other", "other.example");
    theirs.issue("shop", "shop.example");
    let served = Served::start(
        with_tls(&ours)
            .env("RECSYS_TLS_CLIENT_CA_FILE", ours.path("ca.pem"))
            .env("RECSYS_TLS_CLIENT_NAMES", "web.example, shop.example"),
    );
    let trusting = trusting(&[&ours]);
    let with = |certificates, name| showing(trusting.clone(), certificates, name);
    assert!(is_served(&served, with(&ours, "shop")).await);
    assert!(
        !is_served(&served, trusting.clone()).await,
        "no certificate"
    );
    assert!(
        !is_served(&served, with(&ours, "other")).await,
        "not listed"
    );
    assert!(
        !is_served(&served, with(&theirs, "shop")).await,
        "another CA"
    );

    let served =
        Served::start(with_tls(&ours).env("RECSYS_TLS_CLIENT_CA_FILE", ours.path("ca.pem")));
    assert!(is_served(&served, with(&ours, "other")).await, "no list");
    assert!(!is_served(&served, with(&theirs, "shop")).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_reloaded_under_load_without_a_failed_call() {
    let (old, new) = (Certificates::new(), Certificates::new());
    let mut served = Served::start(&mut with_tls(&old));
    let both = trusting(&[&old, &new]);
    let (stop, calls) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let callers: Vec<_> = (0..4)
        .map(|caller| {
            let (stop, calls, both) = (stop.clone(), calls.clone(), both.clone());
            let endpoint = Endpoint::from_shared(format!("https://{}", served.address));
            let endpoint = endpoint.unwrap().tls_config(both).unwrap();
            tokio::spawn(async move {
                let connected = endpoint.connect().await.unwrap();
                while !stop.load(Ordering::SeqCst) {
                    let number = calls.fetch_add(1, Ordering::SeqCst);
                    // Half of them open a connection for each call.
                    let channel = match caller % 2 {
                        0 => connected.clone(),
                        _ => endpoint.connect().await.unwrap(),
                    };
                    ingest(channel, number).await.unwrap();
                }
            })
        })
        .collect();

    // A key that does not match is refused, and the old pair stays in use.
    old.write("server.key", &new.text("server.key"));
    served.logged("changed tls files cannot be used");
    assert!(is_served(&served, trusting(&[&old])).await);
    old.write("server.pem", &new.text("server.pem"));
    served.logged("tls certificates reloaded");
    assert!(is_served(&served, trusting(&[&new])).await);
    assert!(!is_served(&served, trusting(&[&old])).await);
    let calls_before = calls.load(Ordering::SeqCst);
    while calls.load(Ordering::SeqCst) < calls_before + 100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
}

#[test]
fn a_silent_client_does_not_block_shutdown() {
    let certificates = Certificates::new();
    let mut command = with_tls(&certificates);
    let mut served = Served::start(command.env("RECSYS_SLOW_CLIENT_TIMEOUT", "1h"));
    let silent = std::net::TcpStream::connect(&served.address).unwrap();
    served.signal("-INT");
    assert!(served.child.wait().unwrap().success());
    drop(silent);
}

#[test]
fn incomplete_tls_settings_are_refused_at_startup_with_the_fix() {
    let certificates = Certificates::new();
    let file = |name| certificates.path(name);
    certificates.write("empty.pem", "nothing");
    let cases = [
        (
            vec![("RECSYS_TLS_CERT_FILE", file("server.pem"))],
            "must be set together",
        ),
        (
            vec![("RECSYS_TLS_CLIENT_CA_FILE", file("ca.pem"))],
            "needs RECSYS_TLS_CERT_FILE",
        ),
        (
            vec![("RECSYS_TLS_CLIENT_NAMES", "x".to_owned())],
            "needs RECSYS_TLS_CERT_FILE",
        ),
        (
            vec![
                ("RECSYS_TLS_CERT_FILE", file("server.pem")),
                ("RECSYS_TLS_KEY_FILE", file("server.key")),
                ("RECSYS_TLS_CLIENT_NAMES", "x".to_owned()),
            ],
            "needs RECSYS_TLS_CLIENT_CA_FILE",
        ),
        (
            vec![
                ("RECSYS_TLS_CERT_FILE", file("server.pem")),
                ("RECSYS_TLS_KEY_FILE", file("client.key")),
            ],
            "cannot be used",
        ),
        (
            vec![
                ("RECSYS_TLS_CERT_FILE", file("empty.pem")),
                ("RECSYS_TLS_KEY_FILE", file("server.key")),
            ],
            "holds no certificate",
        ),
        (
            vec![
                ("RECSYS_TLS_CERT_FILE", file("missing.pem")),
                ("RECSYS_TLS_KEY_FILE", file("server.key")),
            ],
            "cannot read",
        ),
    ];
    for (variables, expected) in cases {
        let output = recsys(&["serve", "--listen-addr", "127.0.0.1:0"])
            .envs(variables)
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(expected), "{expected:?} is not in {error}");
    }
}

#[test]
fn the_healthcheck_of_a_tls_server_uses_its_admin_port() {
    let certificates = Certificates::new();
    let mut served = Served::start(with_tls(&certificates).args(["--admin-addr", "127.0.0.1:0"]));
    let admin = served.admin_address();
    let check = |arguments: &[&str]| {
        let mut command = recsys(arguments);
        command.env("RECSYS_TLS_CERT_FILE", certificates.path("server.pem"));
        command.output().unwrap()
    };
    let output = check(&["healthcheck", "--admin-addr", &admin]);
    assert!(output.status.success(), "{output:?}");
    let output = check(&["healthcheck", "--listen-addr", &served.address]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("RECSYS_ADMIN_ADDR"), "{stderr}");
}
