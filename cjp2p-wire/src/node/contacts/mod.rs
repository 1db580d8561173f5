//! What is known of each address we talk with.

mod contact;
mod tellable;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::num::NonZeroU16;
use std::ops::Bound::{Excluded, Included};
use std::ops::RangeInclusive;
use std::time::Duration;

pub use self::contact::Acquaintance;
pub(crate) use self::contact::Contact;

use self::tellable::Tellable;
use super::by_address::ByAddress;
use crate::peers::address::host_of;
use crate::peers::cookie::Validation;
use crate::time::Time;

/// Addresses remembered, at most. Those that may be asked for content are never dropped. Of the others one of the [host](host_of) that has most makes
/// room; where no host has many, one of which nothing was heard for long.
pub const MAX_CONTACTS: usize = 4096;
/// Where one [host](host_of) has this many, one that only asked us makes room for the next: ports cost nothing, and a host that comes
/// with a new one each time shall not have all others forgotten, nor fill the table with what is of no use.
pub const MAX_CONTACTS_OF_HOST: usize = 512;
/// A host with this many contacts makes room for those of others.
const MANY_OF_HOST: usize = 8;
/// Contacts looked at to find one that may go: the one silent longest of these is nearly as good as that of all.
const LOOKED_AT: usize = 64;
/// How often those that have gone are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// All addresses of a [host](host_of).
pub(super) fn ports_of(host: IpAddr) -> RangeInclusive<SocketAddr> {
    let last = match host {
        IpAddr::V4(_) => SocketAddr::new(host, u16::MAX),
        IpAddr::V6(ip) => {
            let ip = Ipv6Addr::from_bits(ip.to_bits() | u128::from(u64::MAX));
            SocketAddrV6::new(ip, u16::MAX, u32::MAX, u32::MAX).into()
        }
    };
    SocketAddr::new(host, 0)..=last
}

/// The contacts of one host.
#[derive(Debug)]
struct OfHost {
    count: usize,
    /// From where on to look for one that may go.
    hand: SocketAddr,
}

/// All contacts.
#[derive(Debug)]
pub(super) struct Contacts {
    // Invariant: at most `MAX_CONTACTS`.
    by_address: ByAddress<Contact>,
    // Invariant: of each host that has any, how many.
    hosts: BTreeMap<IpAddr, OfHost>,
    // Invariant: the same, fewest first.
    by_count: BTreeSet<(usize, IpAddr)>,
    /// From where on to look for one that may go, of all hosts.
    hand: SocketAddr,
    /// Of those that were ever validated.
    tellable: Tellable,
    swept_at: Time,
}

/// After all other addresses.
const LAST: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)), u16::MAX);
/// Before all other addresses.
const FIRST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

impl Default for Contacts {
    fn default() -> Contacts {
        Contacts {
            tellable: Tellable::default(),
            by_address: ByAddress::default(),
            hosts: BTreeMap::new(),
            by_count: BTreeSet::new(),
            hand: FIRST,
            swept_at: Time::ZERO,
        }
    }
}

impl Contacts {
    pub(super) fn get(&self, address: SocketAddr) -> Option<&Contact> {
        self.by_address.get(address)
    }

    pub(super) fn get_mut(&mut self, address: SocketAddr) -> Option<&mut Contact> {
        self.by_address.get_mut(address)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }

    /// The contact at `address`, made if there is none.
    pub(super) fn entry(&mut self, now: Time, address: SocketAddr) -> &mut Contact {
        if !self.by_address.has(address) {
            self.make_room_for(address);
            self.by_address.insert(address, Contact::new(now));
            self.count(address, 1);
        }
        self.by_address.get_mut(address).expect("it is there now")
    }

    /// Notes that the host of `address` has one more, or one less.
    fn count(&mut self, address: SocketAddr, by: isize) {
        let host = host_of(address);
        let of_host = self.hosts.entry(host).or_insert(OfHost { count: 0, hand: *ports_of(host).start() });
        self.by_count.remove(&(of_host.count, host));
        of_host.count = of_host.count.saturating_add_signed(by);
        let count = of_host.count;
        if count == 0 {
            self.hosts.remove(&host);
        } else {
            self.by_count.insert((count, host));
        }
    }

