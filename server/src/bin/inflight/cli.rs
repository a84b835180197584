//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use inflight_server::PublicUrl;
use serde::Serialize;

use crate::Failure;
use crate::settings::{Format, Span};

/// Numbers that TOML can have, too; which of them a setting takes is checked when all layers are together.
fn whole() -> RangedU64ValueParser {
    clap::value_parser!(u64).range(..=i64::MAX as u64)
}

const EXAMPLES: &str = "\
Examples:
  inflight serve
      Serves on 127.0.0.1:7117, for this machine only, with nothing to configure.

  inflight serve --demo ~/src
      The same, and hashes a directory tree inside, so that there is something to see.

  inflight serve --listen 0.0.0.0:7117 --tokens-file tokens.txt --tls-cert cert.pem --tls-key key.pem
      For other machines. That needs tokens: one a line, as name, scopes, tenant (- for none), token.

  inflight config --body-limit 65536
      Shows what a service would run with, as the TOML that --config reads.

Settings come from, the later the stronger: the defaults, the file that --config names, the environment
(INFLIGHT_ and the name in capitals, for example INFLIGHT_BODY_LIMIT=65536), the flags.
Times are written as 500ms, 15s, 10m, 24h.";

/// A status service: which task is how far, over HTTP, for those who do the work and those who ask.
#[derive(Debug, Parser)]
#[command(name = "inflight", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the service until it is told to stop (Ctrl-C or SIGTERM).
    #[command(after_help = EXAMPLES)]
    Serve(Box<Flags>),
    /// Shows the settings that a service would run with, as TOML.
    Config(Box<Flags>),
    /// Prints a script that completes this command line, for a shell to read.
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

/// What is not given is not serialised, so that it does not stand in the way of the other layers.
#[derive(Debug, Default, Args, Serialize)]
pub(crate) struct Flags {
    /// The file with settings, in TOML.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) config: Option<PathBuf>,

    /// Where to listen [default: 127.0.0.1:7117]. An address that other machines reach needs tokens.
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,

    /// Also hashes the files in this directory, as tasks that can be watched.
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    demo: Option<PathBuf>,

    /// The file with the tokens that are accepted; INFLIGHT_TOKENS may hold more of them.
    #[arg(long, value_name = "FILE", help_heading = "Who may")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_file: Option<PathBuf>,

    /// The label that says whose a task is [default: tenant].
    #[arg(long, value_name = "LABEL", help_heading = "Who may")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_label: Option<String>,

