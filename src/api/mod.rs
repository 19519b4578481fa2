//! The gRPC API: services, parsing, replies, errors, health. A handler parses,
//! calls the engine, converts.

pub(crate) mod bounded;
pub(crate) mod catalog;
pub(crate) mod codec;
pub(crate) mod connect;
pub(crate) mod error;
pub(crate) mod export;
pub(crate) mod export_parts;
pub(crate) mod feed;
pub mod health;
pub(crate) mod ingest;
pub(crate) mod item_pages;
pub mod limits;
pub(crate) mod lists;
pub(crate) mod methods;
pub(crate) mod page_token;
pub(crate) mod parse;
pub(crate) mod recommender;
pub(crate) mod reply;
pub(crate) mod reply_cost;
pub(crate) mod reply_message;
pub(crate) mod service_traits;
pub(crate) mod services;
pub(crate) mod signals_reply;
pub(crate) mod status;
pub(crate) mod wire;
pub(crate) mod wkt;
