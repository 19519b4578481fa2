//! The arguments and the reply of append.lua.

use std::time::Duration;

use deadpool_redis::redis::{RedisWrite, ToRedisArgs};

use super::{
    error::malformed_reply,
    expiry::{milliseconds, version},
};
use crate::{
    domain::{event::StoredEvent, event_member::event_id_suffix, time::Timestamp},
    ports::{AppendOutcome, EVENT_ID_SPAN, StoreError, Version},
};

/// What append.lua takes.
pub(super) struct AppendArguments<'a> {
    pub(super) window: Duration,
    pub(super) max_events: usize,
    /// Whether the caller waits for replicas.
    pub(super) waits: bool,
    /// Version and length of a buffer that is known to lack the events' ids: the
    /// script need not search it.
    pub(super) searched: Option<(Version, usize)>,
    pub(super) events: &'a [StoredEvent],
    /// For each event, the end of every member with its id; empty if it has
    /// none.
    pub(super) suffixes: &'a [String],
}

impl ToRedisArgs for AppendArguments<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        milliseconds(self.window).write_redis_args(out);
        self.max_events.write_redis_args(out);
        milliseconds(EVENT_ID_SPAN).write_redis_args(out);
        usize::from(self.waits).write_redis_args(out);
        match self.searched {
            Some((version, length)) => {
                version.0.write_redis_args(out);
                length.write_redis_args(out);
            }
            None => (&["", ""]).write_redis_args(out),
        }
        for (stored, suffix) in self.events.iter().zip(self.suffixes) {
            score(stored.event.time).write_redis_args(out);
            stored.member.as_ref().write_redis_args(out);
            suffix.write_redis_args(out);
        }
    }

    fn num_of_args(&self) -> usize {
        6 + 3 * self.events.len()
    }
}

/// The suffixes of some events, for [`AppendArguments::suffixes`].
pub(super) fn suffixes(events: &[StoredEvent]) -> Result<Vec<String>, StoreError> {
    let suffix = |stored: &StoredEvent| match &stored.event.event_id {
        Some(id) => event_id_suffix(id).map_err(|error| malformed_reply("append").caused_by(error)),
        None => Ok(String::new()),
    };
    events.iter().map(suffix).collect()
}

/// What append.lua returns, as Redis encodes it.
pub(super) type RawReply = (usize, usize, i64, i64, i64, Vec<u8>);

/// What append.lua returns.
pub(super) struct AppendReply {
    /// Events in the window after the append.
    pub(super) buffered_events: usize,
    /// Members before the append.
    pub(super) length_before: usize,
    /// The buffer's version before the append; `None` if there was no buffer.
    pub(super) before: Option<Version>,
    /// The buffer's version after the append.
    pub(super) after: Option<Version>,
    /// The server's time.
    pub(super) now: Timestamp,
    /// One for each event.
    pub(super) outcomes: Vec<AppendOutcome>,
}

impl AppendReply {
    /// Decodes the reply to an append of this many events.
    pub(super) fn decode(reply: RawReply, events: usize) -> Result<Self, StoreError> {
        let (buffered_events, length_before, before, after, now_us, outcomes) = reply;
        let outcomes = outcomes
            .into_iter()
            .map(|outcome| match outcome {
                0 => Ok(AppendOutcome::Accepted),
                1 => Ok(AppendOutcome::Duplicate),
                2 => Ok(AppendOutcome::OutsideWindow),
                _ => Err(malformed_reply("append")),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if outcomes.len() != events {
            return Err(malformed_reply("append"));
        }
        Ok(Self {
            buffered_events,
            length_before,
            before: version(before),
            after: version(after),
            now: Timestamp::from_micros(now_us),
            outcomes,
        })
    }
}

/// Seconds with six decimals. A float's shortest form would leave the last
/// digits to the reader.
fn score(time: Timestamp) -> String {
    let micros = time.as_micros();
    format!(
        "{}.{:06}",
        micros.div_euclid(1_000_000),
        micros.rem_euclid(1_000_000)
    )
}
