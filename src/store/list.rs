//! Lists: filters, pages, and a cursor that stays valid while tasks are created and removed.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use crate::engine::Engine;
use crate::model::id::{Address, TaskId};
use crate::model::state::State;
use crate::record::Record;
use crate::record::details::Details;
use crate::record::error::ListError;
use crate::record::status::Status;

/// How many entries are taken from the roster at a time.
const BATCH: usize = 256;

/// How many tasks one page examines at most. If few of them match, the page ends early.
const EXAMINED: usize = 65_536;

/// Which tasks to list, and how many at a time. All conditions must hold.
///
/// ```
/// use inflight::{Filter, NewTask, State, Store};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::builder().capacity(16).build()?;
/// let _a = store.create(NewTask::new("index").label("tenant", "acme"))?;
/// let _b = store.create(NewTask::new("index").label("tenant", "other"))?;
///
/// let page = store.list(&Filter::new().state(State::Pending).label("tenant", "acme"))?;
/// assert_eq!(page.tasks.len(), 1);
/// assert!(page.next.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Filter {
    states: Option<Vec<State>>,
    kind: Option<String>,
    labels: Vec<(String, String)>,
    parent: Option<TaskId>,
    changed_since: Option<SystemTime>,
    after: Option<Cursor>,
    page_size: Option<usize>,
}

impl Filter {
    /// How many tasks a page has at most, unless [`page_size`](Self::page_size) sets another number.
    ///
    /// ```
    /// # use inflight::Filter;
    /// assert!(Filter::DEFAULT_PAGE_SIZE <= Filter::MAX_PAGE_SIZE);
    /// ```
    pub const DEFAULT_PAGE_SIZE: usize = 100;

    /// The greatest page size; a greater one is reduced to it.
    ///
    /// ```
    /// # use inflight::{Filter, NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index").label("tenant", "acme"))?;
    /// let page = store.list(&Filter::new().page_size(usize::MAX))?;
    /// assert!(page.tasks.len() <= Filter::MAX_PAGE_SIZE);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const MAX_PAGE_SIZE: usize = 1000;

    /// All tasks, in pages of [`DEFAULT_PAGE_SIZE`](Self::DEFAULT_PAGE_SIZE).
    ///
    /// ```
    /// # use inflight::{Filter, NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index").label("tenant", "acme"))?;
    /// assert_eq!(store.list(&Filter::new())?.tasks.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Only tasks in this state. Several calls mean: in any of these states.
    ///
    /// ```
    /// # use inflight::{Filter, NewTask, State, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index").label("tenant", "acme"))?;
    /// let active = Filter::new().state(State::Running).state(State::Blocked);
    /// assert!(store.list(&active)?.tasks.is_empty());
    /// task.start()?;
    /// assert_eq!(store.list(&active)?.tasks.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn state(mut self, state: State) -> Self {
        self.states.get_or_insert_default().push(state);
        self
    }

    /// Only tasks of this kind.
    ///
    /// ```
    /// # use inflight::{Filter, NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index").label("tenant", "acme"))?;
    /// assert_eq!(store.list(&Filter::new().kind("index"))?.tasks.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Only tasks with this label. Several calls mean: with all of these labels.
    ///
    /// ```
    /// # use inflight::{Filter, NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index").label("tenant", "acme"))?;
    /// assert_eq!(store.list(&Filter::new().label("tenant", "acme"))?.tasks.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((key.into(), value.into()));
        self
    }

    /// Only children of this task. It may be gone, unless its id belongs to another task by now.
    ///
    /// ```
    /// # use inflight::{Filter, NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index").label("tenant", "acme"))?;
    /// let child = store.create(NewTask::new("page").parent(task.id()))?;
    /// let page = store.list(&Filter::new().parent(task.id()))?;
    /// assert_eq!(page.tasks[0].status().id(), child.id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parent(mut self, parent: impl Into<TaskId>) -> Self {
        self.parent = Some(parent.into());
        self
    }

    /// Only tasks that have changed at or after this time.
    ///
    /// ```
    /// # use inflight::{Filter, NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index").label("tenant", "acme"))?;
    /// let last = store.lookup(task.id())?.updated_at();
    /// assert_eq!(store.list(&Filter::new().changed_since(last))?.tasks.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn changed_since(mut self, time: SystemTime) -> Self {
        self.changed_since = Some(time);
        self
    }

    /// Continues where the previous page ended.
    ///
    /// ```
    /// # use inflight::{Filter, NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index").label("tenant", "acme"))?;
    /// let other = store.create(NewTask::new("index"))?;
    /// let one = Filter::new().page_size(1);
    /// let next = store.list(&one)?.next.ok_or("there is another page")?;
    /// let second = store.list(&one.after(next))?;
    /// assert_eq!((second.tasks[0].status().id(), second.next), (other.id(), None));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// How many tasks a page has at most.
    ///
    /// ```
    /// # use inflight::{Filter, NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index").label("tenant", "acme"))?;
    /// let page = store.list(&Filter::new().page_size(1))?;
    /// assert_eq!((page.tasks.len(), page.next), (1, None));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn page_size(mut self, size: usize) -> Self {
        self.page_size = Some(size);
        self
    }

    /// Whether a task with this status may match. [`Filter::matches`] decides the rest.
    fn may_match(&self, status: &Status) -> bool {
        self.states.as_ref().is_none_or(|states| states.contains(&status.state()))
            && self.changed_since.is_none_or(|time| status.updated_at() >= time)
    }

    /// Whether the record matches. `parent` is the minted id of the filter's parent, if that is in the store.
    fn matches(&self, record: &Record, parent: Option<TaskId>) -> bool {
        self.kind.as_ref().is_none_or(|kind| record.kind == kind.as_str())
            && self.labels.iter().all(|(key, value)| record.label(key) == Some(value))
            && self.parent.is_none_or(|id| {
                record.parent().is_some_and(|of| parent.map_or(of.id == id, |key| of.key == key))
            })
    }
}

