//! What a plain scalar is: null, a boolean, a number, or text after all.

use super::Kind;

/// Tells a scalar that is not quoted apart by its looks.
pub(super) fn resolve(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        ".nan" | ".NaN" | ".NAN" => Kind::Number("NaN".to_owned()),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Kind::Number("+Inf".to_owned()),
        "-.inf" | "-.Inf" | "-.INF" => Kind::Number("-Inf".to_owned()),
        _ => match number(text) {
            Some(number) => Kind::Number(number),
            None => Kind::Text(text.to_owned()),
        },
    }
}

fn number(text: &str) -> Option<String> {
    let first = text.bytes().next()?;
    // No number that means anything is longer, and parsing one takes time.
    if !matches!(first, b'0'..=b'9' | b'+' | b'-' | b'.') || text.len() > 64 {
        return None;
    }
    let digits: String = text.chars().filter(|letter| *letter != '_').collect();
    integer(&digits).or_else(|| float(&digits))
}

/// Integers, with the prefixes that Go knows; a leading zero means octal.
fn integer(text: &str) -> Option<String> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        Some(_) if digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if !digits.bytes().all(|digit| digit.is_ascii_alphanumeric()) {
        return None;
    }
    let size = u64::from_str_radix(digits, radix).ok()?;
    match (negative, size) {
        (false, _) | (true, 0) => Some(size.to_string()),
        // Go has no integer below this one and takes a float instead.
        (true, _) if size > 1 << 63 => None,
        (true, _) => Some(format!("-{size}")),
    }
}

fn float(text: &str) -> Option<String> {
    let unsigned = text.trim_start_matches(['+', '-']);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let looks = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(mantissa),
    };
    let exponent_looks = exponent
        .is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)));
    if !looks || !exponent_looks || text.len() - unsigned.len() > 1 {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    value.is_finite().then(|| go_float(value))
}

/// The shortest digits that give the same number, with an exponent from a million on.
fn go_float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("`{:e}` writes an exponent");
    let power: i32 = exponent.parse().expect("`{:e}` writes a decimal exponent");
    if (-4..6).contains(&power) || value == 0.0 {
        return format!("{value}");
    }
    let sign = if power < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", power.abs())
}

#[cfg(test)]
mod tests {
    use super::{Kind, resolve};

    #[test]
    fn numbers_are_printed_as_go_prints_them() {
        let table = [
            ("010", "8"),
            ("0o17", "15"),
            ("0x1F", "31"),
            ("0b11", "3"),
            ("1_000", "1000"),
            ("1.50", "1.5"),
            ("1e3", "1000"),
            ("1e21", "1e+21"),
            (".5", "0.5"),
            ("1.", "1"),
            ("-0", "0"),
            ("+5", "5"),
            ("-7", "-7"),
            (".inf", "+Inf"),
            ("18446744073709551616", "1.8446744073709552e+19"),
            ("1_0.5_0", "10.5"),
            ("0.00001", "1e-05"),
            ("1234567.0", "1.234567e+06"),
        ];
        for (written, expected) in table {
            assert_eq!(resolve(written), Kind::Number(expected.to_owned()), "{written}");
        }
    }

    #[test]
    fn what_only_looks_like_something_is_text() {
        for written in
            ["yes", "off", "12:30", "0o", "1.2.3", "-", "+", ".", "1e", "--1", "tRue", "v1"]
        {
            assert_eq!(resolve(written), Kind::Text(written.to_owned()), "{written}");
        }
    }
}
