//! Requests that are not messages of their type.

use recsys::{edge::settings::ServerSettings, proto};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::{
    operations::Faulty,
    support::server::{TestServer, liked, reason},
};

/// Field 1 of this message is a varint; in requests it is a message or a text.
type WrongMessage = proto::DeleteUserResponse;

/// Calls a method of the recommender with the wrong message, as its only request.
async fn call(server: &TestServer, method: &str) -> Status {
    let wrong = tokio_stream::once(WrongMessage { deleted: true });
    let path = format!("/recsys.v1.RecommenderService/{method}");
    let mut client = tonic::client::Grpc::new(server.channel.clone());
    client.ready().await.unwrap();
    let codec: ProstCodec<WrongMessage, ()> = ProstCodec::default();
    let reply = client.streaming(Request::new(wrong), path.parse().unwrap(), codec);
    match reply.await {
        Ok(reply) => reply.into_inner().message().await.unwrap_err(),
        Err(status) => status,
    }
}

#[tokio::test]
async fn an_undecodable_request_is_the_clients_error() {
    let server = Faulty::new().serve_with(ServerSettings::default()).await;
    for method in ["IngestEvent", "GetUserSignals", "StreamIngestEvents"] {
        let status = call(&server, method).await;
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, "INVALID_MESSAGE"),
            "{method}: {status}"
        );
        assert!(status.message().contains("decode"), "{method}: {status}");
    }
    server.ingest(liked("u", "i001")).await.unwrap();
}
