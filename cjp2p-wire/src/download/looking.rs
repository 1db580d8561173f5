//! Looking for sources: whether there are too few, and which have the content where nothing is to be fetched.

use std::net::SocketAddr;

use super::source::{ABSENCE_MEMORY, SECOND_LOOK, Standing};
use super::{Block, Download, WantedHosts};
use crate::time::Time;

impl Download {
    /// From now on nothing is fetched: sources are asked whether they have the content, and no more.
    pub fn only_look(&mut self) {
        self.looks_only = true;
    }

    /// From now on only addresses that [`Download::admit`] names may be sources.
    pub fn limit_sources(&mut self) {
        self.sources.limit();
    }

    /// Lets this peer be a source where not every one may be.
    pub fn admit(&mut self, address: SocketAddr) {
        self.sources.admit(address);
    }

    /// Whether this peer may be a source.
    pub fn admits(&self, address: SocketAddr) -> bool {
        self.sources.admits(address)
    }

    /// Whether a source has offered some of the content so far.
    pub fn was_found(&self) -> bool {
        self.limits.is_found()
    }

    /// Whether no source gives anything of the content and one is needed, or all that do are to be found.
    pub fn lacks_sources(&self) -> bool {
        let is_needed = !self.is_over() && !self.kind.waits_for_verdict() && !self.may_have_all();
        is_needed && (self.looks_only || self.serving().next().is_none())
    }

    /// From where more sources are of use: with as many leechers as parts are exchanged with, only from hosts that hold
    /// fewer of those places than another. `None` where none is.
    pub fn wanted_hosts(&self) -> Option<WantedHosts> {
        let is_needed = !self.is_over() && !self.kind.waits_for_verdict();
        is_needed.then(|| WantedHosts::beside(&self.sources))
    }

    /// Whether this address would be of use as a source.
    pub fn wants_source(&self, address: SocketAddr) -> bool {
        self.wanted_hosts().is_some_and(|wanted| wanted.has(address))
    }

    /// The sources that say that they have the content, and of which length. What they say is not verified.
    pub fn offers(&self) -> impl Iterator<Item = (SocketAddr, Option<u64>)> + '_ {
        self.sources.serving().map(|(address, source)| (address, source.claim.length))
    }

    /// Whether a source may answer yet that was asked a short while ago, or is to be asked.
    pub fn awaits_answers(&self, now: Time) -> bool {
        self.sources.values().any(|source| source.may_answer(now))
    }

    /// Whether a source that the user named has yet to say whether it has the content, and may still do so.
    pub fn awaits_named(&self, now: Time) -> bool {
        self.sources.values().any(|source| source.is_named() && source.may_answer(now))
    }

    /// Asks a source that has nothing again after a while: it answers in full now that it knows us. The peers that it named already
    /// come first where one source is enough. Where all are looked for, more names are wanted soon.
    pub fn look_again_later(&mut self, now: Time, address: SocketAddr) {
        if let Some(source) = self.sources.get_mut(address)
            && source.standing == Standing::Absent
        {
            source.probe_at(now + if self.looks_only { SECOND_LOOK } else { ABSENCE_MEMORY });
            self.sources.wake_for(address);
        }
    }

    /// Takes in what a source sent where nothing is fetched: that it has some. Returns whether it says so.
    pub(super) fn take_offer(&mut self, now: Time, address: SocketAddr, block: &Block<'_>) -> bool {
        let Some(source) = self.sources.get_mut(address) else { return false };
        if block.data.is_empty() && block.length.is_none() {
            return false;
        }
        source.claim.length = block.length;
        source.on_serving();
        source.ask_have_at(Time::NEVER);
        self.limits.on_found();
        self.limits.count_from(now);
        true
    }
}
