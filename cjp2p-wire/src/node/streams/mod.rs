//! Streams: gives blocks to those that view them, as they come to exist, and views streams of others.

use std::collections::BTreeMap;

use super::shared::Shared;
use super::stream_event::{StreamOptions, StreamProgress};
use crate::store::{JobId, Store};
use crate::stream::{SignedStatement, StreamId};
use crate::time::Time;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Streams {
    holdings: BTreeMap<StreamId, Holding>,
    views: BTreeMap<JobId, View>,
}

#[derive(Debug, Default)]
struct Holding {
    statement: Option<SignedStatement>,
    edge: u64,
}

#[derive(Debug)]
struct View {
    id: StreamId,
    options: StreamOptions,
    position: u64,
}

impl Streams {
    pub(super) fn publish(&mut self, id: &StreamId) {
        self.holdings.entry(id.clone()).or_default();
    }

    pub(super) fn end_publishing(&mut self, id: &StreamId) {
        self.holdings.remove(id);
    }

    pub(super) fn on_block(&mut self, _: &mut Shared, _: Time, id: &StreamId, index: u64, _: &mut dyn Store) {
        if let Some(holding) = self.holdings.get_mut(id) {
            holding.edge = holding.edge.max(index);
        }
    }

    pub(super) fn set_statement(
        &mut self,
        _: &mut Shared,
        _: Time,
        said: SignedStatement,
        _: &mut dyn Store,
    ) {
        if let Some(holding) = self.holdings.get_mut(said.id()) {
            holding.statement = Some(said);
        }
    }

    pub(super) fn viewers(&self, _: &StreamId) -> usize {
        0
    }

    pub(super) fn job_of(&self, id: &StreamId) -> Option<JobId> {
        self.views.iter().find(|(_, view)| view.id == *id).map(|(&job, _)| job)
    }

    pub(super) fn view(&mut self, _: Time, job: JobId, id: &StreamId, options: StreamOptions) {
        self.views.insert(job, View { id: id.clone(), options, position: 0 });
    }

    pub(super) fn set_position(&mut self, _: Time, job: JobId, offset: u64) {
        if let Some(view) = self.views.get_mut(&job) {
            view.position = view.position.max(offset);
        }
    }

    pub(super) fn end(&mut self, _: &mut Shared, _: Time, job: JobId) {
        self.views.remove(&job);
    }

    pub(super) fn progress(&self, job: JobId) -> Option<StreamProgress> {
        self.views.get(&job).map(|_| StreamProgress::default())
    }
}
