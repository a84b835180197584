//! Settings in layers: defaults, a file, the environment, flags. Each is read by the type of its setting, and
//! what leaves a doubt is refused by name.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use inflight_server::{Options, PublicUrl, Quota, ServeOptions};
use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Failure;
use crate::cli::Flags;
use crate::environment;
use crate::files::read_text;

/// What the service runs with.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) demo: Option<PathBuf>,
    pub(crate) tokens_file: Option<PathBuf>,
    pub(crate) tenant_label: String,
    pub(crate) allowed_hosts: Option<Vec<String>>,
    pub(crate) tls_cert: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) public_url: Option<PublicUrl>,
    pub(crate) capacity: usize,
    pub(crate) keep_succeeded: Span,
    pub(crate) keep_failed: Span,
    pub(crate) keep_cancelled: Span,
    pub(crate) keep_at_most: Option<u64>,
    pub(crate) connections: usize,
    pub(crate) body_limit: usize,
    pub(crate) header_timeout: Span,
    pub(crate) body_timeout: Span,
    pub(crate) wait_limit: Span,
    pub(crate) keep_alive: Span,
    pub(crate) event_interval: Span,
    pub(crate) shutdown_deadline: Span,
    pub(crate) quota_tasks: Option<u64>,
    pub(crate) quota_payload_bytes: Option<u64>,
    pub(crate) quota_streams: Option<u64>,
    pub(crate) quota_connections: Option<u64>,
    pub(crate) quota_requests: Option<u64>,
    pub(crate) total_payload_bytes: Option<u64>,
    pub(crate) total_streams: Option<u64>,
    pub(crate) total_requests: Option<u64>,
    pub(crate) log: String,
    pub(crate) log_format: Format,
}

impl Default for Settings {
    fn default() -> Self {
        let options = Options::default();
        let serve = ServeOptions::default();
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7117)),
            demo: None,
            tokens_file: None,
            tenant_label: options.tenant_label,
            allowed_hosts: None,
            tls_cert: None,
            tls_key: None,
            public_url: None,
            capacity: 1 << 20,
            keep_succeeded: Span(Duration::from_secs(600)),
            keep_failed: Span(Duration::from_secs(86_400)),
            keep_cancelled: Span(Duration::from_secs(600)),
            keep_at_most: None,
            connections: serve.connections,
            body_limit: options.body_limit,
            header_timeout: Span(serve.header_timeout),
            body_timeout: Span(options.body_timeout),
            wait_limit: Span(options.wait_limit),
            keep_alive: Span(options.keep_alive),
            event_interval: Span(options.event_interval),
            shutdown_deadline: Span(serve.shutdown_deadline),
            quota_tasks: options.quota.tasks,
            quota_payload_bytes: options.quota.payload_bytes,
            quota_streams: options.quota.streams,
            quota_connections: options.quota.connections,
            quota_requests: options.quota.requests_per_second,
            total_payload_bytes: options.total.payload_bytes,
            total_streams: options.total.streams,
            total_requests: options.total.requests_per_second,
            log: "info".into(),
            log_format: Format::Text,
        }
    }
}

/// Ten years.
const LONGEST_KEPT: Duration = Duration::from_secs(87_600 * 3600);

impl Settings {
    /// What the layers give together.
    pub(crate) fn load(flags: &Flags) -> Result<Self, Failure> {
        let variables = environment::read()?;
        let file = flags.config.as_deref().or(variables.config.as_deref());
        let mut all = file.map(read_file).transpose()?.unwrap_or_default();
        all.extend(variables.settings);
        all.extend(flags.to_table().map_err(|error| format!("the flags: {error}"))?);
        let settings =
            all.try_into::<Self>().map_err(|error| format!("the settings: {}", one_line(&error)))?;
        settings.check()?;
        Ok(settings)
    }

