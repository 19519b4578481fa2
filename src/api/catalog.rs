//! `recsys.v1.CatalogService`.

use std::{collections::HashSet, sync::Arc};

use prost::Message as _;
use tonic::{Request, Response, Status};

use crate::{
    api::{
        error::ApiError,
        item_pages::PageReader,
        limits::Limits,
        parse::{self, Checks},
        reply, reply_cost,
        service_traits::catalog_service_server::CatalogService,
    },
    domain::ids::ContentId,
    edge::{
        access::Caller,
        deadline::{CallTime, STORE_SHARE},
        load::Account,
    },
    ports::ItemRefusal,
    proto,
};

/// Items that GetItems reads at a time: the largest ones take 16 MiB.
const ITEMS_AT_ONCE: usize = 64;

/// The service. A call is answered by the engine of its caller.
#[derive(Clone)]
pub(crate) struct Catalog {
    pub(crate) limits: Arc<Limits>,
}

impl Catalog {
    fn ids(&self, given: Vec<String>) -> Result<Vec<ContentId>, ApiError> {
        let mut checks = Checks::new(&self.limits);
        let ids = checks.content_ids("content_ids", self.limits.max_catalog_items, given);
        checks.finish(Some(ids))
    }
}

fn result(content_id: String, outcome: Result<proto::ItemOutcome, ApiError>) -> proto::ItemResult {
    match outcome {
        Ok(outcome) => proto::ItemResult {
            content_id,
            outcome: outcome.into(),
            error: None,
        },
        Err(error) => proto::ItemResult {
            content_id,
            outcome: proto::ItemOutcome::Rejected.into(),
            error: Some(error.into_detail()),
        },
    }
}

/// The valid elements of a call and, for each element, its error if it has one.
fn parse_each<G, T>(
    given: Vec<G>,
    parse: impl Fn(usize, G) -> Result<T, ApiError>,
) -> (Vec<T>, Vec<Result<(), ApiError>>) {
    let mut valid = Vec::with_capacity(given.len());
    let parsed = given.into_iter().enumerate().map(|(index, given)| {
        valid.push(parse(index, given)?);
        Ok(())
    });
    let parsed = parsed.collect();
    (valid, parsed)
}

/// The result of each element: its own error, or what the store did with it. `written` has
/// one result for each valid element, in order. `path` is that of an element's item.
fn results<T>(
    ids: Vec<String>,
    parsed: Vec<Result<(), ApiError>>,
    written: Vec<Result<T, ItemRefusal>>,
    path: impl Fn(usize) -> String,
    outcome: impl Fn(T) -> proto::ItemOutcome,
) -> Vec<proto::ItemResult> {
    let mut written = written.into_iter();
    let elements = ids.into_iter().zip(parsed).enumerate();
    let results = elements.map(|(index, (id, parsed))| {
        let written = parsed.and_then(|()| {
            // The port returns one result for each element.
            let written = written.next().unwrap_or(Err(ItemRefusal::Full));
            written.map_err(|refusal| ApiError::refused_item(&refusal, &path(index)))
        });
        result(id, written.map(&outcome))
    });
    results.collect()
}

#[tonic::async_trait]
impl CatalogService for Catalog {
    async fn upsert_items(
        &self,
        request: Request<proto::UpsertItemsRequest>,
    ) -> Result<Response<proto::UpsertItemsResponse>, Status> {
        let engine = Caller::of(request.extensions())?.engine;
        let items = request.into_inner().items;
        let mut checks = Checks::new(&self.limits);
        checks.count("items", items.len(), self.limits.max_catalog_items);
        checks.finish(Some(()))?;

        let path = |index: usize| format!("items[{index}]");
        let ids = items.iter().map(|item| item.content_id.clone()).collect();
        let (valid, parsed) = parse_each(items, |index, item| {
            parse::item(item, &path(index), &self.limits)
        });
        let stored = engine.upsert_items(valid).await.map_err(ApiError::from)?;
        let results = results(ids, parsed, stored, path, |()| proto::ItemOutcome::Stored);
        Ok(Response::new(proto::UpsertItemsResponse { results }))
    }

