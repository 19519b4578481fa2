//! Pages of the list of all items.

use prost::Message as _;

use crate::{
    api::{
        error::ApiError,
        limits::Limits,
        parse::{ItemListRequest, unknown_position},
        reply,
        reply_cost::{self, MAX_REPLY_BYTES},
    },
    edge::load::Account,
    engine::Engine,
    ports::{Deadline, ItemTotal, ListPosition, PageRequest},
    proto,
};

/// Items that are read at a time: the largest ones take 16 MiB.
const ITEMS_AT_ONCE: usize = 64;
/// Most reads of a page: after a filter that the store cannot evaluate exactly, they may
/// have few items.
const MAX_READS: usize = 16;
/// What a reply holds besides its items: the token of the next page.
const TOKEN_BYTES: usize = 4 << 10;
/// What an item takes in a reply besides its own encoding.
const ITEM_PREFIX_BYTES: usize = 8;

/// What pages are read with.
pub(crate) struct PageReader<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) limits: &'a Limits,
    pub(crate) account: Option<Account>,
    pub(crate) deadline: Deadline,
}

/// A page as far as it is read.
#[derive(Default)]
struct PartialPage {
    reply: proto::ListItemsResponse,
    encoded: usize,
    /// The position after its last item.
    after: Option<ListPosition>,
    /// Whether all items were counted.
    is_counted: bool,
    /// Whether the reply has no room for the next item.
    is_full: bool,
}

impl PageReader<'_> {
    /// Reads a page. It ends early where the reply would be too large.
    pub(crate) async fn read(
        &self,
        request: &ItemListRequest,
    ) -> Result<proto::ListItemsResponse, ApiError> {
        let mut page = PartialPage {
            after: request.after.clone(),
            ..PartialPage::default()
        };
        for _ in 0..MAX_READS {
            let is_last = self.extend(&mut page, request).await?;
            if is_last {
                return Ok(page.reply);
            }
            if page.is_full || page.reply.items.len() >= request.page_size {
                break;
            }
        }
        if let Some(after) = &page.after {
            page.reply.next_page_token = request.tokens.write(after);
        }
        Ok(page.reply)
    }

    /// Reads some more items. Returns whether these are the last of the list.
    async fn extend(
        &self,
        page: &mut PartialPage,
        request: &ItemListRequest,
    ) -> Result<bool, ApiError> {
        let limit = ITEMS_AT_ONCE.min(request.page_size - page.reply.items.len());
        let reserved = limit * self.limits.max_item_bytes;
        if let Some(account) = &self.account {
            account.reserve(reserved)?;
        }
        let read = PageRequest {
            restriction: &request.restriction,
            after: page.after.as_ref(),
            limit,
            with_vectors: request.include_vectors,
            with_total: !page.is_counted,
        };
        let read = self.engine.list_items(read, self.deadline).await;
        let read = read.map_err(ApiError::from)?.ok_or_else(unknown_position)?;
        if let Some(account) = &self.account {
            account.release(reserved);
        }
        page.is_counted = true;
        if let Some(ItemTotal { items, is_estimate }) = read.total {
            page.reply.total_items = u32::try_from(items).unwrap_or(u32::MAX);
            page.reply.total_is_estimate = is_estimate;
        }
        for listed in read.items {
            let bytes = reply_cost::item(&listed.item);
            if let Err(refusal) = reply_cost::reserve(self.account.as_ref(), bytes) {
                if page.reply.items.is_empty() {
                    return Err(refusal);
                }
                page.is_full = true;
                return Ok(false);
            }
            let item = reply::item(&listed.item, request.include_vectors);
            page.encoded += item.encoded_len() + ITEM_PREFIX_BYTES;
            if page.encoded + TOKEN_BYTES > MAX_REPLY_BYTES {
                if page.reply.items.is_empty() {
                    let advice = "one item takes that much: remove what makes it so large";
                    return Err(ApiError::reply_too_large(MAX_REPLY_BYTES, advice));
                }
                page.is_full = true;
                return Ok(false);
            }
            page.reply.items.push(item);
            page.after = Some(listed.position);
        }
        let is_last = read.next.is_none();
        page.after = read.next;
        Ok(is_last)
    }
}
