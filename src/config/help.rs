//! Which settings the help of each command shows. Every command accepts every
//! setting; only `recsys help settings` lists them all.

use clap::Command;

const NOTE: &str = "All settings: recsys help settings";

/// The settings in the help of a command, by the names of the command and its
/// parents.
fn relevant(command: &[&str]) -> &'static [&'static str] {
    match command {
        ["serve"] => &[
            "listen_addr",
            "admin_addr",
            "tenants_path",
            "insecure_allow_unauthenticated",
            "ranking_path",
            "tls_cert_file",
            "tls_key_file",
            "redis_url",
            "qdrant_api_url",
            "log",
        ],
        ["quickstart"] => &[
            "listen_addr",
            "catalog_path",
            "catalog_path_map",
            "ranking_path",
        ],
        ["catalog", "import"] => &["qdrant_api_url", "qdrant_api_key", "collection_name"],
        ["events", "import"] | ["recommend"] | ["similar"] | ["popular"] => &["listen_addr"],
        ["associations", "rebuild"] | ["explain"] => &[
            "tenants_path",
            "ranking_path",
            "redis_url",
            "qdrant_api_url",
        ],
        ["ranking", "show"] => &["ranking_path"],
        ["doctor"] => &[
            "listen_addr",
            "tenants_path",
            "ranking_path",
            "redis_url",
            "qdrant_api_url",
        ],
        ["healthcheck"] => &["listen_addr", "admin_addr"],
        [] => &["listen_addr", "redis_url", "qdrant_api_url"],
        _ => &[],
    }
}

/// The command line with every command's help reduced to its own flags and the
/// settings relevant to it.
pub(super) fn reduced(mut root: Command) -> Command {
    let settings: Vec<String> = root
        .get_arguments()
        .filter(|argument| argument.is_global_set())
        .map(|argument| argument.get_id().to_string())
        .collect();
    // Copies the settings into the subcommands.
    root.build();
    reduce(root, &[], &settings)
}

fn reduce(command: Command, path: &[&str], settings: &[String]) -> Command {
    if path == ["settings"] {
        return command;
    }
    let shown = relevant(path);
    let command = command.after_help(NOTE).mut_args(|argument| {
        let id = argument.get_id().as_str();
        let hidden = settings.iter().any(|setting| setting == id) && !shown.contains(&id);
        argument.hide(hidden)
    });
    let names: Vec<String> = command
        .get_subcommands()
        .map(|below| below.get_name().to_owned())
        .collect();
    names.iter().fold(command, |command, name| {
        let path = [path, &[name.as_str()]].concat();
        command.mut_subcommand(name, |below| reduce(below, &path, settings))
    })
}
