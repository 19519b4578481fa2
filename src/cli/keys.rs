//! `recsys keys new`: makes a key for a caller.

use std::process::ExitCode;

use super::exit;
use crate::{
    config::{KeysCommand, NewKeyFlags},
    edge::tenants::NewKey,
};

/// Runs a command of keys.
#[must_use]
pub(super) fn run(command: &KeysCommand) -> ExitCode {
    let KeysCommand::New(NewKeyFlags { tenant, roles }) = command;
    let Some(key) = NewKey::make() else {
        return exit::failed("the system has no random numbers", false);
    };
    let roles: Vec<String> = roles.iter().map(|role| format!("\"{role}\"")).collect();
    // Standard output has the key alone, so that it can be piped.
    anstream::eprintln!("The key, shown only once:");
    anstream::println!("{}", key.text);
    anstream::eprintln!(
        "\nAdd to the tenants file:\n\n[[tenants.{tenant}.keys]]\nid = \"{}\"\nhash = \"{}\"\n\
         roles = [{}]\n",
        key.id,
        key.hash,
        roles.join(", ")
    );
    ExitCode::SUCCESS
}
