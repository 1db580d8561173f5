//! What the cookies in a datagram show of its source.

use std::net::SocketAddr;

use super::budget::{self, MAX_COOKIES};
use super::{Node, query};
use crate::message::Message;
use crate::peers::cookie::Validation;
use crate::time::Time;

impl Node {
    /// Whether we said this ourselves: nobody else asks for the return of a cookie that we made for this address. Peers
    /// tell us our own address as readily as any other.
    pub(super) fn is_own_voice(&self, now: Time, from: SocketAddr, messages: &[Message<'_>]) -> bool {
        let wanted = messages.iter().filter_map(|message| match message {
            Message::PleaseAlwaysReturnThisMessage(value) | Message::PleaseReturnThisMessage(value) => {
                Some(value)
            }
            _ => None,
        });
        // We ask for the return of two at the most.
        wanted.take(MAX_COOKIES).any(|value| {
            let cookie = query::cookie_text(value.get());
            cookie.is_some_and(|cookie| self.mint.check(now, from, &cookie) != Validation::None)
        })
    }

    /// What the cookies in a datagram show, and notes it.
    pub(super) fn read_validation(
        &mut self,
        now: Time,
        from: SocketAddr,
        messages: &[Message<'_>],
    ) -> Validation {
        let mut best = Validation::None;
        let returned = messages.iter().filter_map(|message| match message {
            Message::AlwaysReturned(value) => Some(value),
            _ => None,
        });
        for value in returned.take(MAX_COOKIES) {
            self.budget.count(budget::COOKIE);
            if let Some(cookie) = query::cookie_text(value) {
                match self.mint.check(now, from, &cookie) {
                    Validation::None => {}
                    validation => {
                        best = validation;
                        break;
                    }
                }
            }
        }
        if best != Validation::None {
            self.contacts.forget_gone(now, |address| self.queries.has(address));
            self.contacts.on_always_returned(now, from, best == Validation::Current);
        }
        best
    }
}
