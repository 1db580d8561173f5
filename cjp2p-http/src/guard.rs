//! Who may ask: a program of this user, and no web page.
//!
//! A browser runs what strangers wrote and reaches this machine. So a request counts only if its `Host` is a name of this machine (else
//! some site had its own name point here), and if the browser does not say that another site caused it. A web page can have a browser
//! send almost anything but these fields.

use std::net::{IpAddr, SocketAddr};

use cjp2p_wire::signed::PublicKey;

use crate::http::{Method, Request};
use crate::site;

/// What is allowed beside requests of programs.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
    token: Option<String>,
}

/// For whom a request is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A program, or somebody at a browser.
    Own,
    /// A page of this allowed origin.
    Allowed(String),
}

/// What host was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// This machine.
    Here,
    /// The site of this key, which has an origin of its own.
    Site(PublicKey),
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status to answer with.
    pub status: u16,
    /// What is wrong, for the user.
    pub why: &'static str,
}

const fn refusal(status: u16, why: &'static str) -> Refusal {
    Refusal { status, why }
}

impl Guard {
    /// Takes these names for this machine too, and pages of these origins for programs of the user. Who changes something has to know
    /// `token`; nobody can where there is none.
    pub fn new(hosts: Vec<String>, origins: Vec<String>, token: Option<String>) -> Guard {
        let lower = |texts: Vec<String>| texts.into_iter().map(|text| text.to_ascii_lowercase()).collect();
        Guard { hosts: lower(hosts), origins: lower(origins), token }
    }

    /// Judges a request that came to the address `to`, before anything is looked up for it.
    ///
    /// # Errors
    ///
    /// Where it is refused.
    pub fn admit(&self, request: &Request, to: IpAddr) -> Result<(Host, Caller), Refusal> {
        let host = self.host(request, to)?;
        let caller = self.caller(request)?;
        if has_peer_hint(request) {
            return Err(refusal(400, "a URL does not say which peers to ask; start cjp2p-http with --peer"));
        }
        Ok((host, caller))
    }

    fn host(&self, request: &Request, to: IpAddr) -> Result<Host, Refusal> {
        // Only HTTP/1.0 may leave it out, which no browser speaks.
        let Some(given) = &request.host else { return Ok(Host::Here) };
        let given = given.to_ascii_lowercase();
        let misdirected = refusal(421, "this host name is not one of this machine's; --host NAME allows it");
        if self.hosts.contains(&given) {
            return Ok(Host::Here);
        }
        let name = without_port(&given).ok_or(misdirected)?;
        if name == "localhost" || self.hosts.iter().any(|host| host == name) {
            return Ok(Host::Here);
        }
        let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            // No name stands behind an address, so it cannot be rebound.
            let is_here = ip.is_loopback() || ip == to || ip.to_canonical() == to.to_canonical();
            return if is_here { Ok(Host::Here) } else { Err(misdirected) };
        }
        site::key_of_host(name).map(Host::Site).ok_or(misdirected)
    }

    fn caller(&self, request: &Request) -> Result<Caller, Refusal> {
        let allowed = |origin: &str| self.origins.contains(&origin.to_ascii_lowercase());
        let cross_site = refusal(
            403,
            "asked for by another web site; type the address yourself, or allow it with --allow-origin",
        );
        let origin = request.origin.as_deref();
        if let Some(origin) = origin.filter(|origin| allowed(origin)) {
            return Ok(Caller::Allowed(origin.to_owned()));
        }
        match request.fetch_site.as_deref() {
            // What the user typed, or a page of ours.
            Some("none" | "same-origin") => {}
            Some(_) => return Err(cross_site),
            None => {
                if origin.is_some_and(|origin| !is_own(origin, request.host.as_deref())) {
                    return Err(cross_site);
                }
            }
        }
        Ok(Caller::Own)
    }

    /// Judges a request that would change something, once it is admitted.
    ///
    /// # Errors
    ///
    /// Where it does not have the token, or a page sent it.
    pub fn admit_change(&self, request: &Request) -> Result<(), Refusal> {
        if !matches!(request.method, Method::Put | Method::Post) {
            return Err(refusal(405, "nothing can be done so"));
        }
        let Some(token) = &self.token else {
            return Err(refusal(403, "nothing is taken here: start cjp2p-http with --share DIR"));
        };
        if request.origin.as_deref().is_some_and(|origin| !is_own(origin, request.host.as_deref())) {
            return Err(refusal(403, "sent by another web site"));
        }
        let is_right =
            request.token.as_deref().is_some_and(|given| is_same(given.as_bytes(), token.as_bytes()));
        is_right.then_some(()).ok_or(refusal(401, "X-CJP2P-Token has to be the text of the token file"))
    }
}

