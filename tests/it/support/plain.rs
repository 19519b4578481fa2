//! A client that leaves deadlines to the server, unlike tonic's channel, which enforces
//! them itself.

use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use recsys::proto::recommender_service_client::RecommenderServiceClient;
use tonic::{Request, body::Body};

use super::server::TestServer;

pub type PlainClient = RecommenderServiceClient<Client<HttpConnector, Body>>;

pub fn client(server: &TestServer) -> PlainClient {
    let transport = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let origin = format!("http://{}", server.address).parse().unwrap();
    RecommenderServiceClient::with_origin(transport, origin)
}

/// A request with a deadline, such as "60m" for 60 milliseconds.
pub fn within<T>(timeout: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let timeout = timeout.parse().unwrap();
    request.metadata_mut().insert("grpc-timeout", timeout);
    request
}
