//! What a request's headers ask for: entity tags (RFC 9110 §13) and `Prefer: wait` (RFC 7240). Pure.

use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use inflight::Version;

use crate::problem::Problem;

pub(crate) const PREFER: HeaderName = HeaderName::from_static("prefer");
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The list of entity tags of an `If-Match` or `If-None-Match`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tags {
    /// `*`: whatever there is.
    Any,
    /// One strong tag, as nearly all requests have it: what is between the quotes.
    One(HeaderValue),
    /// These: weak or not, and what is between the quotes.
    These(Vec<(bool, String)>),
}

impl Tags {
    pub(crate) fn if_match(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        Self::read(headers, &IF_MATCH)
    }

    pub(crate) fn if_none_match(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        Self::read(headers, &IF_NONE_MATCH)
    }

    fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Problem> {
        let mut lines = headers.get_all(name).iter();
        let Some(first) = lines.next() else { return Ok(None) };
        if lines.next().is_none() && is_one_tag(first.as_bytes()) {
            return Ok(Some(Tags::One(first.clone())));
        }
        let lines = headers.get_all(name).iter();
        let bad = || Problem::bad(format!("{name} is a list of entity tags, each in double quotes, or *"));
        let mut tags = Vec::new();
        for line in lines {
            let line = line.to_str().map_err(|_| bad())?.trim();
            if line == "*" {
                return Ok(Some(Tags::Any));
            }
            parse_tags(line, &mut tags).ok_or_else(bad)?;
        }
        if tags.is_empty() {
            return Err(bad());
        }
        Ok(Some(Tags::These(tags)))
    }

    /// The strong comparison, which `If-Match` asks for.
    pub(crate) fn match_strongly(&self, version: Version) -> bool {
        match self {
            Tags::Any => true,
            Tags::One(tag) => is_tag_of(tag, version),
            Tags::These(tags) => {
                let version = version.to_string();
                tags.iter().any(|(weak, tag)| !weak && *tag == version)
            }
        }
    }

    /// The weak comparison, which `If-None-Match` asks for.
    pub(crate) fn match_weakly(&self, version: Version) -> bool {
        match self {
            Tags::Any => true,
            Tags::One(tag) => is_tag_of(tag, version),
            Tags::These(tags) => {
                let version = version.to_string();
                tags.iter().any(|(_, tag)| *tag == version)
            }
        }
    }
}

/// Whether these bytes are one strong entity tag and nothing else.
fn is_one_tag(bytes: &[u8]) -> bool {
    matches!(bytes, [b'"', tag @ .., b'"'] if tag.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'"'))
}

fn is_tag_of(tag: &HeaderValue, version: Version) -> bool {
    // A version has one spelling, so it is the text that is compared.
    let bytes = tag.as_bytes();
    let text = bytes.get(1..bytes.len().saturating_sub(1)).and_then(|text| std::str::from_utf8(text).ok());
    text.and_then(|text| text.parse::<Version>().ok()) == Some(version)
}

fn parse_tags(line: &str, tags: &mut Vec<(bool, String)>) -> Option<()> {
    let mut rest = line;
    while !rest.is_empty() {
        let (weak, quoted) = match rest.strip_prefix("W/") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let (tag, after) = quoted.strip_prefix('"')?.split_once('"')?;
        tags.push((weak, tag.to_owned()));
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(more) => more.trim_start_matches([' ', '\t', ',']),
            None if after.is_empty() => after,
            None => return None,
        };
    }
    Some(())
}

/// How long `Prefer: wait=…` asks to wait. Preferences that are not understood are not errors, so a
/// malformed one is as if it were not there.
pub(crate) fn wait(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers.get_all(PREFER).iter().filter_map(|line| line.to_str().ok());
    let mut named = preferences.flat_map(|line| line.split(',')).filter_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let seconds = value.trim().trim_matches('"').parse::<u64>().ok()?;
        name.trim().eq_ignore_ascii_case("wait").then_some(seconds)
    });
    named.next().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (name.clone(), HeaderValue::from_str(line).unwrap())).collect()
    }

    #[test]
    fn tags_are_compared_strongly_and_weakly() {
        let version: Version = "1-2-3".parse().unwrap();
        let read = |lines: &[&str]| Tags::if_match(&headers(IF_MATCH, lines)).map(Option::unwrap);
        for (line, strong, weak) in [
            ("\"1-2-3\"", true, true),
            ("W/\"1-2-3\"", false, true),
            ("\"x,y\" , W/\"z\",, \"1-2-3\"", true, true),
            ("\"1-2-4\"", false, false),
            ("*", true, true),
        ] {
            let tags = read(&[line]).unwrap();
            assert_eq!((tags.match_strongly(version), tags.match_weakly(version)), (strong, weak), "{line}");
        }
        assert!(read(&["\"a\"", "\"1-2-3\""]).unwrap().match_strongly(version), "two lines are one list");
        for bad in ["", ",", "1-2-3", "\"1-2-3", "\"a\" \"b\"", "w/\"a\""] {
            assert!(read(&[bad]).is_err(), "{bad}");
        }
        assert_eq!(Tags::if_match(&HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn wait_is_found_among_other_preferences() {
        for (line, seconds) in [
            ("wait=5", Some(5)),
            ("respond-async, wait=10;foo=bar", Some(10)),
            ("Wait = \"7\"", Some(7)),
            ("wait=-1", None),
            ("wait", None),
            ("wait=soon", None),
        ] {
            assert_eq!(wait(&headers(PREFER, &[line])), seconds.map(Duration::from_secs), "{line}");
        }
    }
}
