//! Settings in layers: defaults, a file, the environment, flags.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use config::{Config, Environment, File, FileFormat};
use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Failure;
use crate::cli::Flags;

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
    pub(crate) public_url: Option<String>,
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
    pub(crate) log: String,
    pub(crate) log_format: Format,
}

impl Default for Settings {
    fn default() -> Self {
        let options = inflight_server::Options::default();
        let serve = inflight_server::ServeOptions::default();
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
            log: "info".into(),
            log_format: Format::Text,
        }
    }
}

const PREFIX: &str = "INFLIGHT_";

/// Variables of that prefix that are no settings.
const OTHERS: [&str; 2] = ["INFLIGHT_CONFIG", "INFLIGHT_TOKENS"];

impl Settings {
    /// What the layers give together.
    pub(crate) fn load(flags: &Flags) -> Result<Self, Failure> {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
            let is_setting = !OTHERS.contains(&name.as_str());
            is_setting.then(|| value.into_string().map(|value| (name, value)).ok()).flatten()
        });
        Self::layered(flags, variables.collect())
    }

    fn layered(flags: &Flags, variables: HashMap<String, String>) -> Result<Self, Failure> {
        let environment = Environment::with_prefix("INFLIGHT")
            .prefix_separator("_")
            .try_parsing(true)
            .list_separator(",")
            .with_list_parse_key("allowed_hosts")
            .source(Some(variables));
        let mut layers = Config::builder();
        if let Some(path) = &flags.config {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
            layers = layers.add_source(File::from_str(&text, FileFormat::Toml));
        }
        let given = Config::try_from(flags)?;
        let all = layers.add_source(environment).add_source(given).build()?;
        let settings = all.try_deserialize::<Self>().map_err(|error| format!("the settings: {error}"))?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), Failure> {
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err("tls_cert and tls_key are needed together".into());
        }
        let spans = [
            ("header_timeout", self.header_timeout),
            ("body_timeout", self.body_timeout),
            ("keep_alive", self.keep_alive),
        ];
        if let Some((name, _)) = spans.iter().find(|(_, Span(span))| span.is_zero()) {
            return Err(format!("{name} must be longer than 0").into());
        }
        if self.connections == 0 {
            return Err("connections must be at least 1".into());
        }
        Ok(())
    }

    /// As a file that gives just these.
    pub(crate) fn to_toml(&self) -> String {
        let json = serde_json::to_value(self).unwrap_or_default();
        let known = json.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        // Strings, numbers and lists of strings are written in TOML as in JSON.
        known.map(|(name, value)| format!("{name} = {value}\n")).collect()
    }
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