    /// Forgets one where there are as many as may be, on the host of `address` or anywhere.
    fn make_room_for(&mut self, address: SocketAddr) {
        let host = host_of(address);
        if self.hosts.get(&host).is_some_and(|of_host| of_host.count >= MAX_CONTACTS_OF_HOST) {
            self.evict_from(host, Contact::only_asked);
        }
        if self.by_address.len() < MAX_CONTACTS {
            return;
        }
        let most = self.by_count.last().copied();
        if let Some((_, host)) = most.filter(|(count, _)| *count >= MANY_OF_HOST)
            && self.evict_from(host, |contact| !contact.is_asked)
        {
            return;
        }
        let (stalest, last) = self.stalest(FIRST..=LAST, self.hand, |contact| !contact.is_asked);
        self.hand = stalest.unwrap_or(last);
        if let Some(address) = stalest {
            self.remove(address);
        }
    }

    /// Forgets one of a host that `may` go. Returns whether there was one.
    fn evict_from(&mut self, host: IpAddr, may: impl Fn(&Contact) -> bool) -> bool {
        let hand = self.hosts.get(&host).map_or(FIRST, |of_host| of_host.hand);
        let (stalest, last) = self.stalest(ports_of(host), hand, may);
        if let Some(of_host) = self.hosts.get_mut(&host) {
            of_host.hand = stalest.unwrap_or(last);
        }
        if let Some(address) = stalest {
            self.remove(address);
        }
        stalest.is_some()
    }

    /// The one silent longest of some that `may` go, from `hand` on within `all` and round; and the last that was looked at.
    fn stalest(
        &self,
        all: RangeInclusive<SocketAddr>,
        hand: SocketAddr,
        may: impl Fn(&Contact) -> bool,
    ) -> (Option<SocketAddr>, SocketAddr) {
        let hand = if all.contains(&hand) { hand } else { *all.start() };
        let behind = self.by_address.range((Excluded(hand), Included(*all.end())));
        let round = behind.chain(self.by_address.range(*all.start()..=hand));
        let (mut stalest, mut last): (Option<(Time, SocketAddr)>, _) = (None, hand);
        for (looked_at, (address, contact)) in round.enumerate() {
            // Those with a path are few: this ends soon.
            if looked_at >= LOOKED_AT && stalest.is_some() {
                break;
            }
            last = address;
            if !may(contact) {
                continue;
            }
            if stalest.is_none_or(|(at, _)| contact.touched_at() < at) {
                stalest = Some((contact.touched_at(), address));
            }
        }
        (stalest.map(|(_, address)| address), last)
    }

    fn remove(&mut self, address: SocketAddr) {
        let Some(contact) = self.by_address.remove(address) else { return };
        self.count(address, -1);
        if let Some(told_from) = contact.told_from {
            self.forget_tellable(address, told_from);
        }
    }

    fn forget_tellable(&mut self, address: SocketAddr, told_from: NonZeroU16) {
        let moved = self.tellable.remove(address, told_from);
        if let Some(moved) = moved.and_then(|moved| self.get_mut(moved)) {
            moved.told_from = Some(told_from);
        }
    }

    /// Notes that others may be told of this one, if it is validated and they could not be yet.
    fn note_tellable(&mut self, address: SocketAddr) {
        if self.get(address).is_some_and(|contact| contact.told_from.is_none() && contact.is_validated()) {
            let told_from = self.tellable.add(address);
            if let Some(contact) = self.get_mut(address) {
                contact.told_from = told_from;
            }
        }
    }

    /// Forgets, from time to time, peers that only asked us and have gone, but for those that `is_asked` now.
    pub(super) fn forget_gone(&mut self, now: Time, is_asked: impl Fn(SocketAddr) -> bool) {
        if now.since(self.swept_at) < SWEEP_EVERY {
            return;
        }
        self.swept_at = now;
        let gone =
            self.by_address.iter().filter(|(address, contact)| contact.has_gone(now) && !is_asked(*address));
        for address in gone.map(|(address, _)| address).collect::<Vec<_>>() {
            self.remove(address);
        }
    }

    /// A datagram came without our cookie. Nothing is stored for an address that is not known.
    pub(super) fn on_unvalidated(&mut self, now: Time, address: SocketAddr) {
        if let Some(contact) = self.get_mut(address) {
            contact.on_unvalidated(now);
            self.note_tellable(address);
        }
    }

