//! The ranking file that a search ends with.

use std::fmt::Write as _;

use toml::{Table, Value};

use crate::{
    domain::ranking_config::RankingConfig,
    eval::{
        measures::Measure,
        summary::{EvalReport, RankerSummary},
    },
};

/// A ranking file with the values that differ from the defaults, under a comment
/// that says what `report`, over the held-out part alone, measured: its first
/// ranker is the file that the search started from, its second one `config`.
///
/// # Errors
/// Never for a checked ranking file.
pub fn ranking_file(
    config: &RankingConfig,
    report: &EvalReport,
    trials: usize,
    selection: usize,
) -> Result<String, toml::ser::Error> {
    let defaults = Table::try_from(RankingConfig::of(config.preset))?;
    let values = Table::try_from(config)?;
    let mut changed = Table::new();
    // The defaults are those of its preset.
    changed.extend(
        values
            .get_key_value("preset")
            .map(|(key, preset)| (key.clone(), preset.clone())),
    );
    changed.extend(differing(values, &defaults));
    let mut text = comment(report, trials, selection);
    text.push_str(&toml::to_string(&changed)?);
    Ok(text)
}

/// The entries of a table that differ from those of another one.
fn differing(table: Table, other: &Table) -> Table {
    let differs = |(key, value): (String, Value)| match (value, other.get(&key)) {
        (Value::Table(inner), Some(Value::Table(other))) => {
            let inner = differing(inner, other);
            (!inner.is_empty()).then_some((key, Value::Table(inner)))
        }
        (value, other) => (Some(&value) != other).then_some((key, value)),
    };
    table.into_iter().filter_map(differs).collect()
}

fn comment(report: &EvalReport, trials: usize, selection: usize) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "# Written by recsys tune {}. The best of {trials} ranking files by {} on {selection} lists of\n\
         # the first part of the log, measured on {} held-out lists of {} users in the rest.\n\
         # Keys that are missing here have their defaults.\n#",
        report.version,
        Measure::Ndcg.name(report.rules.k),
        report.lists.lists,
        report.lists.users
    );
    let [before, after, others @ ..] = report.rankers.as_slice() else {
        return text;
    };
    let values = |ranker: &RankerSummary| {
        let values = ranker.measures.iter().map(|(name, estimate)| {
            format!(
                "{name} {:.4} ({:.4} to {:.4})",
                estimate.value, estimate.low, estimate.high
            )
        });
        values.collect::<Vec<String>>().join(", ")
    };
    for (name, ranker) in [("this file", after), ("before", before)] {
        let _ = writeln!(text, "# {name}: {}", values(ranker));
    }
    let difference = report
        .differences
        .iter()
        .find(|one| one.ranker == after.name && one.against == before.name);
    if let Some(difference) = difference {
        let parts = difference.measures.iter().map(|(name, estimate)| {
            format!(
                "{name} {:+.4} ({:+.4} to {:+.4})",
                estimate.value, estimate.low, estimate.high
            )
        });
        let parts: Vec<String> = parts.collect();
        let _ = writeln!(text, "# difference: {}", parts.join(", "));
    }
    for ranker in others {
        let _ = writeln!(text, "# {}: {}", ranker.name, values(ranker));
    }
    text.push('\n');
    text
}
