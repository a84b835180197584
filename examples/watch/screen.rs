//! The output: one line that changes in a terminal, and a line for each tenth of the work elsewhere.

use std::io::{IsTerminal, Stdout, Write, stdout};
use std::time::{Duration, Instant};

use inflight::{State, Status};

/// The shortest time between two changes of the line in a terminal: more often would not be visible.
const INTERVAL: Duration = Duration::from_millis(50);

/// The assumed width of a terminal that does not report it.
const WIDTH: usize = 80;

pub(crate) struct Screen {
    out: Stdout,
    /// The width of a line; `None` if this is no terminal.
    width: Option<usize>,
    shown: Option<(Instant, State, u64)>,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let out = stdout();
        let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let width = out.is_terminal().then(|| columns.unwrap_or(WIDTH).saturating_sub(1));
        Self { out, width, shown: None }
    }

    /// Shows the status, if it is time for it; `message` is called only then.
    pub(crate) fn show(&mut self, status: &Status, message: impl FnOnce() -> Option<String>) {
        let now = Instant::now();
        let tenths = status.fraction().map_or(0, tenths);
        let is_due = self.shown.is_none_or(|(at, state, before)| {
            let has_moved = match self.width {
                Some(_) => now.duration_since(at) >= INTERVAL,
                None => tenths > before,
            };
            has_moved || state != status.state()
        });
        if !is_due {
            return;
        }
        self.shown = Some((now, status.state(), tenths));
        let line = line(status, message().as_deref(), self.width.unwrap_or(usize::MAX));
        // If the output is closed, the work goes on all the same.
        let _ = match self.width {
            Some(_) => write!(self.out, "\r\x1b[K{line}"),
            None => writeln!(self.out, "{line}"),
        };
        let _ = self.out.flush();
    }

    /// Leaves the last line as it is, and prints `summary` below it.
    pub(crate) fn finish(&mut self, summary: &str) {
        if self.width.is_some() && self.shown.is_some() {
            let _ = writeln!(self.out);
        }
        let _ = writeln!(self.out, "{summary}");
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 10")]
fn tenths(fraction: f64) -> u64 {
    (fraction * 10.0) as u64
}

/// A line of at most `width` characters.
fn line(status: &Status, message: Option<&str>, width: usize) -> String {
    let percent = status.fraction().map_or_else(|| "    ".into(), |of| format!("{:3.0}%", of * 100.0));
    let total = status.total().map_or_else(|| "?".into(), size);
    let mut line = format!("{:9} {percent} {} of {total}", status.state().to_string(), size(status.done()));
    if !status.is_terminal() {
        if let Some(eta) = status.eta() {
            line += &format!(", {} s to go", eta.as_secs());
        }
        if let Some(message) = message {
            line += "  ";
            line += &end_of(message, width.saturating_sub(line.chars().count()));
        }
    }
    line.chars().take(width).collect()
}

/// The end of the text, which is the most useful part of a path, as far as it fits. A path may contain any
/// characters, and must not control the terminal.
fn end_of(text: &str, width: usize) -> String {
    let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let too_many = text.chars().count().saturating_sub(width);
    if too_many == 0 {
        return text.chars().map(shown).collect();
    }
    let rest = text.chars().map(shown).skip(too_many + 1);
    std::iter::once('…').chain(rest).collect()
}

#[expect(clippy::cast_precision_loss, reason = "it is rounded anyway")]
fn size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for larger in ["kB", "MB", "GB", "TB"] {
        if value < 1_000.0 {
            break;
        }
        (value, unit) = (value / 1_000.0, larger);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use inflight::{NewTask, Store};

    use super::*;

    #[test]
    fn sizes_are_read_at_a_glance() {
        let shown = [0, 999, 1_000, 1_500_000, 2_000_000_000_000_000].map(size);
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "1.5 MB", "2000.0 TB"]);
    }

    #[test]
    fn a_line_fits_and_does_not_drive_the_terminal() {
        let store = Store::builder().capacity(1).build().unwrap();
        let mut task = store.create(NewTask::new("hash").total(2_000)).unwrap();
        let pending = line(&task.status().unwrap(), None, 80);
        assert_eq!(pending, "pending     0% 0 B of 2.0 kB");
        let message = "a/rather/long/path/to/an/evil\x1b[2Jname\n";
        assert_eq!(
            line(&task.status().unwrap(), Some(message), 40),
            "pending     0% 0 B of 2.0 kB  …\u{fffd}[2Jname\u{fffd}"
        );
        assert_eq!(line(&task.status().unwrap(), Some("short"), 40), "pending     0% 0 B of 2.0 kB  short");
        assert_eq!(line(&task.status().unwrap(), Some("short"), 7), "pending");
        task.start().unwrap();
        task.advance(500).unwrap();
        task.succeed(()).unwrap();
        let succeeded = line(&task.status().unwrap(), Some("short"), 80);
        assert_eq!(succeeded, "succeeded  25% 500 B of 2.0 kB");
    }
}
