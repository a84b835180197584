//! The status service over HTTP: a router to nest into a service of one's own, and what the binary
//! `inflight` is made of.
//!
//! [`router`] gives an [`axum::Router`] over a [`Store`](inflight::Store); [`serve`] serves it with a
//! time limit for headers, a cap on connections, TLS and a shutdown that comes to an end.
//! `docs/SERVER.md` describes the HTTP API.

#![warn(missing_docs)]

mod access;
mod app;
mod assets;
mod auth;
mod body;
mod conditions;
mod connection;
mod create;
mod docs;
mod events;
mod fit;
mod front;
mod hub;
mod idempotency;
mod ledger;
mod list;
mod meters;
mod openapi;
mod ops;
mod options;
mod pacing;
mod peers;
mod pieces;
mod problem;
mod public_url;
mod query;
mod quota;
mod ranges;
mod read;
mod remote;
mod reserve;
mod router;
mod serve;
mod shelf;
mod tenants;
mod time;
mod tls;
mod tokens;
mod view;
mod wire;
mod write;

pub use access::Access;
pub use auth::{Principal, Scope};
pub use options::{MetricsText, Options, Shutdown};
pub use public_url::{PublicUrl, PublicUrlError};
pub use quota::Quota;
pub use ranges::SettingError;
pub use router::router;
pub use serve::{ServeOptions, Served, serve};
pub use tls::{Tls, TlsError};
pub use tokens::{MIN_TOKEN, TokenError, Tokens};
