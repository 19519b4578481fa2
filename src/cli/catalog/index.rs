//! `recsys catalog index`: makes an index of an attribute in Qdrant.

use std::process::ExitCode;

use crate::{
    adapters::qdrant::{AttributeIndex, AttributeType},
    app::{self, StartError},
    cli::exit,
    config::{CatalogIndexFlags, IndexKind, Settings},
    ports::{StoreError, StoreErrorKind},
    telemetry::error_chain::causes,
};

/// The index was not made.
#[derive(Debug, thiserror::Error)]
enum CatalogIndexError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("QDRANT_API_URL is not set: items in memory need no indexes")]
    NoQdrant,
    #[error(
        "{field} is a field of items, not an attribute: recsys catalog import makes the indexes \
         that items need"
    )]
    ItemField { field: String },
    #[error("{field:?} is not a path of attributes, such as price or stock.nl")]
    Path { field: String },
    #[error("{field} has an index of another type already: {found}")]
    OtherType { field: String, found: String },
    #[error("{source}{}", causes(source))]
    Store { source: StoreError },
}

impl CatalogIndexError {
    /// Whether a setting or an argument must be fixed before the next try.
    fn is_bad_input(&self) -> bool {
        match self {
            Self::Start(error) => error.is_bad_input(),
            Self::NoQdrant
            | Self::ItemField { .. }
            | Self::Path { .. }
            | Self::OtherType { .. } => true,
            Self::Store { source } => source.kind() == StoreErrorKind::Misconfigured,
        }
    }
}

pub(super) async fn run(settings: &Settings, flags: &CatalogIndexFlags) -> ExitCode {
    match make(settings, flags).await {
        Ok(text) => {
            anstream::println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => exit::failed(&error, error.is_bad_input()),
    }
}

async fn make(settings: &Settings, flags: &CatalogIndexFlags) -> Result<String, CatalogIndexError> {
    let field = flags.field.clone();
    let store = app::qdrant_items(settings)?.ok_or(CatalogIndexError::NoQdrant)?;
    let kind = match flags.kind {
        IndexKind::Keyword => AttributeType::Keyword,
        IndexKind::Integer => AttributeType::Integer,
        IndexKind::Float => AttributeType::Float,
        IndexKind::Bool => AttributeType::Bool,
        IndexKind::Datetime => AttributeType::Datetime,
    };
    let made = store.index_attribute(&field, kind).await;
    match made.map_err(|source| CatalogIndexError::Store { source })? {
        AttributeIndex::Made => Ok(format!("{field} has an index now")),
        AttributeIndex::Exists => Ok(format!("{field} has this index already")),
        AttributeIndex::OtherType(found) => Err(CatalogIndexError::OtherType { field, found }),
        AttributeIndex::ItemField => Err(CatalogIndexError::ItemField { field }),
        AttributeIndex::InvalidPath => Err(CatalogIndexError::Path { field }),
    }
}
