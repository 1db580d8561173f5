//! Addresses of peers: one canonical form, what kind of place they name, and which peers may send us there.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::RangeInclusive;

/// The port that nodes listen on by convention.
pub const DEFAULT_PORT: u16 = 24254;

/// Longer than any address prints.
const MAX_TEXT: usize = 80;

/// Text that is not an address with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError {
    text: String,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not an address such as 198.51.100.7:{DEFAULT_PORT} or [2001:db8::1]:{DEFAULT_PORT}",
            self.text
        )
    }
}

impl std::error::Error for AddressError {}

/// Reads `198.51.100.7:24254`, `[2001:db8::1]:24254` or `[fe80::1%6]:24254` into its canonical form.
///
/// Canonical addresses print as this reads them, by their own `Display`.
///
/// # Errors
///
/// If the text is anything else. Callers that read what a peer sent skip such an address.
pub fn parse(text: &str) -> Result<SocketAddr, AddressError> {
    let parsed = if text.len() <= MAX_TEXT { text.parse().ok() } else { None };
    parsed.map(canonical).ok_or_else(|| AddressError { text: text.chars().take(MAX_TEXT).collect() })
}

/// The one form under which an address is compared and stored.
///
/// A dual-stack socket reports IPv4 peers as `::ffff:198.51.100.7`; those become plain IPv4. Flow labels are dropped, and
/// an interface number is kept only where it means something, on a link-local address.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::V4(SocketAddrV4::new(ip, address.port())),
        IpAddr::V6(ip) => {
            let interface = match address {
                SocketAddr::V6(v6) if ip.is_unicast_link_local() => v6.scope_id(),
                _ => 0,
            };
            SocketAddr::V6(SocketAddrV6::new(ip, address.port(), 0, interface))
        }
    }
}

/// What counts as one host: an IPv4 address, or the 64 bits of an IPv6 address that name a network. The owner of that network
/// can choose all other bits.
pub fn host_of(source: SocketAddr) -> IpAddr {
    match source.ip() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip => ip,
    }
}

/// How far away the place is that an address names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// This machine.
    Loopback,
    /// The attached link: 169.254.0.0/16, fe80::/10.
    LinkLocal,
    /// A private network, a carrier's shared one included.
    Private,
    /// The internet.
    Public,
    /// No single peer can be there: multicast, broadcast, unspecified, reserved, or port 0.
    Unusable,
}

impl Scope {
    /// The scope of an address, canonical or not.
    pub fn of(address: SocketAddr) -> Scope {
        if address.port() == 0 {
            return Scope::Unusable;
        }
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => Scope::of_v4(ip),
            IpAddr::V6(ip) => Scope::of_v6(ip),
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Scope {
        let [a, b, ..] = ip.octets();
        // 224.0.0.0/4 is multicast; 240.0.0.0/4 reserved, the broadcast address at its end.
        if a == 0 || a >= 224 {
            Scope::Unusable
        } else if ip.is_loopback() {
            Scope::Loopback
        } else if ip.is_link_local() {
            Scope::LinkLocal
        } else if ip.is_private() || (a == 100 && b & 0xc0 == 64) {
            Scope::Private
        } else {
            Scope::Public
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Scope {
        let segments = ip.segments();
        if ip.is_loopback() {
            return Scope::Loopback;
        }
        // ::/96 is the unspecified address and the abandoned "IPv4-compatible" form.
        if ip.is_multicast() || segments[..6] == [0; 6] {
            return Scope::Unusable;
        }
        if ip.is_unicast_link_local() {
            return Scope::LinkLocal;
        }
        // fc00::/7, and fec0::/10 that came before it.
        if ip.is_unique_local() || segments[0] & 0xffc0 == 0xfec0 {
            return Scope::Private;
        }
        // A gateway turns these into the IPv4 address they hold, so they reach as far as that one does.
        match segments {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
                let [a, b] = high.to_be_bytes();
                let [c, d] = low.to_be_bytes();
                Scope::of_v4(Ipv4Addr::new(a, b, c, d))
            }
            _ => Scope::Public,
        }
    }
}

/// Whether a peer at `suggester` may send us to `suggested`.
///
/// No peer can aim us at an address nearer than itself. A public peer may name only public addresses, and no service below
/// port 1024. A peer on a private network or the link may name its neighbours, but not this machine.
pub fn may_suggest(suggester: SocketAddr, suggested: SocketAddr) -> bool {
    let from = Scope::of(suggester);
    let privileged_port = suggested.port() < 1024;
    match Scope::of(suggested) {
        Scope::Unusable => false,
        Scope::Public => !privileged_port,
        Scope::Private | Scope::LinkLocal => {
            matches!(from, Scope::Private | Scope::LinkLocal | Scope::Loopback)
        }
        Scope::Loopback => from == Scope::Loopback,
    }
}

/// The canonical address to try when a peer at `suggester` names `suggested`, or `None` if it may not
/// ([`may_suggest`]).
///
/// The interface number in a link-local address is the suggester's own and means nothing here. It becomes the number of the
/// interface that leads to the suggester.
pub fn referred(suggester: SocketAddr, suggested: SocketAddr) -> Option<SocketAddr> {
    let suggester = canonical(suggester);
    let mut suggested = canonical(suggested);
    if !may_suggest(suggester, suggested) {
        return None;
    }
    if let SocketAddr::V6(there) = &mut suggested
        && there.ip().is_unicast_link_local()
        && Scope::of(suggester) != Scope::Loopback
    {
        match suggester {
            SocketAddr::V6(from) if from.scope_id() != 0 => there.set_scope_id(from.scope_id()),
            _ => return None,
        }
    }
    Some(suggested)
}

/// A block of addresses that one party can easily own, for limits per neighbourhood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    base: IpAddr,
    bits: u8,
}

impl Prefix {
    /// The /24 of an IPv4 address, the /48 of an IPv6 one.
    pub fn narrow(ip: IpAddr) -> Prefix {
        Prefix::new(ip, 24, 48)
    }

