//! Numbers as sentences.

use crate::eval::{
    bootstrap::Estimate,
    summary::{Comparison, EvalReport, RankerSummary},
};

/// The baseline of the headline.
pub(super) const MOST_POPULAR: &str = "most popular";

/// How many events a user had before.
pub(super) fn earlier_events(count: u32) -> String {
    match count {
        1 => "1 earlier event".to_owned(),
        count => format!("{count} earlier events"),
    }
}

/// A share in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A share in percent; a dash for none.
pub(super) fn percent_or_dash(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), percent)
}

/// A value of a measure.
pub(super) fn value(value: f64) -> String {
    format!("{value:.4}")
}

/// A difference with its sign.
pub(super) fn signed(value: f64) -> String {
    format!("{value:+.4}")
}

/// What an interval of a difference says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Better,
    Worse,
    /// The interval holds 0.
    NoDifference,
}

impl Verdict {
    pub(super) fn of(difference: &Estimate) -> Self {
        if difference.low > 0.0 {
            Self::Better
        } else if difference.high < 0.0 {
            Self::Worse
        } else {
            Self::NoDifference
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::NoDifference => "no clear difference",
        }
    }
}

/// The comparison of a ranking file with "most popular".
pub(super) fn with_most_popular<'a>(
    report: &'a EvalReport,
    ranker: &RankerSummary,
) -> Option<&'a Comparison> {
    report
        .differences
        .iter()
        .find(|one| one.ranker == ranker.name && one.against == MOST_POPULAR)
}

/// What a run found of a ranking file, in one sentence.
pub(super) fn headline(report: &EvalReport, ranker: &RankerSummary) -> Option<String> {
    let name = format!("HR@{}", report.rules.k);
    let popular = report.rankers.iter().find(|one| one.name == MOST_POPULAR)?;
    let (own, other) = (ranker.measures.get(&name)?, popular.measures.get(&name)?);
    let difference = with_most_popular(report, ranker)?.measures.get(&name)?;
    let verdict = match Verdict::of(difference) {
        Verdict::NoDifference => "no clear difference".to_owned(),
        Verdict::Better | Verdict::Worse if other.value == 0.0 => "better".to_owned(),
        Verdict::Better => format!("{} more", percent(own.value / other.value - 1.0)),
        Verdict::Worse => format!("{} fewer", percent(1.0 - own.value / other.value)),
    };
    Some(format!(
        "Lists of “{}” held {} of the items that users liked next, lists of the most popular \
         items {}: {verdict}.",
        ranker.name,
        percent(own.value),
        percent(other.value),
    ))
}
