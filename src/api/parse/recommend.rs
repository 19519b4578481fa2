//! Requests for a list.

use std::sync::Arc;

use crate::{
    api::{error::ApiError, limits::Limits, parse::checks::Checks},
    domain::{
        geo::{Circle, GeoPoint},
        ranking::interest::SeenPolicy,
        restriction::Restriction,
        tags::{Canonicalizer, TagKey},
    },
    engine::RecommendRequest,
    proto,
};

/// Reads a request for a list.
pub(crate) fn recommend<'a>(
    request: proto::RecommendRequest,
    limits: &Limits,
    default_limit: usize,
    canonical: &Canonicalizer,
    placements: impl Iterator<Item = &'a Arc<str>>,
) -> Result<RecommendRequest, ApiError> {
    let mut checks = Checks::new(limits);
    let user = checks.user_id("user_id", &request.user_id);
    let limit = checks.limit(request.limit, default_limit);
    let near = request.near.and_then(|near| checks.point("near", near));
    let restriction = Restriction {
        label: label(&mut checks, request.filter, canonical),
        must: tags(&mut checks, "must", request.must, canonical),
        must_not: tags(&mut checks, "must_not", request.must_not, canonical),
        content_types: content_types(&mut checks, request.content_types),
        within: circle(
            &mut checks,
            request.near.is_some(),
            near,
            request.radius_meters,
        ),
    };
    let seen = seen_policy(&mut checks, request.seen);
    let placement = placement(&mut checks, &request.placement, placements);
    let exclude = checks
        .content_ids("exclude_ids", limits.max_exclude_ids, request.exclude_ids)
        .into_iter()
        .collect();
    let read = user.map(|user| RecommendRequest {
        user,
        limit,
        restriction,
        near,
        exclude,
        seen: seen.unwrap_or_default(),
        exploration: request.exploration,
        placement,
        seed: request.seed,
    });
    checks.finish(read)
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
