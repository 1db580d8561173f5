//! What others say to the node: well-formed messages of every kind about what it shares and wants, and the answers that it
//! waits for, true or changed.

use std::net::SocketAddr;

use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::datagram::raw::RawHeader;
use cjp2p_wire::datagram::{Encoder, Padding};
use cjp2p_wire::message::{BlocksOffer, ContentRequest, Handle, MAX_NUMBER, TheseParts};

use super::checked::Asked;
use super::contents::{ADDRESSES, SHARED, WANTED, wanted};
use super::talk::Talk;
use crate::content;
use crate::fuzz::input::Input;
use crate::fuzz::mutate::edit;
use crate::fuzz::sample::SAMPLES;

fn any_id(input: &mut Input<'_>) -> String {
    let choice = input.byte() % 16;
    match choice {
        0..3 => wanted(choice.into()).0.to_string(),
        3 | 4 => ContentId::Blake3(SAMPLES[SHARED[usize::from(choice) - 3]].root).to_string(),
        5 | 6 => ContentId::Tree(SAMPLES[SHARED[usize::from(choice) - 5]].root).to_string(),
        7..10 => ContentId::Tree(SAMPLES[WANTED[usize::from(choice) - 7]].root).to_string(),
        10 => "hello.txt".into(),
        11 => content::sha256_id(b"hello world\n").to_string(),
        12 => ContentId::Blake3(SAMPLES[WANTED[2]].root).to_string(),
        13 => "nothing of this name".into(),
        _ => String::from_utf8_lossy(input.counted()).into_owned(),
    }
}

fn number(input: &mut Input<'_>) -> u64 {
    input.number().min(MAX_NUMBER)
}

fn peers(input: &mut Input<'_>) -> Vec<SocketAddr> {
    let count = input.byte() % 8;
    let peer = |input: &mut Input<'_>| match input.byte() {
        byte @ 0..200 => ADDRESSES[usize::from(byte) % ADDRESSES.len()].into(),
        byte => ([81, 2, byte, input.byte()], input.below(1 << 16) as u16).into(),
    };
    (0..count).map(|_| peer(input)).collect()
}

impl Talk {
    /// A datagram of up to six messages, changed afterwards now and then.
    pub(super) fn compose(&mut self, from: SocketAddr, input: &mut Input<'_>) -> Vec<u8> {
        let shape = input.byte();
        let mut encoder = Encoder::new();
        if shape & 1 != 0 {
            let cookie = self.cookie(from, input);
            encoder.value("AlwaysReturned", &cookie);
        }
        for _ in 0..shape >> 1 & 7 {
            self.message(from, input, &mut encoder);
        }
        let mut datagram = encoder.finish(if shape & 16 != 0 { 1200 } else { 0 });
        if shape & 0xe0 == 0xe0 {
            edit(&mut datagram, &mut Input::new(input.take(8)));
        }
        datagram
    }

    /// A cookie of the node, given to this address, to another, or to nobody.
    fn cookie(&self, from: SocketAddr, input: &mut Input<'_>) -> String {
        let choice = input.byte();
        let of = if choice < 200 { from } else { ADDRESSES[usize::from(choice) % ADDRESSES.len()].into() };
        let given = self.met.get(&of).map_or(&[][..], |met| &met.cookies);
        match given.len() {
            0 => r#"{"cookie":"AAAAAAAAAAAAAAAAAAAAAA"}"#.into(),
            count => given[count - 1 - usize::from(choice % 4) % count].clone(),
        }
    }

