//! The collection's schema: its vectors and payload indexes.

use std::collections::HashSet;

use qdrant_client::qdrant::{
    CollectionInfo, CreateCollection, CreateFieldIndexCollection, Distance, FieldType,
    PayloadSchemaType, VectorParams, VectorsConfig, VectorsSelector, WithVectorsSelector,
    vectors_config, with_vectors_selector::SelectorOptions,
};

use super::{
    payload::{
        CONTENT_ID, CONTENT_TYPE, HAS_IMAGE, LOCATIONS, TAG_FACETS, TAG_LABELS, TAG_VALUES, YEARS,
    },
    tag_vector::{self, TagSearch},
};

/// The indexes that searches need, and lookups of points of other programs.
const INDEXES: [(&str, FieldType); 5] = [
    (TAG_LABELS, FieldType::Keyword),
    (TAG_VALUES, FieldType::Keyword),
    (CONTENT_TYPE, FieldType::Keyword),
    (LOCATIONS, FieldType::Geo),
    (CONTENT_ID, FieldType::Keyword),
];

/// The indexes of fields that only our import writes to all points: filters by them need
/// these.
const OWN_INDEXES: [(&str, FieldType); 3] = [
    (TAG_FACETS, FieldType::Keyword),
    (HAS_IMAGE, FieldType::Bool),
    (YEARS, FieldType::Integer),
];

/// What searches need to know about a collection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Collection {
    /// The name of the items' vectors, if they have one: the first of several.
    pub(super) vector_name: Option<String>,
    /// Length of a vector; `None` if there are no vectors.
    pub(super) vector_size: Option<usize>,
    indexed: HashSet<String>,
    /// Whether it has points, and none of them has tags or a vector.
    pub(super) lacks_features: bool,
    /// Whether points can have a vector of their tags.
    pub(super) has_tag_vector: bool,
    /// How tags are searched. Not part of what Qdrant describes.
    pub(super) tag_search: TagSearch,
}

impl Collection {
    pub(super) fn read(info: CollectionInfo) -> Self {
        let params = info.config.and_then(|config| config.params);
        let params = params.unwrap_or_default();
        let has_tag_vector = params
            .sparse_vectors_config
            .is_some_and(|config| tag_vector::is_in(&config));
        let config = params.vectors_config.and_then(|vectors| vectors.config);
        let (vector_name, params) = match config {
            None => (None, None),
            Some(vectors_config::Config::Params(params)) => (None, Some(params).filter(is_single)),
            Some(vectors_config::Config::ParamsMap(named)) => named
                .map
                .into_iter()
                .filter(|(_, params)| is_single(params))
                .min_by(|a, b| a.0.cmp(&b.0))
                .map_or((None, None), |(name, params)| (Some(name), Some(params))),
        };
        let vector_size = params.and_then(|params| usize::try_from(params.size).ok());
        let tagged = info.payload_schema.get(TAG_LABELS);
        // Without the index it is not known how many have tags.
        let none_tagged = tagged.is_some_and(|schema| schema.points == Some(0));
        let has_points = info.points_count.is_some_and(|points| points > 0);
        let indexed = info
            .payload_schema
            .into_iter()
            .filter(|(field, schema)| schema.data_type == i32::from(wanted_schema(field)))
            .map(|(field, _)| field)
            .collect();
        Self {
            vector_name,
            vector_size,
            indexed,
            lacks_features: has_points && none_tagged && vector_size.is_none(),
            has_tag_vector,
            tag_search: TagSearch::default(),
        }
    }

    /// Whether name and length of the vectors are equal.
    pub(super) fn has_vectors_of(&self, other: &Self) -> bool {
        (&self.vector_name, self.vector_size) == (&other.vector_name, other.vector_size)
    }

    pub(super) fn has_index(&self, field: &str) -> bool {
        self.indexed.contains(field)
    }

    /// Selects the items' vectors of points, without those of tags, which the payload has.
    pub(super) fn item_vectors(&self) -> WithVectorsSelector {
        let selected = match self.vector_size {
            None => SelectorOptions::Enable(false),
            Some(_) => SelectorOptions::Include(VectorsSelector {
                names: vec![self.vector_name.clone().unwrap_or_default()],
            }),
        };
        selected.into()
    }

    pub(super) fn missing_indexes(&self) -> Vec<&'static str> {
        let fields = INDEXES.iter().map(|(field, _)| *field);
        fields.filter(|field| !self.has_index(field)).collect()
    }
}

/// The fields that only our import writes to all points, and that have an index.
pub(super) fn own_fields() -> impl Iterator<Item = &'static str> {
    OWN_INDEXES.iter().map(|(field, _)| *field)
}

/// The kind of index that a field needs.
pub(super) fn wanted_schema(field: &str) -> PayloadSchemaType {
    match field {
        LOCATIONS => PayloadSchemaType::Geo,
        HAS_IMAGE => PayloadSchemaType::Bool,
        YEARS => PayloadSchemaType::Integer,
        _ => PayloadSchemaType::Keyword,
    }
}

/// Whether each point has one such vector, not a list of them.
fn is_single(params: &VectorParams) -> bool {
    params.multivector_config.is_none()
}

/// The request that creates a collection for vectors of this length, or for items
/// without vectors.
pub(super) fn creation(name: &str, vector_size: Option<usize>) -> CreateCollection {
    let params = vector_size.map(|size| VectorParams {
        size: size as u64,
        distance: Distance::Cosine.into(),
        ..VectorParams::default()
    });
    CreateCollection {
        collection_name: name.to_owned(),
        vectors_config: params.map(|params| VectorsConfig {
            config: Some(vectors_config::Config::Params(params)),
        }),
        sparse_vectors_config: Some(tag_vector::config()),
        ..CreateCollection::default()
    }
}

/// The request that creates the index of a field; `None` if it needs none.
pub(super) fn index(collection: &str, field: &str) -> Option<CreateFieldIndexCollection> {
    let mut all = INDEXES.iter().chain(&OWN_INDEXES);
    let (field, kind) = all.find(|(name, _)| *name == field)?;
    Some(CreateFieldIndexCollection {
        collection_name: collection.to_owned(),
        wait: Some(true),
        field_name: (*field).to_owned(),
        field_type: Some((*kind).into()),
        ..CreateFieldIndexCollection::default()
    })
}
