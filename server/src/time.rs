//! Times as RFC 3339 in UTC, with microseconds.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde::{Serialize, Serializer};

const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));

/// A time on its way into JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time(pub(crate) SystemTime);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Out of range only far outside of what a clock shows.
        let timestamp = Timestamp::try_from(self.0).unwrap_or(Timestamp::UNIX_EPOCH);
        serializer.serialize_str(&PRINTER.timestamp_to_string(&timestamp))
    }
}

/// Parses a time as RFC 3339.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    text.parse::<Timestamp>().ok().and_then(|time| SystemTime::try_from(time).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_time_round_trips_with_its_microseconds() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_893_456_000_000_008);
        let text = serde_json::to_string(&Time(time)).unwrap();
        assert_eq!(text, "\"2030-01-01T00:00:00.000008Z\"");
        assert_eq!(parse("2030-01-01T00:00:00.000008Z"), Some(time));
        assert_eq!(parse("2030-01-01T01:00:00.000008+01:00"), Some(time));
        assert_eq!(parse("yesterday"), None);
    }
}
