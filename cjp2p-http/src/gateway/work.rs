//! What threads do for the loop, and what comes of it: opening, verifying, hashing, and waiting for disks.

use std::io;

use cjp2p_io::partial::recheck::Checked;
use cjp2p_io::partial::running_hash::Piece;
use cjp2p_io::partial::wanted::Part;
use cjp2p_wire::peers::peer::Origin;

use super::Gateway;
use super::outcome::Outcome;
use crate::cache::Slot;

impl Gateway {
    /// Takes what threads have done, and what others woke the loop for.
    pub(super) fn take_outcomes(&mut self) {
        let next = |gateway: &Gateway| {
            let outcome = gateway.tasks.outcome().or_else(|| gateway.hashing.outcome());
            outcome.or_else(|| gateway.leaves.outcome())
        };
        while let Some(outcome) = next(self) {
            self.take_outcome(outcome);
        }
        if self.session.store_mut().take_ready() {
            self.session.call(|node, now, cache| node.handle_library_ready(now, cache));
        }
        for (address, of_user) in self.peers.take_named(self.session.now()) {
            self.ask_for_names(address, Origin::CommandLine, false);
            let jobs = self.jobs().into_iter().map(|(_, job)| job);
            for job in jobs.chain(self.views.keys().copied()).collect::<Vec<_>>() {
                self.session.call(|node, now, _| match of_user {
                    true => node.add_named_source(now, job, address),
                    false => node.add_source(now, job, address, false),
                });
            }
        }
        for (job, address) in self.search.found() {
            match job {
                Some(job) => self.add_found(job, address, Origin::Dht, true),
                None => {
                    self.ask_for_names(address, Origin::Dht, true);
                    for job in self.views.keys().copied().collect::<Vec<_>>() {
                        self.add_found(job, address, Origin::Dht, true);
                    }
                }
            }
        }
        self.session.call(|node, now, cache| node.handle_room(now, cache));
    }

    fn take_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Opened(id, opened) => self.on_opened(&id, opened),
            Outcome::Checked(slot, checked) => self.on_checked(slot, checked),
            Outcome::Hashed(slot, piece) => self.on_hashed(slot, piece),
            Outcome::Leaves(entry, group, leaves) => self.session.store_mut().on_leaves(entry, group, leaves),
            Outcome::Warmed(entry, window, can_tell) => {
                self.session.store_mut().on_warmed(entry, window, can_tell);
            }
            Outcome::Uploaded(token, result) => self.on_uploaded(token, result),
            Outcome::WarmedFor(token) => {
                if let Some(client) = self.clients.get_mut(&token) {
                    client.is_warming = false;
                    client.is_warm = true;
                }
                self.turn_client(token);
            }
        }
    }

    fn on_checked(&mut self, slot: Slot, checked: Checked) {
        let Some(entry) = self.session.store_mut().get_mut(slot) else { return };
        entry.kept_mut().on_checked(&checked);
        let Checked { range, right, rest } = checked;
        entry.put_back(rest);
        if let Some(job) = entry.job() {
            self.session.call(|node, now, cache| node.on_checked(now, job, range, &right, cache));
        }
        self.plan(slot);
        self.on_grown(slot);
    }

    fn on_hashed(&mut self, slot: Slot, piece: io::Result<Piece>) {
        let Some(entry) = self.session.store_mut().get_mut(slot) else { return };
        if let Err(error) = entry.on_hashed(piece) {
            log::warn!("{}: {error}", entry.id());
        }
        self.judge(slot);
    }

    /// Tells the fetch whether what was staged is right, once all is staged and hashed.
    pub(super) fn judge(&mut self, slot: Slot) {
        let Some(entry) = self.session.store_mut().get_mut(slot) else { return };
        let Some(job) = entry.job() else { return };
        if let Some(is_right) = entry.verdict() {
            self.session.call(|node, now, cache| node.on_verdict(now, job, is_right, cache));
        }
    }

    /// Has threads hash what was staged, as far as it can be hashed yet.
    pub(super) fn hash_staged(&mut self) {
        for (slot, file, piece) in self.session.store_mut().pieces() {
            self.hashing.run(move || Outcome::Hashed(slot, file.and_then(|file| piece.hash(&file))));
        }
    }

    /// Has threads do what peers ask for, and hash what came.
    pub(super) fn work_for_others(&mut self) {
        self.hash_staged();
        while let Some((entry, part, group)) = self.session.store_mut().next_wanted() {
            self.leaves.run(move || match part {
                Part::Leaves(number) => Outcome::Leaves(entry, number, group.and_then(|group| group.hash())),
                Part::Window(window) => {
                    let can_tell = group.is_none_or(|group| group.warm());
                    Outcome::Warmed(entry, window, can_tell)
                }
            });
        }
    }
}
