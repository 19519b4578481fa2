//! Settings of the webhook.

use std::net::SocketAddr;

use crate::parsers::{Secret, parse_address};

/// Address and secret of the webhook for RudderStack and Segment.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Webhook")]
pub struct WebhookSettings {
    /// Address of the webhook for RudderStack and Segment (HTTP); unset = none
    #[arg(long, global = true, env = "RECSYS_WEBHOOK_ADDR", value_name = "ADDR",
          value_parser = parse_address)]
    pub webhook_addr: Option<SocketAddr>,
    /// Secret that deliveries must carry if there is no tenants file; unset = anyone
    /// who reaches the address may deliver
    #[arg(
        long,
        global = true,
        env = "RECSYS_WEBHOOK_SECRET",
        value_name = "SECRET",
        hide_env_values = true
    )]
    pub webhook_secret: Option<Secret>,
    /// Whether identify and alias calls merge users; only a user known by an
    /// anonymousId alone is merged into another one
    #[arg(long, global = true, env = "WEBHOOK_MERGE_USERS", value_name = "BOOL",
          action = clap::ArgAction::Set, default_value = "false")]
    pub webhook_merge_users: bool,
}
