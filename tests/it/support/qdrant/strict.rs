//! Strict mode: what a collection refuses because it would cost too much.

use std::collections::BTreeSet;

use qdrant_client::qdrant::{
    Condition, Expression, FieldCondition, Filter, PayloadSchemaType as Schema, PrefetchQuery,
    Query, QueryPoints, SearchParams, StrictModeConfig, condition::ConditionOneOf,
    expression::Variant, r#match::MatchValue, query,
};
use tonic::Status;
use uuid::Uuid;

use super::{
    query::DEFAULT_LIMIT,
    store::{Collection, unsupported},
};

/// Refuses a configuration of which this server would ignore a part.
pub fn supported(config: &StrictModeConfig) -> Result<(), Status> {
    let rest = StrictModeConfig {
        enabled: None,
        max_query_limit: None,
        unindexed_filtering_retrieve: None,
        unindexed_filtering_update: None,
        search_allow_exact: None,
        search_max_hnsw_ef: None,
        search_max_batchsize: None,
        upsert_max_batchsize: None,
        filter_max_conditions: None,
        condition_max_size: None,
        ..config.clone()
    };
    if rest == StrictModeConfig::default() {
        Ok(())
    } else {
        Err(unsupported(format!("strict mode with {rest:?}")))
    }
}

/// The checks of one collection, if it is strict.
pub struct Strict<'a> {
    collection: &'a Collection,
    config: &'a StrictModeConfig,
}

impl<'a> Strict<'a> {
    pub fn of(collection: &'a Collection) -> Option<Self> {
        let config = collection.strict.as_ref()?;
        (config.enabled == Some(true)).then_some(Self { collection, config })
    }

    pub fn batch(&self, size: usize) -> Result<(), Status> {
        let limit = self.config.search_max_batchsize;
        limited(size as u64, limit, "search batch size")
    }

    pub fn upsert(&self, size: usize) -> Result<(), Status> {
        limited(
            size as u64,
            self.config.upsert_max_batchsize,
            "upsert limit",
        )
    }

    pub fn limit(&self, limit: Option<u64>) -> Result<(), Status> {
        let most = self.config.max_query_limit.map(u64::from);
        limited(limit.unwrap_or(DEFAULT_LIMIT), most, "limit")
    }

    pub fn exact(&self, exact: Option<bool>) -> Result<(), Status> {
        if self.config.search_allow_exact == Some(false) && exact == Some(true) {
            return Err(refused("Exact search disabled!", "Set exact=false."));
        }
        Ok(())
    }

    pub fn query(&self, request: &QueryPoints) -> Result<(), Status> {
        for prefetch in &request.prefetch {
            self.prefetch(prefetch)?;
        }
        self.formula(request.query.as_ref())?;
        self.limit(request.limit)?;
        self.read_filter(request.filter.as_ref())?;
        self.params(request.params.as_ref())
    }

    fn prefetch(&self, prefetch: &PrefetchQuery) -> Result<(), Status> {
        for inner in &prefetch.prefetch {
            self.prefetch(inner)?;
        }
        self.formula(prefetch.query.as_ref())?;
        self.limit(prefetch.limit)?;
        self.read_filter(prefetch.filter.as_ref())?;
        self.params(prefetch.params.as_ref())
    }

    fn params(&self, params: Option<&SearchParams>) -> Result<(), Status> {
        let Some(params) = params else {
            return Ok(());
        };
        if let Some(hnsw_ef) = params.hnsw_ef {
            let most = self.config.search_max_hnsw_ef.map(u64::from);
            limited(hnsw_ef, most, "hnsw_ef")?;
        }
        self.exact(params.exact)
    }

    pub fn read_filter(&self, filter: Option<&Filter>) -> Result<(), Status> {
        self.filter(filter, self.config.unindexed_filtering_retrieve)
    }

    pub fn write_filter(&self, filter: Option<&Filter>) -> Result<(), Status> {
        self.filter(filter, self.config.unindexed_filtering_update)
    }

    fn filter(&self, filter: Option<&Filter>, unindexed: Option<bool>) -> Result<(), Status> {
        let Some(filter) = filter else {
            return Ok(());
        };
        let (count, most) = (conditions(filter), self.config.filter_max_conditions);
        if most.is_some_and(|most| count > most) {
            return Err(refused(
                &format!(
                    "Filter condition limit reached ({count} > {})",
                    most.unwrap_or_default()
                ),
                "Reduce the amount of conditions of your filter.",
            ));
        }
        let (size, most) = (largest(filter), self.config.condition_max_size);
        if most.is_some_and(|most| size > most) {
            return Err(refused(
                &format!(
                    "Condition size limit reached ({size} > {})",
                    most.unwrap_or_default()
                ),
                "Reduce the size of your condition.",
            ));
        }
        if unindexed == Some(false) {
            self.indexed(filter, None, "filter")?;
        }
        Ok(())
    }

