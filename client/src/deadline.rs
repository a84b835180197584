//! Deadlines. A wait that can be dropped and repeated has a deadline: a duration would start again each time.

use std::time::Duration;

use tokio::time::Instant;

/// Long enough never to pass, and short enough to be added to a time.
const NEVER: Duration = Duration::from_secs(86_400 * 365);

/// `span` after `from`. If that is out of range, a time that never comes.
pub(crate) fn later(from: Instant, span: Duration) -> Instant {
    from.checked_add(span).or_else(|| from.checked_add(NEVER)).unwrap_or(from)
}

/// A time that never comes.
pub(crate) fn never(from: Instant) -> Instant {
    later(from, NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_without_end_is_a_time_that_never_comes() {
        let now = Instant::now();
        assert_eq!(later(now, Duration::from_secs(3)), now + Duration::from_secs(3));
        assert_eq!(later(now, Duration::MAX), never(now));
        assert!(never(now) > now + Duration::from_secs(86_400));
    }
}
