//! A point in time with microsecond precision.

use std::{fmt, ops::RangeInclusive, time::Duration};

use jiff::fmt::temporal::{DateTimeParser, DateTimePrinter};

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: f64 = 86_400.0;
/// Microseconds of the times that ISO 8601 text and protobuf can represent: from
/// the year 1 to the end of the year 9999, without its last 26 hours.
const REPRESENTABLE: RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_207_199_999_999;

/// Microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The time `micros` microseconds after the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The time of a protobuf timestamp, truncated to microseconds. `None` if it
    /// is not [representable](Self::is_representable) or its nanoseconds are out
    /// of range.
    #[must_use]
    pub fn from_proto_parts(seconds: i64, nanos: i32) -> Option<Self> {
        if !(0..1_000_000_000).contains(&nanos) {
            return None;
        }
        let whole = Self(seconds.checked_mul(MICROS_PER_SECOND)?);
        whole
            .is_representable()
            .then(|| Self(whole.0 + i64::from(nanos / 1_000)))
    }

    /// Whether ISO 8601 text and protobuf can represent it: it is between the
    /// years 1 and 9999.
    #[must_use]
    pub fn is_representable(self) -> bool {
        REPRESENTABLE.contains(&self.0)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Whole seconds since the epoch and the nanoseconds after them.
    #[must_use]
    pub fn to_proto_parts(self) -> (i64, i32) {
        let nanos = self.0.rem_euclid(MICROS_PER_SECOND) * 1_000;
        (
            self.0.div_euclid(MICROS_PER_SECOND),
            i32::try_from(nanos).unwrap_or_default(),
        )
    }

    /// Days from `earlier` to this time; 0 if `earlier` is later.
    #[must_use]
    pub fn days_since(self, earlier: Self) -> f64 {
        self.seconds_since(earlier).max(0.0) / SECONDS_PER_DAY
    }

    /// Seconds from `earlier` to this time; negative if `earlier` is later.
    #[must_use]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / MICROS_PER_SECOND as f64
    }

    /// This time plus a duration.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }

    /// This time minus a duration.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }

    /// Parses ISO 8601 as written by any program: with an offset, or without one
    /// (then it is UTC), with `T` or a space. Finer fractions are truncated.
    /// `None` if it is not a time, or not [representable](Self::is_representable).
    #[must_use]
    pub fn parse_iso8601(text: &str) -> Option<Self> {
        const PARSER: DateTimeParser = DateTimeParser::new();
        let instant = match PARSER.parse_timestamp(text) {
            Ok(instant) => instant,
            Err(_) => PARSER
                .parse_datetime(text)
                .ok()?
                .to_zoned(jiff::tz::TimeZone::UTC)
                .ok()?
                .timestamp(),
        };
        let micros = instant.as_nanosecond().div_euclid(1_000);
        let time = i64::try_from(micros).ok().map(Self);
        time.filter(|time| time.is_representable())
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// ISO 8601 in UTC with six fraction digits or none, such as `2026-06-10T11:00:00Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WHOLE: DateTimePrinter = DateTimePrinter::new().precision(Some(0));
        const FRACTION: DateTimePrinter = DateTimePrinter::new().precision(Some(6));
        let printer = if self.0 % MICROS_PER_SECOND == 0 {
            &WHOLE
        } else {
            &FRACTION
        };
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(instant) => f.write_str(&printer.timestamp_to_string(&instant)),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    fn round_trip(text: &str) -> String {
        Timestamp::parse_iso8601(text).unwrap().to_string()
    }

    #[test]
    fn prints_six_fraction_digits_or_none() {
        assert_eq!(round_trip("2026-06-10T11:00:00Z"), "2026-06-10T11:00:00Z");
        assert_eq!(
            round_trip("2026-06-10T11:00:00.25Z"),
            "2026-06-10T11:00:00.250000Z"
        );
        assert_eq!(
            round_trip("2026-06-10T11:00:00.1234567Z"),
            "2026-06-10T11:00:00.123456Z"
        );
    }

    #[test]
    fn parses_offsets_and_treats_times_without_one_as_utc() {
        assert_eq!(
            round_trip("2026-06-10T13:00:00+02:00"),
            "2026-06-10T11:00:00Z"
        );
        assert_eq!(round_trip("2026-06-10T11:00:00"), "2026-06-10T11:00:00Z");
        assert_eq!(
            round_trip("2026-06-10 11:00:00.5"),
            "2026-06-10T11:00:00.500000Z"
        );
        assert_eq!(Timestamp::parse_iso8601("yesterday"), None);
        assert_eq!(Timestamp::parse_iso8601(""), None);
    }

    #[test]
    fn every_parsed_time_can_be_written() {
        for text in ["0001-01-01T00:00:00Z", "9999-12-30T21:59:59.999999Z"] {
            let time = Timestamp::parse_iso8601(text).unwrap();
            assert_eq!(time.to_string(), text);
            let (seconds, nanos) = time.to_proto_parts();
            assert_eq!(Timestamp::from_proto_parts(seconds, nanos), Some(time));
        }
        for text in [
            "0000-12-31T23:59:59.999999Z",
            "-000044-03-15",
            "9999-12-30T22:00:00Z",
            "9999-12-31",
        ] {
            assert_eq!(Timestamp::parse_iso8601(text), None, "{text}");
        }
        for seconds in [i64::MIN, -62_135_596_801, 253_402_207_200, i64::MAX] {
            assert_eq!(Timestamp::from_proto_parts(seconds, 0), None);
        }
    }

    #[test]
    fn truncates_times_before_the_epoch_downwards() {
        let time = Timestamp::from_proto_parts(-1, 999_999_999).unwrap();
        assert_eq!(time.as_micros(), -1);
        assert_eq!(time.to_proto_parts(), (-1, 999_999_000));
    }
}
