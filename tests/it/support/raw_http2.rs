//! HTTP/2 clients that send and read as slowly as a test wants.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::{
    SendStream,
    client::{ResponseFuture, SendRequest},
};
use tokio::{net::TcpStream, task::JoinHandle};

/// The preface of HTTP/2 with empty SETTINGS.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// An HTTP/2 connection whose streams have this initial window, and a task that ends with
/// the connection.
pub async fn connect(address: SocketAddr, window: u32) -> (SendRequest<Bytes>, JoinHandle<()>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(window)
        .handshake(stream)
        .await
        .unwrap();
    let closed = tokio::spawn(async move {
        let _ = connection.await;
    });
    (client, closed)
}

/// Starts a call and leaves its request open.
pub fn start_call(
    client: &mut SendRequest<Bytes>,
    method: &str,
) -> (ResponseFuture, SendStream<Bytes>) {
    start_at(client, &format!("/recsys.v1.RecommenderService/{method}"))
}

/// As [`start_call`], by the path of any service's method.
pub fn start_at(
    client: &mut SendRequest<Bytes>,
    path: &str,
) -> (ResponseFuture, SendStream<Bytes>) {
    try_start_at(client, path).unwrap()
}

/// As [`start_at`], over a connection that the server may have closed.
pub fn try_start_at(
    client: &mut SendRequest<Bytes>,
    path: &str,
) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
    let request = http::Request::post(format!("http://x{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    client.send_request(request, false)
}

/// A message in a frame of gRPC.
pub fn frame(message: &impl prost::Message) -> Bytes {
    let message = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    frame.into()
}
