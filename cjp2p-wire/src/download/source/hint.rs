//! `SourceHint`: what a source has to do with hints.

use std::time::Duration;

use crate::content_id::Hash;
use crate::time::Time;

/// A source is asked for a hint so often, until it has given one.
const MAX_HINT_QUESTIONS: u32 = 3;
/// The pause between two such questions.
const HINT_PAUSE: Duration = Duration::from_secs(1);

/// What it has to do with hints: BLAKE3 hashes of content that is wanted by its SHA-256 hash.
#[derive(Clone, Debug, Default)]
pub(in crate::download) struct SourceHint {
    /// What it says is the BLAKE3 hash. It said so under a validated address.
    pub(in crate::download) root: Option<Hash>,
    /// What it sent does not fit the hint that is in use, which another source gave.
    pub(in crate::download) at_odds: bool,
    questions: u32,
    next_question: Time,
}

impl SourceHint {
    /// The source is there, perhaps again: the questions so far may not have reached it.
    pub(in crate::download) fn on_serving(&mut self) {
        self.questions = 0;
    }

    /// Whether to ask for one now. Notes that it is asked.
    pub(in crate::download) fn ask(&mut self, now: Time) -> bool {
        let is_due = self.questions < MAX_HINT_QUESTIONS && now >= self.next_question;
        if !is_due || self.root.is_some() {
            return false;
        }
        self.questions += 1;
        self.next_question = now + HINT_PAUSE;
        true
    }

    /// The first answer to such a question counts. Returns whether it is one.
    pub(in crate::download) fn take(&mut self, root: Hash) -> bool {
        let counts = self.next_question > Time::ZERO && self.root.is_none();
        if counts {
            self.root = Some(root);
        }
        counts
    }

    /// It does not have the tree of the hash that it gave.
    pub(in crate::download) fn on_no_tree(&mut self) {
        self.root = None;
        self.questions = MAX_HINT_QUESTIONS;
    }
}
