//! The tools of the browser tests: a browser, and a store with something to show.
//!
//! The tests need Chromium and ChromeDriver (`ci/browser.sh` installs Debian's where they are missing). They
//! write screenshots into `$INFLIGHT_SCREENSHOTS`, by default a folder `inflight-screenshots` among the
//! temporary files.

#![warn(missing_docs)]

mod browser;
mod scene;

pub use browser::{Browser, Look};
pub use scene::{Scene, Service};
