//! The vocabulary: every message the tools understand.
//!
//! A message borrows from the datagram it came in. What a peer may write differently (key order, white space, unknown
//! fields, missing `eof`, padding) is settled here; what is left is checked once, on entry.

mod listing;
mod parts;

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

pub use listing::ContentList;
pub use parts::{MAX_PARTS, PartsRequest, TheseParts};

use crate::peers::address;

/// Numbers above this are refused: beyond it, JSON readers of other languages lose digits.
pub const MAX_NUMBER: u64 = 1 << 53;
/// Ids longer than this, in bytes, are refused.
pub const MAX_ID_LEN: usize = 255;
/// At most so many addresses of one message are looked at.
pub const MAX_PEERS: usize = 256;
/// At most so many entries of one content list are looked at.
pub const MAX_LISTED: usize = 4096;
/// At most so many ids of one message that names ids, of the same content or not, are looked at.
pub const MAX_IDS: usize = 16;
/// Values to be returned that are longer than this, in bytes, are ignored.
pub const MAX_RETURNED_LEN: usize = 1024;
/// JSON nested deeper than this inside one message is refused.
pub const MAX_DEPTH: usize = 16;

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
    /// Says that requests may name a `block`, and how many blocks of one request are sent at the most.
    ICanSendContentInBlocks(u64),
    /// Asks by which other ids the content of this one is known.
    PleaseListIdsOfTheSameContent(Cow<'a, str>),
    /// Ids that name the same content, as the sender says.
    TheseIdsNameTheSameContent(Vec<Cow<'a, str>>),
    /// Ids of content that the sender has, for those who ask the receiver for it.
    IHaveThisContent(Vec<Cow<'a, str>>),
    /// Asks which parts of some content the receiver has.
    PleaseSayWhichParts(PartsRequest<'a>),
    /// Which parts of some content the sender has.
    IHaveTheseParts(TheseParts<'a>),
    /// Asks for a list of the content shared: from the beginning where the text is empty, or from where a list said that it
    /// goes on. Without, for whatever fits an answer.
    PleaseListContent(Option<Cow<'a, str>>),
    /// Content that is shared, or a part of the list of it.
    ContentList(ContentList<'a>),
    /// Asks which messages are understood.
    PleaseListSupportedMessages,
    /// The messages understood, as a JSON schema.
    SupportedMessages(&'a RawValue),
}

/// The payload of [`Message::PleaseSendContent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentRequest<'a> {
    /// The id exactly as it was written; answers repeat it so.
    pub id: Cow<'a, str>,
    /// The first byte wanted.
    pub offset: u64,
    /// How many bytes are wanted.
    pub length: u64,
    /// Wanted in datagrams with so many bytes of content each. Only for a node that said it understands this
    /// ([`Message::ICanSendContentInBlocks`]); others ignore it and send all in one.
    pub block: Option<u64>,
}

impl<'a> ContentRequest<'a> {
    /// A request that every node understands.
    pub fn plain(id: impl Into<Cow<'a, str>>, offset: u64, length: u64) -> ContentRequest<'a> {
        ContentRequest { id: id.into(), offset, length, block: None }
    }
}

/// The payload of [`Message::Content`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentBlock<'a> {
    /// The id, as it was asked for.
    pub id: Cow<'a, str>,
    /// Where in the content the bytes belong.
    pub offset: u64,
    /// The bytes.
    pub data: Cow<'a, [u8]>,
    /// What the sender says is the length of the whole content in bytes.
    pub eof: Option<u64>,
}

/// Appends the bytes that `text` says in base64, padded or not. Returns whether it is base64.
pub(crate) fn append_base64(text: &[u8], bytes: &mut Vec<u8>) -> bool {
    let padding = text.iter().rev().take_while(|&&byte| byte == b'=').count();
    base64_simd::STANDARD_NO_PAD.decode_append(&text[..text.len() - padding], bytes).is_ok()
}

/// The payload of [`Message::MaybeTheyHaveSome`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referral<'a> {
    /// The id that was asked for.
    pub id: Cow<'a, str>,
    /// Who may have it. Nothing is known about these addresses.
    pub peers: Vec<SocketAddr>,
    /// The sender had the content, and no longer has it.
    pub withdrawn: bool,
    /// Which of the bytes asked for, in a request for several blocks, are not given; `None` where the sender does not say so.
    pub part: Option<Range<u64>>,
}

impl<'a> Message<'a> {
    /// Reads one element of a datagram's array; `None` where it is not a message we know or not well formed.
    pub(crate) fn from_element(element: &'a RawValue) -> Option<Message<'a>> {
        let Element { kind, value } = serde_json::from_str(element.get()).ok()?;
        let text = value.get();
        // Content is read strictly by type and never kept as a tree: its depth does not matter.
        if kind != "Content" && !is_shallow(text) {
            return None;
        }
        let message = match &*kind {
            "PleaseSendContent" => {
                let RequestFields { id, offset, length, block } = serde_json::from_str(text).ok()?;
                let block = block.map(|n| n.0);
                Message::PleaseSendContent(ContentRequest {
                    id: id.0,
                    offset: offset.0,
                    length: length.0,
                    block,
                })
            }
            "Content" => {
                let ContentFields { id, offset, base64, eof } = serde_json::from_str(text).ok()?;
                let eof = eof.map(|n| n.0);
                let mut data = Vec::new();
                if !append_base64(base64.0.as_bytes(), &mut data) {
                    return None;
                }
                Message::Content(ContentBlock { id: id.0, offset: offset.0, data: data.into(), eof })
            }
            "MaybeTheyHaveSome" => {
                let ReferralFields { id, peers, withdrawn, offset, length } =
                    serde_json::from_str(text).ok()?;
                let part = offset.zip(length).map(|(offset, length)| offset.0..offset.0 + length.0);
                Message::MaybeTheyHaveSome(Referral { id: id.0, peers: peers.0, withdrawn, part })
            }
            "PleaseSendPeers" => Message::PleaseSendPeers,
            "Peers" => {
                let PeersFields { peers } = serde_json::from_str(text).ok()?;
                Message::Peers(peers.0)
            }
            "PleaseReturnThisMessage" if text.len() <= MAX_RETURNED_LEN => {
                Message::PleaseReturnThisMessage(value)
            }
            "ReturnedMessage" if text.len() <= MAX_RETURNED_LEN => Message::ReturnedMessage(value),
            "PleaseAlwaysReturnThisMessage" if text.len() <= MAX_RETURNED_LEN => {
                Message::PleaseAlwaysReturnThisMessage(value)
            }
            "AlwaysReturned" if text.len() <= MAX_RETURNED_LEN => Message::AlwaysReturned(text),
            "ICanSendContentInBlocks" => {
                let BlockFields { most } = serde_json::from_str(text).ok()?;
                Message::ICanSendContentInBlocks(most.0)
            }
            "PleaseListIdsOfTheSameContent" => {
                let IdFields { id } = serde_json::from_str(text).ok()?;
                Message::PleaseListIdsOfTheSameContent(id.0)
            }
            "TheseIdsNameTheSameContent" => {
                let IdsFields { ids } = serde_json::from_str(text).ok()?;
                Message::TheseIdsNameTheSameContent(ids.0)
            }
            "IHaveThisContent" => {
                let IdsFields { ids } = serde_json::from_str(text).ok()?;
                Message::IHaveThisContent(ids.0)
            }
            "PleaseSayWhichParts" => Message::PleaseSayWhichParts(parts::read_request(text)?),
            "IHaveTheseParts" => Message::IHaveTheseParts(parts::read_told(text)?),
            "PleaseListContent" => Message::PleaseListContent(listing::read_request(text)),
            "ContentList" => Message::ContentList(listing::read(text)?),
            "PleaseListSupportedMessages" => Message::PleaseListSupportedMessages,
            "SupportedMessages" => Message::SupportedMessages(value),
            _ => return None,
        };
        Some(message)
    }
}

/// An object with exactly one key.
struct Element<'a> {
    kind: Cow<'a, str>,
    value: &'a RawValue,
}

impl<'de> Deserialize<'de> for Element<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneKey;
        impl<'de> Visitor<'de> for OneKey {
            type Value = Element<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with one key")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Element<'de>, A::Error> {
                let Some((Text(kind), value)) = map.next_entry()? else {
                    return Err(A::Error::custom("no key"));
                };
                if map.next_key::<IgnoredAny>()?.is_some() {
                    return Err(A::Error::custom("more than one key"));
                }
                Ok(Element { kind, value })
            }
        }
        deserializer.deserialize_map(OneKey)
    }
}

/// A string that is borrowed where the JSON has no escapes in it.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrow)
    }
}

