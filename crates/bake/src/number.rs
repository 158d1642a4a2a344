//! Numbers as HCL has them: binary floating point with up to 512 bits, printed with as few decimal
//! digits as say which one it is.
//!
//! A number is `mantissa * 2^exponent` with an odd mantissa (or zero), so equal numbers have
//! equal parts. Its precision says how many bits it was computed with, which only printing and
//! further computing can tell.

use std::cmp::Ordering;

use num_bigint::{BigInt, BigUint, Sign};

/// Bits of what is written in a file.
pub(crate) const WRITTEN: u32 = 512;
/// Bits of what was counted.
pub(crate) const COUNTED: u32 = 64;
/// Bits of what came from the environment.
pub(crate) const FLOAT: u32 = 53;

/// Beyond this binary exponent, a number is refused: printing it would take megabytes.
const MAX_EXPONENT: i64 = 1 << 16;

/// A number.
#[derive(Debug, Clone)]
pub(crate) struct Number {
    mantissa: BigInt,
    exponent: i64,
    precision: u32,
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.mantissa == other.mantissa && self.exponent == other.exponent
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        let (left, right, _) = self.aligned(other);
        left.cmp(&right)
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self::exact(BigInt::from(value), 0, COUNTED)
    }
}

impl From<usize> for Number {
    fn from(value: usize) -> Self {
        Self::exact(BigInt::from(value), 0, COUNTED)
    }
}

impl Number {
    /// Without rounding.
    fn exact(mantissa: BigInt, exponent: i64, precision: u32) -> Self {
        match mantissa.trailing_zeros() {
            None => Self { mantissa, exponent: 0, precision },
            Some(zeros) => {
                let exponent = exponent + i64::try_from(zeros).unwrap_or(i64::MAX);
                Self { mantissa: mantissa >> zeros, exponent, precision }
            }
        }
    }

    /// Rounded to the nearest, to even when two are equally near. `rest` says that a little more
    /// was cut off already.
    fn rounded(mantissa: BigInt, exponent: i64, precision: u32, rest: bool) -> Self {
        let (sign, magnitude) = mantissa.into_parts();
        let excess = magnitude.bits().saturating_sub(u64::from(precision));
        if excess == 0 {
            return Self::exact(BigInt::from_biguint(sign, magnitude), exponent, precision);
        }
        let half = magnitude.bit(excess - 1);
        let below = rest || magnitude.trailing_zeros().is_some_and(|zeros| zeros + 1 < excess);
        let mut kept = &magnitude >> excess;
        if half && (below || kept.bit(0)) {
            kept += 1u32;
        }
        let exponent = exponent + i64::try_from(excess).unwrap_or(i64::MAX);
        Self::exact(BigInt::from_biguint(sign, kept), exponent, precision)
    }

