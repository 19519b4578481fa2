//! The results as a table and as JSON.

use serde_json::{Value, json};

use super::driver::Measured;

/// One load of one method.
#[derive(Clone)]
pub struct Row {
    pub name: &'static str,
    /// Calls per second at a fixed rate; `None` in a closed loop.
    pub rate: Option<f64>,
    pub per_second: f64,
    pub p50_us: u64,
    pub p99_us: u64,
    /// Microseconds of processor time per call: of the server, and of Redis.
    pub server_us: f64,
    pub redis_us: f64,
    pub resident_mb: f64,
    pub reply_bytes: u64,
}

impl Row {
    pub fn new(name: &'static str, measured: &Measured, server_s: f64, redis_s: f64) -> Self {
        let calls = measured.calls().max(1) as f64;
        Self {
            name,
            rate: None,
            per_second: measured.per_second(),
            p50_us: measured.quantile(0.5),
            p99_us: measured.quantile(0.99),
            server_us: server_s * 1e6 / calls,
            redis_us: redis_s * 1e6 / calls,
            resident_mb: 0.0,
            reply_bytes: measured.reply_bytes / measured.calls().max(1),
        }
    }

    /// Counts the elements of each call, instead of calls.
    pub fn per_element(&mut self, elements: usize) {
        let elements = elements as f64;
        self.per_second *= elements;
        self.server_us /= elements;
        self.redis_us /= elements;
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "fixed_rate": self.rate.map(f64::round),
            "per_second": self.per_second.round(),
            "p50_us": self.p50_us,
            "p99_us": self.p99_us,
            "server_cpu_us": self.server_us.round(),
            "redis_cpu_us": self.redis_us.round(),
            "resident_mb": (self.resident_mb * 10.0).round() / 10.0,
            "reply_bytes": self.reply_bytes,
        })
    }
}

/// A figure and its target.
pub struct Target {
    pub what: &'static str,
    pub value: f64,
    pub bound: Bound,
}

#[derive(Clone, Copy)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// Informative only.
    None,
}

impl Target {
    pub fn met(&self) -> bool {
        match self.bound {
            Bound::AtLeast(least) => self.value >= least,
            Bound::AtMost(most) => self.value <= most,
            Bound::None => true,
        }
    }

    fn bound(&self) -> String {
        match self.bound {
            Bound::AtLeast(least) => format!("≥ {least}"),
            Bound::AtMost(most) => format!("≤ {most}"),
            Bound::None => "-".to_owned(),
        }
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

pub fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{model}, {cores} cores")
}

pub fn page(rows: &[Row], targets: &[Target]) -> String {
    let mut page = String::from(
        "| call | load | calls/s | p50 ms | p99 ms | server CPU µs | Redis CPU µs | RSS MB |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for row in rows {
        let load = row
            .rate
            .map_or_else(|| "closed".to_owned(), |rate| format!("{rate:.0}/s"));
        page.push_str(&format!(
            "| {} | {load} | {:.0} | {:.2} | {:.2} | {:.0} | {:.0} | {:.0} |\n",
            row.name,
            row.per_second,
            row.p50_us as f64 / 1e3,
            row.p99_us as f64 / 1e3,
            row.server_us,
            row.redis_us,
            row.resident_mb,
        ));
    }
    page.push_str("\n| figure | value | target | |\n| --- | ---: | --- | --- |\n");
    for target in targets {
        let met = match target.bound {
            Bound::None => "",
            _ if target.met() => "met",
            Bound::AtLeast(_) | Bound::AtMost(_) => "**not met**",
        };
        page.push_str(&format!(
            "| {} | {:.3} | {} | {met} |\n",
            target.what,
            target.value,
            target.bound()
        ));
    }
    page
}

pub fn json(rows: &[Row], targets: &[Target]) -> String {
    let rows: Vec<Value> = rows.iter().map(Row::json).collect();
    let targets: Vec<Value> = targets
        .iter()
        .map(|target| {
            json!({
                "figure": target.what,
                "value": (target.value * 1_000.0).round() / 1_000.0,
                "target": target.bound(),
                "met": target.met(),
            })
        })
        .collect();
    let report = json!({"machine": machine(), "rows": rows, "targets": targets});
    serde_json::to_string_pretty(&report).expect("JSON")
}
