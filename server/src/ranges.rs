//! Between which bounds each setting may be. What is outside is refused by name, or, by a router that is made
//! without asking, taken for the nearest that is inside.

use std::fmt;
use std::time::Duration;

use crate::options::Options;
use crate::serve::ServeOptions;

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// A setting is outside of its range.
///
/// ```
/// use inflight_server::Options;
///
/// let refused = Options { batch_limit: 0, ..Options::default() }.check();
/// assert_eq!(refused.unwrap_err().to_string(), "batch_limit is 0; it can be from 1 to 100000");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    name: &'static str,
    value: String,
    least: String,
    most: String,
}

impl SettingError {
    /// The setting's name.
    ///
    /// ```
    /// # use inflight_server::Options;
    /// let refused = Options { batch_limit: 0, ..Options::default() }.check();
    /// assert_eq!(refused.unwrap_err().name(), "batch_limit");
    /// ```
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, least, most } = self;
        write!(f, "{name} is {value}; it can be from {least} to {most}")
    }
}

impl std::error::Error for SettingError {}

/// A setting, and the least and the greatest that it may be.
type Range<'a, T> = (&'static str, &'a mut T, T, T);

fn check<T: Ord + fmt::Debug>((name, value, least, most): Range<'_, T>) -> Result<(), SettingError> {
    if (&least..=&most).contains(&&*value) {
        return Ok(());
    }
    let shown = |value: &T| format!("{value:?}");
    Err(SettingError { name, value: shown(value), least: shown(&least), most: shown(&most) })
}

fn clamp<T: Ord + Copy>((_, value, least, most): Range<'_, T>) {
    *value = (*value).clamp(least, most);
}

impl Options {
    fn spans(&mut self) -> [Range<'_, Duration>; 7] {
        let (least, most) = &mut self.poll_interval;
        [
            ("body_timeout", &mut self.body_timeout, MILLISECOND, DAY),
            ("wait_limit", &mut self.wait_limit, Duration::ZERO, DAY),
            ("poll_interval.0", least, MILLISECOND, DAY),
            ("poll_interval.1", most, MILLISECOND, DAY),
            ("event_interval", &mut self.event_interval, Duration::ZERO, MINUTE),
            ("keep_alive", &mut self.keep_alive, MILLISECOND, HOUR),
            ("idempotency_ttl", &mut self.idempotency_ttl, MILLISECOND, YEAR),
        ]
    }

    fn counts(&mut self) -> [Range<'_, usize>; 6] {
        [
            ("body_limit", &mut self.body_limit, 1, 1 << 30),
            ("batch_limit", &mut self.batch_limit, 1, 100_000),
            ("answer_limit", &mut self.answer_limit, 1 << 10, 1 << 30),
            ("busy_at", &mut self.busy_at, 1, 1 << 20),
            ("event_log", &mut self.event_log, 1, 1 << 24),
            ("idempotency_bytes", &mut self.idempotency_bytes, 0, 1 << 36),
        ]
    }

    /// Whether every setting is inside of its range, which its field names. [`router`](crate::router) takes
    /// one that is not for the nearest that is.
    ///
    /// ```
    /// use inflight_server::Options;
    ///
    /// assert!(Options::default().check().is_ok());
    /// ```
    ///
    /// # Errors
    ///
    /// [`SettingError`] with the first that is not: its name, its value and its range.
    pub fn check(&self) -> Result<(), SettingError> {
        let mut copy = self.clone();
        copy.spans().into_iter().try_for_each(check)?;
        copy.counts().into_iter().try_for_each(check)
    }

    /// Each setting as near as its range allows.
    pub(crate) fn within_ranges(mut self) -> Self {
        self.spans().into_iter().for_each(clamp);
        self.counts().into_iter().for_each(clamp);
        self
    }
}

impl ServeOptions {
    /// Whether every setting is inside of its range, which its field names. [`serve`](crate::serve) refuses
    /// what is not.
    ///
    /// ```
    /// use inflight_server::ServeOptions;
    ///
    /// let refused = ServeOptions { connections: usize::MAX, ..ServeOptions::default() }.check();
    /// assert_eq!(refused.unwrap_err().name(), "connections");
    /// ```
    ///
    /// # Errors
    ///
    /// [`SettingError`] with the first that is not: its name, its value and its range.
    pub fn check(&self) -> Result<(), SettingError> {
        let mut copy = self.clone();
        let spans = [
            ("header_timeout", &mut copy.header_timeout, MILLISECOND, HOUR),
            ("progress_timeout", &mut copy.progress_timeout, MILLISECOND, HOUR),
            ("shutdown_deadline", &mut copy.shutdown_deadline, Duration::ZERO, DAY),
        ];
        spans.into_iter().try_for_each(check)?;
        let most = 1 << 20;
        check(("connections", &mut copy.connections, 1, most))?;
        copy.peer_connections.as_mut().map_or(Ok(()), |count| check(("peer_connections", count, 1, most)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_inside_and_the_ends_of_the_types_are_refused_by_name() {
        assert_eq!(Options::default().check(), Ok(()));
        assert_eq!(ServeOptions::default().check(), Ok(()));
        let names = |options: &mut Options| {
            let spans = options.spans().map(|(name, ..)| name);
            let counts = options.counts().map(|(name, ..)| name);
            spans.into_iter().chain(counts).collect::<Vec<_>>()
        };
        for (at, name) in names(&mut Options::default()).into_iter().enumerate() {
            let mut options = Options::default();
            let spans = options.spans().len();
            if at < spans {
                *options.spans().into_iter().nth(at).unwrap().1 = Duration::MAX;
            } else {
                *options.counts().into_iter().nth(at - spans).unwrap().1 = usize::MAX;
            }
            assert_eq!(options.check().unwrap_err().name(), name);
            assert_eq!(options.within_ranges().check(), Ok(()));
        }
        let serve = |change: fn(&mut ServeOptions)| {
            let mut options = ServeOptions::default();
            change(&mut options);
            options.check().unwrap_err().name()
        };
        assert_eq!(serve(|options| options.header_timeout = Duration::MAX), "header_timeout");
        assert_eq!(serve(|options| options.progress_timeout = Duration::ZERO), "progress_timeout");
        assert_eq!(serve(|options| options.shutdown_deadline = Duration::MAX), "shutdown_deadline");
        assert_eq!(serve(|options| options.connections = 0), "connections");
        assert_eq!(serve(|options| options.peer_connections = Some(usize::MAX)), "peer_connections");
    }
}
