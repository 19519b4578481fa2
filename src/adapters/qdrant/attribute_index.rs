//! Indexes of attributes, which filters search by.

use qdrant_client::qdrant::{
    CreateFieldIndexCollection, FieldType, GetCollectionInfoRequest, PayloadSchemaType,
};

use super::{payload::fields::is_item_field, store::QdrantItemStore};
use crate::ports::{Deadline, StoreError};

/// The type of an attribute's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeType {
    /// Texts, compared as a whole.
    Keyword,
    /// Whole numbers.
    Integer,
    /// Numbers.
    Float,
    /// True and false.
    Bool,
    /// Times.
    Datetime,
}

impl AttributeType {
    fn field_type(self) -> (FieldType, PayloadSchemaType) {
        match self {
            Self::Keyword => (FieldType::Keyword, PayloadSchemaType::Keyword),
            Self::Integer => (FieldType::Integer, PayloadSchemaType::Integer),
            Self::Float => (FieldType::Float, PayloadSchemaType::Float),
            Self::Bool => (FieldType::Bool, PayloadSchemaType::Bool),
            Self::Datetime => (FieldType::Datetime, PayloadSchemaType::Datetime),
        }
    }
}

/// What became of an attribute's index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeIndex {
    /// It was made.
    Made,
    /// It was there.
    Exists,
    /// There is one of this other type, which was left as it is.
    OtherType(String),
    /// The field is one of the item itself. Nothing was made.
    ItemField,
    /// The field is not a path. Nothing was made.
    InvalidPath,
}

impl QdrantItemStore {
    /// Makes an index of an attribute, unless it is there. The path of a nested
    /// attribute has dots; keys with other characters than letters, digits, `_` and `-`
    /// are in quotes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn index_attribute(
        &self,
        path: &str,
        kind: AttributeType,
    ) -> Result<AttributeIndex, StoreError> {
        if path.trim() != path || path.is_empty() || path.split('.').any(str::is_empty) {
            return Ok(AttributeIndex::InvalidPath);
        }
        let first = path.split('.').next().unwrap_or_default();
        if is_item_field(first.trim_matches('"')) {
            return Ok(AttributeIndex::ItemField);
        }
        let request = GetCollectionInfoRequest {
            collection_name: self.name.clone(),
        };
        let mut collections = self.pool.collections();
        let info = self.call("describe", Deadline::NONE, collections.get(request));
        let schema = info.await?.result.unwrap_or_default().payload_schema;
        let (field_type, wanted) = kind.field_type();
        if let Some(found) = schema.get(path) {
            return Ok(match PayloadSchemaType::try_from(found.data_type) {
                Ok(found) if found == wanted => AttributeIndex::Exists,
                Ok(found) => AttributeIndex::OtherType(found.as_str_name().to_lowercase()),
                Err(_) => AttributeIndex::OtherType("unknown".to_owned()),
            });
        }
        let request = CreateFieldIndexCollection {
            collection_name: self.name.clone(),
            wait: Some(true),
            field_name: path.to_owned(),
            field_type: Some(field_type.into()),
            ..CreateFieldIndexCollection::default()
        };
        let mut points = self.pool.points();
        self.pool
            .call("index", Deadline::NONE, points.create_field_index(request))
            .await?;
        Ok(AttributeIndex::Made)
    }
}
