//! The report as one page that needs nothing else: style and charts are inside,
//! there is no script, and every text of the data is escaped.

use std::fmt::Write as _;

use super::{
    svg::{Bar, BarGroup, bar_chart, escaped},
    words::{
        MOST_POPULAR, Verdict, earlier_events, headline, percent, percent_or_dash, signed, value,
        with_most_popular,
    },
};
use crate::eval::{
    measures::Measure,
    plan::{History, SeenItems},
    summary::{EvalReport, ExampleSummary, RankerSummary},
};

const STYLE: &str = include_str!("page.css");

/// A report as an HTML page.
#[must_use]
pub fn html(report: &EvalReport) -> String {
    let mut page = String::new();
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>How good are the lists?</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>How good are the lists?</h1>\n"
    );
    let sections = [
        in_short(report),
        what_was_measured(report),
        overall(report),
        for_whom(report),
        examples(report),
        how_to_read(report),
    ];
    sections.iter().for_each(|section| page.push_str(section));
    page.push_str("</body>\n</html>\n");
    page
}

fn own(report: &EvalReport) -> impl Iterator<Item = &RankerSummary> {
    report.rankers.iter().filter(|ranker| !ranker.baseline)
}

fn hit_rate(report: &EvalReport) -> String {
    Measure::HitRate.name(report.rules.k)
}

fn verdict_cell(verdict: Verdict) -> String {
    let class = match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::NoDifference => "faint",
    };
    format!("<td class=\"{class}\">{}</td>", verdict.as_str())
}

fn in_short(report: &EvalReport) -> String {
    let mut text = String::new();
    if report.lists.lists == 0 {
        text.push_str("<p class=\"lead\">No list was made: no event counted as a like.</p>\n");
    }
    for ranker in own(report) {
        if let Some(headline) = headline(report, ranker) {
            let _ = writeln!(text, "<p class=\"lead\">{}</p>", escaped(&headline));
        }
        let worse = histories(report, ranker, Verdict::Worse);
        if !worse.is_empty() {
            let _ = writeln!(
                text,
                "<p>It is worse than the most popular items for users with {} earlier events.</p>",
                worse.join(" and ")
            );
        }
    }
    for note in &report.notes {
        let _ = writeln!(text, "<p class=\"faint\">{}</p>", escaped(note));
    }
    text
}

/// Histories for which a ranking file is better or worse than "most popular".
fn histories(report: &EvalReport, ranker: &RankerSummary, verdict: Verdict) -> Vec<&'static str> {
    let Some(comparison) = with_most_popular(report, ranker) else {
        return Vec::new();
    };
    let name = hit_rate(report);
    let is_so = |history: &&'static str| {
        comparison
            .by_history
            .get(*history)
            .and_then(|measures| measures.get(&name))
            .is_some_and(|difference| Verdict::of(difference) == verdict)
    };
    History::ALL
        .map(History::as_str)
        .iter()
        .copied()
        .filter(is_so)
        .collect()
}

fn what_was_measured(report: &EvalReport) -> String {
    let (data, lists, rules) = (&report.data, &report.lists, &report.rules);
    let mut text = String::from("<h2>What was measured</h2>\n");
    let span = match (&data.first, &data.last) {
        (Some(first), Some(last)) => {
            format!(" from {} to {}", escaped(day(first)), escaped(day(last)))
        }
        _ => String::new(),
    };
    let _ = writeln!(
        text,
        "<p>{} events of {} users on {} items{span} were replayed in the order in which they \
         happened. Each time a user was about to like an item, every method made a list of {} \
         items as of that moment, knowing only what had happened before. A list scores if it \
         holds the item that the user liked next. {} such lists were made, for {} users.</p>",
        data.events, data.users, data.items, rules.k, lists.lists, lists.users
    );
    let seen = match rules.seen {
        SeenItems::Hide => "Items that the user had seen before were hidden",
        SeenItems::Allow => "Items that the user had seen before could be shown again",
    };
    let _ = writeln!(
        text,
        "<p>{seen}, as the list is set up to do. So {} of the liked items could be in their list \
         at all: {} had been seen before, {} were left out as the latest, {} are not in the \
         catalogue. No method can score higher than that.</p>",
        percent(lists.reachable),
        lists.already_seen,
        lists.excluded,
        lists.not_in_catalogue
    );
    text
}

