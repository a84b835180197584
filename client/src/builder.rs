//! What a client is made of: where the service is, who asks, and every bound.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderValue;
use http::uri::Uri;

use crate::client::Client;
use crate::transport::{Bounds, Transport};

/// Makes a [`Client`]. Everything has a default and a bound.
///
/// ```
/// use std::time::Duration;
/// use inflight_client::Client;
///
/// let client = Client::builder("http://127.0.0.1:7117")
///     .token("c3VwZXJzZWNyZXQtb25l")
///     .timeout(Duration::from_secs(5))
///     .build()?;
/// # Ok::<(), inflight_client::BuildError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct ClientBuilder {
    base: String,
    token: Option<String>,
    bounds: Bounds,
    roots: Option<Vec<u8>>,
}

impl ClientBuilder {
    pub(crate) fn new(base: impl Into<String>) -> Self {
        Self { base: base.into(), token: None, bounds: Bounds::default(), roots: None }
    }

    /// The bearer token to send with each request. It is never logged nor shown by `Debug`.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// The certificates, in PEM, of those who may vouch for the service, instead of the system's. For
    /// `https://`.
    #[cfg(feature = "tls")]
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots = Some(pem.into());
        self
    }

    /// How long one request may take, from its start to the last byte of its answer; 10 s by default. A
    /// request that asks the server to wait may take that much longer.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.bounds.timeout = timeout;
        self
    }

    /// How long a connection may take to be made; 3 s by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.bounds.connect_timeout = timeout;
        self
    }

    /// How often a request is tried again after a fault of the network or a 429, 502, 503 or 504; 3 by
    /// default. This is safe: a request is idempotent, or it has a key and the service carries it out once.
    /// The client waits in between for as long as the server asks, or from 100 ms on doubling, but never
    /// longer than [`max_backoff`](Self::max_backoff).
    pub fn retries(mut self, retries: u32) -> Self {
        self.bounds.retries = retries;
        self
    }

    /// The longest wait between two tries of a request, and between two connects of an event stream; 15 s by
    /// default.
    pub fn max_backoff(mut self, most: Duration) -> Self {
        self.bounds.max_backoff = most;
        self
    }

    /// How many bytes the body of an answer may have; 9 MiB by default, because a list or a batch of the
    /// service has up to 8 MiB of tasks. A larger answer is an error, and is not read to its end.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.bounds.max_body = bytes;
        self
    }

    /// How many bytes one event of a stream may have; 8 MiB by default. (A result may have 1 MiB, and text
    /// that is shown as JSON takes up to six times its bytes.)
    pub fn max_event(mut self, bytes: usize) -> Self {
        self.bounds.max_event = bytes;
        self
    }

    /// How long an event stream may be silent before it is taken for dead and connected again; 45 s by
    /// default. The server's keep-alive comments count as a sign of life.
    pub fn max_silence(mut self, silence: Duration) -> Self {
        self.bounds.max_silence = silence;
        self
    }

    /// How often in a row an event stream is connected again without a single event, before it gives up with
    /// the last error; 100 by default, which with the default [`max_backoff`](Self::max_backoff) takes about
    /// twenty minutes.
    pub fn reconnects(mut self, times: u32) -> Self {
        self.bounds.reconnects = times;
        self
    }

    /// The client.
    ///
    /// # Errors
    ///
    /// [`BuildError`] says what is wrong with the address, the token or a bound. Nothing is connected yet.
    pub fn build(self) -> Result<Client, BuildError> {
        let base = Base::parse(&self.base)?;
        let authorization = self.token.as_deref().map(bearer).transpose()?;
        let bounds = self.bounds;
        let zero = [bounds.timeout, bounds.connect_timeout, bounds.max_backoff, bounds.max_silence];
        if zero.iter().any(Duration::is_zero) || bounds.max_body == 0 || bounds.max_event == 0 {
            return Err(BuildError::new("a timeout, a wait or a size limit is 0"));
        }
        let transport = Transport::new(base, authorization, bounds, self.roots.as_deref())?;
        Ok(Client::over(Arc::new(transport)))
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").field("base", &self.base).finish_non_exhaustive()
    }
}

fn bearer(token: &str) -> Result<HeaderValue, BuildError> {
    let refused = || BuildError::new("a token is made of visible ASCII characters");
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(refused());
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| refused())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Where the service is: scheme, authority, and the path that it is nested under.
#[derive(Clone, Debug)]
pub(crate) struct Base(String);

impl Base {
    fn parse(text: &str) -> Result<Self, BuildError> {
        let refused = |why: &str| BuildError::new(format!("{text:?} is not the address of a service: {why}"));
        let uri: Uri = text.parse().map_err(|_| refused("not a URL"))?;
        let scheme = match uri.scheme_str() {
            Some("http") => "http",
            Some("https") if cfg!(feature = "tls") => "https",
            Some("https") => return Err(refused("https:// needs the feature tls of inflight-client")),
            _ => return Err(refused("it must begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| refused("no host"))?;
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(refused("a host and port are needed, and no user"));
        }
        if uri.query().is_some() {
            return Err(refused("a query does not belong there"));
        }
        Ok(Self(format!("{scheme}://{authority}{}", uri.path().trim_end_matches('/'))))
    }

    /// The address of `path_and_query`, which begins with a slash and is encoded.
    pub(crate) fn join(&self, path_and_query: &str) -> Option<Uri> {
        format!("{}{path_and_query}", self.0).parse().ok()
    }
}

/// A client cannot be built like that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError(String);

impl BuildError {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BuildError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_the_path_that_the_service_is_nested_under() {
        for (base, joined) in [
            ("http://localhost:7117", "http://localhost:7117/v1/counts"),
            ("http://[::1]:7117/", "http://[::1]:7117/v1/counts"),
            ("http://host/status/", "http://host/status/v1/counts"),
        ] {
            let uri = Base::parse(base).ok().and_then(|base| base.join("/v1/counts"));
            assert_eq!(uri.map(|uri| uri.to_string()).as_deref(), Some(joined));
        }
    }

    #[test]
    fn what_is_no_address_or_no_token_is_refused_by_name() {
        #[cfg(not(feature = "tls"))]
        assert!(
            Client::builder("https://h").build().expect_err("no TLS").to_string().contains("feature tls")
        );
        for bad in ["", "localhost:7117", "/v1", "ftp://host", "http://", "http://u:p@host", "http://h/?x=1"]
        {
            let error = Client::builder(bad).build().expect_err(bad);
            assert!(error.to_string().contains("address of a service"), "{bad}: {error}");
        }
        for bad in ["", "two words", "new\nline", "ümlaut"] {
            let error = Client::builder("http://h").token(bad).build().expect_err(bad);
            assert!(!error.to_string().contains("words"), "an error does not show the token");
        }
        assert!(Client::builder("http://h").timeout(Duration::ZERO).build().is_err());
    }

    #[test]
    fn a_token_is_not_shown() {
        let builder = Client::builder("http://h").token("secret-token");
        assert!(!format!("{builder:?}").contains("secret"));
        let client = builder.build().expect("good");
        assert!(!format!("{client:?}").contains("secret"));
    }
}