    /// It is tried because this peer suggested it.
    pub(super) fn on_named(&mut self, address: SocketAddr, by: Option<SocketAddr>) {
        if let Some(contact) = self.get_mut(address) {
            contact.on_named(by);
        }
    }

    /// It was asked for the return of our cookie. That tells something only where it wants one returned itself.
    pub(super) fn on_asked(&mut self, address: SocketAddr) {
        if let Some(contact) = self.get_mut(address) {
            contact.cookies.was_asked |= contact.cookies.theirs.is_some();
        }
    }

    /// It returned our cookie beside a message.
    pub(super) fn on_always_returned(&mut self, now: Time, address: SocketAddr, shows: Validation) {
        let contact = self.entry(now, address);
        contact.on_validated(now);
        contact.cookies.returned_always_at = Some(now);
        // What came back at once, from a peer that did not know us, need not have been kept.
        if contact.cookies.was_asked {
            contact.cookies.returns_always = true;
            contact.cookies.has_ours = shows == Validation::Current;
        }
        // This comes with each datagram of a download: most are noted already.
        if contact.told_from.is_none() {
            self.note_tellable(address);
        }
    }

    /// It sent raw content under a handle that only it was told: it is who it was, and gets what we send.
    pub(super) fn on_raw_content(&mut self, now: Time, address: SocketAddr) {
        if let Some(contact) = self.get_mut(address) {
            contact.on_validated(now);
            contact.useful_at = Some(now);
        }
    }

    /// It returned, in a `ReturnedMessage`, our cookie that we asked it for; `beside` is what else in the datagram shows.
    pub(super) fn on_returned(&mut self, now: Time, address: SocketAddr, beside: Validation) {
        if beside == Validation::None {
            self.on_echo(address);
        }
        self.entry(now, address).on_validated(now);
        self.note_tellable(address);
    }

    /// It returned what it was asked for once, and not our cookie beside it.
    pub(super) fn on_echo(&mut self, address: SocketAddr) {
        if let Some(contact) = self.get_mut(address).filter(|contact| contact.cookies.returns_always) {
            // It always returned our cookie and does not any more, and this is no forgery.
            contact.on_replaced();
        }
    }

    /// Whether this validated source should be asked to return our cookie: it knows of such, and has not the present one.
    pub(super) fn wants_cookie_from(&self, from: SocketAddr) -> bool {
        self.get(from).is_some_and(|contact| contact.cookies.theirs.is_some() && !contact.cookies.has_ours)
    }

    /// What came from there was said by ourselves: it is not asked again, nor named to anybody. Returns whether it is known.
    pub(super) fn on_own_voice(&mut self, address: SocketAddr) -> bool {
        let Some(contact) = self.get_mut(address) else { return false };
        contact.is_us = true;
        true
    }

    pub(super) fn on_round_trip(&mut self, address: SocketAddr, round_trip: Duration) {
        if let Some(contact) = self.get_mut(address) {
            contact.round_trip = Some(round_trip);
        }
    }

    pub(super) fn acquaintances(&self) -> impl Iterator<Item = Acquaintance> + '_ {
        let others = self.by_address.iter().filter(|(_, contact)| !contact.is_us);
        others.filter_map(|(address, contact)| contact.acquaintance(address))
    }

    /// Where only we ourselves are.
    pub(super) fn own(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.by_address.iter().filter(|(_, contact)| contact.is_us).map(|(address, _)| address)
    }

    /// Peers to tell `to` about, which are validated and were heard lately: in random order, from `looked` drawn at random, so
    /// that no more are looked at. One that is of no use to others any more is not drawn again before it is heard.
    pub(super) fn some_presentable(
        &mut self,
        now: Time,
        to: SocketAddr,
        looked: usize,
        random: &mut fastrand::Rng,
    ) -> Vec<SocketAddr> {
        let mut drawn = self.tellable.draw(to, looked, random);
        drawn.retain(|&address| {
            let Some(contact) = self.get_mut(address) else { return false };
            let presentable = contact.is_presentable(now);
            if !presentable && let Some(told_from) = contact.told_from.take() {
                self.forget_tellable(address, told_from);
            }
            presentable
        });
        drawn
    }
}

#[cfg(test)]
mod tests;
