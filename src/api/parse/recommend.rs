//! Requests for a list.

use std::sync::Arc;

use crate::{
    api::{error::ApiError, limits::Limits, parse::checks::Checks},
    domain::{
        filter::ItemFilter,
        geo::{Circle, GeoPoint},
        ranking::{Boost, interest::SeenPolicy},
        restriction::Restriction,
        tags::{Canonicalizer, TagKey},
    },
    engine::{Engine, ListKind, ListRequest, PopularityWindow, SimilarityBasis},
    proto,
};

/// Largest weight of a boost, of either sign.
const MAX_BOOST_WEIGHT: f64 = 2.0;

/// The fields that all requests for lists have.
struct ListFields {
    user_id: String,
    limit: u32,
    filter: String,
    must: Vec<proto::TagFilter>,
    must_not: Vec<proto::TagFilter>,
    any_of: Vec<proto::TagFilter>,
    r#where: String,
    content_types: Vec<String>,
    near: Option<proto::GeoPoint>,
    radius_meters: Option<f64>,
    exclude_ids: Vec<String>,
    seed: Option<u32>,
    seen: i32,
    boosts: Vec<proto::Boost>,
    placement: String,
}

/// Takes them from a request of any of these types.
macro_rules! list_fields {
    ($request:ident) => {
        ListFields {
            user_id: $request.user_id,
            limit: $request.limit,
            filter: $request.filter,
            must: $request.must,
            must_not: $request.must_not,
            any_of: $request.any_of,
            r#where: $request.r#where,
            content_types: $request.content_types,
            near: $request.near,
            radius_meters: $request.radius_meters,
            exclude_ids: $request.exclude_ids,
            seed: $request.seed,
            seen: $request.seen,
            boosts: $request.boosts,
            placement: $request.placement,
        }
    };
}

/// What requests for lists are read with.
#[derive(Clone, Copy)]
pub(crate) struct ListSettings<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) engine: &'a Engine,
}

/// Reads a request for a list for a user, a session or nobody.
pub(crate) fn recommend(
    request: proto::RecommendRequest,
    settings: ListSettings<'_>,
) -> Result<ListRequest, ApiError> {
    let mut checks = Checks::new(settings.limits);
    let max_context = settings.limits.max_context_ids;
    let context = checks.content_ids("context_ids", max_context, request.context_ids);
    let fields = list_fields!(request);
    let kind = ListKind::ForUser { context };
    let read = list(&mut checks, kind, fields, settings).map(|read| ListRequest {
        exploration: request.exploration,
        ..read
    });
    checks.finish(read)
}

/// Reads a request for similar items.
pub(crate) fn similar_items(
    request: proto::SimilarItemsRequest,
    settings: ListSettings<'_>,
) -> Result<ListRequest, ApiError> {
    use proto::SimilarItemsBasis as Given;
    let mut checks = Checks::new(settings.limits);
    let item = checks.content_id("content_id", request.content_id);
    let basis = match Given::try_from(request.basis) {
        Ok(Given::Unspecified | Given::Best) => SimilarityBasis::Best,
        Ok(Given::Behavior) => SimilarityBasis::Behavior,
        Ok(Given::Content) => SimilarityBasis::Content,
        Err(_) => {
            checks.broken("basis", format!("has no value {}", request.basis));
            SimilarityBasis::default()
        }
    };
    let fields = list_fields!(request);
    let kind = ListKind::SimilarTo { item, basis };
    let read = list(&mut checks, kind, fields, settings);
    checks.finish(read)
}

/// Reads a request for popular items.
pub(crate) fn popular_items(
    request: proto::PopularItemsRequest,
    settings: ListSettings<'_>,
) -> Result<ListRequest, ApiError> {
    use proto::PopularityWindow as Given;
    let mut checks = Checks::new(settings.limits);
    let window = match Given::try_from(request.window) {
        Ok(Given::Unspecified | Given::Popular) => PopularityWindow::Popular,
        Ok(Given::Trending) => PopularityWindow::Trending,
        Err(_) => {
            checks.broken("window", format!("has no value {}", request.window));
            PopularityWindow::default()
        }
    };
    let fields = list_fields!(request);
    let kind = ListKind::MostPopular { window };
    let read = list(&mut checks, kind, fields, settings);
    checks.finish(read)
}