    /// The names that callers may use for the service, with commas between [default: any with tokens,
    /// without only those of this machine].
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = "Who may")]
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_hosts: Option<Vec<String>>,

    /// The certificate chain, in PEM. With --tls-key it makes the service speak TLS.
    #[arg(long, value_name = "FILE", help_heading = "Who may")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cert: Option<PathBuf>,

    /// The private key of the certificate, in PEM.
    #[arg(long, value_name = "FILE", help_heading = "Who may")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_key: Option<PathBuf>,

    /// What the addresses of tasks begin with, for example https://status.example.com [default: as the
    /// caller called the service].
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    public_url: Option<PublicUrl>,

    /// How many tasks there is room for [default: 1048576].
    #[arg(long, value_parser = whole(), value_name = "TASKS", help_heading = "The store")]
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity: Option<u64>,

    /// How long a succeeded task is kept after its end [default: 10m].
    #[arg(long, value_name = "TIME", help_heading = "The store")]
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_succeeded: Option<Span>,

    /// How long a failed one is kept [default: 24h].
    #[arg(long, value_name = "TIME", help_heading = "The store")]
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_failed: Option<Span>,

    /// How long a cancelled one is kept [default: 10m].
    #[arg(long, value_name = "TIME", help_heading = "The store")]
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_cancelled: Option<Span>,

    /// How many ended tasks of each outcome are kept at the most [default: any number].
    #[arg(long, value_parser = whole(), value_name = "TASKS", help_heading = "The store")]
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_at_most: Option<u64>,

    /// How many connections there may be [default: 16384]. Those above are answered with 503.
    #[arg(long, value_parser = whole(), value_name = "COUNT", help_heading = "Limits")]
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<u64>,

    /// How large a body may be, in bytes [default: 2097152]. Larger ones are answered with 413.
    #[arg(long, value_parser = whole(), value_name = "BYTES", help_heading = "Limits")]
    #[serde(skip_serializing_if = "Option::is_none")]
    body_limit: Option<u64>,

    /// How long the head of a request may take, and a connection be idle [default: 15s].
    #[arg(long, value_name = "TIME", help_heading = "Limits")]
    #[serde(skip_serializing_if = "Option::is_none")]
    header_timeout: Option<Span>,

    /// How long a body may take [default: 10s].
    #[arg(long, value_name = "TIME", help_heading = "Limits")]
    #[serde(skip_serializing_if = "Option::is_none")]
    body_timeout: Option<Span>,

    /// The longest that Prefer: wait is honoured for [default: 60s].
    #[arg(long, value_name = "TIME", help_heading = "Limits")]
    #[serde(skip_serializing_if = "Option::is_none")]
    wait_limit: Option<Span>,

    /// How often an event stream without events says that it is alive [default: 15s].
    #[arg(long, value_name = "TIME", help_heading = "Limits")]
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_alive: Option<Span>,

    /// How long the stream of all events collects changes [default: 50ms].
    #[arg(long, value_name = "TIME", help_heading = "Limits")]
    #[serde(skip_serializing_if = "Option::is_none")]
    event_interval: Option<Span>,

    /// How long requests that are under way at the end may take [default: 10s].
    #[arg(long, value_name = "TIME", help_heading = "Limits")]
    #[serde(skip_serializing_if = "Option::is_none")]
    shutdown_deadline: Option<Span>,

    /// How many tasks one caller may have in the store [default: any number]. A caller is a token's name and
    /// tenant; a token can have a quota of its own. Who is over it is answered with 429.
    #[arg(long, value_parser = whole(), value_name = "TASKS", help_heading = "Quotas")]
    #[serde(skip_serializing_if = "Option::is_none")]
    quota_tasks: Option<u64>,

    /// How many bytes of results and errors these tasks may have [default: any number].
    #[arg(long, value_parser = whole(), value_name = "BYTES", help_heading = "Quotas")]
    #[serde(skip_serializing_if = "Option::is_none")]
    quota_payload_bytes: Option<u64>,

    /// How many streams of events one caller may have [default: any number].
    #[arg(long, value_parser = whole(), value_name = "COUNT", help_heading = "Quotas")]
    #[serde(skip_serializing_if = "Option::is_none")]
    quota_streams: Option<u64>,

    /// How many connections one caller may have [default: any number].
    #[arg(long, value_parser = whole(), value_name = "COUNT", help_heading = "Quotas")]
    #[serde(skip_serializing_if = "Option::is_none")]
    quota_connections: Option<u64>,

    /// How many requests one caller may send a second [default: any number].
    #[arg(long, value_parser = whole(), value_name = "COUNT", help_heading = "Quotas")]
    #[serde(skip_serializing_if = "Option::is_none")]
    quota_requests: Option<u64>,

    /// How many bytes of results and errors there may be [default: 1073741824]. Those above are answered
    /// with 503.
    #[arg(long, value_parser = whole(), value_name = "BYTES", help_heading = "Quotas")]
    #[serde(skip_serializing_if = "Option::is_none")]
    total_payload_bytes: Option<u64>,

    /// How many streams of events there may be [default: 8192].
    #[arg(long, value_parser = whole(), value_name = "COUNT", help_heading = "Quotas")]
    #[serde(skip_serializing_if = "Option::is_none")]
    total_streams: Option<u64>,

    /// How many requests may come a second [default: any number].
    #[arg(long, value_parser = whole(), value_name = "COUNT", help_heading = "Quotas")]
    #[serde(skip_serializing_if = "Option::is_none")]
    total_requests: Option<u64>,

    /// What is logged: off, error, warn, info, debug, trace, also by target [default: info].
    #[arg(long, value_name = "FILTER", help_heading = "The log")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,

    /// How it is logged [default: text].
    #[arg(long, value_name = "FORMAT", help_heading = "The log")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_format: Option<Format>,
}

impl Flags {
    /// What is given, as a file would give it.
    pub(crate) fn to_table(&self) -> Result<toml::Table, Failure> {
        Ok(toml::Table::try_from(self)?)
    }
}
