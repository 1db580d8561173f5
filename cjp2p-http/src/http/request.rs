//! `Request`: the head of a request, read by httparse and checked once.

use super::limits::{MAX_FIELDS, MAX_HEAD};

/// What is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// Send it.
    #[default]
    Get,
    /// Send what would come before it.
    Head,
    /// Take it.
    Put,
    /// Take it, too.
    Post,
    /// Say what can be done.
    Options,
    /// Anything else.
    Other,
}

/// A request without its body. Fields that are not here do not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// What is to be done.
    pub method: Method,
    /// The path as it was sent: printable ASCII that begins with `/`, or `*`.
    pub path: String,
    /// What follows the first `?`.
    pub query: Option<String>,
    /// HTTP/1.1, and not 1.0.
    pub is_modern: bool,
    /// The host that was meant, with its port if one was named.
    pub host: Option<String>,
    /// `Range`.
    pub range: Option<String>,
    /// `If-Range`.
    pub if_range: Option<String>,
    /// `If-Match`, all lists of it as one.
    pub if_match: Option<String>,
    /// `If-None-Match`, all lists of it as one.
    pub if_none_match: Option<String>,
    /// `Origin`.
    pub origin: Option<String>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<String>,
    /// `Sec-Fetch-Dest`: what a browser wants it for.
    pub fetch_dest: Option<String>,
    /// `X-CJP2P-Token`.
    pub token: Option<String>,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// Bytes of the body, where that was said.
    pub content_length: Option<u64>,
    /// The body comes in chunks.
    pub is_chunked: bool,
    /// The client waits for a word before it sends the body.
    pub expects_continue: bool,
    /// Whether another request may follow on this connection.
    pub keeps_alive: bool,
}

impl Request {
    /// Whether something follows the head.
    pub fn has_body(&self) -> bool {
        self.is_chunked || self.content_length.is_some_and(|length| length > 0)
    }

    /// Whether only the head of the answer is wanted.
    pub fn is_head(&self) -> bool {
        self.method == Method::Head
    }
}

/// Why a request cannot be read. The connection is of no more use then: where the next would begin is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad {
    /// The status to answer with.
    pub status: u16,
    /// What is wrong, for the user.
    pub why: &'static str,
}

const fn bad(status: u16, why: &'static str) -> Bad {
    Bad { status, why }
}

/// Reads a head at the beginning of `input`. `None` where more of it has yet to come. Returns also how many bytes it took.
///
/// # Errors
///
/// Where it is malformed, too long, or of another version of HTTP.
pub fn parse(input: &[u8]) -> Result<Option<(Request, usize)>, Bad> {
    // A client may send an empty line between requests (RFC 9112, section 2.2).
    let skipped = input.iter().take(4).take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let input = &input[skipped..];
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let length = match head.parse(&input[..input.len().min(MAX_HEAD)]) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if input.len() >= MAX_HEAD => {
            return Err(bad(431, "the header is too long"));
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(bad(431, "too many header fields")),
        Err(httparse::Error::Version) => return Err(bad(505, "this is no HTTP/1.1")),
        Err(_) => return Err(bad(400, "malformed request")),
    };
    let mut request = Request {
        method: match head.method.unwrap_or_default() {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "PUT" => Method::Put,
            "POST" => Method::Post,
            "OPTIONS" => Method::Options,
            _ => Method::Other,
        },
        is_modern: head.version == Some(1),
        ..Request::default()
    };
    let mut connection = Connection::default();
    for field in head.headers.iter() {
        read_field(&mut request, &mut connection, field)?;
    }
    read_target(&mut request, head.path.unwrap_or_default())?;
    if request.is_modern && request.host.is_none() {
        return Err(bad(400, "no Host"));
    }
    if request.is_chunked && (request.content_length.is_some() || !request.is_modern) {
        // Two ways to read one body: somebody on the way may have read it the other way.
        return Err(bad(400, "both Transfer-Encoding and Content-Length"));
    }
    request.expects_continue &= request.is_modern;
    request.keeps_alive = match request.is_modern {
        true => !connection.close,
        false => connection.keep_alive && !connection.close,
    };
    Ok(Some((request, skipped + length)))
}

#[derive(Default)]
struct Connection {
    close: bool,
    keep_alive: bool,
}

fn read_field(
    request: &mut Request,
    connection: &mut Connection,
    field: &httparse::Header<'_>,
) -> Result<(), Bad> {
    // What has other bytes is like nothing that matters here.
    let value = String::from_utf8_lossy(field.value);
    let value = value.trim_matches([' ', '\t']);
    let is = |name: &str| field.name.eq_ignore_ascii_case(name);
    let once = |place: &mut Option<String>, why| match place.replace(value.to_owned()) {
        None => Ok(()),
        Some(_) => Err(bad(400, why)),
    };
    if is("host") {
        return once(&mut request.host, "two Hosts");
    } else if is("content-length") {
        let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let length = value.parse().ok().filter(|_| is_number).ok_or(bad(400, "malformed Content-Length"))?;
        if request.content_length.replace(length).is_some_and(|before| before != length) {
            return Err(bad(400, "two Content-Lengths"));
        }
    } else if is("transfer-encoding") {
        if !value.eq_ignore_ascii_case("chunked") || request.is_chunked {
            return Err(bad(501, "unknown Transfer-Encoding"));
        }
        request.is_chunked = true;
    } else if is("expect") {
        if !value.eq_ignore_ascii_case("100-continue") {
            return Err(bad(417, "unknown Expect"));
        }
        request.expects_continue = true;
    } else if is("connection") {
        for word in value.split(',').map(str::trim) {
            connection.close |= word.eq_ignore_ascii_case("close");
            connection.keep_alive |= word.eq_ignore_ascii_case("keep-alive");
        }
    } else if is("if-match") {
        join(&mut request.if_match, value);
    } else if is("if-none-match") {
        join(&mut request.if_none_match, value);
    } else if is("range") {
        // Two make one that is malformed, and does not count.
        join(&mut request.range, value);
    } else if is("if-range") {
        join(&mut request.if_range, value);
    } else if is("origin") {
        join(&mut request.origin, value);
    } else if is("sec-fetch-site") {
        join(&mut request.fetch_site, value);
    } else if is("sec-fetch-dest") {
        join(&mut request.fetch_dest, value);
    } else if is("x-cjp2p-token") {
        join(&mut request.token, value);
    } else if is("content-type") {
        join(&mut request.content_type, value);
    }
    Ok(())
}

