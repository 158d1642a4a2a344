//! Arithmetic and logic.

use num_bigint::BigInt;

use super::{Answer, text, whole};
use crate::Surroundings;
use crate::number::Number;
use crate::value::{Type, Value};

const TOO_LARGE: &str = "the result is not a usable number";

fn number(arguments: &[Value], at: usize) -> Number {
    match arguments.get(at) {
        Some(Value::Number(number)) => number.clone(),
        _ => Number::from(0i64),
    }
}

fn both(arguments: &[Value]) -> (Number, Number) {
    (number(arguments, 0), number(arguments, 1))
}

fn flag(arguments: &[Value], at: usize) -> bool {
    matches!(arguments.get(at), Some(Value::Bool(true)))
}

fn usable(number: Option<Number>) -> Answer {
    number.map(Value::Number).ok_or_else(|| TOO_LARGE.to_owned())
}

pub(super) fn absolute(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    Ok(Value::Number(number(arguments, 0).magnitude()))
}

pub(super) fn negate(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    Ok(Value::Number(number(arguments, 0).negated()))
}

pub(super) fn add(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let (left, right) = both(arguments);
    usable(left.add(&right))
}

pub(super) fn subtract(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let (left, right) = both(arguments);
    usable(left.subtract(&right))
}

pub(super) fn multiply(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let (left, right) = both(arguments);
    usable(left.multiply(&right))
}

pub(super) fn divide(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let (left, right) = both(arguments);
    usable(left.divide(&right))
}

pub(super) fn modulo(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let (left, right) = both(arguments);
    usable(left.remainder(&right))
}

pub(super) fn greaterthan(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let (left, right) = both(arguments);
    Ok(Value::Bool(left > right))
}

pub(super) fn greaterthanorequalto(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let (left, right) = both(arguments);
    Ok(Value::Bool(left >= right))
}

pub(super) fn lessthan(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let (left, right) = both(arguments);
    Ok(Value::Bool(left < right))
}

pub(super) fn lessthanorequalto(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let (left, right) = both(arguments);
    Ok(Value::Bool(left <= right))
}

pub(super) fn and(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    Ok(Value::Bool(flag(arguments, 0) && flag(arguments, 1)))
}

pub(super) fn or(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    Ok(Value::Bool(flag(arguments, 0) || flag(arguments, 1)))
}

pub(super) fn not(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    Ok(Value::Bool(!flag(arguments, 0)))
}

pub(super) fn ceil(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    Ok(Value::Number(number(arguments, 0).whole(true)))
}

pub(super) fn floor(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    Ok(Value::Number(number(arguments, 0).whole(false)))
}

pub(super) fn int(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    Ok(Value::Number(Number::from_integer(number(arguments, 0).to_integer())))
}

pub(super) fn signum(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let value = whole(arguments, 0)?;
    Ok(Value::Number(Number::from(value.signum())))
}

pub(super) fn log(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let (value, base) = both(arguments);
    usable(Number::from_f64(value.to_f64().ln() / base.to_f64().ln()))
}

pub(super) fn pow(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let (value, power) = both(arguments);
    usable(Number::from_f64(value.to_f64().powf(power.to_f64())))
}

pub(super) fn max(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    arguments.iter().max().cloned().ok_or_else(|| "at least one number is required".to_owned())
}

pub(super) fn min(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    arguments.iter().min().cloned().ok_or_else(|| "at least one number is required".to_owned())
}

pub(super) fn parseint(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    if arguments.first().and_then(Value::as_str).is_none() {
        return Err("the first argument must be a string".to_owned());
    }
    let written = text(arguments, 0);
    let base = u32::try_from(whole(arguments, 1)?).ok().filter(|base| (2..=62).contains(base));
    let base = base.ok_or("the base must be between 2 and 62")?;
    let refused = || format!("`{written}` is not a whole number of base {base}");
    let unsigned = written.strip_prefix(['-', '+']).unwrap_or(written);
    if unsigned.is_empty() || unsigned.len() > 4096 {
        return Err(refused());
    }
    let mut value = BigInt::from(0u8);
    for letter in unsigned.bytes() {
        let digit = digit(letter, base).ok_or_else(refused)?;
        value = value * base + digit;
    }
    let value = if written.starts_with('-') { -value } else { value };
    Ok(Value::Number(Number::from_integer(value)))
}

/// Up to base 36, letters count alike; above, capital letters follow the small ones.
fn digit(letter: u8, base: u32) -> Option<u32> {
    let value = match letter {
        b'0'..=b'9' => letter - b'0',
        b'a'..=b'z' => letter - b'a' + 10,
        b'A'..=b'Z' if base <= 36 => letter - b'A' + 10,
        b'A'..=b'Z' => letter - b'A' + 36,
        _ => return None,
    };
    Some(u32::from(value)).filter(|value| *value < base)
}

pub(super) fn range(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let zero = Number::from(0i64);
    let (start, end, step) = match arguments.len() {
        1 => (zero.clone(), number(arguments, 0), None),
        2 => (number(arguments, 0), number(arguments, 1), None),
        3 => (number(arguments, 0), number(arguments, 1), Some(number(arguments, 2))),
        _ => return Err("it takes one, two or three numbers".to_owned()),
    };
    let step = step.unwrap_or_else(|| Number::from(if end < start { -1i64 } else { 1 }));
    if step.is_zero() {
        return Err("the step must not be zero".to_owned());
    }
    let down = step < zero;
    if (down && end > start) || (!down && end < start) {
        return Err("the step leads away from the end".to_owned());
    }
    let (mut values, mut at) = (Vec::new(), start);
    while if down { at > end } else { at < end } {
        if values.len() >= 1024 {
            return Err("it gives at most 1024 numbers".to_owned());
        }
        values.push(Value::Number(at.clone()));
        at = at.add(&step).ok_or(TOO_LARGE)?;
    }
    Ok(Value::list(Type::Number, values))
}
