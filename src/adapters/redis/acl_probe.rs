//! Whether Redis lets this user do what the service does: tried out, on keys of
//! nobody, with commands that change nothing. Redis looks at permissions before it
//! looks at arguments.

use deadpool_redis::redis::{Cmd, RedisError, Value, aio::MultiplexedConnection, cmd};

use super::{keys::Keys, told::Told};

/// Something that Redis did not let this user do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The command, with its subcommand.
    pub command: String,
    /// Why it was refused.
    pub refusal: Refusal,
}

/// Why Redis refused a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The user may not use it.
    Command,
    /// The user may not use keys that begin like this.
    Key(String),
    /// There is no room left.
    Full,
    /// It takes no writes as long as it cannot save them, or have replicas.
    NoWrites(String),
}

/// A command that changes nothing, what it is called, and the key that it is about.
type Trial = (&'static str, Cmd, String);

/// All that the service and its scripts send, on keys that begin like one tenant's.
pub(super) fn all(keys: &Keys, replicas: bool, cluster: bool) -> Vec<Trial> {
    let mut trials = on_keys(keys);
    let (events, model) = (keys.nobody(), keys.nobodys_model());
    let about = |key: &str, name: &'static str, arguments: &[&str]| {
        let mut command = cmd(name);
        command.arg(key).arg(arguments);
        (name, command, key.to_owned())
    };
    let script = |name: &'static str, code: &str| {
        let mut command = cmd(name);
        command.arg(code).arg(1).arg(&events);
        (name, command, events.clone())
    };
    trials.extend([
        script("EVALSHA", "0000000000000000000000000000000000000000"),
        script("EVAL", "return 1"),
        about(&events, "PEXPIRETIME", &[]),
        about(&events, "ZRANGE", &["0", "-1"]),
        about(&events, "ZRANGEBYSCORE", &["1", "0"]),
        about(&events, "ZCOUNT", &["1", "0"]),
        about(&events, "ZSCORE", &["none"]),
        // No score: refused once it is known that it might be done.
        about(&events, "ZADD", &["none", "none"]),
        about(&events, "ZREMRANGEBYSCORE", &["1", "0"]),
        about(&events, "ZREMRANGEBYRANK", &["0", "0"]),
        about(&events, "PEXPIREAT", &["1"]),
        about(&model, "GETRANGE", &["0", "0"]),
        // No span of time.
        about(&model, "SET", &["none", "PX", "0"]),
        ("TIME", cmd("TIME"), String::new()),
    ]);
    if replicas {
        let mut wait = cmd("WAIT");
        wait.arg(0).arg(1);
        trials.push(("WAIT", wait, String::new()));
    }
    if cluster {
        let mut slots = cmd("CLUSTER");
        slots.arg("SLOTS");
        trials.push(("CLUSTER|SLOTS", slots, String::new()));
    }
    trials
}

/// What shows whether the keys of one more tenant may be read and written.
pub(super) fn on_keys(keys: &Keys) -> Vec<Trial> {
    let (events, model) = (keys.nobody(), keys.nobodys_model());
    let read = [("ZCARD", &events), ("GET", &model)];
    let write = [("UNLINK", &events), ("UNLINK", &model)];
    read.into_iter()
        .chain(write)
        .map(|(name, key)| {
            let mut command = cmd(name);
            command.arg(key);
            (name, command, key.clone())
        })
        .collect()
}

/// Sends each, and says what was refused.
///
/// # Errors
/// The connection's.
pub(super) async fn run(
    connection: &mut MultiplexedConnection,
    trials: Vec<Trial>,
) -> Result<Vec<Refused>, RedisError> {
    let mut refused = Vec::new();
    for (name, command, key) in trials {
        let Err(error) = command.query_async::<Value>(connection).await else {
            continue;
        };
        if error.is_io_error() || error.is_timeout() {
            return Err(error);
        }
        if let Some(refusal) = refusal(&error, &key) {
            refused.push(Refused {
                command: name.to_ascii_lowercase(),
                refusal,
            });
        }
    }
    Ok(refused)
}

fn refusal(error: &RedisError, key: &str) -> Option<Refusal> {
    let told = || Told::from(error).to_string();
    match error.code()? {
        "NOPERM" if error.detail().is_some_and(|detail| detail.contains(" key")) => {
            Some(Refusal::Key(key.to_owned()))
        }
        "NOPERM" => Some(Refusal::Command),
        "OOM" => Some(Refusal::Full),
        "MISCONF" | "NOREPLICAS" => Some(Refusal::NoWrites(told())),
        // Others are about the arguments, or of another node's slots.
        _ => None,
    }
}
