//! What of an IPv4 packet the wires look at, and rewrite.

use std::ops::Range;

/// The protocol number of TCP.
pub const TCP: u8 = 6;
/// The protocol number of UDP.
pub const UDP: u8 = 17;

/// Which end of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Who sent it.
    Source,
    /// Who is to get it.
    Destination,
}

/// The address that an IPv4 packet is sent to; `None` where it is no IPv4 packet.
pub fn destination(packet: &[u8]) -> Option<[u8; 4]> {
    header(packet)?;
    packet.get(16..20)?.try_into().ok()
}

/// The protocol within; 0 where it is no IPv4 packet.
pub fn protocol(packet: &[u8]) -> u8 {
    header(packet).map_or(0, |_| packet[9])
}

/// The UDP port of one end; `None` where there is none: another protocol, or a fragment that is not the first.
pub fn udp_port(packet: &[u8], end: End) -> Option<u16> {
    let at = port_at(packet, end)?;
    Some(u16::from_be_bytes([packet[at.start], packet[at.start + 1]]))
}

/// Puts another UDP port at one end, and the checksum right. Nothing happens where there is no UDP port.
pub fn set_udp_port(packet: &mut [u8], end: End, port: u16) {
    let (Some(at), Some(header)) = (port_at(packet, end), header(packet)) else {
        return;
    };
    let old = u16::from_be_bytes([packet[at.start], packet[at.start + 1]]);
    packet[at].copy_from_slice(&port.to_be_bytes());
    let sum_at = header.end + 6..header.end + 8;
    let sum = u16::from_be_bytes([packet[sum_at.start], packet[sum_at.start + 1]]);
    // 0 says that there is no checksum.
    if sum != 0 {
        // RFC 1624: the complement of the sum changes as its parts do.
        let mut new = u32::from(!sum) + u32::from(!old) + u32::from(port);
        new = (new & 0xffff) + (new >> 16);
        new = (new & 0xffff) + (new >> 16);
        let new = match !(new as u16) {
            0 => 0xffff,
            new => new,
        };
        packet[sum_at].copy_from_slice(&new.to_be_bytes());
    }
}

/// Where the header of an IPv4 packet is.
fn header(packet: &[u8]) -> Option<Range<usize>> {
    let first = *packet.first()?;
    let length = usize::from(first & 15) * 4;
    (first >> 4 == 4 && length >= 20 && packet.len() >= length).then_some(0..length)
}

fn port_at(packet: &[u8], end: End) -> Option<Range<usize>> {
    let header = header(packet)?;
    let is_later_fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff != 0;
    if packet[9] != UDP || is_later_fragment || packet.len() < header.end + 8 {
        return None;
    }
    let at = header.end + if end == End::Source { 0 } else { 2 };
    Some(at..at + 2)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An IPv4 packet with a UDP datagram, from host to host of 10.77.0.0/24.
    pub(crate) fn udp(from: (u8, u16), to: (u8, u16), payload: &[u8]) -> Vec<u8> {
        let length = 28 + payload.len() as u16;
        let mut packet = vec![0x45, 0, (length >> 8) as u8, length as u8, 0, 0, 0, 0, 64, UDP, 0, 0];
        packet.extend([10, 77, 0, from.0, 10, 77, 0, to.0]);
        for word in [from.1, to.1, length - 20, 0] {
            packet.extend(word.to_be_bytes());
        }
        packet.extend(payload);
        let sum = match !sum(&packet) {
            0 => 0xffff,
            sum => sum,
        };
        packet[26..28].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    /// The ones' complement sum over the datagram and its pseudo header: all ones where the checksum is right.
    fn sum(packet: &[u8]) -> u16 {
        let mut bytes = packet[12..20].to_vec();
        bytes.extend([0, UDP]);
        bytes.extend(((packet.len() - 20) as u16).to_be_bytes());
        bytes.extend(&packet[20..]);
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    proptest! {
        #[test]
        fn a_rewritten_port_leaves_the_checksum_right(
            from: u16, to: u16, port: u16, payload in proptest::collection::vec(any::<u8>(), 0..64)
        ) {
            let mut packet = udp((1, from), (2, to), &payload);
            prop_assert_eq!(sum(&packet), 0xffff);
            set_udp_port(&mut packet, End::Source, port);
            prop_assert_eq!(udp_port(&packet, End::Source), Some(port));
            prop_assert_eq!(udp_port(&packet, End::Destination), Some(to));
            prop_assert_eq!(sum(&packet), 0xffff);
            set_udp_port(&mut packet, End::Source, from);
            prop_assert_eq!(packet, udp((1, from), (2, to), &payload));
        }

        #[test]
        fn anything_may_come_from_an_interface(mut packet in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = (destination(&packet), protocol(&packet), udp_port(&packet, End::Destination));
            set_udp_port(&mut packet, End::Source, 1);
        }
    }

    #[test]
    fn later_fragments_and_other_protocols_have_no_port() {
        let whole = udp((1, 7), (2, 8), b"hello");
        assert_eq!(destination(&whole), Some([10, 77, 0, 2]));
        assert_eq!(udp_port(&whole, End::Destination), Some(8));
        let mut fragment = whole.clone();
        fragment[7] = 1;
        assert_eq!(udp_port(&fragment, End::Source), None);
        let mut other = whole;
        other[9] = TCP;
        assert_eq!((udp_port(&other, End::Source), protocol(&other)), (None, TCP));
    }
}
