//! What browsers may do with what they are sent: fields of answers.

use crate::http::Request;

/// Scripts do not run, and nothing else than what is meant is loaded.
pub(super) const POLICY: &str = "sandbox allow-same-origin; default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'unsafe-inline'";
/// What never changes need not be asked for again for a year.
pub(super) const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// What may change is asked for each time, and not sent again where it is the same.
pub(super) const CHANGES: &str = "no-cache";
/// A page of ours needs nothing but its own style.
pub(super) const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
/// The pages of a site have an origin of their own, so scripts may run there; but they reach nothing outside of it.
pub(super) const SITE_POLICY: &str = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'";

/// What the pages below this path of a request's host may load and do.
pub(super) fn below(request: &Request, is_site: bool, prefix: &str) -> String {
    if is_site {
        return SITE_POLICY.to_owned();
    }
    let host = request.host.as_deref().unwrap_or_default();
    let is_plain = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b';' | b',' | b'\'' | b'"'))
    };
    let here = match !host.is_empty() && is_plain(host) && is_plain(prefix) {
        true => format!("http://{host}{prefix}"),
        false => "'none'".to_owned(),
    };
    format!("sandbox allow-same-origin; default-src {here} data: 'unsafe-inline'")
}