/// Takes as long whatever is wrong.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// The host of `HOST[:PORT]`, with the brackets of IPv6.
fn without_port(host: &str) -> Option<&str> {
    let end = match host.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => host.find(':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(end);
    let is_port =
        port.is_empty() || port[1..].bytes().all(|byte| byte.is_ascii_digit()) && port.starts_with(':');
    (is_port && !name.is_empty()).then_some(name)
}

fn is_own(origin: &str, host: Option<&str>) -> bool {
    let of_host = |host: &str| {
        origin.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"))
            && origin[7..].eq_ignore_ascii_case(host)
    };
    host.is_some_and(of_host)
}

fn has_peer_hint(request: &Request) -> bool {
    let names = |text: &str| text.split('&').any(|part| part.starts_with("peer="));
    request.query.as_deref().is_some_and(names)
        || request.path.contains("%23peer=")
        || request.path.contains("#peer=")
}

/// Whether others than this machine can come to this address.
pub fn is_open(address: SocketAddr) -> bool {
    !address.ip().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn request(host: &str) -> Request {
        Request { host: Some(host.into()), path: "/".into(), is_modern: true, ..Request::default() }
    }

    fn guard() -> Guard {
        Guard::new(vec!["Nas.lan".into()], vec!["https://good.example".into()], Some("secret".into()))
    }

    #[test]
    fn only_names_of_this_machine_are_taken_for_it() {
        let guard = guard();
        for host in [
            "localhost",
            "LOCALHOST:24256",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]",
            "[::1]:80",
            "nas.lan",
            "NAS.lan:9",
        ] {
            assert_eq!(guard.admit(&request(host), TO).map(|(host, _)| host), Ok(Host::Here), "{host}");
        }
        for host in [
            "",
            ":80",
            "evil.example",
            "localhost.evil.example",
            "localhost:80:80",
            "localhost:x",
            "10.0.0.1",
            "[::2]",
            "[::1",
            "a.localhost",
            "localhost.",
        ] {
            assert_eq!(guard.admit(&request(host), TO).map_err(|refusal| refusal.status), Err(421), "{host}");
        }
        assert!(
            guard.admit(&request("10.0.0.1:80"), "10.0.0.1".parse().unwrap()).is_ok(),
            "where it came to"
        );
        let old = Request { host: None, is_modern: false, ..request("") };
        assert!(guard.admit(&old, TO).is_ok());
    }

    #[test]
    fn pages_of_other_sites_are_refused_and_what_a_user_types_is_not() {
        let guard = guard();
        let status = |site: Option<&str>, origin: Option<&str>| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            let request =
                Request { fetch_site: owned(site), origin: owned(origin), ..request("127.0.0.1:24256") };
            guard.admit(&request, TO).map(|(_, caller)| caller).map_err(|refusal| refusal.status)
        };
        for (site, origin) in [
            (None, None),
            (Some("none"), None),
            (Some("same-origin"), None),
            (None, Some("http://127.0.0.1:24256")),
            (Some("same-origin"), Some("http://127.0.0.1:24256")),
        ] {
            assert_eq!(status(site, origin), Ok(Caller::Own), "{site:?} {origin:?}");
        }
        for (site, origin) in [
            (Some("cross-site"), None),
            (Some("same-site"), None),
            (Some("something new"), None),
            (Some("cross-site,none"), None),
            (None, Some("null")),
            (None, Some("https://evil.example")),
            (None, Some("https://127.0.0.1:24256")),
            (None, Some("http://127.0.0.1:3000")),
            (None, Some("http://127.0.0.1")),
            (Some("cross-site"), Some("http://127.0.0.1:24256")),
        ] {
            assert_eq!(status(site, origin), Err(403), "{site:?} {origin:?}");
        }
        let allowed = Ok(Caller::Allowed("https://good.example".into()));
        assert_eq!(status(Some("cross-site"), Some("https://good.example")), allowed);
    }

    #[test]
    fn a_change_needs_the_token_and_no_other_site() {
        let guard = guard();
        let put = |token: Option<&str>, origin: Option<&str>| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            let request = Request {
                method: Method::Put,
                token: owned(token),
                origin: owned(origin),
                ..request("localhost")
            };
            guard.admit_change(&request).map_err(|refusal| refusal.status)
        };
        assert_eq!(put(Some("secret"), None), Ok(()));
        assert_eq!(put(Some("secret"), Some("http://localhost")), Ok(()));
        assert_eq!(
            put(Some("secret"), Some("https://good.example")),
            Err(403),
            "reading is allowed to it, and no more"
        );
        for wrong in [None, Some(""), Some("secre"), Some("secret2"), Some("Secret")] {
            assert_eq!(put(wrong, None), Err(401), "{wrong:?}");
        }
        let none = Guard::default();
        let request = Request { method: Method::Put, token: Some(String::new()), ..request("localhost") };
        assert_eq!(none.admit_change(&request).map_err(|refusal| refusal.status), Err(403));
    }

    #[test]
    fn a_url_names_no_peers() {
        for (path, query) in [("/blake3/00%23peer=evil", None), ("/", Some("x&peer=evil"))] {
            let request =
                Request { path: path.into(), query: query.map(str::to_owned), ..request("localhost") };
            assert_eq!(guard().admit(&request, TO).map_err(|refusal| refusal.status), Err(400));
        }
    }
}
