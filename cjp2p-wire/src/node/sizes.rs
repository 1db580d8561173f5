//! How much a node holds: what others can make grow has a limit, which tests watch.

use super::client::{MAX_ASKED, MAX_ASKERS, MAX_HANDLES, MAX_PUT_OFF, MAX_UNVALIDATED};
use super::contacts::MAX_CONTACTS;
use super::discovery::{
    MAX_ALL_AHEAD_BYTES, MAX_GIVERS, MAX_GREETED, MAX_KNOWN_WAITING, MAX_NAME_QUERIES, MAX_NEIGHBOURS,
    MAX_QUERIES, MAX_SUGGESTIONS,
};
use super::probes::MAX_PROBED;
use super::server::{
    MAX_ANSWERED, MAX_CONTENTS, MAX_DEBTORS, MAX_ECHOED, MAX_GETTERS, MAX_PROVIDERS, MAX_WAITING,
    MAX_WAITING_SOURCES, MAX_WATCHERS,
};
use super::streams::{MAX_CANDIDATES, MAX_PLAIN, MAX_RECORDS, MAX_SHORT, MAX_SOURCES, MAX_SUBSCRIBERS};
use crate::download::Kept;

/// Defines `Sizes` with the limit of each field, so that none can be forgotten.
macro_rules! sizes {
    ($($(#[$doc:meta])* $name:ident: $limit:expr,)*) => {
        /// Entries in a node's tables.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Sizes {
            $($(#[$doc])* pub $name: usize,)*
        }

        impl Sizes {
            /// What none of them exceeds, whatever comes.
            pub const LIMITS: Sizes = Sizes { $($name: $limit,)* };

            /// Each with its name and its limit.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, usize, usize)> {
                [$((stringify!($name), self.$name, Sizes::LIMITS.$name),)*].into_iter()
            }
        }
    };
}

/// What one download keeps at most.
const OF_FETCH: Kept = Kept::most(MAX_ASKED);

sizes! {
    /// Addresses of which anything is known.
    contacts: MAX_CONTACTS,
    /// Of these, those that may be asked for content.
    asked: MAX_ASKED,
    /// Of these, those that were only suggested and were not validated; some of them have been since.
    unvalidated: MAX_UNVALIDATED,
    /// Suggested addresses that wait to be tried.
    suggestions: MAX_SUGGESTIONS,
    /// Peers of which is remembered how much they suggested.
    givers: MAX_GIVERS,
    /// Known peers that wait to be asked.
    known: MAX_KNOWN_WAITING,
    /// Contents and peers that may have them.
    providers: MAX_PROVIDERS,
    /// Requests that wait to be answered.
    requests: MAX_WAITING,
    /// Sources of these.
    requesters: MAX_WAITING_SOURCES,
    /// Hosts that have used up their part of the upload rate.
    debtors: MAX_DEBTORS,
    /// Sources that a list is to be sent to.
    lists_wanted: 1,
    /// Contents that several exchange.
    exchanged: MAX_CONTENTS,
    /// The peers that exchange them.
    getters: MAX_GETTERS,
    /// Sources of a download that made themselves known by asking for the same, of the download with most.
    askers: MAX_ASKERS,
    /// Sources that wait to be asked.
    put_off: MAX_PUT_OFF,
    /// Handles under which a peer sends raw content, of the peer with most.
    handles: MAX_HANDLES,
    /// Requests that rode in echoes, and wait for their share of what those are answered with.
    echoed: MAX_ECHOED,
    /// Echoes remembered because they were answered.
    echoes_answered: MAX_ANSWERED,
    /// Suggested addresses of which is remembered how many datagrams they were sent.
    probed: MAX_PROBED,
    /// Questions to single peers that are open.
    queries: MAX_QUERIES,
    /// Peers that are asked what names stand for.
    name_queries: MAX_NAME_QUERIES,
    /// Sources that wait to hear what a name stands for next.
    watchers: MAX_WATCHERS,
    /// About how many bytes hold parts of lists that came before their turn.
    list_bytes: MAX_ALL_AHEAD_BYTES,
    /// The hosts that answered the last question to everybody on the link.
    neighbours: MAX_NEIGHBOURS,
    /// The hosts that called out for peers on the link, and were greeted.
    greeted: MAX_GREETED,
    /// Sources of a download, of the download with most; so the following.
    sources: OF_FETCH.sources,
    /// Sources of a download of which something is remembered beside.
    noted_sources: OF_FETCH.noted,
    /// Lengths that sources claim.
    claims: OF_FETCH.claims,
    /// Hashes that sources gave, and that were false.
    false_hints: OF_FETCH.refuted,
    /// Ranges that sources say they have.
    have_ranges: OF_FETCH.have_ranges,
    /// Sources that are sent a stream or stand by, of the stream with most; so the following.
    subscribers: MAX_SUBSCRIBERS,
    /// Viewers of other programs.
    plain_viewers: MAX_PLAIN,
    /// Peers that are asked for a stream.
    stream_sources: MAX_SOURCES,
    /// Peers that may have a stream and wait to be asked.
    stream_candidates: MAX_CANDIDATES,
    /// Records of blocks of which some is missing.
    stream_records: MAX_RECORDS,
    /// Blocks that may become longer.
    short_blocks: MAX_SHORT,
}

impl Sizes {
    /// Whether all are within [`Sizes::LIMITS`].
    pub fn are_within_limits(&self) -> bool {
        self.each().all(|(_, size, limit)| size <= limit)
    }
}
