//! `recsys recommend`, `recsys similar`, `recsys popular`: lists of a running server,
//! with the reasons.

mod connect;
mod error;
mod print;
mod request;

use std::process::ExitCode;

use tonic::transport::Channel;

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
        let (server, mut client) = open(settings, &flags.list).await?;
        let reply = client.recommend(server.request(request)).await?;
        Ok(reply.into_inner())
    };
    shown(list.await, &flags.list)
}

pub(super) async fn similar(settings: &Settings, flags: &SimilarFlags) -> ExitCode {
    let list = async {
        let request = request::similar(flags)?;
        let (server, mut client) = open(settings, &flags.list).await?;
        let reply = client.similar_items(server.request(request)).await?;
        Ok(reply.into_inner().into())
    };
    shown(list.await, &flags.list)
}

pub(super) async fn popular(settings: &Settings, flags: &PopularFlags) -> ExitCode {
    let list = async {
        let request = request::popular(flags)?;
        let (server, mut client) = open(settings, &flags.list).await?;
        let reply = client.popular_items(server.request(request)).await?;
        Ok(reply.into_inner().into())
    };
    shown(list.await, &flags.list)
}

async fn open(
    settings: &Settings,
    flags: &ListFlags,
) -> Result<(ListServer, RecommenderServiceClient<Channel>), ListError> {
    let server = ListServer::open(settings, flags).await?;
    let client = RecommenderServiceClient::new(server.channel.clone());
    Ok((server, client.max_decoding_message_size(MAX_REPLY_BYTES)))
}

fn shown(list: Result<RecommendResponse, ListError>, flags: &ListFlags) -> ExitCode {
    match list {
        Ok(list) if flags.json => anstream::println!("{}", print::json(&list)),
        Ok(list) => anstream::print!("{}", print::text(&list)),
        Err(error) => return exit::failed(&error, error.is_bad_input()),
    }
    ExitCode::SUCCESS
}