fn join(place: &mut Option<String>, value: &str) {
    match place {
        Some(there) => {
            there.push(',');
            there.push_str(value);
        }
        None => *place = Some(value.to_owned()),
    }
}

fn read_target(request: &mut Request, target: &str) -> Result<(), Bad> {
    let origin_form =
        if let Some(scheme) = target.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://")) {
            // As to a proxy, but every server has to understand it: its host counts.
            let rest = &target[scheme.len()..];
            let at = rest.find(['/', '?']).unwrap_or(rest.len());
            let (host, path) = rest.split_at(at);
            request.host = Some(host.to_owned());
            if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
        } else {
            target.to_owned()
        };
    let is_star = origin_form == "*" && request.method == Method::Options;
    let is_printable = origin_form.bytes().all(|byte| byte.is_ascii_graphic());
    if !(is_star || origin_form.starts_with('/')) || !is_printable {
        return Err(bad(400, "malformed target"));
    }
    match origin_form.split_once('?') {
        Some((path, query)) => {
            request.path = without_dots(path);
            request.query = Some(query.to_owned());
        }
        None => request.path = without_dots(&origin_form),
    }
    Ok(())
}

/// A path with `.` and `..` done (RFC 3986, section 5.2.4), also where they are percent-encoded, as browsers read them. Browsers and
/// curl do it before they ask; apt does not.
fn without_dots(path: &str) -> String {
    let Some(path) = path.strip_prefix('/') else { return path.to_owned() };
    let mut parts: Vec<&str> = Vec::new();
    let mut ends_with_dots = false;
    for part in path.split('/') {
        let decoded = part.replace("%2e", ".").replace("%2E", ".");
        ends_with_dots = matches!(&*decoded, "." | "..");
        match &*decoded {
            "." => {}
            ".." => _ = parts.pop(),
            _ => parts.push(part),
        }
    }
    if ends_with_dots {
        // It is the folder that is meant.
        parts.push("");
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Request {
        let (request, length) = parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(length, text.len());
        request
    }

    #[test]
    fn what_matters_of_a_head_is_read_and_the_rest_passed_over() {
        let request = read(
            "GET /blake3/00?download&x=?y HTTP/1.1\r\nhOsT: localhost:1\r\nX-Other: \u{e9}\r\nRange:  bytes=0-1 \r\n\
             If-None-Match: \"a\"\r\nIf-None-Match: \"b\"\r\nOrigin: null\r\n\r\n",
        );
        assert_eq!((request.path.as_str(), request.query.as_deref()), ("/blake3/00", Some("download&x=?y")));
        assert_eq!(request.host.as_deref(), Some("localhost:1"));
        assert_eq!(request.range.as_deref(), Some("bytes=0-1"));
        assert_eq!(request.if_none_match.as_deref(), Some("\"a\",\"b\""));
        assert_eq!(request.origin.as_deref(), Some("null"));
        assert!(request.keeps_alive && !request.has_body());
        let absolute =
            read("GET http://localhost:9?q HTTP/1.1\r\nHost: other\r\nConnection: Foo, CLOSE\r\n\r\n");
        assert_eq!((absolute.path.as_str(), absolute.query.as_deref()), ("/", Some("q")));
        assert_eq!((absolute.host.as_deref(), absolute.keeps_alive), (Some("localhost:9"), false));
        assert!(!read("GET / HTTP/1.0\r\n\r\n").keeps_alive);
        assert!(read("GET / HTTP/1.0\nConnection: keep-alive\n\n").keeps_alive);
    }

    #[test]
    fn a_path_goes_up_within_itself_and_no_further() {
        for (path, read_as) in [
            ("/", "/"),
            ("*", "*"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/..", "/"),
            ("/../../a", "/a"),
            ("/a//../b/", "/a/b/"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/...", "/a/..."),
            ("/a/.b/..c", "/a/.b/..c"),
        ] {
            assert_eq!(without_dots(path), read_as, "{path}");
        }
    }

    #[test]
    fn what_is_malformed_says_which_status_to_answer_with() {
        for (text, status) in [
            ("GET\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\n\r\n", 505),
            ("GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
            ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
            ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400),
            ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
            ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
            ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
            ("PUT / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().status, status, "{text:?}");
        }
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(MAX_HEAD));
        assert_eq!(parse(long.as_bytes()).unwrap_err().status, 431);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS + 1));
        assert_eq!(parse(many.as_bytes()).unwrap_err().status, 431);
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_is_read_when_it_is_whole() {
        let text = b"\r\nHEAD /a HTTP/1.1\r\nHost: localhost\r\n\r\nGET";
        for length in 0..text.len() - 3 {
            assert_eq!(parse(&text[..length]).unwrap(), None, "{length}");
        }
        let (request, length) = parse(text).unwrap().unwrap();
        assert!(request.is_head() && length == text.len() - 3);
    }
}
