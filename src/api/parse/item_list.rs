//! Requests for pages of the list of all items.

use crate::{
    api::{
        error::{ApiError, Violation},
        limits::Limits,
        page_token::PageTokens,
        parse::{checks::Checks, recommend::item_filter},
    },
    domain::{ids::TenantId, restriction::Restriction},
    engine::Engine,
    ports::ListPosition,
    proto,
};

/// Items of a page by default.
const DEFAULT_PAGE: usize = 100;

/// A request for a page.
pub(crate) struct ItemListRequest {
    pub(crate) page_size: usize,
    pub(crate) after: Option<ListPosition>,
    pub(crate) restriction: Restriction,
    pub(crate) include_vectors: bool,
    /// Makes the tokens of the list's pages.
    pub(crate) tokens: PageTokens,
}

/// Reads a request of a tenant for a page.
pub(crate) fn item_list(
    request: &proto::ListItemsRequest,
    tenant: Option<&TenantId>,
    limits: &Limits,
    engine: &Engine,
) -> Result<ItemListRequest, ApiError> {
    let mut checks = Checks::new(limits);
    let max = limits.max_catalog_items;
    let page_size = match usize::try_from(request.page_size).unwrap_or(usize::MAX) {
        0 => DEFAULT_PAGE.min(max),
        given => given,
    };
    if page_size > max {
        checks.broken(
            "page_size",
            format!("must be 1 to {max}, or 0 for the default"),
        );
    }
    let filter = item_filter(&mut checks, &request.r#where, engine.canonicalizer());
    let tokens = PageTokens::new(tenant, &request.r#where);
    let after = match request.page_token.as_str() {
        "" => None,
        token => {
            let read = tokens.read(token);
            if read.is_none() {
                checks.broken("page_token", INVALID_TOKEN);
            }
            read
        }
    };
    checks.finish(Some(ItemListRequest {
        page_size,
        after,
        restriction: Restriction {
            filter,
            ..Restriction::default()
        },
        include_vectors: request.include_vectors,
        tokens,
    }))
}

const INVALID_TOKEN: &str =
    "is not a token of this list: take next_page_token of a reply to the same where";

/// The error for a token whose position the catalogue does not understand.
pub(crate) fn unknown_position() -> ApiError {
    let violation = Violation {
        field: "page_token".to_owned(),
        rule: INVALID_TOKEN.to_owned(),
    };
    ApiError::invalid(vec![violation], 1)
}
