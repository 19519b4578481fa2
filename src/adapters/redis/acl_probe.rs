//! Whether the ACL allows what the service does: its commands are run on a probe key,
//! with arguments that change nothing. Redis checks permissions before arguments.

use deadpool_redis::redis::{Cmd, RedisResult, Value, cmd};

use super::{
    connection::RedisConnection, error::is_unknown_command, keys::Keys,
    redacted_error::RedactedError,
};

/// Something that Redis refuses to this user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AclDenial {
    /// The ACL denies the command, or its subcommand: `command|subcommand`.
    Command(String),
    /// It does not know the command: it is renamed, or this is not Redis 7.
    Missing(String),
    /// The ACL denies the keys with this prefix.
    Keys(String),
    /// The ACL denies this key.
    Key(String),
    /// Writes are refused: memory is at its limit, or they cannot be persisted or
    /// replicated. The error.
    Writes(String),
}

/// The commands to try, each with its name and key.
pub(super) struct AclProbe(Vec<(&'static str, Cmd, String)>);

impl AclProbe {
    /// All commands of the service on the keys of the first prefix, and one read and
    /// one write of each kind of key for the other prefixes.
    pub(super) fn new(prefixes: &[Keys], replicas: bool, cluster: bool) -> Self {
        let mut probe = Self(Vec::new());
        for keys in prefixes {
            for key in [&keys.events_probe(), &keys.model_probe()] {
                probe.add("UNLINK", key, &[]);
            }
            probe.add("ZCARD", &keys.events_probe(), &[]);
            probe.add("GET", &keys.model_probe(), &[]);
            probe.add_associations(keys);
        }
        let Some(keys) = prefixes.first() else {
            return probe;
        };
        let (events, model) = (keys.events_probe(), keys.model_probe());
        for (name, script) in [
            ("EVALSHA", "0000000000000000000000000000000000000000"),
            ("EVAL", "return 1"),
        ] {
            let mut command = cmd(name);
            command.arg(script).arg(1).arg(&events);
            probe.0.push((name, command, events.clone()));
        }
        for (name, arguments) in [
            ("PEXPIRETIME", &[][..]),
            ("ZRANGE", &["0", "-1"]),
            ("ZRANGEBYSCORE", &["1", "0"]),
            ("ZREVRANGEBYSCORE", &["0", "1"]),
            ("ZREM", &["none"]),
            ("ZREVRANGE", &["0", "-1"]),
            ("EXISTS", &[]),
            ("PEXPIRE", &["1"]),
            ("ZCOUNT", &["1", "0"]),
            ("ZSCORE", &["none"]),
            // Not a score: the command fails after the permission check.
            ("ZADD", &["none", "none"]),
            ("ZREMRANGEBYSCORE", &["1", "0"]),
            ("ZREMRANGEBYRANK", &["0", "0"]),
            ("PEXPIREAT", &["1"]),
        ] {
            probe.add(name, &events, arguments);
        }
        probe.add("GETRANGE", &model, &["0", "0"]);
        // An invalid expiry: the command fails after the permission check.
        probe.add("SET", &model, &["none", "PX", "0"]);
        probe.0.push(("TIME", cmd("TIME"), String::new()));
        if replicas {
            let mut wait = cmd("WAIT");
            wait.arg(0).arg(1);
            probe.0.push(("WAIT", wait, String::new()));
        }
        if cluster {
            let mut slots = cmd("CLUSTER");
            slots.arg("SLOTS");
            probe.0.push(("CLUSTER|SLOTS", slots, String::new()));
        }
        probe
    }

    /// One read and one write of each kind of association.
    pub(super) fn of_associations(keys: &Keys) -> Self {
        let mut probe = Self(Vec::new());
        probe.add_associations(keys);
        probe
    }

    /// What announces and reads the changes of items.
    pub(super) fn with_item_changes(mut self, keys: &Keys) -> Self {
        let stream = keys.item_changes_probe();
        self.add("XRANGE", &stream, &["-", "-", "COUNT", "1"]);
        // Creates no stream.
        self.add("XADD", &stream, &["NOMKSTREAM", "*", "by", "doctor"]);
        self
    }

    fn add_associations(&mut self, keys: &Keys) {
        for key in keys.association_probes() {
            self.add("UNLINK", &key, &[]);
            self.add("EXISTS", &key, &[]);
        }
        for key in [keys.popular(), keys.trending()] {
            // No item's id is empty.
            self.add("ZREM", &key, &[""]);
            self.add("ZCARD", &key, &[]);
        }
    }

    fn add(&mut self, name: &'static str, key: &str, arguments: &[&str]) {
        let mut command = cmd(name);
        command.arg(key).arg(arguments);
        self.0.push((name, command, key.to_owned()));
    }

    /// Runs the commands.
    ///
    /// # Errors
    /// The connection's.
    pub(super) async fn run(self, connection: &mut RedisConnection) -> RedisResult<Vec<AclDenial>> {
        let mut denials = Vec::new();
        for (name, command, key) in self.0 {
            let Err(error) = command.query_async::<Value>(connection).await else {
                continue;
            };
            if error.is_io_error() || error.is_timeout() {
                return Err(error);
            }
            let is_unknown = error.detail().is_some_and(is_unknown_command);
            let on_key = || error.detail().is_some_and(|detail| detail.contains(" key"));
            denials.extend(match error.code() {
                Some("NOPERM") if on_key() && key.ends_with(':') => Some(AclDenial::Keys(key)),
                Some("NOPERM") if on_key() => Some(AclDenial::Key(key)),
                Some("NOPERM") => Some(AclDenial::Command(name.to_ascii_lowercase())),
                Some("OOM" | "MISCONF" | "NOREPLICAS") => {
                    Some(AclDenial::Writes(RedactedError::from(&error).to_string()))
                }
                Some("ERR") if is_unknown => Some(AclDenial::Missing(name.to_owned())),
                // About the arguments.
                _ => None,
            });
        }
        Ok(denials)
    }
}
