//! Results and errors: JSON text that is kept as it is.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::error::Error;

/// A result or an error, as the service has it: JSON text.
///
/// JSON has numbers of any size and lists of any depth, and no parser accepts all of them. So the text is
/// kept as it is, and only [`parse`](Self::parse) can fail: every task can be read, whatever its result is.
/// Two values are equal if their texts are equal.
///
/// ```
/// # fn doc(task: inflight_client::Details) -> Result<(), inflight_client::Error> {
/// if let Some(result) = &task.result {
///     println!("{result}");
///     let pages: Vec<String> = result.parse()?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// The text, without white space around it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The text as a type of the caller's choice; `serde_json::Value` accepts nearly all texts.
    ///
    /// # Errors
    ///
    /// If the text is not such a value, or the parser does not accept a number, a depth or a character of it.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(self.as_str()).map_err(|error| Error::unreadable(error.to_string()))
    }

    /// `payload` as text; `None` for what is `null`, as `()` is.
    pub(crate) fn of(payload: impl Serialize) -> Result<Option<Self>, Error> {
        let text = to_raw_value(&payload).map_err(|error| Error::unfit(error.to_string()))?;
        Ok(Some(Self(text)).filter(|json| json.as_str() != "null"))
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Json {}

impl std::fmt::Display for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_no_reader_takes_is_carried_and_only_reading_it_fails() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for text in ["1e999", &deep, r#""\ud800""#, r#"{"a" : 1}"#] {
            let json: Json = serde_json::from_str(text).expect("well-formed");
            assert_eq!((json.as_str(), json.to_string().as_str()), (text, text));
            assert_eq!(Json::of(&json).expect("text").as_ref(), Some(&json), "and goes back as it came");
        }
        let strange: Json = serde_json::from_str("1e999").expect("well-formed");
        let error = strange.parse::<f64>().expect_err("out of range");
        assert!(error.to_string().contains("out of range") && !error.is_transient(), "{error}");
        let pages: Json = serde_json::from_str("[1,2]").expect("well-formed");
        assert_eq!(pages.parse::<Vec<u32>>().expect("numbers"), [1, 2]);
    }

    #[test]
    fn nothing_is_no_text() {
        assert_eq!(Json::of(()).expect("text"), None);
        assert_eq!(Json::of(None::<u32>).expect("text"), None);
        assert_eq!(Json::of("null").expect("text").expect("a string").as_str(), r#""null""#);
        assert!(Json::of(std::collections::HashMap::from([((1, 2), 3)])).is_err(), "no key of an object");
    }
}