/// Reads the fields that all requests for lists have. `None` requires that a rule is
/// broken.
fn list(
    checks: &mut Checks<'_>,
    kind: ListKind,
    given: ListFields,
    settings: ListSettings<'_>,
) -> Option<ListRequest> {
    let ListSettings { limits, engine } = settings;
    let canonical = engine.canonicalizer();
    let user = match given.user_id.as_str() {
        "" => Some(None),
        text => checks.user_id("user_id", text).map(Some),
    };
    let limit = checks.limit(given.limit, engine.default_limit());
    let near = given.near.and_then(|near| checks.point("near", near));
    let restriction = Restriction {
        label: label(checks, given.filter, canonical),
        must: tags(checks, "must", given.must, canonical),
        must_not: tags(checks, "must_not", given.must_not, canonical),
        any_of: tags(checks, "any_of", given.any_of, canonical),
        content_types: content_types(checks, given.content_types),
        within: circle(checks, given.near.is_some(), near, given.radius_meters),
        filter: item_filter(checks, &given.r#where, canonical),
    };
    let seen = seen_policy(checks, given.seen);
    let exclude = checks
        .content_ids("exclude_ids", limits.max_exclude_ids, given.exclude_ids)
        .into_iter()
        .collect();
    let placement = placement(checks, &given.placement, engine.placements());
    let boosts = boosts(checks, given.boosts, canonical);
    Some(ListRequest {
        kind,
        user: user?,
        limit,
        restriction,
        near,
        exclude,
        seen: seen.unwrap_or_default(),
        boosts,
        exploration: None,
        placement,
        seed: given.seed,
    })
}

/// `None` for an empty text.
pub(super) fn item_filter(
    checks: &mut Checks<'_>,
    given: &str,
    canonical: &Canonicalizer,
) -> Option<ItemFilter> {
    if given.trim().is_empty() {
        return None;
    }
    let parsed = ItemFilter::parse(given, canonical);
    parsed
        .inspect_err(|error| checks.broken("where", error.to_string()))
        .ok()
}

fn boosts(
    checks: &mut Checks<'_>,
    given: Vec<proto::Boost>,
    canonical: &Canonicalizer,
) -> Vec<Boost> {
    if !checks.count("boosts", given.len(), checks.limits.max_boosts) {
        return Vec::new();
    }
    let mut read = Vec::with_capacity(given.len());
    for (index, boost) in given.into_iter().enumerate() {
        let weight = boost.weight;
        let is_weight = weight.abs() <= MAX_BOOST_WEIGHT && weight != 0.0;
        if !is_weight {
            let rule = format!("must be -{MAX_BOOST_WEIGHT} to {MAX_BOOST_WEIGHT}, and not 0");
            checks.broken(format!("boosts[{index}].weight"), rule);
        }
        match ItemFilter::parse(&boost.r#where, canonical) {
            Ok(filter) => read.push(Boost { filter, weight }),
            Err(error) => checks.broken(format!("boosts[{index}].where"), error.to_string()),
        }
    }
    read
}

/// One of `placements`; `None` for an empty text.
pub(super) fn placement<'a>(
    checks: &mut Checks<'_>,
    given: &str,
    placements: impl Iterator<Item = &'a Arc<str>>,
) -> Option<Arc<str>> {
    if given.is_empty() {
        return None;
    }
    let mut names = Vec::new();
    for name in placements {
        if **name == *given {
            return Some(Arc::clone(name));
        }
        names.push(&**name);
    }
    let rule = if names.is_empty() {
        "must be empty: the ranking file has no placements".to_owned()
    } else {
        format!("must be one of {}, or empty", names.join(", "))
    };
    checks.broken("placement", rule);
    None
}

fn seen_policy(checks: &mut Checks<'_>, given: i32) -> Option<SeenPolicy> {
    use proto::SeenPolicy as Given;
    match Given::try_from(given) {
        Ok(Given::Unspecified | Given::Hide) => Some(SeenPolicy::Hide),
        Ok(Given::HideDone) => Some(SeenPolicy::HideDone),
        Ok(Given::Allow) => Some(SeenPolicy::Allow),
        Err(_) => {
            checks.broken("seen", format!("has no value {given}"));
            None
        }
    }
}

fn label(checks: &mut Checks<'_>, given: String, canonical: &Canonicalizer) -> Option<String> {
    let given = checks.optional_id("filter", given)?;
    let label = canonical.label(&given);
    if label.is_empty() {
        checks.broken(
            "filter",
            "must hold a letter, a digit or a symbol, or be empty",
        );
    }
    Some(label)
}

fn tags(
    checks: &mut Checks<'_>,
    field: &str,
    given: Vec<proto::TagFilter>,
    canonical: &Canonicalizer,
) -> Vec<TagKey> {
    if !checks.count(field, given.len(), checks.limits.max_tags) {
        return Vec::new();
    }
    given
        .into_iter()
        .enumerate()
        .map(|(index, tag)| {
            let at = |name: &str| format!("{field}[{index}].{name}");
            if tag.facet.trim().is_empty() {
                checks.broken(at("facet"), "must not be empty");
            }
            if canonical.label(&tag.label).is_empty() {
                checks.broken(at("label"), "must not be empty");
            }
            let key = canonical.key(&format!("{}:{}", tag.facet, tag.label));
            checks.optional_id(&at("facet"), tag.facet);
            checks.optional_id(&at("label"), tag.label);
            key
        })
        .collect()
}

fn content_types(checks: &mut Checks<'_>, given: Vec<String>) -> Vec<String> {
    if !checks.count("content_types", given.len(), checks.limits.max_tags) {
        return Vec::new();
    }
    for (index, content_type) in given.iter().enumerate() {
        let field = format!("content_types[{index}]");
        if content_type.is_empty() {
            checks.broken(&field, "must not be empty");
        }
        checks.optional_id(&field, content_type.clone());
    }
    given
}

fn circle(
    checks: &mut Checks<'_>,
    near_is_set: bool,
    near: Option<GeoPoint>,
    radius: Option<f64>,
) -> Option<Circle> {
    let radius_m = radius?;
    if !near_is_set {
        checks.broken("radius_meters", "needs near");
    }
    if !(radius_m.is_finite() && radius_m > 0.0) {
        checks.broken("radius_meters", "must be a finite number above 0");
    }
    near.map(|center| Circle { center, radius_m })
}
