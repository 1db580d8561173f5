//! `If-Match`, `If-None-Match` and `If-Range` (RFC 9110, section 13). Content has no date here, only a tag.

use super::request::Request;

/// What the conditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answer as if there was none.
    Proceed,
    /// 304: the client has it.
    NotModified,
    /// 412.
    Failed,
}

/// Judges the conditions of a request for something with this entity tag, in quotes; `None` for what has none.
pub fn judge(request: &Request, tag: Option<&str>) -> Outcome {
    if let Some(list) = &request.if_match
        && !matches(list, tag, false)
    {
        return Outcome::Failed;
    }
    match &request.if_none_match {
        Some(list) if matches(list, tag, true) => Outcome::NotModified,
        _ => Outcome::Proceed,
    }
}

/// Whether the ranges of a request count: there is no `If-Range`, or what the client has is of this tag.
pub fn ranges_count(request: &Request, tag: Option<&str>) -> bool {
    // A date is never right: there is none to compare with.
    request.if_range.as_deref().is_none_or(|there| Some(there.trim()) == tag)
}

/// Whether one tag in the list is this one. Weak ones count where `weak` ones do.
fn matches(list: &str, tag: Option<&str>, weak: bool) -> bool {
    if list.trim() == "*" {
        return true;
    }
    let Some(tag) = tag else { return false };
    let mut rest = list;
    while let Some(at) = rest.find('"') {
        let is_weak = rest[..at].ends_with("W/");
        let Some(length) = rest[at + 1..].find('"') else { return false };
        let end = at + length + 2;
        if &rest[at..end] == tag && (weak || !is_weak) {
            return true;
        }
        rest = &rest[end..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: Option<&str> = Some("\"blake3:00ff\"");

    fn request(if_match: Option<&str>, if_none_match: Option<&str>, if_range: Option<&str>) -> Request {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Request {
            if_match: owned(if_match),
            if_none_match: owned(if_none_match),
            if_range: owned(if_range),
            ..Request::default()
        }
    }

    #[test]
    fn tags_are_found_in_lists_and_weak_ones_only_where_they_count() {
        let none_match = |list| judge(&request(None, Some(list), None), TAG);
        for list in [
            "*",
            "\"blake3:00ff\"",
            "W/\"blake3:00ff\"",
            "\"a,b\", \"blake3:00ff\"",
            "\"a\",W/\"blake3:00ff\"",
        ] {
            assert_eq!(none_match(list), Outcome::NotModified, "{list}");
        }
        for list in ["", "blake3:00ff", "\"blake3:00f\"", "\"blake3:00ff", "\"x\"blake3:00ff\""] {
            assert_eq!(none_match(list), Outcome::Proceed, "{list}");
        }
        let matches = |list, tag| judge(&request(Some(list), None, None), tag);
        assert_eq!(matches("\"blake3:00ff\"", TAG), Outcome::Proceed);
        assert_eq!(matches("*", TAG), Outcome::Proceed);
        assert_eq!(matches("W/\"blake3:00ff\"", TAG), Outcome::Failed);
        assert_eq!(matches("\"other\"", TAG), Outcome::Failed);
        assert_eq!(matches("\"other\"", None), Outcome::Failed);
        assert_eq!(
            judge(&request(Some("\"no\""), Some("*"), None), TAG),
            Outcome::Failed,
            "that comes first"
        );
    }

    #[test]
    fn a_range_of_something_else_than_the_client_has_does_not_count() {
        let count = |value| ranges_count(&request(None, None, value), TAG);
        assert!(count(None) && count(TAG) && count(Some(" \"blake3:00ff\" ")));
        for value in ["W/\"blake3:00ff\"", "\"other\"", "Sat, 29 Oct 1994 19:43:31 GMT", ""] {
            assert!(!count(Some(value)), "{value}");
        }
    }
}