    async fn update_items(
        &self,
        request: Request<proto::UpdateItemsRequest>,
    ) -> Result<Response<proto::UpdateItemsResponse>, Status> {
        let engine = Caller::of(request.extensions())?.engine;
        let updates = request.into_inner().updates;
        let mut checks = Checks::new(&self.limits);
        checks.count("updates", updates.len(), self.limits.max_catalog_items);
        checks.finish(Some(()))?;

        let path = |index: usize| format!("updates[{index}]");
        let id = |update: &proto::ItemUpdate| {
            let item = update.item.as_ref();
            item.map(|item| item.content_id.clone()).unwrap_or_default()
        };
        let ids = updates.iter().map(id).collect();
        let (valid, parsed) = parse_each(updates, |index, update| {
            parse::item_update(update, &path(index), &self.limits)
        });
        let updated = engine.update_items(valid).await.map_err(ApiError::from)?;
        let item_path = |index| format!("{}.item", path(index));
        let results = results(ids, parsed, updated, item_path, |existed| match existed {
            true => proto::ItemOutcome::Stored,
            false => proto::ItemOutcome::NotFound,
        });
        Ok(Response::new(proto::UpdateItemsResponse { results }))
    }

    async fn list_items(
        &self,
        request: Request<proto::ListItemsRequest>,
    ) -> Result<Response<proto::ListItemsResponse>, Status> {
        let caller = Caller::of(request.extensions())?;
        let reader = PageReader {
            engine: &caller.engine,
            limits: &self.limits,
            account: Account::of(request.extensions()),
            deadline: CallTime::share(request.extensions(), STORE_SHARE),
        };
        let (tenant, engine) = (caller.tenant.as_ref(), reader.engine);
        let list = parse::item_list(request.get_ref(), tenant, &self.limits, engine)?;
        Ok(Response::new(reader.read(&list).await?))
    }

    async fn get_items(
        &self,
        request: Request<proto::GetItemsRequest>,
    ) -> Result<Response<proto::GetItemsResponse>, Status> {
        let engine = Caller::of(request.extensions())?.engine;
        let deadline = CallTime::share(request.extensions(), STORE_SHARE);
        let account = Account::of(request.extensions());
        let mut ids = self.ids(request.into_inner().content_ids)?;
        // Each item once: a short request must not cause a huge reply.
        let mut seen = HashSet::new();
        ids.retain(|id| seen.insert(id.clone()));
        let mut reply = proto::GetItemsResponse::default();
        let mut encoded = 0;
        for ids in ids.chunks(ITEMS_AT_ONCE) {
            let read = ids.len() * self.limits.max_item_bytes;
            if let Some(account) = &account {
                account.reserve(read)?;
            }
            let found = engine.get_items(ids, deadline).await;
            let found = found.map_err(ApiError::from)?;
            let items = found.iter().flatten();
            let bytes = items.map(|item| reply_cost::item(item)).sum();
            if let Some(account) = &account {
                account.release(read);
            }
            reply_cost::reserve(account.as_ref(), bytes)?;
            for (id, item) in ids.iter().zip(found) {
                match item {
                    Some(item) => {
                        let item = reply::item(&item, true);
                        encoded += item.encoded_len();
                        reply.items.push(item);
                    }
                    None => reply.missing_ids.push(id.to_string()),
                }
            }
            reply_cost::check_size(encoded)?;
        }
        Ok(Response::new(reply))
    }

    async fn delete_items(
        &self,
        request: Request<proto::DeleteItemsRequest>,
    ) -> Result<Response<proto::DeleteItemsResponse>, Status> {
        let engine = Caller::of(request.extensions())?.engine;
        let ids = self.ids(request.into_inner().content_ids)?;
        let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let deleted = engine.delete_items(ids).await.map_err(ApiError::from)?;
        let results = names
            .into_iter()
            .zip(deleted)
            .map(|(id, existed)| {
                let outcome = if existed {
                    proto::ItemOutcome::Deleted
                } else {
                    proto::ItemOutcome::NotFound
                };
                result(id, Ok(outcome))
            })
            .collect();
        Ok(Response::new(proto::DeleteItemsResponse { results }))
    }
}
