//! The result of reading a line. Pure.

use super::{COUNT_MASK, KNOWN, Word};
use crate::model::clock::Stamp;

/// The result of one read of a line: its fields as they are stored, all from one instant. A field is decoded
/// when it is asked for, so a poller pays only for those that it needs.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    pub(super) word: Word,
    pub(super) progress: u64,
    pub(super) total: u64,
    pub(super) created: u64,
    pub(super) started: u64,
    pub(super) updated: u64,
}

/// A `Reading` in the form in which a function that is not inlined returns it.
pub(crate) type ReadingWords = [u64; 6];

impl Reading {
    #[inline(always)]
    pub(crate) fn into_words(self) -> ReadingWords {
        let Reading { word, progress, total, created, started, updated } = self;
        [word.bits(), progress, total, created, started, updated]
    }

    #[inline(always)]
    pub(crate) fn from_words([word, progress, total, created, started, updated]: ReadingWords) -> Self {
        Self { word: Word::from_bits(word), progress, total, created, started, updated }
    }

    /// The word, as a poller observes it.
    #[inline(always)]
    pub(crate) fn word(&self) -> Word {
        self.word.seen()
    }

    #[inline(always)]
    pub(crate) fn done(&self) -> u64 {
        if self.word.is_pending() { 0 } else { self.progress & COUNT_MASK }
    }

    pub(crate) fn total(&self) -> Option<u64> {
        (self.total & KNOWN != 0).then_some(self.total & COUNT_MASK)
    }

    pub(crate) fn created(&self) -> Stamp {
        Stamp::from_bits(self.created)
    }

    /// "Never" while the attempt has not been started.
    pub(crate) fn started(&self) -> Stamp {
        if self.word.is_pending() { Stamp::default() } else { Stamp::from_bits(self.started) }
    }

    pub(crate) fn updated(&self) -> Stamp {
        Stamp::from_bits(self.updated)
    }
}
