//! The report in a terminal.

use std::fmt::Write as _;

use super::words::{Verdict, headline, percent, percent_or_dash, signed, value, with_most_popular};
use crate::eval::{
    measures::Measure,
    plan::History,
    summary::{EvalReport, RankerSummary, Timing},
};

/// A report as text, with how long lists took, if that was measured.
#[must_use]
pub fn text(report: &EvalReport, timings: Option<&[Timing]>) -> String {
    let mut text = String::new();
    let data = &report.data;
    let lists = &report.lists;
    let span = match (&data.first, &data.last) {
        (Some(first), Some(last)) => format!(", {first} to {last}"),
        _ => String::new(),
    };
    let _ = writeln!(
        text,
        "{} events ({} likes) of {} users and {} items{span}",
        data.events, data.likes, data.users, data.items
    );
    let _ = writeln!(
        text,
        "{} lists of {} items for {} users; {} of the liked items could be in their list",
        lists.lists,
        report.rules.k,
        lists.users,
        percent(lists.reachable)
    );
    for note in &report.notes {
        let _ = writeln!(text, "note: {note}");
    }
    if lists.lists == 0 {
        return text;
    }
    let _ = writeln!(text);
    text.push_str(&ranker_table(report));
    let _ = writeln!(text, "\n{} by the user's earlier events", hit_rate(report));
    text.push_str(&history_table(report));
    if !report.differences.is_empty() {
        let _ = writeln!(text, "\nDifferences, on the same lists");
        text.push_str(&difference_table(report));
    }
    if let Some(timings) = timings {
        let _ = writeln!(text, "\nMaking a list");
        let rows = timings.iter().map(|timing| {
            vec![
                timing.ranker.clone(),
                format!("{:.2} ms", timing.p50_ms),
                format!("{:.2} ms", timing.p99_ms),
            ]
        });
        text.push_str(&table(&["", "p50", "p99"], rows.collect()));
    }
    let _ = writeln!(text);
    for ranker in report.rankers.iter().filter(|ranker| !ranker.baseline) {
        if let Some(headline) = headline(report, ranker) {
            let _ = writeln!(text, "{headline}");
        }
    }
    if is_beaten_or_equal(report) {
        let _ = writeln!(
            text,
            "recsys tune, on the same files, searches for better weights."
        );
    }
    text
}

/// Whether no ranking file is better than "most popular".
fn is_beaten_or_equal(report: &EvalReport) -> bool {
    let mut own = report.rankers.iter().filter(|ranker| !ranker.baseline);
    let name = hit_rate(report);
    let is_better = |ranker: &RankerSummary| {
        let comparison = with_most_popular(report, ranker);
        let difference = comparison.and_then(|comparison| comparison.measures.get(&name));
        difference.is_none_or(|difference| matches!(Verdict::of(difference), Verdict::Better))
    };
    !own.any(is_better)
}

fn hit_rate(report: &EvalReport) -> String {
    Measure::HitRate.name(report.rules.k)
}

fn ranker_table(report: &EvalReport) -> String {
    let k = report.rules.k;
    let names = Measure::ALL.map(|measure| measure.name(k));
    let header = [
        "",
        &names[0],
        "95 % interval",
        &names[1],
        &names[2],
        "coverage",
        "popularity rank",
        "cold",
        "empty",
    ];
    let rows = report.rankers.iter().map(|ranker| {
        let measure = |index: usize| {
            let estimate = ranker.measures.get(&names[index]);
            estimate.map_or_else(String::new, |estimate| value(estimate.value))
        };
        let interval = ranker.measures.get(&names[0]);
        vec![
            ranker.name.clone(),
            measure(0),
            interval.map_or_else(String::new, |estimate| {
                format!("{} – {}", value(estimate.low), value(estimate.high))
            }),
            measure(1),
            measure(2),
            percent(ranker.coverage),
            ranker
                .mean_popularity_rank
                .map_or_else(|| "–".to_owned(), |rank| format!("{rank:.0}")),
            percent_or_dash(ranker.cold_share),
            percent(ranker.empty_share),
        ]
    });
    table(&header, rows.collect())
}

fn history_table(report: &EvalReport) -> String {
    let name = hit_rate(report);
    let header: Vec<String> = History::ALL
        .iter()
        .zip(
            report
                .rankers
                .first()
                .map_or(&[][..], |first| &first.by_history),
        )
        .map(|(history, summary)| format!("{} ({} lists)", history.as_str(), summary.lists))
        .collect();
    let header: Vec<&str> = [""]
        .into_iter()
        .chain(header.iter().map(String::as_str))
        .collect();
    let rows = report.rankers.iter().map(|ranker| {
        let cells = ranker.by_history.iter().map(|summary| {
            let estimate = summary.measures.get(&name);
            estimate.map_or_else(|| "–".to_owned(), |estimate| value(estimate.value))
        });
        [ranker.name.clone()].into_iter().chain(cells).collect()
    });
    table(&header, rows.collect())
}

fn difference_table(report: &EvalReport) -> String {
    let name = hit_rate(report);
    let ndcg = Measure::Ndcg.name(report.rules.k);
    let rows = report.differences.iter().filter_map(|one| {
        let difference = one.measures.get(&name)?;
        let ndcg = one.measures.get(&ndcg)?;
        Some(vec![
            format!("{} − {}", one.ranker, one.against),
            signed(difference.value),
            format!("{} – {}", signed(difference.low), signed(difference.high)),
            Verdict::of(difference).as_str().to_owned(),
            signed(ndcg.value),
            format!(
                "{} / {} / {}",
                one.users.better, one.users.worse, one.users.equal
            ),
        ])
    });
    let header = [
        "",
        &name,
        "95 % interval",
        "",
        &ndcg,
        "users better / worse / equal",
    ];
    table(&header, rows.collect())
}

/// Columns as wide as their cells; the first to the left, the others to the
/// right.
fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widths = cells.map(|cell| cell.chars().count());
        widths
            .chain([header[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (column, (cell, width)) in cells.zip(&widths).enumerate() {
            let cell = if column == 0 {
                format!("{cell:<width$}")
            } else {
                format!("  {cell:>width$}")
            };
            line.push_str(&cell);
        }
        let _ = writeln!(text, "{}", line.trim_end());
    };
    line(&mut header.iter().copied());
    for row in &rows {
        line(&mut row.iter().map(String::as_str));
    }
    text
}