    fn formula(&self, query: Option<&Query>) -> Result<(), Status> {
        let variant = query.and_then(|query| query.variant.as_ref());
        match variant {
            Some(query::Variant::Formula(formula))
                if self.config.unindexed_filtering_retrieve == Some(false) =>
            {
                self.expression(formula.expression.as_ref())
            }
            _ => Ok(()),
        }
    }

    fn expression(&self, expression: Option<&Expression>) -> Result<(), Status> {
        let all = |parts: &[Expression]| -> Result<(), Status> {
            parts
                .iter()
                .try_for_each(|part| self.expression(Some(part)))
        };
        let Some(variant) = expression.and_then(|expression| expression.variant.as_ref()) else {
            return Ok(());
        };
        match variant {
            Variant::Variable(name) if name.starts_with('$') => Ok(()),
            Variant::Variable(name) => self.index_of(
                name,
                &[Schema::Integer, Schema::Float],
                "formula expression",
            ),
            Variant::GeoDistance(distance) => {
                self.index_of(&distance.to, &[Schema::Geo], "formula expression")
            }
            Variant::DatetimeKey(name) => {
                self.index_of(name, &[Schema::Datetime], "formula expression")
            }
            Variant::Condition(condition) => self.condition(condition, None, "formula expression"),
            Variant::Constant(_) | Variant::Datetime(_) => Ok(()),
            Variant::Mult(mult) => all(&mult.mult),
            Variant::Sum(sum) => all(&sum.sum),
            Variant::Max(max) => all(&max.max),
            Variant::Min(min) => all(&min.min),
            Variant::Div(div) => {
                self.expression(div.left.as_deref())?;
                self.expression(div.right.as_deref())
            }
            Variant::Pow(pow) => {
                self.expression(pow.base.as_deref())?;
                self.expression(pow.exponent.as_deref())
            }
            Variant::Neg(part)
            | Variant::Abs(part)
            | Variant::Sqrt(part)
            | Variant::Exp(part)
            | Variant::Log10(part)
            | Variant::Ln(part)
            | Variant::Acosh(part) => self.expression(Some(part)),
            Variant::ExpDecay(decay) | Variant::GaussDecay(decay) | Variant::LinDecay(decay) => {
                self.expression(decay.x.as_deref())?;
                self.expression(decay.target.as_deref())
            }
        }
    }

    fn indexed(&self, filter: &Filter, within: Option<&str>, of: &str) -> Result<(), Status> {
        every(filter).try_for_each(|condition| self.condition(condition, within, of))
    }

    fn condition(
        &self,
        condition: &Condition,
        within: Option<&str>,
        of: &str,
    ) -> Result<(), Status> {
        let full = |key: &str| match within {
            Some(within) => format!("{within}.{key}"),
            None => key.to_owned(),
        };
        match &condition.condition_one_of {
            Some(ConditionOneOf::Field(field)) => {
                self.index_of(&full(&field.key), &usable(field), of)
            }
            Some(ConditionOneOf::IsEmpty(is_empty)) => {
                self.index_of(&full(&is_empty.key), &ANY, of)
            }
            Some(ConditionOneOf::IsNull(is_null)) => self.index_of(&full(&is_null.key), &ANY, of),
            Some(ConditionOneOf::Filter(filter)) => self.indexed(filter, within, of),
            Some(ConditionOneOf::Nested(nested)) => {
                let key = full(nested.key.trim_end_matches("[]"));
                match &nested.filter {
                    Some(filter) => self.indexed(filter, Some(&format!("{key}[]")), of),
                    None => Ok(()),
                }
            }
            Some(
                ConditionOneOf::HasId(_) | ConditionOneOf::HasVector(_) | ConditionOneOf::Slice(_),
            )
            | None => Ok(()),
        }
    }

    fn index_of(&self, key: &str, usable: &[Schema], of: &str) -> Result<(), Status> {
        let index = self.collection.indexes.get(key);
        if usable.is_empty() || index.is_some_and(|index| usable.contains(&index.data_type())) {
            return Ok(());
        }
        let kinds: BTreeSet<String> = usable
            .iter()
            .map(|kind| kind.as_str_name().to_lowercase())
            .collect();
        let kinds: Vec<String> = kinds.into_iter().collect();
        Err(refused(
            &format!(
                "Index required but not found for \"{key}\" of one of the following types: [{}]",
                kinds.join(", ")
            ),
            &format!("Create an index for this key or use a different {of}."),
        ))
    }
}

