//! Times as RFC 3339 in UTC, with microseconds.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// A time on its way into JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time(pub(crate) SystemTime);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = render(self.0);
        serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

const TEMPLATE: [u8; 27] = *b"0000-00-00T00:00:00.000000Z";

/// Each poll has three or four times in it, so they are put together in place. Times outside of the years
/// 1970 to 9999, which no clock shows, are shown as the nearest.
fn render(time: SystemTime) -> [u8; TEMPLATE.len()] {
    const LAST: u64 = 253_402_300_799;
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs().min(LAST);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let mut text = TEMPLATE;
    let fields = [
        (0, 4, year),
        (5, 2, month),
        (8, 2, day),
        (11, 2, second / 3600),
        (14, 2, second / 60 % 60),
        (17, 2, second % 60),
        (20, 6, u64::from(since.subsec_micros())),
    ];
    for (at, width, mut number) in fields {
        for digit in text.iter_mut().skip(at).take(width).rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
    text
}

/// Year, month and day of a day since 1970. The year is counted from March, so that the leap day is its
/// last; then all months before it are of the same pattern of 153 days in five, and a cycle of 400 years
/// is 146,097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    let since_march_0000 = days + 719_468;
    let (cycle, day) = (since_march_0000 / 146_097, since_march_0000 % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day + 2) / 153;
    let day_of_month = day - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (400 * cycle + year + u64::from(month <= 2), month, day_of_month)
}

/// Parses a time as RFC 3339.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    text.parse::<Timestamp>().ok().and_then(|time| SystemTime::try_from(time).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use jiff::fmt::temporal::DateTimePrinter;

    fn shown(time: SystemTime) -> String {
        String::from_utf8(render(time).to_vec()).unwrap()
    }

    #[test]
    fn every_day_is_shown_as_the_library_shows_it() {
        let printer = DateTimePrinter::new().precision(Some(6));
        let steps = (0..2_932_880_u64).step_by(7).map(|day| day * 86_400 + day % 86_400);
        let edges = [0, 951_782_399, 951_782_400, 951_868_800, 4_107_542_399, 4_107_542_400, 253_402_207_200];
        for seconds in steps.chain(edges) {
            let time = UNIX_EPOCH + Duration::new(seconds, (seconds % 1_000_000) as u32 * 1_000);
            let library = printer.timestamp_to_string(&Timestamp::try_from(time).unwrap());
            assert_eq!(shown(time), library, "{seconds}");
        }
        assert_eq!(shown(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000000Z");
    }

    #[test]
    fn a_time_round_trips_with_its_microseconds() {
        let time = UNIX_EPOCH + Duration::from_micros(1_893_456_000_000_008);
        let text = serde_json::to_string(&Time(time)).unwrap();
        assert_eq!(text, "\"2030-01-01T00:00:00.000008Z\"");
        assert_eq!(parse("2030-01-01T00:00:00.000008Z"), Some(time));
        assert_eq!(parse("2030-01-01T01:00:00.000008+01:00"), Some(time));
        assert_eq!(parse("yesterday"), None);
    }
}
