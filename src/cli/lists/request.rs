//! From flags to requests.

use super::error::ListError;
use crate::{
    config::{
        BasisFlag, ListFlags, PopularFlags, RecommendFlags, SeenPolicyFlag, SimilarFlags,
        WindowFlag,
    },
    proto::{
        Boost, PopularItemsRequest, PopularityWindow, RecommendRequest, SeenPolicy,
        SimilarItemsBasis, SimilarItemsRequest, TagFilter,
    },
};

/// A request with these fields, and those that all lists have from the flags.
macro_rules! list_request {
    ($request:ident { $($field:ident: $value:expr),* $(,)? }, $user:expr, $list:expr) => {
        Ok($request {
            $($field: $value,)*
            user_id: $user.clone().unwrap_or_default(),
            limit: $list.limit,
            filter: $list.filter.clone().unwrap_or_default(),
            must: tags("--must", &$list.must)?,
            must_not: tags("--must-not", &$list.must_not)?,
            content_types: $list.types.clone(),
            include_content: true,
            exclude_ids: $list.exclude.clone(),
            seed: $list.seed,
            seen: seen($list).into(),
            boosts: boosts(&$list.boost)?,
            placement: $list.placement.clone().unwrap_or_default(),
            ..$request::default()
        })
    };
}

pub(super) fn recommend(flags: &RecommendFlags) -> Result<RecommendRequest, ListError> {
    let context_ids = flags.context.clone();
    list_request!(
        RecommendRequest {
            context_ids: context_ids
        },
        flags.user,
        &flags.list
    )
}

pub(super) fn similar(flags: &SimilarFlags) -> Result<SimilarItemsRequest, ListError> {
    let basis = match flags.basis {
        BasisFlag::Best => SimilarItemsBasis::Best,
        BasisFlag::Behavior => SimilarItemsBasis::Behavior,
        BasisFlag::Content => SimilarItemsBasis::Content,
    };
    let content_id = flags.item.clone();
    list_request!(
        SimilarItemsRequest {
            content_id: content_id,
            basis: basis.into()
        },
        flags.user,
        &flags.list
    )
}

pub(super) fn popular(flags: &PopularFlags) -> Result<PopularItemsRequest, ListError> {
    let window = match flags.window {
        WindowFlag::Popular => PopularityWindow::Popular,
        WindowFlag::Trending => PopularityWindow::Trending,
    };
    list_request!(
        PopularItemsRequest {
            window: window.into()
        },
        flags.user,
        &flags.list
    )
}

fn seen(flags: &ListFlags) -> SeenPolicy {
    match flags.seen {
        SeenPolicyFlag::Hide => SeenPolicy::Hide,
        SeenPolicyFlag::HideDone => SeenPolicy::HideDone,
        SeenPolicyFlag::Allow => SeenPolicy::Allow,
    }
}

fn tags(flag: &'static str, given: &[String]) -> Result<Vec<TagFilter>, ListError> {
    let tags = given.iter().map(|given| {
        let split = given.split_once(':').ok_or_else(|| ListError::Flag {
            flag,
            given: given.clone(),
            expected: "FACET:LABEL, such as color:red",
        });
        split.map(|(facet, label)| TagFilter {
            facet: facet.to_owned(),
            label: label.to_owned(),
        })
    });
    tags.collect()
}

fn boosts(given: &[String]) -> Result<Vec<Boost>, ListError> {
    let boosts = given.iter().map(|given| {
        let split = given.split_once(':');
        let weight = split.and_then(|(weight, _)| weight.trim().parse().ok());
        let (Some((_, filter)), Some(weight)) = (split, weight) else {
            return Err(ListError::Flag {
                flag: "--boost",
                given: given.clone(),
                expected: "WEIGHT:FILTER, such as \"0.5: price < 20\"",
            });
        };
        Ok(Boost {
            r#where: filter.trim().to_owned(),
            weight,
        })
    });
    boosts.collect()
}