fn day(time: &str) -> &str {
    time.split('T').next().unwrap_or(time)
}

fn overall(report: &EvalReport) -> String {
    let name = hit_rate(report);
    let bars = report.rankers.iter().filter_map(|ranker| {
        Some(Bar {
            label: ranker.name.clone(),
            estimate: *ranker.measures.get(&name)?,
            is_own: !ranker.baseline,
        })
    });
    let group = BarGroup {
        label: String::new(),
        bars: bars.collect(),
    };
    let title = format!(
        "Share of the next liked items that were in the list of {}",
        report.rules.k
    );
    let mut text = format!(
        "<h2>How often the list held what the user liked next</h2>\n<figure>{}\
         <figcaption>{title}; the thin line is the 95 % interval.</figcaption></figure>\n",
        bar_chart(&title, &[group])
    );
    let names = Measure::ALL.map(|measure| measure.name(report.rules.k));
    let _ = write!(text, "<div class=\"scroll\"><table>\n<tr><th></th>");
    for header in names.iter().map(String::as_str).chain([
        "coverage",
        "popularity rank shown",
        "unknown users",
        "empty lists",
    ]) {
        let _ = write!(text, "<th>{header}</th>");
    }
    text.push_str("</tr>\n");
    for ranker in &report.rankers {
        let _ = write!(text, "<tr><td>{}</td>", escaped(&ranker.name));
        for name in &names {
            let estimate = ranker.measures.get(name);
            let shown = estimate.map_or_else(|| "–".to_owned(), |estimate| value(estimate.value));
            let _ = write!(text, "<td>{shown}</td>");
        }
        let rank = ranker.mean_popularity_rank;
        let _ = writeln!(
            text,
            "<td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            percent(ranker.coverage),
            rank.map_or_else(|| "–".to_owned(), |rank| format!("{rank:.0}")),
            percent_or_dash(ranker.cold_share),
            percent(ranker.empty_share)
        );
    }
    text.push_str("</table></div>\n");
    text
}

fn for_whom(report: &EvalReport) -> String {
    let name = hit_rate(report);
    let shown = |ranker: &&RankerSummary| !ranker.baseline || ranker.name == MOST_POPULAR;
    let groups: Vec<BarGroup> = (0..History::ALL.len())
        .map(|index| {
            let bars = report.rankers.iter().filter(shown).filter_map(|ranker| {
                let summary = ranker.by_history.get(index)?;
                Some(Bar {
                    label: ranker.name.clone(),
                    estimate: *summary.measures.get(&name)?,
                    is_own: !ranker.baseline,
                })
            });
            BarGroup {
                label: format!("{} earlier events", History::ALL[index].as_str()),
                bars: bars.collect(),
            }
        })
        .filter(|group| !group.bars.is_empty())
        .collect();
    let title = format!("{name} by how much the user had done before");
    let mut text = format!(
        "<h2>For whom it is better, for whom worse</h2>\n<figure>{}<figcaption>{title}.\
         </figcaption></figure>\n<div class=\"scroll\"><table>\n<tr><th>compared</th>\
         <th>users with</th><th>difference of {name}</th><th>95 % interval</th><th></th></tr>\n",
        bar_chart(&title, &groups)
    );
    for comparison in &report.differences {
        let all = [("all", &comparison.measures)];
        let by_history = comparison
            .by_history
            .iter()
            .map(|(history, measures)| (*history, measures));
        for (history, measures) in all.into_iter().chain(by_history) {
            let Some(difference) = measures.get(&name) else {
                continue;
            };
            let _ = writeln!(
                text,
                "<tr><td>{} − {}</td><td>{history} events</td><td>{}</td><td>{} to {}</td>{}</tr>",
                escaped(&comparison.ranker),
                escaped(&comparison.against),
                signed(difference.value),
                signed(difference.low),
                signed(difference.high),
                verdict_cell(Verdict::of(difference))
            );
        }
    }
    text.push_str("</table></div>\n");
    for ranker in own(report) {
        let Some(comparison) = with_most_popular(report, ranker) else {
            continue;
        };
        let users = comparison.users;
        let all = (users.better + users.worse + users.equal).max(1) as f64;
        let _ = writeln!(
            text,
            "<p>“{}” had more hits than the most popular items for {} of the users, fewer for {}, \
             as many for {}.</p>",
            escaped(&ranker.name),
            percent(users.better as f64 / all),
            percent(users.worse as f64 / all),
            percent(users.equal as f64 / all)
        );
    }
    text
}

