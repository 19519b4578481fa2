//! A port of its own for plain HTTP.

use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::edge::{
    budget::Load,
    connections::{Connections, Policy, PortService},
    settings::ServerSettings,
    tls::Tls,
};

/// A port that is not served yet.
pub(super) struct ClosedPort {
    /// Its name in metrics.
    pub(super) name: &'static str,
    pub(super) listener: TcpListener,
    /// TLS of its connections; `None`: plaintext.
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) max_connections: usize,
}

/// A port that is being served.
pub(crate) struct OpenPort {
    pub(crate) connections: Arc<Connections>,
    /// Ends when the connections are closed.
    pub(crate) accepting: JoinHandle<()>,
}

impl ClosedPort {
    /// Serves the port until its connections are closed.
    pub(super) fn open<S>(self, service: S, load: Arc<Load>, settings: &ServerSettings) -> OpenPort
    where
        S: PortService<Request<Incoming>>,
    {
        let policy = Policy {
            port: self.name,
            max_connections: self.max_connections.min(settings.max_connections),
            max_age: settings.max_connection_age,
            grace: settings.request_timeout + settings.slow_client_timeout,
            slow_client_timeout: settings.slow_client_timeout,
            http1: true,
            paced: false,
        };
        let connections = Connections::new(policy, self.tls, load);
        let accepting = Arc::clone(&connections).accept(self.listener, service);
        OpenPort {
            connections,
            accepting: tokio::spawn(accepting),
        }
    }
}
