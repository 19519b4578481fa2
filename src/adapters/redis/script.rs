//! Lua scripts that touch one key.

use deadpool_redis::redis::{
    self, ErrorKind, FromRedisValue, RedisResult, ServerErrorKind, ToRedisArgs, cmd,
};

use super::connection::RedisConnection;

/// A script with the hash by which servers cache it.
pub(super) struct Script {
    code: &'static str,
    hash: String,
}

impl Script {
    pub(super) fn new(code: &'static str) -> Self {
        Self {
            code,
            hash: redis::Script::new(code).get_hash().to_owned(),
        }
    }

    /// Runs the script. A server that has not cached it gets its code with the
    /// call. `SCRIPT LOAD` would go to every node of a cluster, and fail if one
    /// is down.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        connection: &mut RedisConnection,
        key: &str,
        arguments: &impl ToRedisArgs,
    ) -> RedisResult<T> {
        let cached = cmd("EVALSHA")
            .arg(&self.hash)
            .arg(1)
            .arg(key)
            .arg(arguments)
            .query_async(connection)
            .await;
        match cached {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                cmd("EVAL")
                    .arg(self.code)
                    .arg(1)
                    .arg(key)
                    .arg(arguments)
                    .query_async(connection)
                    .await
            }
            reply => reply,
        }
    }
}
