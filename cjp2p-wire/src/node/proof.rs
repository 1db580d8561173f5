//! What the cookies in a datagram show of its source.

use std::net::SocketAddr;

use super::{Node, inquiry};
use crate::message::Message;
use crate::peers::cookie::Proof;
use crate::time::Time;

impl Node {
    /// Whether we said this ourselves: nobody else asks for the return of a cookie that we made for this address. Peers
    /// tell us our own address as readily as any other.
    pub(super) fn is_own_voice(&self, now: Time, from: SocketAddr, messages: &[Message<'_>]) -> bool {
        messages.iter().any(|message| {
            let (Message::PleaseAlwaysReturnThisMessage(value) | Message::PleaseReturnThisMessage(value)) =
                message
            else {
                return false;
            };
            let cookie = inquiry::cookie_text(value.get());
            cookie.is_some_and(|cookie| self.mint.check(now, from, &cookie) != Proof::None)
        })
    }

    /// What the cookies in a datagram show, and notes it.
    pub(super) fn read_proof(&mut self, now: Time, from: SocketAddr, messages: &[Message<'_>]) -> Proof {
        let mut best = Proof::None;
        for message in messages {
            let Message::AlwaysReturned(value) = message else {
                continue;
            };
            if let Some(cookie) = inquiry::cookie_text(value) {
                match self.mint.check(now, from, &cookie) {
                    Proof::None => {}
                    proof => {
                        best = proof;
                        break;
                    }
                }
            }
        }
        if best != Proof::None {
            self.contacts.forget_gone(now, |address| self.inquiries.has(address));
            self.contacts.on_always_returned(now, from, best == Proof::Current);
        }
        best
    }
}
