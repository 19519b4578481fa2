//! Settings of the console.

use std::net::SocketAddr;

use crate::parsers::parse_address;

/// Address of the console.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Console")]
pub struct ConsoleSettings {
    /// Address of the console, a page for the owners of the lists (HTTP); unset = none
    #[arg(long, global = true, env = "RECSYS_CONSOLE_ADDR", value_name = "ADDR",
          value_parser = parse_address)]
    pub console_addr: Option<SocketAddr>,
}