    fn message(&self, from: SocketAddr, input: &mut Input<'_>, encoder: &mut Encoder) {
        match input.byte() % 18 {
            0 => {
                let request = ContentRequest {
                    id: any_id(input).into(),
                    offset: number(input),
                    length: number(input),
                    block: (input.byte() & 1 != 0).then(|| number(input)),
                    handle: Handle::parse(input.counted()),
                };
                encoder.request(&request);
            }
            1 => encoder.bare("PleaseSendPeers"),
            2 => encoder.bare("PleaseListContent"),
            3 => encoder.bare("PleaseListSupportedMessages"),
            4 => encoder.cookie("PleaseReturnThisMessage", &String::from_utf8_lossy(input.counted())),
            5 => encoder.cookie("PleaseAlwaysReturnThisMessage", &String::from_utf8_lossy(input.counted())),
            6 => encoder.value("AlwaysReturned", &self.cookie(from, input)),
            7 => encoder.value("ReturnedMessage", &self.cookie(from, input)),
            8 => encoder.can_send_blocks(BlocksOffer { most: number(input), raw: input.byte() & 1 != 0 }),
            9 => encoder.please_list_ids(&any_id(input)),
            10 => encoder.same_content([&any_id(input), &any_id(input)]),
            11 => encoder.which_parts(&any_id(input), number(input)),
            12 => self.parts(input, encoder),
            13 => {
                let (id, offset) = (any_id(input), number(input));
                let eof = (input.byte() & 1 != 0).then(|| number(input));
                encoder.content(&id, offset, input.counted(), eof, Padding::Bare);
            }
            14 => encoder.referral(&any_id(input), &peers(input)),
            15 => encoder.peers(&peers(input)),
            16 => encoder.content_list([(&*any_id(input), number(input))]),
            // A cookie in which a request rides, of the node's making but for the request.
            _ => {
                let (cookie, id) = (self.cookie(from, input), any_id(input));
                let letters = cookie.get(11..33).unwrap_or_default();
                let text = format!("{letters}.{}.{}.{id}", number(input), number(input));
                encoder.cookie("ReturnedMessage", &text);
            }
        }
    }

    fn parts(&self, input: &mut Input<'_>, encoder: &mut Encoder) {
        let id = any_id(input);
        let offset = number(input);
        let mut end = offset;
        let mut parts = Vec::new();
        for _ in 0..input.byte() % 16 {
            let start = end.saturating_add(input.number());
            end = start.saturating_add(input.number());
            parts.push(start..end);
        }
        let eof = (input.byte() & 1 != 0).then(|| end.saturating_add(input.number()));
        encoder.these_parts(&TheseParts {
            id: id.into(),
            offset,
            until: end,
            parts,
            eof,
            busy: input.byte() & 1 != 0,
        });
    }

    /// The answer to what the node asked this address for last, true or changed; it says nothing where it was not asked.
    pub(super) fn honest_answer(&mut self, from: SocketAddr, input: &mut Input<'_>) -> Vec<u8> {
        let kind = input.byte();
        let mut encoder = Encoder::new();
        if kind & 1 == 0 {
            encoder.value("AlwaysReturned", &self.cookie(from, &mut Input::new(&[])));
        }
        if kind & 2 != 0 {
            encoder.cookie("PleaseAlwaysReturnThisMessage", "theirs");
        }
        let asked = self.met.entry(from).or_default().requests.pop();
        let Some(Asked { id, mut offset, length, handle }) = asked else { return encoder.finish(0) };
        let known = WANTED.iter().map(|n| &SAMPLES[*n]);
        let found = known.clone().find_map(|sample| match ContentId::parse(&id) {
            Ok(ContentId::Tree(root)) if root == sample.root => Some(&sample.file),
            Ok(ContentId::Blake3(root)) if root == sample.root => Some(&sample.content),
            _ => None,
        });
        // Only one is wanted by its SHA-256 id.
        let truth = found.unwrap_or(&SAMPLES[WANTED[2]].content);
        let mut eof = truth.len() as u64;
        let end = offset.saturating_add(length).min(eof);
        let mut data = truth[offset.min(end) as usize..end as usize].to_vec();
        match kind >> 4 {
            0..10 => {}
            10 => edit(&mut data, &mut Input::new(input.take(4))),
            11 => offset = number(input),
            12 => eof = number(input),
            13 => data.truncate(input.byte().into()),
            14 => eof ^= 1,
            _ => encoder.referral(&id, &peers(input)),
        }
        let eof = (kind & 4 == 0).then_some(eof);
        // As it asked for it, and alone.
        if let (Some(handle), 0) = (handle, kind & 8) {
            let mut bytes = Vec::new();
            RawHeader { handle, places: 0 }.write(offset, &data, eof, &mut bytes);
            return bytes;
        }
        encoder.content(&id, offset, &data, eof, Padding::Padded);
        if kind & 8 != 0 {
            encoder.same_content([&id, &any_id(input)]);
        }
        encoder.finish(0)
    }
}
