//! Numbers as JSON writes them, without a JSON parser.

use crate::message::MAX_NUMBER;

/// More digits than this are more than [`MAX_NUMBER`].
pub(super) const MAX_DIGITS: usize = 16;

/// How many digits a number has.
pub fn digits_of(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |n| n as usize + 1)
}

/// Appends a number.
pub(super) fn write_number(number: u64, out: &mut Vec<u8>) {
    serde_json::to_writer(out, &number).expect("a Vec takes all that is written");
}

/// A number as JSON writes it, without sign, fraction or exponent, and the rest.
pub(super) fn read_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    let mut digits = 0;
    while let Some(digit @ b'0'..=b'9') = bytes.get(digits)
        && digits < MAX_DIGITS
    {
        value = value * 10 + u64::from(digit - b'0');
        digits += 1;
    }
    let more = bytes.get(digits).is_some_and(u8::is_ascii_digit);
    let is_number = digits == 1 || (digits > 1 && bytes[0] != b'0' && !more);
    // If a fraction or an exponent follows, it is not what we write, and the caller sees that.
    (is_number && value <= MAX_NUMBER).then(|| (value, &bytes[digits..]))
}
