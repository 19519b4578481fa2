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
}
