//! `recsys recommend`, `recsys similar`, `recsys popular`: lists of a running server,
//! with the reasons.

mod connect;
mod error;
mod print;
mod request;

use std::process::ExitCode;

use tonic::Response;

use super::exit;
use crate::{
    config::{ListFlags, PopularFlags, RecommendFlags, Settings, SimilarFlags},
    proto::{RecommendResponse, recommender_service_client::RecommenderServiceClient},
};
use connect::{ListServer, MAX_REPLY_BYTES};
use error::ListError;

pub(super) async fn recommend(settings: &Settings, flags: &RecommendFlags) -> ExitCode {
    let list = async {
        let request = request::recommend(flags)?;
        let connection = ListServer::open(settings, &flags.list).await?;
        let mut client = client(&connection);
        let reply = client.recommend(connection.request(request)).await;
        Ok(reply.map(Response::into_inner)?)
    };
    shown(list.await, &flags.list)
}

pub(super) async fn similar(settings: &Settings, flags: &SimilarFlags) -> ExitCode {
    let list = async {
        let request = request::similar(flags)?;
        let connection = ListServer::open(settings, &flags.list).await?;
        let mut client = client(&connection);
        let reply = client.similar_items(connection.request(request)).await?;
        let list = reply.into_inner();
        Ok(RecommendResponse {
            request_id: list.request_id,
            strategy: list.strategy,
            items: list.items,
            diagnostics: list.diagnostics,
        })
    };
    shown(list.await, &flags.list)
}

pub(super) async fn popular(settings: &Settings, flags: &PopularFlags) -> ExitCode {
    let list = async {
        let request = request::popular(flags)?;
        let connection = ListServer::open(settings, &flags.list).await?;
        let mut client = client(&connection);
        let reply = client.popular_items(connection.request(request)).await?;
        let list = reply.into_inner();
        Ok(RecommendResponse {
            request_id: list.request_id,
            strategy: list.strategy,
            items: list.items,
            diagnostics: list.diagnostics,
        })
    };
    shown(list.await, &flags.list)
}

fn client(connection: &ListServer) -> RecommenderServiceClient<tonic::transport::Channel> {
    RecommenderServiceClient::new(connection.channel.clone())
        .max_decoding_message_size(MAX_REPLY_BYTES)
}

fn shown(list: Result<RecommendResponse, ListError>, flags: &ListFlags) -> ExitCode {
    match list {
        Ok(list) if flags.json => anstream::println!("{}", print::json(&list)),
        Ok(list) => anstream::print!("{}", print::text(&list)),
        Err(error) => return exit::failed(&error, error.is_bad_input()),
    }
    ExitCode::SUCCESS
}
