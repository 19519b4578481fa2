//! What Redis says of a failure, as it may stand in the log.

use deadpool_redis::redis::RedisError;

/// Where a server that does not know a command begins to repeat what it was
/// sent: that may be a password, or a user's id.
const REPEATED: &str = ", with args beginning with";

/// The text of a failure without what it repeats of a command.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Told(String);

impl From<&RedisError> for Told {
    fn from(error: &RedisError) -> Self {
        let text = error.to_string();
        match text.split_once(REPEATED) {
            Some((before, _)) => Self(before.to_owned()),
            None => Self(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use deadpool_redis::redis::{ErrorKind, RedisError};

    use super::Told;

    #[test]
    fn what_a_server_repeats_of_a_command_is_left_out() {
        for told in [
            "unknown command 'AUTH', with args beginning with: 'default' 'hunter2' ",
            "unknown command `AUTH`, with args beginning with: `hunter2`, ",
        ] {
            let error = RedisError::from((ErrorKind::Io, "refused", told.to_owned()));
            let told = format!("{0} {0:?}", Told::from(&error));
            assert!(told.contains("unknown command"), "{told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
        let other = RedisError::from((ErrorKind::Io, "broken pipe"));
        assert_eq!(Told::from(&other).to_string(), other.to_string());
    }
}
