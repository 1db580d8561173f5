//! `Reports`: what a download has to say, and whether it is over.

use std::collections::VecDeque;

use super::interface::{DownloadEvent, Failure};

/// Events in the order in which they happened.
#[derive(Debug, Default)]
pub(super) struct Reports {
    events: VecDeque<DownloadEvent>,
    is_over: bool,
}

impl Reports {
    /// Whether the download is over, well or not.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether there is something to say.
    pub(super) fn has_any(&self) -> bool {
        !self.events.is_empty()
    }

    pub(super) fn push(&mut self, event: DownloadEvent) {
        self.events.push_back(event);
    }

    pub(super) fn poll(&mut self) -> Option<DownloadEvent> {
        self.events.pop_front()
    }

    /// All that is wanted of content of this length is here.
    pub(super) fn complete(&mut self, length: u64) {
        self.is_over = true;
        self.push(DownloadEvent::Complete(length));
    }

    pub(super) fn fail(&mut self, why: Failure) {
        self.is_over = true;
        self.push(DownloadEvent::Failed(why));
    }
}
