//! Redis errors as they may be logged.

use deadpool_redis::redis::RedisError;

/// Where a server that does not know a command begins to quote its arguments,
/// such as a password or a user id.
const QUOTED_ARGUMENTS: &str = ", with args beginning with";

/// The text of a Redis error without the command arguments that it quotes.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct RedactedError(String);

impl From<&RedisError> for RedactedError {
    fn from(error: &RedisError) -> Self {
        let text = error.to_string();
        match text.split_once(QUOTED_ARGUMENTS) {
            Some((before, _)) => Self(before.to_owned()),
            None => Self(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use deadpool_redis::redis::{ErrorKind, RedisError};

    use super::RedactedError;

    #[test]
    fn command_arguments_quoted_by_the_server_are_removed() {
        for quoted in [
            "unknown command 'AUTH', with args beginning with: 'default' 'hunter2' ",
            "unknown command `AUTH`, with args beginning with: `hunter2`, ",
        ] {
            let error = RedisError::from((ErrorKind::Io, "refused", quoted.to_owned()));
            let text = format!("{0} {0:?}", RedactedError::from(&error));
            assert!(text.contains("unknown command"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        let other = RedisError::from((ErrorKind::Io, "broken pipe"));
        assert_eq!(RedactedError::from(&other).to_string(), other.to_string());
    }
}
