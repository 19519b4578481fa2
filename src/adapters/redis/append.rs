//! The arguments and the reply of append.lua.

use std::time::Duration;

use deadpool_redis::redis::{RedisWrite, ToRedisArgs};

use super::{
    error::{malformed_reply, no_time_in_scripts},
    expiry::{NO_KEY, milliseconds, version},
};
use crate::{
    domain::{event::StoredEvent, time::Timestamp},
    ports::{AppendOutcome, StoreError, Version},
};

/// Largest number of events of one call of the script.
pub(super) const MAX_CALL_EVENTS: usize = 100;
/// Largest size of the members of one call of the script, unless it has one event.
pub(super) const MAX_CALL_BYTES: usize = 256 << 10;

/// The events in groups that one call of the script takes.
pub(super) fn calls(mut events: &[StoredEvent]) -> impl Iterator<Item = &[StoredEvent]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |event: &&StoredEvent| {
            bytes += event.member.len();
            bytes <= MAX_CALL_BYTES
        };
        let count = events.iter().take(MAX_CALL_EVENTS).take_while(fits).count();
        let (call, rest) = events.split_at(count.max(1).min(events.len()));
        events = rest;
        (!call.is_empty()).then_some(call)
    })
}

/// What is known of the id of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IdCheck {
    /// It has none, or no other event has it.
    Unique,
    /// The buffer has it.
    InBuffer,
    /// These events of the call have it, by their positions from 1.
    InCall(Vec<usize>),
    /// The script compares it: the end of every member with it.
    InScript(String),
}

impl ToRedisArgs for IdCheck {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        match self {
            Self::Unique => out.write_arg(b""),
            Self::InBuffer => out.write_arg(b"*"),
            Self::InCall(events) => {
                let events: Vec<String> = events.iter().map(ToString::to_string).collect();
                out.write_arg(events.join(",").as_bytes());
            }
            Self::InScript(suffix) => out.write_arg(suffix.as_bytes()),
        }
    }
}

/// The buffer in which event ids were compared: its expiry as Redis reports it, and
/// its number of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ComparedBuffer {
    pub(super) expiry: i64,
    pub(super) length: usize,
}

impl ComparedBuffer {
    /// No buffer.
    pub(super) const NONE: Self = Self {
        expiry: NO_KEY,
        length: 0,
    };

    /// No buffer at all: the script never finds it.
    pub(super) const UNKNOWN: Self = Self {
        expiry: NO_KEY - 1,
        length: 0,
    };

    /// A buffer as it was read. The marker of an erasure alone has an expiry, too.
    pub(super) fn new(expiry: i64, length: usize) -> Self {
        if length == 0 {
            return Self::NONE;
        }
        Self { expiry, length }
    }
}

/// What append.lua takes.
pub(super) struct AppendArguments<'a> {
    pub(super) window: Duration,
    pub(super) max_events: usize,
    /// Whether the caller waits for replicas.
    pub(super) waits: bool,
    /// The server's time at which it is sent.
    pub(super) sent_at: Timestamp,
    /// `None` if the result does not depend on the buffer's events.
    pub(super) compared: Option<ComparedBuffer>,
    pub(super) events: &'a [StoredEvent],
    /// One for each event.
    pub(super) ids: &'a [IdCheck],
}

impl ToRedisArgs for AppendArguments<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        milliseconds(self.window).write_redis_args(out);
        self.max_events.write_redis_args(out);
        usize::from(self.waits).write_redis_args(out);
        self.sent_at.as_micros().write_redis_args(out);
        match self.compared {
            Some(compared) => {
                compared.expiry.write_redis_args(out);
                compared.length.write_redis_args(out);
            }
            None => (&["", ""]).write_redis_args(out),
        }
        for (stored, id) in self.events.iter().zip(self.ids) {
            score(stored.event.time).write_redis_args(out);
            match id {
                IdCheck::InBuffer => out.write_arg(b""),
                IdCheck::Unique | IdCheck::InCall(_) | IdCheck::InScript(_) => {
                    out.write_arg(stored.member.as_bytes());
                }
            }
            id.write_redis_args(out);
        }
    }

    fn num_of_args(&self) -> usize {
        6 + 3 * self.events.len()
    }
}