    /// The /16 of an IPv4 address, the /32 of an IPv6 one.
    pub fn wide(ip: IpAddr) -> Prefix {
        Prefix::new(ip, 16, 32)
    }

    fn new(ip: IpAddr, bits_v4: u8, bits_v6: u8) -> Prefix {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Prefix {
                base: IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & (u32::MAX << (32 - bits_v4)))),
                bits: bits_v4,
            },
            IpAddr::V6(ip) => Prefix {
                base: IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << (128 - bits_v6)))),
                bits: bits_v6,
            },
        }
    }

    /// All canonical addresses inside, in the order in which addresses sort.
    pub(crate) fn addresses(self) -> RangeInclusive<SocketAddr> {
        match self.base {
            IpAddr::V4(base) => {
                let last = Ipv4Addr::from_bits(base.to_bits() | (u32::MAX >> self.bits));
                SocketAddrV4::new(base, 0).into()..=SocketAddrV4::new(last, u16::MAX).into()
            }
            IpAddr::V6(base) => {
                let last = Ipv6Addr::from_bits(base.to_bits() | (u128::MAX >> self.bits));
                SocketAddrV6::new(base, 0, 0, 0).into()
                    ..=SocketAddrV6::new(last, u16::MAX, u32::MAX, u32::MAX).into()
            }
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn a(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_three_spellings_are_read_and_printed_alike() {
        for text in ["198.51.100.7:24254", "[2001:db8::1]:24254", "[fe80::1%6]:24254"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_text() {
        let long = "1".repeat(10_000);
        for text in
            ["", "198.51.100.7", "2001:db8::1:24254", "example.org:1", "1.2.3.4:65536", " 1.2.3.4:5", &long]
        {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.len() < 250, "{message}");
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_the_ipv4_address() {
        assert_eq!(parse("[::ffff:198.51.100.7]:24254").unwrap(), a("198.51.100.7:24254"));
    }

    #[test]
    fn an_interface_number_stays_only_on_a_link_local_address() {
        assert_eq!(parse("[2001:db8::1%6]:1").unwrap(), a("[2001:db8::1]:1"));
        assert_ne!(parse("[fe80::1%6]:1").unwrap(), parse("[fe80::1%7]:1").unwrap());
    }

    #[test]
    fn every_kind_of_place_has_its_scope() {
        use Scope::*;
        for (text, scope) in [
            ("127.0.0.1:24254", Loopback),
            ("[::1]:24254", Loopback),
            ("[::ffff:127.9.9.9]:24254", Loopback),
            ("169.254.1.1:24254", LinkLocal),
            ("[fe80::1%6]:24254", LinkLocal),
            ("10.0.0.1:24254", Private),
            ("172.31.0.1:24254", Private),
            ("192.168.1.1:24254", Private),
            ("100.64.0.1:24254", Private),
            ("100.127.255.255:24254", Private),
            ("[fd00::1]:24254", Private),
            ("[fec0::1]:24254", Private),
            ("[64:ff9b::10.0.0.1]:24254", Private),
            ("[2002:7f00:1::1]:24254", Loopback),
            ("100.128.0.1:24254", Public),
            ("172.32.0.1:24254", Public),
            ("198.51.100.7:80", Public),
            ("[2001:db8::1]:24254", Public),
            ("[64:ff9b::198.51.100.7]:24254", Public),
            ("198.51.100.7:0", Unusable),
            ("127.0.0.1:0", Unusable),
            ("0.0.0.0:24254", Unusable),
            ("0.1.2.3:24254", Unusable),
            ("224.0.0.1:24254", Unusable),
            ("240.0.0.1:24254", Unusable),
            ("255.255.255.255:24254", Unusable),
            ("[::]:24254", Unusable),
            ("[::127.0.0.1]:24254", Unusable),
            ("[ff02::1]:24254", Unusable),
        ] {
            assert_eq!(Scope::of(a(text)), scope, "{text}");
        }
    }

    #[test]
    fn a_public_peer_can_send_us_only_to_public_unprivileged_ports() {
        let public = a("198.51.100.7:24254");
        assert!(may_suggest(public, a("203.0.113.9:24254")));
        assert!(may_suggest(public, a("203.0.113.9:1024")));
        for victim in [
            "203.0.113.9:1023",
            "203.0.113.9:53",
            "127.0.0.1:24254",
            "[::ffff:127.0.0.1]:24254",
            "10.0.0.1:24254",
            "169.254.0.1:24254",
            "[fe80::1]:24254",
            "224.0.0.1:24254",
            "255.255.255.255:24254",
            "203.0.113.9:0",
        ] {
            assert!(!may_suggest(public, a(victim)), "{victim}");
        }
    }

    #[test]
    fn neighbours_may_name_neighbours_but_not_this_machine() {
        let neighbour = a("192.168.1.5:24254");
        assert!(may_suggest(neighbour, a("192.168.1.6:24254")));
        assert!(may_suggest(neighbour, a("203.0.113.9:24254")));
        assert!(!may_suggest(neighbour, a("127.0.0.1:24254")));
        assert!(!may_suggest(neighbour, a("203.0.113.9:53")));
        assert!(may_suggest(a("127.0.0.1:1"), a("127.0.0.1:24254")));
        assert!(!may_suggest(a("127.0.0.1:1"), a("224.0.0.1:24254")));
    }

    #[test]
    fn a_suggested_link_local_address_is_on_the_suggesters_interface() {
        let neighbour = a("[fe80::5%3]:24254");
        assert_eq!(referred(neighbour, a("[fe80::6%9]:24254")), Some(a("[fe80::6%3]:24254")));
        assert_eq!(referred(a("192.168.1.5:24254"), a("[fe80::6%9]:24254")), None);
        assert_eq!(referred(a("127.0.0.1:1"), a("[fe80::6%9]:24254")), Some(a("[fe80::6%9]:24254")));
    }

    #[test]
    fn prefixes_name_the_neighbourhood() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(Prefix::narrow(ip("198.51.100.7")).to_string(), "198.51.100.0/24");
        assert_eq!(Prefix::wide(ip("198.51.100.7")).to_string(), "198.51.0.0/16");
        assert_eq!(Prefix::narrow(ip("2001:db8:7:8::1")).to_string(), "2001:db8:7::/48");
        assert_eq!(Prefix::wide(ip("2001:db8:7:8::1")).to_string(), "2001:db8::/32");
    }

    fn any_address() -> impl Strategy<Value = SocketAddr> {
        let v4 = (any::<u32>(), any::<u16>())
            .prop_map(|(ip, port)| SocketAddrV4::new(Ipv4Addr::from_bits(ip), port).into());
        let v6 =
            (any::<u128>(), any::<u16>(), any::<u32>(), any::<u32>()).prop_map(|(ip, port, flow, scope)| {
                SocketAddrV6::new(Ipv6Addr::from_bits(ip), port, flow, scope).into()
            });
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn a_canonical_address_survives_printing_and_reading(address in any_address()) {
            let address = canonical(address);
            prop_assert_eq!(parse(&address.to_string()), Ok(address));
            prop_assert_eq!(canonical(address), address);
        }

        #[test]
        fn a_prefix_holds_exactly_the_addresses_that_share_it(one in any_address(), other in any_address()) {
            let (one, other) = (canonical(one), canonical(other));
            for prefix in [Prefix::narrow, Prefix::wide] {
                prop_assert!(prefix(one.ip()).addresses().contains(&one));
                let same = prefix(one.ip()) == prefix(other.ip());
                prop_assert_eq!(prefix(one.ip()).addresses().contains(&other), same);
            }
        }
    }
}
