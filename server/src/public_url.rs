//! The address under which others reach the service.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use serde::{Deserialize, Serialize};

/// The longest such address, in bytes.
const MAX_URL: usize = 2048;

/// An `http` or `https` URL that the addresses of tasks begin with, and whose pages may change tasks.
///
/// ```
/// use inflight_server::PublicUrl;
///
/// let url: PublicUrl = "https://Status.example.com:443/ops/".parse()?;
/// assert_eq!(url.as_str(), "https://status.example.com/ops");
/// assert!("status.example.com".parse::<PublicUrl>().is_err());
/// # Ok::<(), inflight_server::PublicUrlError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicUrl {
    /// Without a slash at its end, and without a port that goes without saying.
    text: String,
    /// How much of it is the origin.
    origin: usize,
    /// Where in it the host is.
    host: (usize, usize),
}

impl PublicUrl {
    /// The whole, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Scheme, host and port, as browsers write them in `Origin`.
    pub(crate) fn origin(&self) -> &str {
        self.text.get(..self.origin).unwrap_or_default()
    }

    /// The host without the port, in small letters.
    #[must_use]
    pub fn host(&self) -> &str {
        self.text.get(self.host.0..self.host.1).unwrap_or_default()
    }
}

impl FromStr for PublicUrl {
    type Err = PublicUrlError;

    fn from_str(text: &str) -> Result<Self, PublicUrlError> {
        let wrong = |what| PublicUrlError { text: text.chars().take(MAX_URL).collect(), what };
        if text.len() > MAX_URL {
            return Err(wrong("it is longer than 2048 bytes"));
        }
        // What follows a `#` would be passed over by the parser.
        if text.contains(['?', '#']) {
            return Err(wrong("a query or fragment has no place in it"));
        }
        let uri: Uri = text.parse().map_err(|_| wrong("it is not a URL"))?;
        let (scheme, port) = match uri.scheme_str() {
            Some("http") => ("http", 80),
            Some("https") => ("https", 443),
            _ => return Err(wrong("it begins with neither http:// nor https://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("there is no host in it"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("a user name has no place in it"));
        }
        let host = authority.host().to_ascii_lowercase();
        if !is_host(&host) {
            return Err(wrong("the host is neither a name nor an address"));
        }
        let own_port = match authority.as_str().get(host.len()..).unwrap_or_default() {
            "" => None,
            rest => {
                let port = rest.strip_prefix(':').and_then(|digits| digits.parse::<u16>().ok());
                Some(port.filter(|port| *port > 0).ok_or_else(|| wrong("the port is not from 1 to 65535"))?)
            }
        };
        let begin = scheme.len() + "://".len();
        let mut text = format!("{scheme}://{host}");
        if let Some(own) = own_port.filter(|own| *own != port) {
            text = format!("{text}:{own}");
        }
        let origin = text.len();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%/".contains(&byte);
        if !uri.path().bytes().all(is_plain) {
            return Err(wrong("there is a character in its path that has to be percent-encoded"));
        }
        text.push_str(uri.path().trim_end_matches('/'));
        Ok(Self { text, origin, host: (begin, begin + host.len()) })
    }
}

/// Whether it is a name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    if let Some(ip) = host.strip_prefix('[') {
        return ip.strip_suffix(']').is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !host.is_empty() && host.len() <= 253 && host.bytes().all(is_plain)
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = PublicUrlError;

    fn try_from(text: String) -> Result<Self, PublicUrlError> {
        text.parse()
    }
}

impl From<PublicUrl> for String {
    fn from(url: PublicUrl) -> Self {
        url.text
    }
}

/// Why a text is no [`PublicUrl`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrlError {
    text: String,
    what: &'static str,
}

impl fmt::Display for PublicUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not the URL of a service: {}", self.text, self.what)
    }
}

impl std::error::Error for PublicUrlError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        for (text, whole, origin, host) in [
            ("https://a.example", "https://a.example", "https://a.example", "a.example"),
            ("HTTPS://A.example:443//", "https://a.example", "https://a.example", "a.example"),
            ("http://a:80/x/", "http://a/x", "http://a", "a"),
            ("http://a:443/x/y", "http://a:443/x/y", "http://a:443", "a"),
            ("http://[::1]:8080", "http://[::1]:8080", "http://[::1]:8080", "[::1]"),
        ] {
            let url: PublicUrl = text.parse().unwrap();
            assert_eq!((url.as_str(), url.origin(), url.host()), (whole, origin, host), "{text}");
            assert_eq!(url.as_str().parse(), Ok(url.clone()), "{text}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_service_is_refused() {
        for (text, says) in [
            ("", "not a URL"),
            ("status.example", "begins with"),
            ("//status.example", "begins with"),
            ("ftp://a", "begins with"),
            ("javascript:alert(1)", "URL"),
            ("http://", "URL"),
            ("http:///x", "URL"),
            ("http://a b", "URL"),
            ("http://a/\"x", "percent"),
            ("http://u:p@a", "user"),
            ("http://a/?x", "query"),
            ("http://a/#x", "fragment"),
            ("http://a:0", "port"),
            ("http://a:65536", "port"),
            ("http://a:x", "URL"),
            ("http://a:", "port"),
            ("http://a*b", "host"),
            ("http://[::x]", "URL"),
        ] {
            let error = text.parse::<PublicUrl>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