/// What append.lua returns, as Redis encodes it.
pub(super) type RawReply = (u8, usize, usize, i64, i64, i64, usize, Vec<u8>);

/// What the script did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AppendStatus {
    Applied,
    /// The buffer is not the one in which ids were compared.
    Stale,
    /// It was sent too long ago, or before an erasure.
    Refused,
}

/// What append.lua returns.
pub(super) struct AppendReply {
    pub(super) status: AppendStatus,
    /// Events in the window after the append.
    pub(super) buffered_events: usize,
    /// Events before the append.
    pub(super) length_before: usize,
    /// The buffer's version before the append; `None` if there was no buffer.
    pub(super) before: Option<Version>,
    /// The buffer's version after the append.
    pub(super) after: Option<Version>,
    /// The server's time.
    pub(super) now: Timestamp,
    /// How many of the oldest events before the append were removed.
    pub(super) removed: usize,
    /// One for each event, if it was applied.
    pub(super) outcomes: Vec<AppendOutcome>,
}

impl AppendReply {
    /// Decodes the reply to an append of this many events.
    pub(super) fn decode(reply: RawReply, events: usize) -> Result<Self, StoreError> {
        let (status, buffered_events, length_before, before, after, now_us, removed, outcomes) =
            reply;
        let status = match status {
            0 => AppendStatus::Applied,
            1 => AppendStatus::Stale,
            2 => AppendStatus::Refused,
            3 => return Err(no_time_in_scripts(now_us)),
            _ => return Err(malformed_reply("append")),
        };
        let outcomes = outcomes
            .into_iter()
            .map(|outcome| match outcome {
                0 => Ok(AppendOutcome::Accepted),
                1 => Ok(AppendOutcome::Duplicate),
                2 => Ok(AppendOutcome::OutsideWindow),
                _ => Err(malformed_reply("append")),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if status == AppendStatus::Applied && outcomes.len() != events {
            return Err(malformed_reply("append"));
        }
        Ok(Self {
            status,
            buffered_events,
            length_before,
            before: version(before),
            after: version(after),
            now: Timestamp::from_micros(now_us),
            removed,
            outcomes,
        })
    }
}

/// Seconds with six decimals. A float's shortest form would leave the last
/// digits to the reader.
pub(super) fn score(time: Timestamp) -> String {
    let micros = time.as_micros();
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::{MAX_CALL_EVENTS, calls, score};
    use crate::domain::{
        event::{InteractionEvent, StoredEvent},
        event_member,
        ids::UserId,
        time::Timestamp,
    };

    fn event(bytes: usize) -> StoredEvent {
        let user = UserId::parse("u").unwrap();
        let mut event = InteractionEvent::new(user, "T", Timestamp::from_micros(1));
        event.query_text = Some("x".repeat(bytes));
        event_member::encode(event).unwrap()
    }

    fn sizes(events: &[StoredEvent]) -> Vec<usize> {
        calls(events).map(<[StoredEvent]>::len).collect()
    }

    #[test]
    fn a_call_takes_at_most_100_events_and_256_kib() {
        let small: Vec<StoredEvent> = (0..250).map(|_| event(1)).collect();
        assert_eq!(sizes(&small), [MAX_CALL_EVENTS, MAX_CALL_EVENTS, 50]);
        let large: Vec<StoredEvent> = (0..5).map(|_| event(100 << 10)).collect();
        assert_eq!(sizes(&large), [2, 2, 1]);
        assert_eq!(sizes(&[event(300 << 10), event(1)]), [1, 1]);
        assert!(sizes(&[]).is_empty());
    }

    #[test]
    fn a_score_has_six_decimals() {
        for (micros, text) in [
            (1_795_202_581_000_007, "1795202581.000007"),
            (0, "0.000000"),
            (-1_500_000, "-1.500000"),
        ] {
            assert_eq!(score(Timestamp::from_micros(micros)), text);
        }
    }
}
