//! The service over HTTP, through a real listener on loopback. By topic; what a test is about stands in
//! its name, and where it checks one of the store's invariants, its number.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed, and says where"
)]

mod access;
mod auth;
mod bounds;
mod config;
mod create;
mod events;
mod find;
mod hardening;
mod keys;
mod linearizable;
mod nest;
mod problems;
mod quota;
mod read;
mod reload;
mod reuse;
mod service;
mod shutdown;
mod write;
