//! Lua scripts that touch one key.

use deadpool_redis::redis::{
    self, ErrorKind, FromRedisValue, RedisResult, ServerErrorKind, ToRedisArgs, cmd,
};

use super::dial::Connection;

/// A script and the name under which a server remembers it.
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

    /// Runs the script. A server that does not know it gets it whole with the
    /// call: `SCRIPT LOAD` would ask every node of a cluster, and fail if one
    /// of them is away.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        connection: &mut Connection,
        key: &str,
        arguments: &impl ToRedisArgs,
    ) -> RedisResult<T> {
        let by_name = cmd("EVALSHA")
            .arg(&self.hash)
            .arg(1)
            .arg(key)
            .arg(arguments)
            .query_async(connection)
            .await;
        match by_name {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                cmd("EVAL")
                    .arg(self.code)
                    .arg(1)
                    .arg(key)
                    .arg(arguments)
                    .query_async(connection)
                    .await
            }
            done => done,
        }
    }
}
