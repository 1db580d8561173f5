//! What a datagram speaks of, noted in one walk: most hold content and at most a cookie, and are not to be searched anew for
//! each thing that others hold.

use crate::message::Message;

/// Which kinds of messages are in a datagram, and how long that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Inbound {
    /// Bytes of the whole datagram.
    pub(super) length: usize,
    pub(super) content: bool,
    /// A value that it says we wanted beside everything.
    pub(super) always_returned: bool,
    /// A value that it says we wanted once.
    pub(super) returned: bool,
    /// It wants a value beside everything.
    pub(super) wants_always: bool,
    /// It wants a value once.
    pub(super) wants_returned: bool,
    /// How many blocks it sends for one request.
    pub(super) blocks: bool,
    /// It asks for peers.
    pub(super) asks_for_peers: bool,
    /// It asks for something, be it peers or content.
    pub(super) asks: bool,
    /// It speaks of permanent cookies, or seems to come from a node that knows of such. To be found out by the one who reads.
    pub(super) knows_cookies: bool,
    /// A cookie of ours came back that we asked somebody there for. To be found out too.
    pub(super) answers_ours: bool,
}

impl Inbound {
    pub(super) fn of(messages: &[Message<'_>], length: usize) -> Inbound {
        let mut inbound = Inbound { length, ..Inbound::default() };
        for message in messages {
            match message {
                Message::Content(_) => inbound.content = true,
                Message::AlwaysReturned(_) => inbound.always_returned = true,
                Message::ReturnedMessage(_) => inbound.returned = true,
                Message::PleaseAlwaysReturnThisMessage(_) => inbound.wants_always = true,
                Message::PleaseReturnThisMessage(_) => inbound.wants_returned = true,
                Message::ICanSendContentInBlocks(_) => inbound.blocks = true,
                Message::PleaseSendPeers => (inbound.asks, inbound.asks_for_peers) = (true, true),
                Message::PleaseSendContent(_)
                | Message::PleaseSayWhichParts(_)
                | Message::PleaseListContent(_)
                | Message::PleaseListIdsOfTheSameContent(_)
                | Message::PleaseListSupportedMessages => inbound.asks = true,
                _ => {}
            }
        }
        inbound
    }

    /// Whether it knows of cookies that are returned beside everything.
    pub(super) fn speaks_of_cookies(self) -> bool {
        self.always_returned || self.wants_always
    }
}
