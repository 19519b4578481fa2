//! The `recsys` program: parse the command line, run the command, exit.

use std::process::ExitCode;

use recsys::{
    cli,
    config::{Cli, is_empty_variable},
};

/// Each call makes and frees many small allocations: see docs/operate/performance.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::read(std::env::args_os(), is_empty_variable) {
        Ok(cli) => cli::run(cli),
        // Help and version arrive as errors, too.
        Err(error) => error.exit(),
    }
}
