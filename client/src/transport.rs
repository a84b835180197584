//! One request and its answer: deadlines, size limits, retries. Knows HTTP, and nothing of tasks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{sleep, timeout};

use crate::backoff::Backoff;
use crate::builder::{Base, BuildError};
use crate::connect::{Connector, connector};
use crate::error::{Error, Problem, is_transient};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MAX_IDLE_PER_HOST: usize = 8;
const AGENT: &str = concat!("inflight-client/", env!("CARGO_PKG_VERSION"));

/// Every bound that a client has.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) retries: u32,
    pub(crate) max_backoff: Duration,
    pub(crate) max_body: usize,
    pub(crate) max_event: usize,
    pub(crate) max_silence: Duration,
    pub(crate) reconnects: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            retries: 3,
            max_backoff: Duration::from_secs(15),
            max_body: 9 << 20,
            max_event: 8 << 20,
            max_silence: Duration::from_secs(45),
            reconnects: 100,
        }
    }
}

impl Bounds {
    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(FIRST_BACKOFF.min(self.max_backoff), self.max_backoff)
    }
}

/// A request before it is sent.
///
/// Each can be sent again if the first try had no answer. So a request that is not idempotent has a key: see
/// [`keyed`](Self::keyed).
#[derive(Clone, Debug)]
pub(crate) struct Call {
    method: Method,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Option<Bytes>,
    /// For how much longer the server was asked to wait before it answers.
    patience: Duration,
}

impl Call {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: None, patience: Duration::ZERO }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Result<Self, Error> {
        let value = HeaderValue::from_str(value)
            .map_err(|_| Error::unfit(format!("{value:?} cannot be the value of the header {name}")))?;
        self.headers.push((name, value));
        Ok(self)
    }

    pub(crate) fn json(mut self, body: &impl serde::Serialize) -> Result<Self, Error> {
        let body = serde_json::to_vec(body).map_err(|error| Error::unfit(error.to_string()))?;
        self.body = Some(body.into());
        Ok(self)
    }

    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// With an idempotency key, so that the service carries the request out once, however often it is sent.
    /// Without `key` it is a random one.
    pub(crate) fn keyed(self, key: Option<&str>) -> Result<Self, Error> {
        self.header(IDEMPOTENCY_KEY, key.map_or_else(random_word, str::to_owned).as_str())
    }
}

/// An answer that was read to its end. Its status is a success, or 304.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        if self.status == StatusCode::NO_CONTENT {
            let detail = Some("the write was made, and the task has gone since".to_owned());
            return Err(Error::refused(StatusCode::GONE, Problem { detail, ..Problem::default() }, None));
        }
        serde_json::from_slice(&self.body).map_err(|error| Error::malformed(error.to_string()))
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers)
    }
}

pub(crate) struct Transport {
    pool: Pool<Connector, Full<Bytes>>,
    connector: Connector,
    base: Base,
    authorization: Option<HeaderValue>,
    pub(crate) bounds: Bounds,
}

impl Transport {
    pub(crate) fn new(
        base: Base,
        authorization: Option<HeaderValue>,
        bounds: Bounds,
        roots: Option<&[u8]>,
    ) -> Result<Self, BuildError> {
        Ok(Self::over(connector(&bounds, roots)?, base, authorization, bounds))
    }

    fn over(connector: Connector, base: Base, authorization: Option<HeaderValue>, bounds: Bounds) -> Self {
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
            .build(connector.clone());
        Self { pool, connector, base, authorization, bounds }
    }

    /// The same, with connections of its own.
    pub(crate) fn apart(&self) -> Self {
        let (base, authorization) = (self.base.clone(), self.authorization.clone());
        Self::over(self.connector.clone(), base, authorization, self.bounds.clone())
    }

    /// Sends it, and again where that can help. This is safe: see [`Call`].
    pub(crate) async fn send(&self, call: Call) -> Result<Reply, Error> {
        self.send_noting(call, &mut false).await
    }

    /// As [`send`](Self::send), and notes whether the request may have been carried out without an answer.
    /// That is also noted if this future is dropped.
    pub(crate) async fn send_noting(&self, call: Call, unsure: &mut bool) -> Result<Reply, Error> {
        let mut backoff = self.bounds.backoff();
        loop {
            let before = std::mem::replace(unsure, true);
            let error = match self.send_once(&call).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            *unsure = before || error.leaves_unsure();
            if !error.is_transient() || backoff.tries() >= self.bounds.retries {
                return Err(error);
            }
            sleep(backoff.next(error.retry_after())).await;
        }
    }

    async fn send_once(&self, call: &Call) -> Result<Reply, Error> {
        let patience = self.bounds.timeout.saturating_add(call.patience);
        let exchange = async {
            let response = self.open_raw(call).await?;
            let (head, body) = response.into_parts();
            let body = self.read(body).await?;
            if head.status.is_success() || head.status == StatusCode::NOT_MODIFIED {
                return Ok(Reply { status: head.status, headers: head.headers, body });
            }
            Err(refused(head.status, &head.headers, &body))
        };
        timeout(patience, exchange).await.map_err(|_| Error::timed_out(patience))?
    }

    /// Sends it once and gives the answer's body unread, for a stream; the deadline is for its head. An
    /// answer that says no is an error.
    pub(crate) async fn open(self: Arc<Self>, call: Call) -> Result<Response<Incoming>, Error> {
        let patience = self.bounds.timeout;
        let exchange = async {
            let response = self.open_raw(&call).await?;
            if response.status().is_success() {
                return Ok(response);
            }
            let (head, body) = response.into_parts();
            Err(refused(head.status, &head.headers, &self.read(body).await?))
        };
        timeout(patience, exchange).await.map_err(|_| Error::timed_out(patience))?
    }

    async fn open_raw(&self, call: &Call) -> Result<Response<Incoming>, Error> {
        let uri = self.base.join(&call.path).ok_or_else(|| Error::unfit("the path is not one"))?;
        let mut request = Request::new(Full::new(call.body.clone().unwrap_or_default()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if call.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        for (name, value) in &call.headers {
            headers.insert(name, value.clone());
        }
        self.pool
            .request(request)
            .await
            .map_err(|error| if error.is_connect() { Error::connect(error) } else { Error::broken(error) })
    }

    /// The whole body, if it is not too large. What is too large is not read.
    async fn read(&self, body: Incoming) -> Result<Bytes, Error> {
        let limit = self.bounds.max_body;
        let body = Limited::new(body, limit).collect().await.map_err(|error| {
            let too_large = error.downcast_ref::<LengthLimitError>().is_some();
            if too_large { Error::too_large("the answer", limit) } else { Error::broken(error) }
        })?;
        Ok(body.to_bytes())
    }
}

/// The error that an answer stands for. What is not problem+json is still an answer.
fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    if is_transient(status) || !status.is_redirection() {
        return Error::refused(status, problem, retry_after(headers));
    }
    Error::malformed(format!("a redirection ({status}), which the service does not make"))
}

/// `Retry-After` in seconds; the service does not send dates.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse::<f64>().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("base", &self.base).field("bounds", &self.bounds).finish()
    }
}

/// A word that nobody else draws: 128 random bits. Without random bytes, the address of the moment will do.
pub(crate) fn random_word() -> String {
    let mut bytes = [0_u8; 16];
    if getrandom::fill(&mut bytes).is_err() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        bytes = now.unwrap_or_default().as_nanos().to_be_bytes();
    }
    format!("{:032x}", u128::from_be_bytes(bytes))
}