/// The text of an id, within [`MAX_ID_LEN`].
struct IdText<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for IdText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(text) = Text::deserialize(deserializer)?;
        if text.len() > MAX_ID_LEN {
            return Err(D::Error::custom("id too long"));
        }
        Ok(IdText(text))
    }
}

/// A number within [`MAX_NUMBER`].
#[derive(Default)]
struct Number(u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let n = u64::deserialize(deserializer)?;
        if n > MAX_NUMBER {
            return Err(D::Error::custom("number too large"));
        }
        Ok(Number(n))
    }
}

/// A list that keeps what `read` makes of an element and skips the rest, looking at most at `limit` elements.
fn tolerant_list<'de, D, T>(
    deserializer: D,
    limit: usize,
    read: impl Fn(&'de RawValue) -> Option<T>,
) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
{
    struct Tolerant<F> {
        limit: usize,
        read: F,
    }
    impl<'de, T, F: Fn(&'de RawValue) -> Option<T>> Visitor<'de> for Tolerant<F> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut kept = Vec::new();
            for _ in 0..self.limit {
                match seq.next_element::<&RawValue>()? {
                    Some(raw) => kept.extend((self.read)(raw)),
                    None => return Ok(kept),
                }
            }
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(kept)
        }
    }
    deserializer.deserialize_seq(Tolerant { limit, read })
}

