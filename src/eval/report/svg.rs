//! Bar charts as SVG, inside of the page.

use std::fmt::Write as _;

use crate::eval::bootstrap::Estimate;

/// A bar with its interval.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    /// What it stands for.
    pub(super) label: String,
    /// Its length, with the interval that is drawn over it.
    pub(super) estimate: Estimate,
    /// Whether it is drawn in the colour of a ranking file.
    pub(super) is_own: bool,
}

/// Bars under one heading.
#[derive(Clone, Debug)]
pub(super) struct BarGroup {
    /// The heading; empty for none.
    pub(super) label: String,
    /// From above to below.
    pub(super) bars: Vec<Bar>,
}

const WIDTH: f64 = 720.0;
/// Where bars begin and may end; the numbers stand behind them.
const LEFT: f64 = 180.0;
const RIGHT: f64 = 600.0;
const BAR_HEIGHT: f64 = 18.0;
const ROW_HEIGHT: f64 = 28.0;
const HEADING_HEIGHT: f64 = 26.0;

/// A chart of shares, as percentages. `title` is for those who do not see it.
pub(super) fn bar_chart(title: &str, groups: &[BarGroup]) -> String {
    let estimates = || {
        groups
            .iter()
            .flat_map(|group| &group.bars)
            .map(|bar| bar.estimate)
    };
    let most = estimates()
        .map(|estimate| estimate.high.max(estimate.value))
        .fold(0.0, f64::max);
    let scale = if most > 0.0 {
        (RIGHT - LEFT) / most
    } else {
        0.0
    };
    let x = |value: f64| LEFT + value * scale;
    let mut body = String::new();
    let mut y = 8.0;
    for group in groups {
        if !group.label.is_empty() {
            let _ = writeln!(
                body,
                r#"<text class="heading" x="0" y="{:.1}">{}</text>"#,
                y + 14.0,
                escaped(&group.label)
            );
            y += HEADING_HEIGHT;
        }
        for bar in &group.bars {
            let Estimate { value, low, high } = bar.estimate;
            let middle = y + BAR_HEIGHT / 2.0;
            let class = if bar.is_own { "own" } else { "other" };
            let _ = writeln!(
                body,
                r#"<text class="name" x="{:.1}" y="{:.1}">{}</text><rect class="{class}" x="{LEFT}" y="{y:.1}" width="{:.1}" height="{BAR_HEIGHT}"/><path class="interval" d="M{:.1} {middle:.1}H{:.1}M{:.1} {:.1}v8M{:.1} {:.1}v8"/><text x="{:.1}" y="{:.1}">{:.1} %</text>"#,
                LEFT - 8.0,
                middle + 5.0,
                escaped(&shortened(&bar.label)),
                value * scale,
                x(low),
                x(high),
                x(low),
                middle - 4.0,
                x(high),
                middle - 4.0,
                x(high.max(value)) + 8.0,
                middle + 5.0,
                value * 100.0,
            );
            y += ROW_HEIGHT;
        }
    }
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {y:.0}\" role=\"img\" aria-label=\"{}\">\n{body}</svg>\n",
        escaped(title)
    )
}

fn shortened(label: &str) -> String {
    const MOST: usize = 24;
    if label.chars().count() <= MOST {
        return label.to_owned();
    }
    let start: String = label.chars().take(MOST - 1).collect();
    format!("{start}…")
}

/// A text as it may stand in HTML, also inside of an attribute's quotes.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
