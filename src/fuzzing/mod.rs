//! Hostile input: what must hold of any bytes at all.
//!
//! One function for each place where bytes come in from outside. It takes
//! bytes, panics if a promise is broken, and returns whether they were
//! accepted. The tests of this room run each on arbitrary bytes and on seeds
//! that they damage; `fuzz/` and `scripts/nightly.sh` hand them to libFuzzer.
//! Compiled for tests and with the feature `fuzzing` alone.

mod catalogue_lines;
mod checks;
mod deliveries;
mod payloads;
mod ranking_files;
mod requests;
mod seeds;
mod stored_events;
mod stored_models;
#[cfg(test)]
mod tests;
mod world;

pub use catalogue_lines::catalogue_lines;
pub use deliveries::deliveries;
pub use payloads::payloads;
pub use ranking_files::ranking_files;
pub use requests::requests;
pub use stored_events::stored_events;
pub use stored_models::stored_models;

/// A place where bytes come in.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of its function.
    pub name: &'static str,
    /// Panics if a promise is broken; otherwise, whether the bytes were accepted.
    pub run: fn(&[u8]) -> bool,
    /// Inputs that are all accepted.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 7] = [
    Target {
        name: "requests",
        run: requests,
        seeds: seeds::requests,
    },
    Target {
        name: "stored_events",
        run: stored_events,
        seeds: seeds::stored_events,
    },
    Target {
        name: "stored_models",
        run: stored_models,
        seeds: seeds::stored_models,
    },
    Target {
        name: "payloads",
        run: payloads,
        seeds: seeds::payloads,
    },
    Target {
        name: "catalogue_lines",
        run: catalogue_lines,
        seeds: seeds::catalogue_lines,
    },
    Target {
        name: "ranking_files",
        run: ranking_files,
        seeds: seeds::ranking_files,
    },
    Target {
        name: "deliveries",
        run: deliveries,
        seeds: seeds::deliveries,
    },
];
