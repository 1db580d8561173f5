//! Changed inputs from a seed: what the ordinary tests try beside the corpus, and bodies on what was right before.

use super::input::Input;

/// Bytes that mean something to one of the formats.
const SPECIAL: &[u8] = b"\"\\{}[],:0123456789.eE+-() =/*\n\r\t\x00\x1f\x7f\x80\xc3\xff";

/// Changes `bytes` as `input` says: nothing where it is empty.
pub fn edit(bytes: &mut Vec<u8>, input: &mut Input<'_>) {
    while !input.is_empty() {
        let kind = input.byte();
        let at = input.below(1 << 16) as usize % (bytes.len() + 1);
        let value = input.byte();
        let special = SPECIAL[usize::from(value) % SPECIAL.len()];
        match kind % 7 {
            0 => bytes.insert(at, value),
            1 => bytes.insert(at, special),
            2 if at < bytes.len() => bytes[at] = special,
            3 if at < bytes.len() => bytes[at] ^= value.max(1),
            4 => drop(bytes.drain(at..bytes.len().min(at + usize::from(value) + 1))),
            5 => bytes.truncate(at),
            _ => {
                let part = bytes[at..bytes.len().min(at + usize::from(value) + 1)].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
}

/// `bytes` with one to six random changes, of which one may be to put in a part of `other`.
pub fn mutated(bytes: &[u8], other: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if random.u8(0..4) == 0 && !other.is_empty() {
        let from = random.usize(0..other.len());
        let part = &other[from..random.usize(from..other.len()) + 1];
        let at = random.usize(0..=bytes.len());
        bytes.splice(at..at, part.iter().copied());
    }
    let script: Vec<u8> = (0..4 * random.usize(1..=6)).map(|_| random.u8(..)).collect();
    edit(&mut bytes, &mut Input::new(&script));
    bytes
}
