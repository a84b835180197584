//! Reading a request's body: how large, how long, and what it is.

use axum::body::Body;
use axum::extract::Request;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::fit;
use crate::options::Options;
use crate::problem::{Kind, Problem};

/// The body as JSON. `None` if there is no body at all.
pub(crate) async fn json<T: DeserializeOwned>(
    request: Request,
    options: &Options,
) -> Result<Option<T>, Problem> {
    let (parts, body) = request.into_parts();
    check_encoding(&parts.headers)?;
    let bytes = collect(&parts.headers, body, options).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    check_media_type(&parts.headers)?;
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::bad("the body is not a JSON object"));
    }
    fit::check(&bytes)
        .map_err(|unfit| Problem::bad(format!("the body is not fit to be passed on: {unfit}")))?;
    let value = serde_json::from_slice(&bytes);
    value.map(Some).map_err(|error| Problem::bad(format!("the body is not as it should be: {error}")))
}

/// The body as JSON, and it has to be there.
pub(crate) async fn required_json<T: DeserializeOwned>(
    request: Request,
    options: &Options,
) -> Result<T, Problem> {
    json(request, options).await?.ok_or_else(|| Problem::bad("the request has no body, but needs one"))
}

/// An object, and not the list of its values, which is as good for the derived code.
pub(crate) fn object<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: DeserializeOwned,
    D: serde::Deserializer<'de>,
{
    let object = serde_json::Map::deserialize(deserializer)?;
    serde_json::from_value(serde_json::Value::Object(object)).map_err(serde::de::Error::custom)
}

/// The same, or `null`.
pub(crate) fn maybe_object<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: DeserializeOwned,
    D: serde::Deserializer<'de>,
{
    let object = Option::<serde_json::Map<_, _>>::deserialize(deserializer)?;
    let value = object.map(|object| serde_json::from_value(serde_json::Value::Object(object))).transpose();
    value.map_err(serde::de::Error::custom)
}

/// What is there, be it `null`; what is not there is `None` by default.
pub(crate) fn present<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// A whole number, or `null`. JSON has one sort of numbers: 7.0 is as whole as 7.
pub(crate) fn whole<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: TryFrom<u64>,
    D: serde::Deserializer<'de>,
{
    use serde::de::Error;
    const ABOVE: f64 = 18_446_744_073_709_551_616.0;
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    let is_whole = |float: &f64| float.fract() == 0.0 && (0.0..ABOVE).contains(float);
    let whole = number.as_u64().or_else(|| number.as_f64().filter(is_whole).map(|float| float as u64));
    let fit = whole.and_then(|whole| T::try_from(whole).ok());
    fit.map(Some)
        .ok_or_else(|| D::Error::custom(format!("{number} is not a whole number in the range of this")))
}

/// A body is read as it is: taken for JSON, a compressed one would only be called malformed.
fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let encodings = headers.get_all(CONTENT_ENCODING).iter();
    let mut unread = encodings.map(|encoding| encoding.as_bytes().trim_ascii());
    match unread.find(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
        None => Ok(()),
        Some(encoding) => {
            let encoding = String::from_utf8_lossy(encoding);
            let detail = format!("the Content-Encoding is {encoding:?}; bodies are read as they are");
            let accepted = HeaderValue::from_static("identity");
            Err(Problem::new(Kind::MediaType, detail).with_header(ACCEPT_ENCODING, accepted))
        }
    }
}

const MERGE_PATCH: &str = "application/merge-patch+json";

fn media_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// Whether a `null` in the body means that there is to be nothing (RFC 7396), and not that nothing is said.
pub(crate) fn is_merge_patch(headers: &HeaderMap) -> bool {
    essence(media_type(headers)).eq_ignore_ascii_case(MERGE_PATCH)
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let media_type = media_type(headers);
    let known = ["application/json", MERGE_PATCH];
    if known.iter().any(|known| essence(media_type).eq_ignore_ascii_case(known)) {
        return Ok(());
    }
    Err(Problem::new(Kind::MediaType, format!("the Content-Type is {media_type:?}, not application/json")))
}

async fn collect(headers: &HeaderMap, body: Body, options: &Options) -> Result<Bytes, Problem> {
    let limit = options.body_limit;
    let too_large = || Problem::new(Kind::TooLarge, format!("the body has more than {limit} bytes"));
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let read = read(body, limit);
    match tokio::time::timeout(options.body_timeout, read).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(too_large()),
        Ok(Err(error)) => Err(Problem::bad(format!("the body cannot be read: {error}"))),
        Err(_) => {
            let span = options.body_timeout;
            Err(Problem::new(Kind::BodyTimeout, format!("the body took longer than {span:?}")))
        }
    }
}

/// All of the body; `None` if it is larger than `limit`.
async fn read(mut body: Body, limit: usize) -> Result<Option<Bytes>, axum::Error> {
    let mut all = BytesMut::new();
    let mut only: Option<Bytes> = None;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let have = only.as_ref().map_or(all.len(), Bytes::len);
        if have + data.len() > limit {
            return Ok(None);
        }
        // Most bodies are one piece, which needs no copy.
        if have == 0 {
            only = Some(data);
            continue;
        }
        if let Some(first) = only.take() {
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&data);
    }
    Ok(Some(only.unwrap_or_else(|| all.freeze())))
}