struct AddressList(Vec<SocketAddr>);

impl<'de> Deserialize<'de> for AddressList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        tolerant_list(deserializer, MAX_PEERS, |raw| {
            let Text(text) = serde_json::from_str(raw.get()).ok()?;
            address::parse(&text).ok()
        })
        .map(AddressList)
    }
}

struct IdList<'a>(Vec<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for IdList<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        tolerant_list(deserializer, MAX_IDS, |raw| {
            let IdText(id) = serde_json::from_str(raw.get()).ok()?;
            Some(id)
        })
        .map(IdList)
    }
}

#[derive(serde::Deserialize)]
struct RequestFields<'a> {
    #[serde(borrow)]
    id: IdText<'a>,
    offset: Number,
    length: Number,
    #[serde(default)]
    block: Option<Number>,
}

#[derive(serde::Deserialize)]
struct BlockFields {
    most: Number,
}

#[derive(serde::Deserialize)]
struct IdFields<'a> {
    #[serde(borrow)]
    id: IdText<'a>,
}

#[derive(serde::Deserialize)]
struct IdsFields<'a> {
    #[serde(borrow)]
    ids: IdList<'a>,
}

#[derive(serde::Deserialize)]
struct ContentFields<'a> {
    #[serde(borrow)]
    id: IdText<'a>,
    offset: Number,
    #[serde(borrow)]
    base64: Text<'a>,
    #[serde(default)]
    eof: Option<Number>,
}

#[derive(serde::Deserialize)]
struct ReferralFields<'a> {
    #[serde(borrow)]
    id: IdText<'a>,
    peers: AddressList,
    #[serde(default)]
    withdrawn: bool,
    #[serde(default)]
    offset: Option<Number>,
    #[serde(default)]
    length: Option<Number>,
}

#[derive(serde::Deserialize)]
struct PeersFields {
    peers: AddressList,
}

/// Whether valid JSON text nests no deeper than [`MAX_DEPTH`].
fn is_shallow(json: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return false;
                }
            }
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
    }
    true
}
