//! `Context`: what the parts of a download that decide about lengths and attempts work with.

use super::reports::Reports;
use super::sources::Sources;
use crate::store::Sink;
use crate::time::Time;

/// Borrowed for one step.
pub(super) struct Context<'a> {
    pub(super) now: Time,
    pub(super) sources: &'a mut Sources,
    pub(super) reports: &'a mut Reports,
    pub(super) sink: &'a mut dyn Sink,
}