    /// Reads what a literal may say: `12`, `1.5`, `1e-3`, each perhaps with a sign.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::parse_with(text, WRITTEN)
    }

    fn parse_with(text: &str, precision: u32) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (digits, power) = match rest.find(['e', 'E']) {
            Some(at) => (&rest[..at], rest[at + 1..].parse::<i64>().ok()?),
            None => (rest, 0),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let both = [whole, part].concat();
        // Ten decimal digits are more than three bits each, so these bounds are generous.
        let readable = !both.is_empty() && both.bytes().all(|byte| byte.is_ascii_digit());
        if !readable || both.len() > 16_384 || power.abs() > 16_384 {
            return None;
        }
        let mut value = BigInt::parse_bytes(both.as_bytes(), 10)?;
        if negative {
            value = -value;
        }
        let power = power - i64::try_from(part.len()).ok()?;
        let scale = BigInt::from(10u32).pow(u32::try_from(power.unsigned_abs()).ok()?);
        if power >= 0 {
            return Self::rounded(value * scale, 0, precision, false).bounded();
        }
        Some(Self::quotient(&value, &scale, 0, precision))
    }

    /// What `strconv.ParseFloat` makes of a text, for the environment.
    pub(crate) fn parse_float(text: &str) -> Option<Self> {
        if text.trim() != text || text.is_empty() {
            return None;
        }
        let value: f64 = text.replace('_', "x").parse().ok()?;
        Self::from_f64(value)
    }

    pub(crate) fn from_f64(value: f64) -> Option<Self> {
        if !value.is_finite() {
            return None;
        }
        let bits = value.to_bits();
        let exponent = i64::try_from((bits >> 52) & 0x7ff).ok()?;
        let fraction = bits & ((1 << 52) - 1);
        let mantissa = if exponent == 0 { fraction } else { fraction | (1 << 52) };
        let sign = if value.is_sign_negative() { Sign::Minus } else { Sign::Plus };
        let mantissa = BigInt::from_biguint(sign, BigUint::from(mantissa));
        Some(Self::exact(mantissa, exponent.max(1) - 1075, FLOAT))
    }

    pub(crate) fn to_f64(&self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// The number as an integer, if it is one and not larger than `i64`.
    pub(crate) fn to_i64(&self) -> Option<i64> {
        let whole = self.exponent >= 0 && self.exponent < 64;
        if !whole {
            return None;
        }
        i64::try_from(&self.mantissa << self.exponent).ok()
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.mantissa.sign() == Sign::NoSign
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.exponent >= 0
    }

    pub(crate) fn is_negative(&self) -> bool {
        self.mantissa.sign() == Sign::Minus
    }

    /// The number without what is after the point.
    pub(crate) fn to_integer(&self) -> BigInt {
        if self.exponent >= 0 {
            return &self.mantissa << self.exponent;
        }
        let (sign, magnitude) = (self.mantissa.sign(), self.mantissa.magnitude());
        BigInt::from_biguint(sign, magnitude >> self.exponent.unsigned_abs())
    }

    pub(crate) fn from_integer(value: BigInt) -> Self {
        Self::exact(value, 0, WRITTEN)
    }

    /// The largest whole number that is not larger, or with `up`, the other way round.
    pub(crate) fn whole(&self, up: bool) -> Self {
        if self.is_whole() {
            return self.clone();
        }
        let cut = self.to_integer();
        let away = match (self.is_negative(), up) {
            (true, false) => cut - 1,
            (false, true) => cut + 1,
            _ => cut,
        };
        Self::exact(away, 0, self.precision.max(COUNTED))
    }

    fn aligned(&self, other: &Self) -> (BigInt, BigInt, i64) {
        let exponent = self.exponent.min(other.exponent);
        let shift = |number: &Self| &number.mantissa << (number.exponent - exponent);
        (shift(self), shift(other), exponent)
    }

    fn bounded(self) -> Option<Self> {
        let size = self.exponent + i64::try_from(self.mantissa.bits()).ok()?;
        (size.abs() <= MAX_EXPONENT && self.exponent.abs() <= MAX_EXPONENT).then_some(self)
    }

    pub(crate) fn add(&self, other: &Self) -> Option<Self> {
        let (left, right, exponent) = self.aligned(other);
        let precision = self.precision.max(other.precision);
        Self::rounded(left + right, exponent, precision, false).bounded()
    }

    pub(crate) fn negated(&self) -> Self {
        Self { mantissa: -&self.mantissa, ..self.clone() }
    }

    pub(crate) fn magnitude(&self) -> Self {
        if self.is_negative() { self.negated() } else { self.clone() }
    }

    pub(crate) fn subtract(&self, other: &Self) -> Option<Self> {
        self.add(&other.negated())
    }

    pub(crate) fn multiply(&self, other: &Self) -> Option<Self> {
        let product = &self.mantissa * &other.mantissa;
        let mut number = Self::rounded(product, self.exponent + other.exponent, WRITTEN, false);
        let least = u32::try_from(number.mantissa.bits()).unwrap_or(WRITTEN);
        number.precision = self.precision.max(other.precision).max(least);
        number.bounded()
    }

    /// `None` for a division by zero.
    pub(crate) fn divide(&self, other: &Self) -> Option<Self> {
        if other.is_zero() {
            return None;
        }
        let precision = self.precision.max(other.precision);
        let exponent = self.exponent - other.exponent;
        Self::quotient(&self.mantissa, &other.mantissa, exponent, precision).bounded()
    }

    fn quotient(left: &BigInt, right: &BigInt, exponent: i64, precision: u32) -> Self {
        // Two bits more than asked for; what is left says whether they are all of it.
        let shift = (right.bits() + u64::from(precision) + 2).saturating_sub(left.bits());
        let scaled = left << shift;
        let quotient = &scaled / right;
        let rest = &quotient * right != scaled;
        let exponent = exponent - i64::try_from(shift).unwrap_or(i64::MAX);
        Self::rounded(quotient, exponent, precision, rest)
    }

    /// What is left of a division that goes towards zero.
    pub(crate) fn remainder(&self, other: &Self) -> Option<Self> {
        let quotient = Self::exact(self.divide(other)?.to_integer(), 0, WRITTEN);
        self.subtract(&quotient.multiply(other)?)
    }

    /// Decimal digits of `mantissa * 2^exponent`, and how many of them are after the point.
    fn decimal(mantissa: &BigUint, exponent: i64) -> (String, usize) {
        if exponent >= 0 {
            return ((mantissa << exponent).to_string(), 0);
        }
        let places = exponent.unsigned_abs();
        let fives = BigUint::from(5u32).pow(u32::try_from(places).unwrap_or(u32::MAX));
        ((mantissa * fives).to_string(), usize::try_from(places).unwrap_or(usize::MAX))
    }

    /// The fewest digits that are nearer to this than to any other number of its precision.
    fn shortest(&self) -> (String, usize) {
        let magnitude = self.mantissa.magnitude();
        let shift = u64::from(self.precision) + 1 - magnitude.bits().min(u64::from(self.precision));
        let exponent = self.exponent - i64::try_from(shift).unwrap_or(0);
        let middle = magnitude << shift;
        let (mut digits, places) = Self::decimal(&middle, exponent);
        let (mut lower, _) = Self::decimal(&(&middle - 1u32), exponent);
        let (mut upper, _) = Self::decimal(&(&middle + 1u32), exponent);
        let width = upper.len().max(digits.len());
        for text in [&mut digits, &mut lower, &mut upper] {
            text.insert_str(0, &"0".repeat(width - text.len()));
        }
        let kept = keep(digits.as_bytes(), lower.as_bytes(), upper.as_bytes(), !middle.bit(1));
        (kept, places)
    }
}

