//! Go's durations and Docker's sizes.

/// `1h2m3.5s` in nanoseconds, as Go's `time.ParseDuration` reads it.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    const LIMIT: u64 = 1 << 63;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let whole = take(&mut rest, |b| b.is_ascii_digit());
        let fraction = match rest.strip_prefix('.') {
            Some(after) => {
                rest = after;
                take(&mut rest, |b| b.is_ascii_digit())
            }
            None => "",
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit = take(&mut rest, |b| b != b'.' && !b.is_ascii_digit());
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let scale: u64 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        let part = scaled(whole, fraction, scale).ok_or_else(invalid)?;
        total = total.checked_add(part).filter(|sum| *sum <= LIMIT).ok_or_else(invalid)?;
    }
    if negative {
        return Ok(0_i64.checked_sub_unsigned(total).unwrap_or(i64::MIN));
    }
    i64::try_from(total).map_err(|_| invalid())
}

fn take<'a>(rest: &mut &'a str, accept: fn(u8) -> bool) -> &'a str {
    // Only ASCII ends a run, so the cut is between characters.
    let end = rest.bytes().position(|b| !accept(b)).unwrap_or(rest.len());
    let (taken, after) = rest.split_at(end);
    *rest = after;
    taken
}

fn scaled(whole: &str, fraction: &str, scale: u64) -> Option<u64> {
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let whole = whole.checked_mul(scale).filter(|value| *value <= 1 << 63)?;
    // Nineteen digits are beyond a nanosecond of any unit.
    let digits = &fraction[..fraction.len().min(18)];
    let part = if digits.is_empty() {
        0
    } else {
        let value: u128 = digits.parse().ok()?;
        let power = u32::try_from(digits.len()).ok()?;
        u64::try_from(value * u128::from(scale) / 10_u128.pow(power)).ok()?
    };
    whole.checked_add(part)
}

/// `64m`, `1.5 GiB`: bytes, in powers of 1024.
pub(crate) fn parse_size(text: &str) -> Option<i64> {
    let separator = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')?;
    let (number, suffix) = match text.as_bytes()[separator] {
        b' ' => (&text[..separator], &text[separator + 1..]),
        _ => (&text[..=separator], &text[separator + 1..]),
    };
    let plain =
        number.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'+' | b'e' | b'E'));
    let size: f64 = number.parse().ok().filter(|size: &f64| plain && size.is_finite())?;
    let suffix = suffix.to_ascii_lowercase();
    let power = match suffix.as_bytes() {
        [] | [b'b'] => 0,
        [unit] | [unit, b'b'] | [unit, b'i', b'b'] => {
            1 + i32::try_from(b"kmgtp".iter().position(|known| known == unit)?).ok()?
        }
        _ => return None,
    };
    #[expect(clippy::cast_possible_truncation, reason = "a size that big saturates")]
    Some((size * 1024_f64.powi(power)) as i64)
}

#[cfg(test)]
mod tests {
    use super::{parse_duration, parse_size};

    #[test]
    fn durations_are_gos() {
        let table = [
            ("0", Ok(0)),
            ("-0", Ok(0)),
            ("5s", Ok(5_000_000_000)),
            ("+5s", Ok(5_000_000_000)),
            ("1h2m3s", Ok(3_723_000_000_000)),
            ("1.5m", Ok(90_000_000_000)),
            (".5s", Ok(500_000_000)),
            ("1.s", Ok(1_000_000_000)),
            ("-1ms", Ok(-1_000_000)),
            ("3us", Ok(3_000)),
            ("3µs", Ok(3_000)),
            ("3μs", Ok(3_000)),
            ("0.1ns", Ok(0)),
            ("0.9999999999999999999999s", Ok(999_999_999)),
            ("2562047h47m16.854775807s", Ok(i64::MAX)),
            ("-2562047h47m16.854775808s", Ok(i64::MIN)),
            ("2562047h47m16.854775808s", Err("invalid")),
            ("9999999999999999999h", Err("invalid")),
            ("", Err("invalid")),
            ("-", Err("invalid")),
            (".s", Err("invalid")),
            ("s", Err("invalid")),
            ("5", Err("missing unit")),
            ("1h5", Err("missing unit")),
            ("5d", Err("unknown unit")),
            ("5 s", Err("unknown unit")),
            ("5S", Err("unknown unit")),
            ("5é", Err("unknown unit")),
        ];
        for (text, expected) in table {
            let found = parse_duration(text);
            match (&found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(*found, expected, "{text}"),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{text}: {found}"),
                _ => panic!("{text}: {found:?}"),
            }
        }
    }

    #[test]
    fn sizes_are_dockers() {
        let table = [
            ("32", Some(32)),
            ("32b", Some(32)),
            ("32B", Some(32)),
            ("32k", Some(32 << 10)),
            ("32 kb", Some(32 << 10)),
            ("32KiB", Some(32 << 10)),
            ("1.5g", Some(3 << 29)),
            ("2t", Some(2 << 40)),
            ("1p", Some(1 << 50)),
            ("0", Some(0)),
            (" 1", None),
            ("", None),
            ("hello", None),
            ("-32", None),
            ("32bb", None),
            ("32mm", None),
            ("32 mbb", None),
            ("32kib3", None),
            ("inf", None),
            ("m", None),
            (".", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_size(text), expected, "{text:?}");
        }
    }
}