fn examples(report: &EvalReport) -> String {
    if report.examples.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "<h2>Examples</h2>\n<p class=\"faint\">Drawn at random: lists with a hit, then lists \
         without one.</p>\n",
    );
    for example in &report.examples {
        text.push_str(&example_box(example));
    }
    text
}

fn example_box(example: &ExampleSummary) -> String {
    let latest: Vec<String> = example.latest.iter().map(|title| escaped(title)).collect();
    let latest = if latest.is_empty() {
        "had done nothing yet".to_owned()
    } else {
        format!("had last seen {}", latest.join(", "))
    };
    let outcome = match example.rank {
        Some(rank) => format!("It stood in place {rank}."),
        None => "It was not in the list.".to_owned(),
    };
    let mut text = format!(
        "<div class=\"example\"><p>A user with {} {latest}, and then liked \
         <b>{}</b>. {outcome}</p>\n<ol>\n",
        earlier_events(example.earlier_events),
        escaped(&example.liked_next)
    );
    for (place, item) in (1..).zip(&example.list) {
        let class = if example.rank == Some(place) {
            " class=\"hit\""
        } else {
            ""
        };
        let reason = if item.reason.is_empty() {
            String::new()
        } else {
            format!(" <span class=\"faint\">{}</span>", escaped(&item.reason))
        };
        let _ = writeln!(text, "<li{class}>{}{reason}</li>", escaped(&item.title));
    }
    text.push_str("</ol></div>\n");
    text
}

fn how_to_read(report: &EvalReport) -> String {
    let k = report.rules.k;
    let rules = &report.rules;
    format!(
        "<h2>How to read this</h2>\n<dl>\n\
         <dt>HR@{k}, hit rate</dt><dd>The share of lists that held the item that the user liked \
         next.</dd>\n\
         <dt>NDCG@{k}, MRR@{k}</dt><dd>The same, but a hit counts more the higher it stands: \
         1 / log2(1 + place), and 1 / place.</dd>\n\
         <dt>Coverage</dt><dd>The share of the catalogue that was in any list. Low coverage means \
         that few items get all of the attention.</dd>\n\
         <dt>Popularity rank shown</dt><dd>The mean rank of what was shown, 1 for the most liked \
         item of the log. A low number means that lists hold well-known items.</dd>\n\
         <dt>95 % interval</dt><dd>How far chance alone can move the number, by resampling the users. “Better” and “worse” are only used if the interval of the \
         difference excludes 0.</dd>\n\
         <dt>random, most popular, co-occurrence</dt><dd>A random sample; the items with the most \
         recent likes (half-life 7 days); what users who liked the user’s last item also \
         liked.</dd>\n\
         <dt>What this cannot say</dt><dd>Users liked what they had been shown by the lists of that \
         time. A method that would have shown something better and different gets no credit for \
         it here; that takes an experiment with real users.</dd>\n</dl>\n\
         <p class=\"faint\">recsys {}, lists from {}, users with at least {} earlier events, {} \
         latest items left out, events counted for {:.0} days, seed {}.</p>\n",
        report.version,
        escaped(&rules.first),
        rules.min_history,
        rules.exclude_last,
        rules.window_days,
        rules.seed
    )
}