const ANY: [Schema; 8] = [
    Schema::Keyword,
    Schema::Integer,
    Schema::Float,
    Schema::Geo,
    Schema::Text,
    Schema::Bool,
    Schema::Datetime,
    Schema::Uuid,
];

/// The kinds of index that can answer a condition; none if it needs none.
fn usable(field: &FieldCondition) -> Vec<Schema> {
    let mut kinds = Vec::new();
    let of_texts = |texts: &[String]| {
        let uuids = texts.iter().all(|text| Uuid::parse_str(text).is_ok());
        let mut kinds = vec![Schema::Keyword];
        kinds.extend(uuids.then_some(Schema::Uuid));
        kinds
    };
    match field
        .r#match
        .as_ref()
        .and_then(|one| one.match_value.as_ref())
    {
        None => {}
        Some(MatchValue::Keyword(text)) => kinds.extend(of_texts(std::slice::from_ref(text))),
        Some(MatchValue::Integer(_)) => kinds.push(Schema::Integer),
        Some(MatchValue::Boolean(_)) => kinds.push(Schema::Bool),
        // Nothing has to be looked up for an empty list.
        Some(MatchValue::Keywords(list) | MatchValue::ExceptKeywords(list))
            if list.strings.is_empty() => {}
        Some(MatchValue::Integers(list) | MatchValue::ExceptIntegers(list))
            if list.integers.is_empty() => {}
        Some(MatchValue::Keywords(list) | MatchValue::ExceptKeywords(list)) => {
            kinds.extend(of_texts(&list.strings));
        }
        Some(MatchValue::Integers(_) | MatchValue::ExceptIntegers(_)) => {
            kinds.push(Schema::Integer);
        }
        Some(MatchValue::Text(_) | MatchValue::Phrase(_) | MatchValue::TextAny(_)) => {
            kinds.push(Schema::Text);
        }
        Some(MatchValue::Prefix(_) | MatchValue::Substring(_)) => kinds.push(Schema::Keyword),
    }
    if field.range.is_some() {
        kinds.extend([Schema::Float, Schema::Integer]);
    }
    if field.datetime_range.is_some() {
        kinds.push(Schema::Datetime);
    }
    if field.geo_radius.is_some() || field.geo_bounding_box.is_some() || field.geo_polygon.is_some()
    {
        kinds.push(Schema::Geo);
    }
    if field.values_count.is_some() || field.is_empty.is_some() || field.is_null.is_some() {
        kinds.extend(ANY);
    }
    kinds
}

fn every(filter: &Filter) -> impl Iterator<Item = &Condition> {
    let min_should = filter.min_should.iter().flat_map(|min| &min.conditions);
    (filter.must.iter())
        .chain(&filter.must_not)
        .chain(&filter.should)
        .chain(min_should)
}

fn conditions(filter: &Filter) -> u64 {
    every(filter)
        .map(|condition| match &condition.condition_one_of {
            Some(ConditionOneOf::Filter(inner)) => conditions(inner),
            Some(ConditionOneOf::Nested(nested)) => nested.filter.as_ref().map_or(0, conditions),
            _ => 1,
        })
        .sum()
}

/// The size of the largest condition: the length of its list.
fn largest(filter: &Filter) -> u64 {
    let sizes = every(filter).map(|condition| match &condition.condition_one_of {
        Some(ConditionOneOf::HasId(has_id)) => has_id.has_id.len() as u64,
        Some(ConditionOneOf::Filter(inner)) => largest(inner),
        Some(ConditionOneOf::Nested(nested)) => nested.filter.as_ref().map_or(0, largest),
        Some(ConditionOneOf::Field(field)) => {
            match field
                .r#match
                .as_ref()
                .and_then(|one| one.match_value.as_ref())
            {
                Some(MatchValue::Keywords(list) | MatchValue::ExceptKeywords(list)) => {
                    list.strings.len() as u64
                }
                Some(MatchValue::Integers(list) | MatchValue::ExceptIntegers(list)) => {
                    list.integers.len() as u64
                }
                _ => 0,
            }
        }
        _ => 0,
    });
    sizes.max().unwrap_or_default()
}

fn limited(value: u64, limit: Option<u64>, name: &str) -> Result<(), Status> {
    match limit {
        Some(limit) if value > limit => Err(refused(
            &format!("Limit exceeded {value} > {limit} for \"{name}\""),
            &format!("Reduce the \"{name}\" parameter to or below {limit}."),
        )),
        _ => Ok(()),
    }
}

fn refused(what: &str, help: &str) -> Status {
    Status::invalid_argument(format!("Bad request: {what}. Help: {help}"))
}
