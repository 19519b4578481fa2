//! How long the pure core takes: `cargo bench --bench core`. What is measured, and
//! what it may take, is in `cases.rs`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a benchmark, which panics where it cannot go on"
)]

mod cases;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for case in cases::all() {
        let mut work = (case.make)();
        criterion.bench_function(case.name, |bencher| bencher.iter(&mut work));
    }
    criterion.final_summary();
}
