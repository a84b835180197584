//! The guide: the reference that README leads to, one page for each subject.
//!
//! It is documentation only; nothing uses this folder. Each page is a Markdown file, and its code is tested.
//! `links.md` says where the names in square brackets lead; paths begin at the folder of the rendered page.
//!
//! | page | what it answers |
//! | --- | --- |
//! | [`lifecycle`] | which transitions there are; who may write to a task |
//! | [`vanishing_workers`] | what becomes of a task whose worker is gone |
//! | [`ids`] | minted ids and clients' ids; how "gone" and "never there" are told apart |
//! | [`consistency`] | what a poll, a list and a count promise |
//! | [`cancellation`] | how a task is cancelled |
//! | [`retention`] | how long tasks are kept; what happens when the store is full |
//! | [`waiting`] | how to wait for a change without polling |
//! | [`feed`] | how to mirror all changes |
//! | [`performance`] | what each call costs, and what was measured |
//! | [`limitations`] | what the store does not do |

#[doc = include_str!("links.md")]
#[doc = include_str!("lifecycle.md")]
pub mod lifecycle {}

#[doc = include_str!("links.md")]
#[doc = include_str!("vanishing_workers.md")]
pub mod vanishing_workers {}

#[doc = include_str!("links.md")]
#[doc = include_str!("ids.md")]
pub mod ids {}

#[doc = include_str!("links.md")]
#[doc = include_str!("consistency.md")]
pub mod consistency {}

#[doc = include_str!("links.md")]
#[doc = include_str!("cancellation.md")]
pub mod cancellation {}

#[doc = include_str!("links.md")]
#[doc = include_str!("retention.md")]
pub mod retention {}

#[doc = include_str!("links.md")]
#[doc = include_str!("waiting.md")]
pub mod waiting {}

#[doc = include_str!("links.md")]
#[doc = include_str!("feed.md")]
pub mod feed {}

#[doc = include_str!("links.md")]
#[doc = include_str!("performance.md")]
pub mod performance {}

#[doc = include_str!("links.md")]
#[doc = include_str!("limitations.md")]
pub mod limitations {}
