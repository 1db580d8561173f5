//! The vocabulary: every message that the tools understand.
//!
//! A message borrows from the datagram that it came in. Peers may write a message in several ways: key order, white space,
//! unknown fields, missing `eof`, padding. Reading settles these differences and checks all values once, on entry.

mod fields;
mod handle;
mod latest;
mod limits;
mod listing;
mod parts;
mod read;
mod stream;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::signed::SignedMessage;

pub(crate) use fields::append_base64;
pub use handle::{HANDLE_LEN, Handle, MAX_HANDLE_LEN};
pub use latest::{LatestRequest, MAX_WAIT, NothingNewer};
pub use limits::{
    MAX_DEPTH, MAX_ID_LEN, MAX_IDS, MAX_LISTED, MAX_NUMBER, MAX_PARTS, MAX_PEERS, MAX_RETURNED_LEN,
    MAX_STREAM_PLACES, MAX_STREAM_RANGES,
};
pub use listing::ContentList;
pub use parts::{PartsRequest, TheseParts};
pub use stream::{LastPiece, StreamHolding, StreamRequest};

/// One message of a datagram.
#[derive(Clone, Debug)]
pub enum Message<'a> {
    /// Asks for a part of some content.
    PleaseSendContent(ContentRequest<'a>),
    /// A part of some content.
    Content(ContentBlock<'a>),
    /// Somebody else who may have that content.
    MaybeTheyHaveSome(Referral<'a>),
    /// Asks for addresses of peers.
    PleaseSendPeers,
    /// Addresses of peers.
    Peers(Vec<SocketAddr>),
    /// Asks to send the value back, once.
    PleaseReturnThisMessage(&'a RawValue),
    /// The value that a [`Message::PleaseReturnThisMessage`] held.
    ReturnedMessage(&'a RawValue),
    /// Asks to send the value back beside every message from now on.
    PleaseAlwaysReturnThisMessage(&'a RawValue),
    /// The value that a [`Message::PleaseAlwaysReturnThisMessage`] held, as JSON text.
    AlwaysReturned(&'a str),
    /// Says that requests may name a `block`.
    ICanSendContentInBlocks(BlocksOffer),
    /// Says what the bytes after the array are, and holds them.
    BytesFollow(RawBlock<'a>),
    /// Asks to say how long the requests of this datagram waited, with this number.
    PleaseSayHowLongThisWaited(u64),
    /// How long requests waited that came with a [`Message::PleaseSayHowLongThisWaited`].
    ThisWaited(Waited),
    /// Asks for other ids of the content with this id.
    PleaseListIdsOfTheSameContent(Cow<'a, str>),
    /// Ids that, as the sender says, name the same content.
    TheseIdsNameTheSameContent(Vec<Cow<'a, str>>),
    /// Ids of content that the sender has. The receiver may refer others to it.
    IHaveThisContent(Vec<Cow<'a, str>>),
    /// Asks which parts of some content the receiver has.
    PleaseSayWhichParts(PartsRequest<'a>),
    /// Which parts of some content the sender has.
    IHaveTheseParts(TheseParts<'a>),
    /// Asks for a list of shared content: from its beginning if the text is empty, or from the `next` of an earlier part. Without a
    /// text, for as much as fits one answer.
    PleaseListContent(Option<Cow<'a, str>>),
    /// A list of shared content, or a part of it.
    ContentList(ContentList<'a>),
    /// Asks what a name stands for now.
    GetLatest(LatestRequest),
    /// Messages under a signature, which nothing has verified yet. Of these only pointers are looked at, the answers to a
    /// [`Message::GetLatest`], and what is said of a stream that is viewed.
    SignedMessage(SignedMessage<'a>),
    /// The sender knows nothing of a name, or nothing newer.
    IKnowNothingNewer(NothingNewer),
    /// Asks to be sent a stream as it comes, and says what of it came.
    PleaseKeepSendingStream(StreamRequest),
    /// What the sender has of a stream, and who else may have it.
    IHaveThisOfTheStream(StreamHolding),
    /// Asks which messages the receiver understands.
    PleaseListSupportedMessages,
    /// The messages that the sender understands, as a JSON schema.
    SupportedMessages(&'a RawValue),
}

/// The payload of [`Message::ThisWaited`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited {
    /// The number that the question had.
    pub number: u64,
    /// From when the requests came until an answer left.
    pub time: Duration,
}

/// The payload of [`Message::PleaseSendContent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentRequest<'a> {
    /// The id exactly as it was written; answers repeat that spelling.
    pub id: Cow<'a, str>,
    /// The first byte wanted.
    pub offset: u64,
    /// How many bytes are wanted.
    pub length: u64,
    /// How many bytes of content each datagram should hold. Only for a node that said it understands this
    /// ([`Message::ICanSendContentInBlocks`]); others ignore it and send all in one.
    pub block: Option<u64>,
    /// Under which name the answers should come as raw content. Only for a node that said it understands this
    /// ([`BlocksOffer::raw`]); others ignore it and send [`Message::Content`].
    pub handle: Option<Handle>,
}

impl<'a> ContentRequest<'a> {
    /// A request that every node understands.
    pub fn plain(id: impl Into<Cow<'a, str>>, offset: u64, length: u64) -> ContentRequest<'a> {
        ContentRequest { id: id.into(), offset, length, block: None, handle: None }
    }
}

/// The payload of [`Message::ICanSendContentInBlocks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlocksOffer {
    /// The most blocks that one request gets.
    pub most: u64,
    /// Requests may name a handle, to be answered with raw content.
    pub raw: bool,
}

/// The payload of [`Message::BytesFollow`], and the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawBlock<'a> {
    /// The name under which they were asked for.
    pub handle: Handle,
    /// Where in the content the bytes belong.
    pub offset: u64,
    /// How many bytes follow.
    pub length: u64,
    /// The bytes.
    pub data: &'a [u8],
    /// What the sender says is the length of the whole content in bytes.
    pub eof: Option<u64>,
}

/// The payload of [`Message::Content`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentBlock<'a> {
    /// The id, spelled as in the request.
    pub id: Cow<'a, str>,
    /// Where in the content the bytes belong.
    pub offset: u64,
    /// The bytes.
    pub data: Cow<'a, [u8]>,
    /// What the sender says is the length of the whole content in bytes.
    pub eof: Option<u64>,
}

/// The payload of [`Message::MaybeTheyHaveSome`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referral<'a> {
    /// The id that was asked for.
    pub id: Cow<'a, str>,
    /// Peers that may have it. Nothing proves these addresses.
    pub peers: Vec<SocketAddr>,
    /// The sender had the content, and has it no longer.
    pub withdrawn: bool,
    /// Which of the bytes asked for are refused, of a request for several blocks; `None` if the sender does not say.
    pub part: Option<Range<u64>>,
}
