//! Merging the users that elements say are one.

use crate::{
    api::limits::Limits,
    domain::ids::UserId,
    engine::Engine,
    http::webhook::{
        element::MergeIds,
        report::{DeliveryReport, ElementId},
    },
    ports::Deadline,
};

/// Merges users, in the order of their elements, where `is_enabled`. Only a user all of
/// whose events came with an `anonymousId` is merged into another one: write keys of
/// pipelines are in pages, where everybody can read them.
pub(super) async fn merge(
    merges: Vec<(ElementId, MergeIds)>,
    is_enabled: bool,
    engine: &Engine,
    limits: &Limits,
    deadline: Deadline,
    report: &mut DeliveryReport,
) {
    let mut previous = None;
    for (element, ids) in merges {
        if !is_enabled {
            report.merges_are_off(element);
            continue;
        }
        let parse = |id: &str| {
            let fits = id.len() <= limits.max_user_id_bytes;
            UserId::parse(id).ok().filter(|_| fits)
        };
        let (Some(from), Some(into)) = (parse(&ids.from), parse(&ids.into)) else {
            report.merge_of_invalid_ids(element);
            continue;
        };
        // Pipelines repeat it with every page.
        if previous.as_ref() == Some(&ids) {
            report.mapped(element);
            continue;
        }
        match engine.merge_visitor(&from, &into, deadline).await {
            Ok(Some(_)) => {
                report.mapped(element);
                previous = Some(ids);
            }
            Ok(None) => report.merge_refused(element),
            Err(error) => report.failed(element, error.into()),
        }
    }
}
