//! The part of an address behind the question mark: each parameter known, and each given once.

use inflight::{State, TaskId};

use crate::problem::Problem;
use crate::view::Extent;

/// The parameters that have not been taken yet.
#[derive(Debug)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
    repeated: Option<String>,
}

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = form_urlencoded::parse(text.as_bytes());
        Self {
            pairs: pairs.map(|(key, value)| (key.into_owned(), value.into_owned())).collect(),
            repeated: None,
        }
    }

    /// The value of a parameter that may be there once.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.pairs.iter().position(|(key, _)| key == name)?;
        let (_, value) = self.pairs.remove(at);
        if self.pairs.iter().any(|(key, _)| key == name) {
            self.repeated.get_or_insert_with(|| name.to_owned());
        }
        Some(value)
    }

    pub(crate) fn take_number(&mut self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // More digits than fit are more than any limit.
        let number = digits.then(|| text.parse().unwrap_or(u64::MAX));
        let bad = || Problem::bad(format!("{name} is {text:?}, but must be a number, not below 0"));
        number.ok_or_else(bad).map(Some)
    }

    pub(crate) fn take_flag(&mut self, name: &str) -> Result<Option<bool>, Problem> {
        match self.take(name).as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(Problem::bad(format!("{name} is {other:?}, but must be true or false"))),
        }
    }

    pub(crate) fn take_id(&mut self, name: &str) -> Result<Option<TaskId>, Problem> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let id = text.parse();
        id.map(Some).map_err(|error| Problem::bad(format!("{name} is {text:?}: {error}")))
    }

    /// `state`, which may be there several times, and each may be several with commas between.
    pub(crate) fn take_states(&mut self) -> Result<Vec<State>, Problem> {
        let (states, rest) = std::mem::take(&mut self.pairs).into_iter().partition(|(key, _)| key == "state");
        self.pairs = rest;
        let states: Vec<(String, String)> = states;
        let names = states.iter().flat_map(|(_, value)| value.split(','));
        let parse = |name: &str| {
            name.parse::<State>().map_err(|error| Problem::bad(format!("state is {name:?}: {error}")))
        };
        names.map(parse).collect()
    }

    /// `label.<key>`, each with its value.
    pub(crate) fn take_labels(&mut self) -> Result<Vec<(String, String)>, Problem> {
        let is_label = |(key, _): &(String, String)| key.starts_with("label.");
        let (labels, rest) = std::mem::take(&mut self.pairs).into_iter().partition(is_label);
        self.pairs = rest;
        let labels: Vec<(String, String)> = labels;
        let named = labels
            .into_iter()
            .map(|(key, value)| (key.strip_prefix("label.").unwrap_or_default().to_owned(), value));
        let named: Vec<_> = named.collect();
        if named.iter().any(|(key, _)| key.is_empty()) {
            return Err(Problem::bad("label. is followed by the label's key"));
        }
        Ok(named)
    }

    /// Whatever is left is unknown.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        if let Some(name) = self.repeated {
            return Err(Problem::bad(format!("the parameter {name} is there more than once")));
        }
        match self.pairs.first() {
            Some((name, _)) => Err(Problem::bad(format!("there is no parameter {name:?}"))),
            None => Ok(()),
        }
    }
}

pub(crate) fn parse_extent(view: Option<String>) -> Result<Extent, Problem> {
    match view.as_deref() {
        None | Some("basic") => Ok(Extent::Basic),
        Some("full") => Ok(Extent::Full),
        Some(other) => Err(Problem::bad(format!("view is {other:?}, but must be basic or full"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_taken_or_there_twice_is_refused() {
        let mut query = Query::parse("state=running,failed&label.a%20b=c&state=pending&pageSize=5&x=1");
        assert_eq!(query.take_states().unwrap(), [State::Running, State::Failed, State::Pending]);
        assert_eq!(query.take_labels().unwrap(), [("a b".to_owned(), "c".to_owned())]);
        assert_eq!(query.take_number("pageSize").unwrap(), Some(5));
        assert!(query.finish().is_err(), "x");

        let mut query = Query::parse("kind=a&kind=b");
        assert_eq!(query.take("kind").as_deref(), Some("a"));
        assert!(query.finish().is_err());

        for bad in ["pageSize=-1", "pageSize=", "pageSize=1.5", "pageSize=+1"] {
            assert!(Query::parse(bad).take_number("pageSize").is_err(), "{bad}");
        }
        let huge = Query::parse("pageSize=99999999999999999999").take_number("pageSize");
        assert_eq!(huge.unwrap(), Some(u64::MAX));
    }
}
