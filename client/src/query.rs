//! Lists: what to ask for, and what comes back.

use std::fmt::Write as _;
use std::time::SystemTime;

use inflight::{State, TaskId};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::details::Details;

/// All but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Which tasks: of [`Client::list`](crate::Client::list) and [`Client::events`](crate::Client::events).
///
/// ```
/// use inflight_client::{Filter, State};
///
/// let filter = Filter::new().state(State::Running).kind("index").label("tenant", "acme");
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Filter {
    /// What lists and events both know.
    which: Vec<(String, String)>,
    /// What only lists know.
    paging: Vec<(&'static str, String)>,
}

impl Filter {
    /// All tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only tasks in this state; called several times, in any of these states.
    pub fn state(mut self, state: State) -> Self {
        self.which.push(("state".into(), state.as_str().into()));
        self
    }

    /// Only tasks of this kind.
    pub fn kind(self, kind: impl Into<String>) -> Self {
        self.with("kind".into(), kind.into())
    }

    /// Only tasks with this label; called several times, with all of these labels.
    pub fn label(self, key: impl AsRef<str>, value: impl Into<String>) -> Self {
        self.with(format!("label.{}", key.as_ref()), value.into())
    }

    /// Only children of this task.
    pub fn parent(self, parent: impl Into<TaskId>) -> Self {
        self.with("parent".into(), parent.into().to_string())
    }

    fn with(mut self, key: String, value: String) -> Self {
        self.which.retain(|(have, _)| *have != key);
        self.which.push((key, value));
        self
    }

    /// Only tasks that have changed at or after this time.
    pub fn changed_since(self, time: SystemTime) -> Self {
        self.paged("changedSince", humantime::format_rfc3339_nanos(time).to_string())
    }

    /// With results and errors, which may be large; without it they are left out.
    pub fn full(self) -> Self {
        self.paged("view", "full".into())
    }

    /// How many tasks a page has at the most; the service takes a larger size for its own limit, and 0 for
    /// its own default.
    pub fn page_size(self, size: u32) -> Self {
        self.paged("pageSize", size.to_string())
    }

    pub(crate) fn size(&self) -> Option<u32> {
        self.paging.iter().find(|(key, _)| *key == "pageSize")?.1.parse().ok()
    }

    /// The page that begins where the one with this [`Page::next`] ended.
    pub fn after(self, token: impl Into<String>) -> Self {
        self.paged("pageToken", token.into())
    }

    fn paged(mut self, key: &'static str, value: String) -> Self {
        self.paging.retain(|(have, _)| *have != key);
        self.paging.push((key, value));
        self
    }

    /// `path` with this as the query of a list.
    pub(crate) fn for_list(&self, path: &str) -> String {
        let paging = self.paging.iter().map(|(key, value)| (*key, value.as_str()));
        on(path, self.which.iter().map(|(key, value)| (key.as_str(), value.as_str())).chain(paging))
    }

    /// `path` with this as the query of a stream of events.
    pub(crate) fn for_events(&self, path: &str) -> String {
        on(path, self.which.iter().map(|(key, value)| (key.as_str(), value.as_str())))
    }
}

fn on<'a>(path: &str, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut uri = String::from(path);
    for (index, (key, value)) in pairs.enumerate() {
        let (mark, key) = (if index == 0 { '?' } else { '&' }, utf8_percent_encode(key, RESERVED));
        // Writing into a string does not fail.
        let _ = write!(uri, "{mark}{key}={}", utf8_percent_encode(value, RESERVED));
    }
    uri
}

/// One page of a list, in the order of creation.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Page {
    /// The tasks.
    pub tasks: Vec<Details>,
    /// Where the next page begins. `None` is the end; a page that has few tasks or none, but this, is not.
    #[serde(rename = "nextPageToken", default, deserialize_with = "token")]
    pub next: Option<String>,
}

fn token<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.filter(|token| !token.is_empty()))
}

/// What a batch read found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Batch {
    /// The tasks that were found, in the order in which they were asked for; each once.
    pub tasks: Vec<Details>,
    /// The ids for which there is none, or none that the caller may see.
    pub absent: Vec<TaskId>,
    /// The ids of tasks that exist, but are each over the limit of an answer
    /// ([`max_body`](crate::ClientBuilder::max_body)).
    pub too_large: Vec<TaskId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_encoded_whatever_the_labels_are() {
        let filter =
            Filter::new().state(State::Running).state(State::Failed).label("a&b=c", "1 +/ü").page_size(5);
        assert_eq!(
            filter.clone().after("first").after("x_-").for_list("/v1/tasks"),
            "/v1/tasks?state=running&state=failed&label.a%26b%3Dc=1%20%2B%2F%C3%BC&pageSize=5&pageToken=x_-"
        );
        let twice = filter.kind("a").kind("b").for_events("/v1/events");
        let (_, events) = twice.split_once('?').expect("a query");
        assert_eq!(events, "state=running&state=failed&label.a%26b%3Dc=1%20%2B%2F%C3%BC&kind=b");
        assert_eq!(Filter::new().page_size(3).for_events("/v1/events"), "/v1/events");
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1500);
        assert_eq!(
            Filter::new().changed_since(time).for_list("/"),
            "/?changedSince=1970-01-01T00%3A00%3A01.500000000Z"
        );
    }

    #[test]
    fn an_empty_token_is_the_end() {
        for (json, next) in [
            (r#"{"tasks":[],"nextPageToken":""}"#, None),
            (r#"{"tasks":[]}"#, None),
            (r#"{"tasks":[],"nextPageToken":"x"}"#, Some("x")),
        ] {
            let page: Page = serde_json::from_str(json).expect(json);
            assert_eq!(page.next.as_deref(), next);
        }
    }
}
