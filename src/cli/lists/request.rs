//! From flags to requests.

use super::error::ListError;
use crate::{
    config::{
        BasisFlag, ListFlags, PopularFlags, RecommendFlags, SeenPolicyFlag, SimilarFlags,
        WindowFlag,
    },
    proto::{
        Boost, GeoPoint, PopularItemsRequest, PopularityWindow, RecommendRequest, SeenPolicy,
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
            any_of: tags("--any-of", &$list.any_of)?,
            r#where: $list.r#where.clone().unwrap_or_default(),
            near: near(&$list.near)?,
            radius_meters: $list.radius_meters,
            content_types: $list.types.clone(),
            include_content: true,
            exclude_ids: $list.exclude.clone(),
            seed: $list.seed,
            seen: seen($list).into(),
            boosts: boosts(&$list.boost)?,
            placement: $list.placement.clone().unwrap_or_default(),
        })
    };
}

pub(super) fn recommend(flags: &RecommendFlags) -> Result<RecommendRequest, ListError> {
    let context_ids = flags.context.clone();
    list_request!(
        RecommendRequest {
            context_ids: context_ids,
            exploration: flags.exploration,
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

fn near(given: &Option<String>) -> Result<Option<GeoPoint>, ListError> {
    let Some(given) = given else { return Ok(None) };
    let point = given.split_once(',').and_then(|(latitude, longitude)| {
        Some(GeoPoint {
            latitude: latitude.trim().parse().ok()?,
            longitude: longitude.trim().parse().ok()?,
        })
    });
    let expected = || ListError::Flag {
        flag: "--near",
        given: given.clone(),
        expected: "LATITUDE,LONGITUDE in degrees, such as 52.37,4.89",
    };
    point.ok_or_else(expected).map(Some)
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{popular, recommend, similar};
    use crate::{
        config::{PopularFlags, RecommendFlags, SimilarFlags},
        proto::{GeoPoint, SeenPolicy, TagFilter},
    };

    #[derive(Parser)]
    struct Flags<T: clap::Args> {
        #[command(flatten)]
        flags: T,
    }

    fn flags<T: clap::Args>(given: &[&str]) -> T {
        let given = std::iter::once("recsys").chain(given.iter().copied());
        Flags::try_parse_from(given).unwrap().flags
    }

    const SHARED: [&str; 22] = [
        "--where",
        "-price < 5 AND in_stock = true",
        "--any-of",
        "color:red",
        "--any-of",
        "size:extra: large",
        "--must",
        "kind:lamp",
        "--near",
        "-33.9, 18.4",
        "--radius-meters",
        "500.5",
        "--seen",
        "hide-done",
        "--boost",
        "-0.5: price > 9",
        "--placement",
        "home",
        "--type",
        "bundle",
        "--seed",
        "7",
    ];

    /// Asserts what the shared flags gave; a macro, because requests share no trait.
    macro_rules! assert_shared {
        ($request:expr) => {
            let request = &$request;
            assert_eq!(request.r#where, "-price < 5 AND in_stock = true");
            let tag = |facet: &str, label: &str| TagFilter {
                facet: facet.into(),
                label: label.into(),
            };
            let any_of = [tag("color", "red"), tag("size", "extra: large")];
            assert_eq!(request.any_of, any_of);
            assert_eq!(request.must, [tag("kind", "lamp")]);
            let point = GeoPoint {
                latitude: -33.9,
                longitude: 18.4,
            };
            assert_eq!(request.near, Some(point));
            assert_eq!(request.radius_meters, Some(500.5));
            assert_eq!(request.seen(), SeenPolicy::HideDone);
            assert_eq!(request.boosts[0].r#where, "price > 9");
            assert_eq!(request.boosts[0].weight, -0.5);
            assert_eq!(request.placement, "home");
            assert_eq!(request.content_types, ["bundle"]);
            assert_eq!(request.seed, Some(7));
            assert!(request.include_content);
        };
    }

    #[test]
    fn every_flag_reaches_the_request_of_every_command() {
        let with = |own: &[&'static str]| [own, &SHARED].concat();
        let own = ["ada", "--context", "a", "--context", "b", "--exploration"];
        let given = with(&[&own[..], &["false"]].concat());
        let request = recommend(&flags::<RecommendFlags>(&given)).unwrap();
        assert_shared!(request);
        assert_eq!(request.user_id, "ada");
        assert_eq!(request.context_ids, ["a", "b"]);
        assert_eq!(request.exploration, Some(false));

        let given = with(&["p1", "--user", "ada"]);
        let request = similar(&flags::<SimilarFlags>(&given)).unwrap();
        assert_shared!(request);
        assert_eq!(
            (request.content_id.as_str(), request.user_id.as_str()),
            ("p1", "ada")
        );

        let request = popular(&flags::<PopularFlags>(&with(&["--user", "ada"]))).unwrap();
        assert_shared!(request);
        assert_eq!(request.user_id, "ada");
    }

    #[test]
    fn without_flags_a_request_restricts_nothing() {
        let request = recommend(&flags::<RecommendFlags>(&[])).unwrap();
        assert_eq!((request.near, request.radius_meters), (None, None));
        assert_eq!(request.exploration, None);
        assert!(request.r#where.is_empty() && request.any_of.is_empty());
    }

    #[test]
    fn a_place_that_is_no_pair_of_numbers_is_refused() {
        for given in ["52.3", "52.3,", "north,east", "1,2,3", ""] {
            let flags = flags::<PopularFlags>(&["--near", given]);
            let error = popular(&flags).unwrap_err().to_string();
            let expected = format!("--near {given:?}: give LATITUDE,LONGITUDE");
            assert!(error.starts_with(&expected), "{error}");
        }
    }
}
