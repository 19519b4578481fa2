//! Many commands or scripts, each on one key.

use deadpool_redis::redis::{Cmd, RedisResult, Value, pipe};
use futures_util::future::try_join_all;

use crate::{
    adapters::redis::{connection::RedisConnection, pool::RedisPool, script::Script},
    ports::StoreError,
};

/// Commands in flight together: other calls on the connection wait for their replies.
const TOGETHER: usize = 64;

/// Sends commands that read one key each; one reply each, in order. The error of a
/// key, such as a wrong type, is a [`Value::ServerError`]. In a cluster, keys lie on
/// different nodes: there each command is sent on its own.
pub(super) async fn query_each(
    pool: &RedisPool,
    operation: &'static str,
    commands: &[Cmd],
) -> Result<Vec<Value>, StoreError> {
    let mut replies = Vec::with_capacity(commands.len());
    for commands in commands.chunks(TOGETHER) {
        let chunk: Vec<Value> = pool
            .run(operation, |connection| query_chunk(connection, commands))
            .await?;
        replies.extend(chunk);
    }
    Ok(replies)
}

async fn query_chunk(connection: RedisConnection, commands: &[Cmd]) -> RedisResult<Vec<Value>> {
    match connection {
        RedisConnection::Node(mut node) => {
            let mut pipeline = pipe();
            pipeline.ignore_errors();
            for command in commands {
                pipeline.add_command(command.clone());
            }
            pipeline.query_async(&mut node).await
        }
        RedisConnection::Cluster(cluster) => {
            let replies = commands.iter().map(|command| {
                let connection = RedisConnection::Cluster(cluster.clone());
                query_one(connection, command)
            });
            try_join_all(replies).await
        }
    }
}

async fn query_one(mut connection: RedisConnection, command: &Cmd) -> RedisResult<Value> {
    match command.query_async(&mut connection).await {
        // Of the key, not of the connection.
        Err(error) if error.code() == Some("WRONGTYPE") => Ok(Value::Nil),
        reply => reply,
    }
}

/// Runs a script on one key each, with its arguments; one reply each, in order.
pub(super) async fn run_each(
    pool: &RedisPool,
    operation: &'static str,
    script: &Script,
    calls: &[(String, Vec<String>)],
) -> Result<Vec<i64>, StoreError> {
    let mut replies = Vec::with_capacity(calls.len());
    for calls in calls.chunks(TOGETHER) {
        let chunk: Vec<i64> = pool
            .run(operation, |connection| run_chunk(connection, script, calls))
            .await?;
        replies.extend(chunk);
    }
    Ok(replies)
}

async fn run_chunk(
    connection: RedisConnection,
    script: &Script,
    calls: &[(String, Vec<String>)],
) -> RedisResult<Vec<i64>> {
    let replies = calls
        .iter()
        .map(|(key, arguments)| run_one(connection.clone(), script, key, arguments));
    try_join_all(replies).await
}

async fn run_one(
    mut connection: RedisConnection,
    script: &Script,
    key: &str,
    arguments: &[String],
) -> RedisResult<i64> {
    script.run(&mut connection, key, &arguments).await
}
