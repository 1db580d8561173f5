//! Which ids are worked on at a time. There are only so many places, and an id that nobody has gives up its own to the next one:
//! asking takes a moment, and to wait for somebody who comes takes no place.

use std::time::Duration;

use cjp2p_cli::{ToolError, stdout};

use super::Getter;
use crate::ids::Next;
use crate::job::{Job, Step};

/// Ids that are fetched side by side.
const SIDE_BY_SIDE: usize = 64;
/// An id that nobody has keeps its place for so long, since those who are asked may still answer,
const LEAST_TURN: Duration = Duration::from_secs(1);
/// and longer only while some have yet to be asked or to answer, up to this,
const LONGEST_TURN: Duration = Duration::from_millis(2500);
/// or this where the DHT is searched too, or some of it is there.
const LONGEST_SLOW_TURN: Duration = Duration::from_secs(10);
/// So many lines of a list are looked at before the network and signals have their turn again.
const LINES_A_TURN: usize = 64;
/// How often it is looked which id may be set aside.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Getter {
    /// Takes up as many ids as may be worked on at once, those first that were not worked on yet.
    pub(super) fn start_jobs(&mut self) -> Result<(), ToolError> {
        if self.ids_ended && self.aside.is_empty() {
            return Ok(());
        }
        for _ in 0..LINES_A_TURN {
            // What became of others waits to be read first.
            if stdout::is_full() {
                return Ok(());
            }
            let leaving = match self.jobs.len() - self.aside.len() < SIDE_BY_SIDE {
                true => None,
                false => match self.may_leave() {
                    Some(number) => Some(number),
                    None => return Ok(()),
                },
            };
            let next = if self.ids_ended { Next::End } else { self.ids.next(&self.waker) };
            let (number, new) = match next {
                Next::Id(id) => {
                    self.count += 1;
                    (self.count - 1, Some(id))
                }
                Next::Wrong(error) => {
                    self.count += 1;
                    self.report.failed(self.count - 1, None, &error)?;
                    // The reader of what is told may be slow, so this is enough for a turn.
                    break;
                }
                Next::Again => continue,
                next => {
                    self.ids_ended |= matches!(next, Next::End);
                    let Some(number) = self.aside.pop_front() else { return Ok(()) };
                    (number, None)
                }
            };
            if let Some(leaving) = leaving {
                self.set_aside(leaving);
            }
            match new {
                Some(id) => self.start_job(number, id)?,
                None => self.prepare(number),
            }
        }
        // There may be more.
        self.waker.wake();
        Ok(())
    }

    /// The id that has had its place for longest though nobody has it, if it is time for it to go.
    fn may_leave(&mut self) -> Option<u64> {
        let now = self.session.now();
        if now < self.places_at {
            return None;
        }
        let waits = self.jobs.iter().filter(|(_, job)| self.has_waited(job));
        let first = waits.min_by_key(|(_, job)| job.in_place_since).map(|(&number, _)| number);
        if first.is_none() {
            self.places_at = now + LOOK_EVERY;
        }
        first
    }

    fn has_waited(&self, job: &Job) -> bool {
        let now = self.session.now();
        let (Step::Fetching(id), Some(_), None) = (job.step, &job.paths, &job.piece) else { return false };
        let Some(fetch) = self.session.node().fetch(id) else { return false };
        let turn = now.since(job.in_place_since);
        // Once its time is over, this turn is the last.
        if now.since(job.started) >= self.limits.timeout {
            return false;
        }
        if turn < LEAST_TURN || fetch.was_found() || !fetch.lacks_sources() {
            return false;
        }
        // What an interrupted fetch wrote will have to be verified again.
        let is_slow = self.search.is_on() || job.resumed > 0;
        let longest = if is_slow { LONGEST_SLOW_TURN } else { LONGEST_TURN };
        turn >= longest
            || !(is_slow || self.session.node().is_searching(id) || self.session.node().awaits_lan(now, id))
    }

    /// Gives the place of this id to others.
    fn set_aside(&mut self, number: u64) {
        let Some(fetch) = self.jobs.get(&number).and_then(Job::fetch) else { return };
        self.by_fetch.remove(&fetch);
        self.end_fetch(fetch);
        self.session.store_mut().abandon(fetch);
        self.set_step(number, Step::Aside);
        self.aside.push_back(number);
    }
}