/// One page of a list.
///
/// ```
/// # use inflight::{Filter, NewTask, Page, Store};
/// # let store = Store::builder().capacity(16).build()?;
/// # let mut task = store.create(NewTask::new("index").label("tenant", "acme"))?;
/// let Page { tasks, next } = store.list(&Filter::new())?;
/// assert_eq!((tasks.len(), next), (1, None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Page {
    /// The tasks, in the order of their creation.
    pub tasks: Vec<Details>,
    /// Where the next page begins. `None` means the end of the list. A page with few tasks, or none, is not
    /// the last one if it has a cursor.
    pub next: Option<Cursor>,
}

/// Where a page of a list has ended. It prints and parses as an opaque token that is safe in a URL.
///
/// It stays valid as long as the store exists, whichever tasks are created and removed.
///
/// ```
/// use inflight::{Cursor, Filter, NewTask, Store};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::builder().capacity(16).build()?;
/// let tasks = (0..3).map(|_| store.create(NewTask::new("index"))).collect::<Result<Vec<_>, _>>()?;
///
/// let first = store.list(&Filter::new().page_size(2))?;
/// let token = first.next.ok_or("there is more")?.to_string();
/// let rest = store.list(&Filter::new().page_size(2).after(token.parse::<Cursor>()?))?;
/// assert_eq!(rest.tasks[0].status().id(), tasks[2].id());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    incarnation: u64,
    serial: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:x}", self.incarnation, self.serial)
    }
}

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = |digits: Option<&str>| {
            let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
            u64::from_str_radix(digits, 16).ok()
        };
        match (hex(text.get(..16)), hex(text.get(16..))) {
            (Some(incarnation), Some(serial)) => Ok(Self { incarnation, serial }),
            _ => Err(ParseCursorError(())),
        }
    }
}

/// The parsed text is not a [`Cursor`] of a page.
///
/// ```
/// # use inflight::Cursor;
/// assert!("not a cursor".parse::<Cursor>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseCursorError(());

impl fmt::Display for ParseCursorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a cursor must be the unchanged token that came with a page")
    }
}

impl std::error::Error for ParseCursorError {}

impl Engine {
    /// One page. A task that is in the store from before the first page to the last is on exactly one page.
    pub(crate) fn list(&self, filter: &Filter) -> Result<Page, ListError> {
        let size = filter.page_size.unwrap_or(Filter::DEFAULT_PAGE_SIZE).min(Filter::MAX_PAGE_SIZE);
        if size == 0 {
            return Err(ListError::EmptyPage);
        }
        let mut serial = match filter.after {
            Some(cursor) if cursor.incarnation != self.incarnation => return Err(ListError::StaleCursor),
            Some(cursor) => cursor.serial,
            None => 0,
        };
        let parent = filter.parent.and_then(|id| self.find(id)).map(|record| record.key());
        let horizon = self.roster.horizon();
        let mut tasks = Vec::new();
        for _ in 0..EXAMINED / BATCH {
            let entries = self.roster.page(serial, horizon, BATCH);
            if entries.is_empty() {
                return Ok(Page { tasks, next: None });
            }
            for entry in entries {
                serial = entry.serial;
                tasks.extend(self.listed(entry.address, filter, parent));
                if tasks.len() == size {
                    // Perhaps no further entry matches. Then the next page is empty, without a cursor.
                    let more = !self.roster.page(serial, horizon, 1).is_empty();
                    let next = more.then_some(Cursor { incarnation: self.incarnation, serial });
                    return Ok(Page { tasks, next });
                }
            }
        }
        Ok(Page { tasks, next: Some(Cursor { incarnation: self.incarnation, serial }) })
    }

    /// The task at `address`, if there is one and it matches.
    fn listed(&self, address: Address, filter: &Filter, parent: Option<TaskId>) -> Option<Details> {
        let key = self.tenant(address)?;
        // A first check without the lock. Not while the feed has a reader: the check may miss a change that
        // is under way and is not noted in the feed, and a reader that lists would lose it (`feed.rs`).
        if !self.feed.is_read() && !filter.may_match(&self.poll(key)?) {
            return None;
        }
        let record = self.registry.find(key)?;
        if !filter.matches(&record, parent) {
            return None;
        }
        self.details(&record).filter(|details| filter.may_match(&details.status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_round_trips_and_junk_is_refused() {
        let cursor = Cursor { incarnation: u64::MAX - 1, serial: 77 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for junk in
            ["", "12", "zzzzzzzzzzzzzzzz1", "0000000000000001", "000000000000000ä1", "0000000000000001+2"]
        {
            assert_eq!(junk.parse::<Cursor>(), Err(ParseCursorError(())), "{junk:?}");
        }
    }
}
