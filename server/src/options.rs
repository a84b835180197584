//! What a host decides about the service.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::public_url::PublicUrl;
use crate::quota::Quota;

/// How the service behaves. Every queue, body and span has a bound, and all of them are here.
///
/// ```
/// use inflight_server::Options;
///
/// let options = Options { body_limit: 64 << 10, ..Options::default() };
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    /// The label that says whose a task is; `tenant` by default. A caller that is bound to a tenant sees
    /// and makes only tasks that have it.
    pub tenant_label: String,
    /// The names by which the service lets itself be called (`Host` without the port). `None`: any, but for
    /// an open service ([`Access::open_on_loopback`](crate::Access::open_on_loopback)) those of this machine
    /// and that of `public_url`.
    pub allowed_hosts: Option<Vec<String>>,
    /// Under which address others reach the service, for example `https://status.example.com`: what
    /// `Location` headers begin with, and whose pages may change tasks whatever a proxy makes of `Host`.
    /// `None`: taken from the request, with scheme `http` or, behind TLS of this process, `https`.
    pub public_url: Option<PublicUrl>,
    /// How much each caller may use at a time, unless the caller has a [`Quota`] of its own; any amount by
    /// default. On an open service there are no callers to tell apart, so that only `total` counts.
    pub quota: Quota,
    /// How much all callers together may use at a time; by default 1 GiB of payloads, 8,192 streams, and any
    /// amount of the rest, which the store's capacity and [`ServeOptions`](crate::ServeOptions) bound.
    pub total: Quota,
    /// The largest body in bytes; 2 MiB by default. Larger ones are answered with 413.
    /// From 1 byte to 1 GiB.
    pub body_limit: usize,
    /// How long a body may take to arrive; 10 s by default. Slower ones are answered with 408.
    /// From 1 ms to 1 day.
    pub body_timeout: Duration,
    /// The longest that `Prefer: wait` is honoured for; 60 s by default.
    /// From 0 to 1 day.
    pub wait_limit: Duration,
    /// How many ids one batch read may name; 1000 by default.
    /// From 1 to 100,000.
    pub batch_limit: usize,
    /// How many bytes of tasks a page or a batch may have; 8 MiB by default. What there is no room for is on
    /// the next page, or said to be left out; the first task is always there. From 1 KiB to 1 GiB.
    pub answer_limit: usize,
    /// Between which spans callers are asked to poll; from 500 ms to 30 s by default.
    /// From 1 ms to 1 day.
    pub poll_interval: (Duration, Duration),
    /// At how many requests under way `Retry-After` has reached its longest; 1024 by default. SSE streams
    /// and waits do not count.
    /// From 1 to 1,048,576.
    pub busy_at: usize,
    /// How long the stream of all events collects changes at the least; 50 ms by default.
    /// From 0 to 1 min.
    pub event_interval: Duration,
    /// How many changed tasks a reader of that stream may be behind and still resume; 65,536 by default.
    /// Who is further behind is told to resync. Each takes about 300 bytes.
    /// From 1 to 16,777,216.
    pub event_log: usize,
    /// How often a stream without events says that it is alive; 15 s by default.
    /// From 1 ms to 1 h.
    pub keep_alive: Duration,
    /// How many bytes the answers may take that are kept for idempotency keys; 64 MiB by default. The answer
    /// that was asked for longest ago goes first.
    /// From 0 to 64 GiB.
    pub idempotency_bytes: usize,
    /// For how long they are remembered at the most; 24 h by default.
    /// From 1 ms to 365 days.
    pub idempotency_ttl: Duration,
    /// Ends event streams and waits, and makes `/readyz` say no.
    pub shutdown: Shutdown,
    /// What `/metrics` answers with. `None`: 404.
    pub metrics: Option<MetricsText>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tenant_label: "tenant".into(),
            allowed_hosts: None,
            public_url: None,
            quota: Quota::default(),
            total: Quota { payload_bytes: Some(1 << 30), streams: Some(8192), ..Quota::default() },
            body_limit: 2 << 20,
            body_timeout: Duration::from_secs(10),
            wait_limit: Duration::from_secs(60),
            batch_limit: 1000,
            answer_limit: 8 << 20,
            poll_interval: (Duration::from_millis(500), Duration::from_secs(30)),
            busy_at: 1024,
            event_interval: Duration::from_millis(50),
            event_log: 1 << 16,
            keep_alive: Duration::from_secs(15),
            idempotency_bytes: 64 << 20,
            idempotency_ttl: Duration::from_secs(86_400),
            shutdown: Shutdown::default(),
            metrics: None,
        }
    }
}

/// Says that the service is to come to its end. Clones are the same.
///
/// ```
/// use inflight_server::Shutdown;
///
/// let shutdown = Shutdown::default();
/// shutdown.begin();
/// assert!(shutdown.has_begun());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// Begins the end: streams of events are ended, waits are answered, `/readyz` says no.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// Whether it has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Resolves when it has begun.
    pub async fn begun(&self) {
        self.0.cancelled().await;
    }
}

/// Where the text for `/metrics` comes from: usually the handle of a Prometheus recorder.
#[derive(Clone)]
pub struct MetricsText(Arc<dyn Fn() -> String + Send + Sync>);

impl MetricsText {
    /// The text is what `render` gives, in the Prometheus exposition format.
    pub fn new(render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(render))
    }

    pub(crate) fn render(&self) -> String {
        (self.0)()
    }
}

impl fmt::Debug for MetricsText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetricsText")
    }
}
