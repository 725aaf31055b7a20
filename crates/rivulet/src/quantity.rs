//! Durations and sizes as people write them: `15s`, `1m30s`, `0`; `1MiB`, `512KB`, `32768`.

use std::time::Duration;

/// Longer durations are refused: they are typing mistakes, and deadlines computed from them could overflow.
const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Parses a sequence of whole numbers with units (`ms`, `s`, `m`, `h`, `d`). `0` alone needs no unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, unit, after) = number_and_unit(rest);
        let factor_millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => {
                return Err(
                    "must be numbers with units (ms, s, m, h, d), like 15s or 1m30s; 0 means off".into()
                );
            }
        };
        let count: u64 =
            number.parse().map_err(|_| "must be whole numbers with units, like 15s".to_owned())?;
        let part = count.checked_mul(factor_millis).map(Duration::from_millis);
        total = part
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= DURATION_MAX)
            .ok_or("must be at most ten years")?;
        rest = after;
    }
    if text.is_empty() { Err("must be a duration, like 15s".into()) } else { Ok(total) }
}

/// Parses a number of bytes, with a unit (`B`, `KB`, `KiB`, `MB`, `MiB`, `GB`, `GiB`) or without.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let (number, unit, after) = number_and_unit(text.trim());
    let factor: usize = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "kib" => 1 << 10,
        "mb" => 1_000_000,
        "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        _ => return Err("must be a number of bytes, like 32768, 64KiB or 1MiB".into()),
    };
    let count: usize = number
        .parse()
        .ok()
        .filter(|_| after.is_empty())
        .ok_or("must be a whole number of bytes, like 32768, 64KiB or 1MiB")?;
    count.checked_mul(factor).ok_or_else(|| "is more than this machine can count".into())
}

/// Splits the leading digits, the text up to the next digit, and the rest.
fn number_and_unit(text: &str) -> (&str, &str, &str) {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit);
    (number, unit, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let check = |text: &str, millis: Option<u64>| {
            assert_eq!(duration(text).ok(), millis.map(Duration::from_millis), "{text:?}");
        };
        check("0", Some(0));
        check("0s", Some(0));
        check("15s", Some(15_000));
        check(" 40s ", Some(40_000));
        check("250ms", Some(250));
        check("10m", Some(600_000));
        check("1m30s", Some(90_000));
        check("7d", Some(604_800_000));
        check("", None);
        check("15", None);
        check("s", None);
        check("1.5s", None);
        check("-1s", None);
        check("15 s", None);
        check("15x", None);
        check("1s5", None);
        check("99999999999999999999s", None);
        check("18446744073709551615d", None);
        check("3651d", None);
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let check = |text: &str, bytes: Option<usize>| assert_eq!(size(text).ok(), bytes, "{text:?}");
        check("0", Some(0));
        check("32768", Some(32_768));
        check("64KiB", Some(65_536));
        check("512KB", Some(512_000));
        check("1MiB", Some(1_048_576));
        check("1 mib", Some(1_048_576));
        check("2gb", Some(2_000_000_000));
        check("10B", Some(10));
        check("", None);
        check("MiB", None);
        check("1.5MiB", None);
        check("1MiB2", None);
        check("1XB", None);
        check("99999999999999999999", None);
        check("18446744073709551615KiB", None);
    }
}
