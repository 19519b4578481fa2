//! Runs one case once, for a program that counts instructions: `scripts/counts.sh`
//! runs it under Callgrind, with this binary's `counted` as what counts.
//!
//! `counts --list` names the cases, `counts NAME` runs one.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    unreachable_pub,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark, which panics where it cannot go on"
)]

mod cases;

use std::{hint::black_box, process::ExitCode};

/// The script knows it by this name. What runs before it does not count.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
    // Keeps the call above a call.
    black_box(());
}

fn main() -> ExitCode {
    // `cargo bench` adds the flag.
    let named = std::env::args()
        .skip(1)
        .find(|argument| argument != "--bench");
    let Some(named) = named else {
        eprintln!("scripts/counts.sh runs this one");
        return ExitCode::SUCCESS;
    };
    let cases = cases::all();
    if named == "--list" {
        cases.iter().for_each(|case| println!("{}", case.name));
        return ExitCode::SUCCESS;
    }
    let Some(case) = cases.iter().find(|case| case.name == named) else {
        eprintln!("there is no case {named}");
        return ExitCode::FAILURE;
    };
    let mut work = (case.make)();
    // Once for what is made at the first use.
    work();
    counted(&mut work);
    ExitCode::SUCCESS
}
