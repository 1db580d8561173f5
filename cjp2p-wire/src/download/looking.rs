//! Looking for sources: whether there are too few, and who has the content where nothing is to be fetched.

use std::net::SocketAddr;
use std::time::Duration;

use super::source::{ABSENCE_MEMORY, SECOND_LOOK, Standing};
use super::{Block, Download};
use crate::time::Time;

/// Who has not answered for so long after it was first asked will not answer soon.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(3);

impl Download {
    /// From now on nothing is fetched: sources are asked whether they have the content, and no more.
    pub fn only_look(&mut self) {
        self.looks_only = true;
    }

    /// From now on only those are sources whom [`Download::admit`] names.
    pub fn limit_sources(&mut self) {
        self.only_from.get_or_insert_default();
    }

    /// Lets this peer be a source where not everybody may be one.
    pub fn admit(&mut self, address: SocketAddr) {
        if let Some(only_from) = &mut self.only_from {
            only_from.insert(address);
        }
    }

    /// Whether this peer may be a source.
    pub fn admits(&self, address: SocketAddr) -> bool {
        self.only_from.as_ref().is_none_or(|only_from| only_from.contains(&address))
    }

    /// Whether anybody has offered some of the content so far.
    pub fn was_found(&self) -> bool {
        self.found
    }

    /// Whether nobody gives anything of the content and somebody is needed, or everybody who does is to be found.
    pub fn lacks_sources(&self) -> bool {
        let is_needed = !self.ended && !self.waits_for_verdict && !self.may_have_all();
        is_needed && (self.looks_only || self.serving().next().is_none())
    }

    /// Who says that it has the content, and of which length. What they say is not verified.
    pub fn offers(&self) -> impl Iterator<Item = (SocketAddr, Option<u64>)> + '_ {
        let serving = self.sources.iter().filter(|(_, source)| source.standing == Standing::Serving);
        serving.map(|(&address, source)| (address, source.claim))
    }

    /// Whether somebody may answer yet who was asked a short while ago, or is to be asked.
    pub fn awaits_answers(&self, now: Time) -> bool {
        self.sources.values().any(|source| match source.standing {
            Standing::Unknown => source.asked_at.is_none_or(|at| now.since(at) < TIMEOUT),
            Standing::Absent => source.is_worth_a_second_look() && source.next_probe <= now + SECOND_LOOK,
            Standing::Serving | Standing::Waiting | Standing::Liar => false,
        })
    }

    /// Asks a source that has nothing again after a while: it answers in full now that it knows us. Whom it named already
    /// come first, and whoever wants one source will hardly need more names; whoever looks for all wants them soon.
    pub fn look_again_later(&mut self, now: Time, address: SocketAddr) {
        if let Some(source) = self.sources.get_mut(&address)
            && source.standing == Standing::Absent
        {
            source.next_probe = now + if self.looks_only { SECOND_LOOK } else { ABSENCE_MEMORY };
            self.wake_for(address);
        }
    }

    /// Takes in what a source sent where nothing is fetched: that it has some. Returns whether it says so.
    pub(super) fn take_offer(&mut self, now: Time, address: SocketAddr, block: &Block<'_>) -> bool {
        let Some(source) = self.sources.get_mut(&address) else { return false };
        if block.data.is_empty() && block.length.is_none() {
            return false;
        }
        source.claim = block.length;
        source.on_serving();
        source.ask_parts_at = Time::NEVER;
        self.found = true;
        self.count_from(now);
        true
    }
}
