//! Durations with units, as the command line takes them and messages give them.

use std::time::Duration;

/// Reads a duration: `500ms`, `30s`, `10m`, `6h`, `2days`, `1h 30m`.
///
/// A bare number is refused, but for 0: seconds to one tool are milliseconds to the next.
///
/// # Errors
///
/// Where the text is something else. The message is for the user.
pub fn parse(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| {
        format!("{text:?} is not a duration; write a number with a unit, as in 500ms, 30s, 10m or 6h")
    })
}

/// A duration for people, to the second, and below ten seconds to the tenth: `0.4s`, `12s`, `3m 20s`.
pub fn human(duration: Duration) -> String {
    if duration < Duration::from_millis(9_950) {
        return format!("{:.1}s", duration.as_secs_f64());
    }
    human_seconds(duration.as_secs() + u64::from(duration.subsec_millis() >= 500))
}

/// Whole seconds for people: `5s`, `3m 20s`.
pub fn human_seconds(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_bare_numbers_refused() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse("6h"), Ok(Duration::from_secs(6 * 3600)));
        assert_eq!(parse("1h 30m"), Ok(Duration::from_secs(5400)));
        for text in ["", "30", "s", "-1s", "1.5", "99999999999999999999h", "6 hours ago"] {
            let message = parse(text).unwrap_err();
            assert!(message.starts_with(&format!("{text:?} is not a duration")), "{message}");
        }
    }

    #[test]
    fn people_read_seconds() {
        assert_eq!(human(Duration::from_millis(380)), "0.4s");
        assert_eq!(human(Duration::from_millis(9_960)), "10s");
        assert_eq!(human(Duration::from_millis(200_400)), "3m 20s");
    }
}
