//! Sizes with units, as the command line takes them and messages give them.

use bytesize::ByteSize;

/// Reads a number of bytes: `960`, `10M`, `1.5GiB`, `10MB`, `10 MiB`.
///
/// As in coreutils, `K`, `M`, `G` and `T`, also spelled `KiB` and so on, count in steps of 1024, `KB`, `MB`, `GB` and `TB` in
/// steps of 1000. Upper or lower case makes no difference.
///
/// # Errors
///
/// Where the text is something else, or more than 2^64 - 1 bytes. The message is for the user.
pub fn parse(text: &str) -> Result<u64, String> {
    parse_bytes(text).ok_or_else(|| {
        format!(
            "{text:?} is not a size; write bytes, or a unit as in 64K, 10M (1024-based) or 10MB (1000-based)"
        )
    })
}

fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim_start().to_ascii_uppercase();
    let scale: u64 = match unit.as_str() {
        "" | "B" => 1,
        _ => {
            let power = "KMGT".find(unit.get(..1)?)? as u32 + 1;
            let step: u64 = match unit.get(1..)? {
                "" | "IB" => 1024,
                "B" => 1000,
                _ => return None,
            };
            step.pow(power)
        }
    };
    let (whole, fraction) = match number.split_once('.') {
        None => (number, ""),
        // A fraction of a byte is a slip of the pen.
        Some(_) if scale == 1 => return None,
        Some((_, "")) => return None,
        Some(parts) => parts,
    };
    if fraction.len() > 9 {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    let part = match fraction {
        "" => 0,
        _ => {
            u128::from(fraction.parse::<u64>().ok()?) * u128::from(scale) / 10u128.pow(fraction.len() as u32)
        }
    };
    whole.checked_add(u64::try_from(part).ok()?)
}

/// A number of bytes for people: `960 B`, `1.5 MiB`.
pub fn human(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_those_of_coreutils() {
        for (text, bytes) in [
            ("0", 0),
            ("960", 960),
            ("960B", 960),
            ("10K", 10 * 1024),
            ("10k", 10 * 1024),
            ("10KiB", 10 * 1024),
            ("10KB", 10_000),
            ("10M", 10 << 20),
            ("10 MiB", 10 << 20),
            ("10mb", 10_000_000),
            ("1.5G", 3 << 29),
            ("0.1KB", 100),
            ("16T", 16 << 40),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "M",
            "-1",
            "+1",
            "1X",
            "1e6",
            "1.5",
            "1.K",
            ".5K",
            "1..5K",
            "1.2.3K",
            "10MiBs",
            "1é",
            "16777216T",
            "18446744073709551616",
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.starts_with(&format!("{text:?} is not a size")), "{message}");
        }
    }

    #[test]
    fn people_read_binary_units() {
        assert_eq!(human(960), "960 B");
        assert_eq!(human(3 << 19), "1.5 MiB");
    }
}