    fn quotas(&self) -> [(&'static str, Option<u64>); 8] {
        [
            ("quota_tasks", self.quota_tasks),
            ("quota_payload_bytes", self.quota_payload_bytes),
            ("quota_streams", self.quota_streams),
            ("quota_connections", self.quota_connections),
            ("quota_requests", self.quota_requests),
            ("total_payload_bytes", self.total_payload_bytes),
            ("total_streams", self.total_streams),
            ("total_requests", self.total_requests),
        ]
    }

    fn check(&self) -> Result<(), Failure> {
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err("tls_cert and tls_key are needed together".into());
        }
        self.options().check()?;
        self.serve_options().check()?;
        for (name, Span(span)) in [
            ("keep_succeeded", self.keep_succeeded),
            ("keep_failed", self.keep_failed),
            ("keep_cancelled", self.keep_cancelled),
        ] {
            if span > LONGEST_KEPT {
                return Err(
                    format!("{name} is {}; it can be from 0s to {}", Span(span), Span(LONGEST_KEPT)).into()
                );
            }
        }
        if !(1..=inflight::MAX_CAPACITY).contains(&self.capacity) {
            let (value, most) = (self.capacity, inflight::MAX_CAPACITY);
            return Err(format!("capacity is {value}; it can be from 1 to {most}").into());
        }
        if let Some((name, _)) = self.quotas().into_iter().find(|(_, value)| *value == Some(0)) {
            return Err(format!("{name} is 0, which would let nobody do anything").into());
        }
        if self.tenant_label.is_empty() {
            return Err("tenant_label is empty".into());
        }
        for name in self.allowed_hosts.iter().flatten() {
            // Such a name would let nobody in, or, if it is empty, those who name none.
            if !is_host(name) {
                return Err(format!(
                    "allowed_hosts has {name:?}, which is no name of a host (without a port)"
                )
                .into());
            }
        }
        Ok(())
    }

    /// What the router is to do, as far as settings say it.
    pub(crate) fn options(&self) -> Options {
        Options {
            tenant_label: self.tenant_label.clone(),
            allowed_hosts: self.allowed_hosts.clone(),
            public_url: self.public_url.clone(),
            quota: self.quota(),
            total: self.total(),
            body_limit: self.body_limit,
            body_timeout: self.body_timeout.0,
            wait_limit: self.wait_limit.0,
            keep_alive: self.keep_alive.0,
            event_interval: self.event_interval.0,
            ..Options::default()
        }
    }

    /// How connections are to be served, as far as settings say it.
    pub(crate) fn serve_options(&self) -> ServeOptions {
        ServeOptions {
            header_timeout: self.header_timeout.0,
            connections: self.connections,
            shutdown_deadline: self.shutdown_deadline.0,
            ..ServeOptions::default()
        }
    }

    /// How much each caller may use.
    fn quota(&self) -> Quota {
        Quota {
            tasks: self.quota_tasks,
            payload_bytes: self.quota_payload_bytes,
            streams: self.quota_streams,
            connections: self.quota_connections,
            requests_per_second: self.quota_requests,
        }
    }

    /// How much all may use together, beside what the capacity and the number of connections bound.
    fn total(&self) -> Quota {
        Quota {
            payload_bytes: self.total_payload_bytes,
            streams: self.total_streams,
            requests_per_second: self.total_requests,
            ..Quota::default()
        }
    }

    /// As a file that gives just these.
    pub(crate) fn to_toml(&self) -> Result<String, Failure> {
        Ok(toml::to_string(self)?)
    }
}

fn is_host(name: &str) -> bool {
    let url = format!("http://{name}").parse::<PublicUrl>();
    url.is_ok_and(|url| url.host().eq_ignore_ascii_case(name))
}

/// The settings of a file. It is read as a whole, so that what is wrong in it is seen even where another
/// layer is stronger.
fn read_file(path: &Path) -> Result<toml::Table, Failure> {
    let text = read_text(path)?;
    let table = text.parse::<toml::Table>().map_err(|error| format!("{}: {error}", path.display()))?;
    let whole = table.clone().try_into::<Settings>();
    let _ = whole.map_err(|error| format!("{}: {}", path.display(), one_line(&error)))?;
    Ok(table)
}

fn one_line(error: &impl fmt::Display) -> String {
    error.to_string().trim().replace('\n', " ")
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For machines: a JSON object a line.
    Json,
}

/// A span of time, written as `500ms`, `15s`, `10m`, `24h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.parse::<SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
        parsed.map(Span).ok_or_else(|| format!("{text:?} is not a time such as 500ms, 15s, 10m, 24h"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SignedDuration::try_from(self.0) {
            Ok(span) => write!(f, "{span:#}"),
            Err(_) => write!(f, "{}s", self.0.as_secs()),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
