//! Parsers of setting values, and the type of secret values.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    str::FromStr,
    time::Duration,
};

const SECONDS_PER_DAY: u64 = 86_400;
const MAX_DURATION: Duration = Duration::from_secs(3_650 * SECONDS_PER_DAY);

/// The defaults of a group of settings, as its definition for the command line
/// states them. The environment is not read.
///
/// # Panics
/// If the group has a required setting.
#[must_use]
#[expect(
    clippy::expect_used,
    reason = "a group of settings has a default for each"
)]
pub fn defaults<S: clap::Args>() -> S {
    let command = S::augment_args(clap::Command::new("defaults").no_binary_name(true))
        .mut_args(|argument| argument.env(None::<&'static str>));
    command
        .try_get_matches_from([""; 0])
        .and_then(|matches| S::from_arg_matches(&matches))
        .expect("every setting has a default")
}

/// Parses a duration such as `250ms`, `10s`, `5m` or `1h`, above 0 and at most
/// ten years.
///
/// # Errors
/// The rule that the text breaks.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration = text
        .parse()
        .map_err(|_| "give a number with a unit, such as 250ms, 10s, 5m or 1h".to_owned())?;
    Duration::try_from(duration)
        .ok()
        .filter(|duration| !duration.is_zero() && *duration <= MAX_DURATION)
        .ok_or_else(|| "must be above 0 and at most ten years".to_owned())
}

/// Parses a duration as [`parse_duration`] does; `0s` is allowed.
///
/// # Errors
/// The rule that the text breaks.
pub fn parse_delay(text: &str) -> Result<Duration, String> {
    match text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic()) {
        "0" => Ok(Duration::ZERO),
        _ => parse_duration(text),
    }
}

/// Parses the largest size of a user's events, at least that of one event.
///
/// # Errors
/// The rule that the text breaks.
pub fn user_bytes(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|bytes| *bytes >= 64 << 10)
        .ok_or_else(|| "must be a number of bytes, at least 65536".to_owned())
}

/// Parses a whole number of days, 1 to 3,650.
///
/// # Errors
/// The rule that the text breaks.
pub fn parse_days(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(days @ 1..=3_650) => Ok(Duration::from_secs(days * SECONDS_PER_DAY)),
        _ => Err("must be a whole number of days, 1 to 3650".to_owned()),
    }
}

/// Parses a count, at least 1.
///
/// # Errors
/// The rule that the text breaks.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| *count >= 1)
        .ok_or_else(|| "must be a whole number, at least 1".to_owned())
}

/// Parses a whole number, at least 0.
///
/// # Errors
/// The rule that the text breaks.
pub fn whole_number<T: FromStr>(text: &str) -> Result<T, String> {
    let number = text.parse();
    number.map_err(|_| "must be a whole number, at least 0".to_owned())
}

/// Parses the type of an event.
///
/// # Errors
/// The rule that the text breaks.
pub fn event_type(text: &str) -> Result<String, String> {
    let text = text.trim();
    if (1..=128).contains(&text.len()) && !text.contains(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 128 bytes".to_owned())
    }
}

/// Parses a port, 1 to 65535.
///
/// # Errors
/// The rule that the text breaks.
pub fn port(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|port| *port > 0);
    number.ok_or_else(|| "must be a port, 1 to 65535".to_owned())
}

/// Parses a switch: `true` or `false`, also as `yes`, `on`, `1` and their opposites.
///
/// # Errors
/// The rule that the text breaks.
pub fn parse_flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Ok(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

/// Parses a count, 1 to `MAX`.
///
/// # Errors
/// The rule that the text breaks.
pub fn up_to<const MAX: usize>(text: &str) -> Result<usize, String> {
    let number = text.parse().ok();
    let number = number.filter(|number| (1..=MAX).contains(number));
    number.ok_or_else(|| format!("must be a whole number, 1 to {MAX}"))
}

/// Parses a number of connections, 1 to 1,024.
///
/// # Errors
/// The rule that the text breaks.
pub fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1_024) => Ok(count),
        _ => Err("must be a whole number, 1 to 1024".to_owned()),
    }
}

/// Parses a share: a number from 0 to 1.
///
/// # Errors
/// The rule that the text breaks.
pub fn parse_share(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "must be a number from 0 to 1".to_owned())
}

/// Parses a finite number above 0.
///
/// # Errors
/// The rule that the text breaks.
pub fn above_zero(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number > 0.0)
        .ok_or_else(|| "must be a finite number above 0".to_owned())
}

/// Parses an address to listen on: `host:port`, the host a name or an IP address.
///
/// # Errors
/// The rule that the text breaks.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.to_socket_addrs()
        .map_err(|error| format!("give host:port, such as 127.0.0.1:50051 ({error})"))?
        .next()
        .ok_or_else(|| "the host has no address".to_owned())
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        above_zero, at_least_one, connections, parse_address, parse_days, parse_delay,
        parse_duration,
    };

    #[test]
    fn durations_need_a_unit_and_are_above_zero() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1h"), Ok(Duration::from_secs(3_600)));
        for wrong in ["", "10", "0s", "-1s", "soon", "9223372036854775807s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_delay("0s"), Ok(Duration::ZERO));
        assert_eq!(parse_delay("5s"), Ok(Duration::from_secs(5)));
        assert!(parse_delay("5").is_err() && parse_delay("-1s").is_err());
        assert_eq!(parse_days("30"), Ok(Duration::from_secs(30 * 86_400)));
        assert!(parse_days("0").is_err() && parse_days("1.5").is_err());
    }

    #[test]
    fn numbers_and_addresses_are_checked() {
        assert_eq!(above_zero("86400"), Ok(86_400.0));
        for wrong in ["NaN", "inf", "0", "-1", "x"] {
            assert!(above_zero(wrong).is_err(), "{wrong}");
        }
        assert_eq!(connections("1024"), Ok(1_024));
        assert!(connections("1025").is_err() && connections("0").is_err());
        assert!(at_least_one("0").is_err() && at_least_one("-1").is_err());
        assert!(parse_address("localhost:50051").unwrap().ip().is_loopback());
        assert!(parse_address("everywhere").is_err() && parse_address("127.0.0.1").is_err());
    }
}