/// Cuts `digits` where both bounds leave no doubt, and fills up with zeros.
fn keep(digits: &[u8], lower: &[u8], upper: &[u8], inclusive: bool) -> String {
    let last = |text: &[u8]| text.iter().rposition(|digit| *digit != b'0').map_or(0, |at| at + 1);
    let (lower_end, upper_end) = (last(lower), last(upper));
    for (at, digit) in digits.iter().enumerate() {
        let (low, high) = (lower[at], upper[at]);
        let down = low != *digit || (inclusive && at + 1 == lower_end);
        let up = *digit != high && (inclusive || digit + 1 < high || at + 1 < upper_end);
        let go_up = match (down, up) {
            (false, false) => continue,
            (true, true) => rounds_up(digits, at + 1),
            (_, up) => up,
        };
        return cut(digits, at + 1, go_up);
    }
    String::from_utf8_lossy(digits).into_owned()
}

fn rounds_up(digits: &[u8], at: usize) -> bool {
    let rest = digits.get(at..).unwrap_or_default();
    match rest.first() {
        Some(b'5') if rest[1..].iter().all(|digit| *digit == b'0') => {
            at > 0 && !(digits[at - 1] - b'0').is_multiple_of(2)
        }
        Some(digit) => *digit >= b'5',
        None => false,
    }
}

fn cut(digits: &[u8], at: usize, up: bool) -> String {
    let mut kept = digits[..at].to_vec();
    if up {
        let mut place = at;
        loop {
            if place == 0 {
                kept.insert(0, b'1');
                break;
            }
            place -= 1;
            if kept[place] < b'9' {
                kept[place] += 1;
                break;
            }
            kept[place] = b'0';
        }
    }
    kept.extend(std::iter::repeat_n(b'0', digits.len() - at));
    String::from_utf8_lossy(&kept).into_owned()
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_zero() {
            return f.write_str("0");
        }
        let short = self.mantissa.bits() + self.exponent.max(0).unsigned_abs() <= 53;
        let (digits, places) = if self.exponent >= 0 && short {
            Self::decimal(self.mantissa.magnitude(), self.exponent)
        } else {
            self.shortest()
        };
        let padded = format!("{digits:0>width$}", width = places + 1);
        let (whole, part) = padded.split_at(padded.len() - places);
        let whole = whole.trim_start_matches('0');
        let part = part.trim_end_matches('0');
        f.write_str(if self.is_negative() { "-" } else { "" })?;
        f.write_str(if whole.is_empty() { "0" } else { whole })?;
        if part.is_empty() { Ok(()) } else { write!(f, ".{part}") }
    }
}

#[cfg(test)]
mod tests {
    use super::Number;

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap()
    }

    #[test]
    fn a_number_is_printed_with_as_few_digits_as_say_which_it_is() {
        let table = [
            ("0", "0"),
            ("-0", "0"),
            ("1.50", "1.5"),
            ("0.1", "0.1"),
            ("1e3", "1000"),
            ("1.25e-2", "0.0125"),
            ("-12.75", "-12.75"),
            ("9007199254740993", "9007199254740993"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("0.30000000000000004", "0.30000000000000004"),
        ];
        for (written, printed) in table {
            assert_eq!(number(written).to_string(), printed, "{written}");
        }
        assert_eq!(Number::parse_float("0.1").unwrap().to_string(), "0.1");
        assert_eq!(Number::parse_float("1e21").unwrap().to_string(), "1000000000000000000000");
    }

    #[test]
    fn arithmetic_is_that_of_512_bits() {
        let table = [
            (number("0.1").add(&number("0.2")), "0.3"),
            (number("7").divide(&number("2")), "3.5"),
            (number("-7").remainder(&number("2")), "-1"),
            (number("1.5").multiply(&number("1.5")), "2.25"),
            (number("10").subtract(&number("0.5")), "9.5"),
        ];
        for (result, printed) in table {
            assert_eq!(result.unwrap().to_string(), printed);
        }
        let third = number("1").divide(&number("3")).unwrap().to_string();
        assert!(third.starts_with("0.33333333333333333333") && third.len() > 150, "{third}");
        assert_eq!(number("1").divide(&number("0")), None);
    }

    #[test]
    fn numbers_that_would_take_megabytes_are_refused() {
        for text in ["1e99999999", "1e-99999999", "", ".", "1e", "0x10"] {
            assert_eq!(Number::parse(text), None, "{text}");
        }
    }
}
