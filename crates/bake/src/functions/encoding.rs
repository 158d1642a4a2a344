//! Encodings and hashes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest as _;

use super::{Answer, at_most, text};
use crate::Surroundings;
use crate::convert::convert;
use crate::number::Number;
use crate::value::{Type, Value};

fn hex(bytes: &[u8]) -> Value {
    let mut result = String::new();
    for byte in bytes {
        write!(result, "{byte:02x}").expect("a string takes everything");
    }
    Value::string(result)
}

pub(super) fn md5(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    Ok(hex(&md5::Md5::digest(text(arguments, 0))))
}

pub(super) fn sha1(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    Ok(hex(&sha1::Sha1::digest(text(arguments, 0))))
}

pub(super) fn sha256(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    Ok(hex(&sha2::Sha256::digest(text(arguments, 0))))
}

pub(super) fn sha512(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    Ok(hex(&sha2::Sha512::digest(text(arguments, 0))))
}

pub(super) fn base64encode(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    Ok(Value::string(STANDARD.encode(text(arguments, 0))))
}

pub(super) fn base64decode(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let bytes = STANDARD.decode(text(arguments, 0)).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map(Value::string).map_err(|_| "the result is not UTF-8".to_owned())
}

pub(super) fn urlencode(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let mut result = String::new();
    for byte in text(arguments, 0).bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                result.push(char::from(byte));
            }
            b' ' => result.push('+'),
            _ => write!(result, "%{byte:02X}").expect("a string takes everything"),
        }
    }
    Ok(Value::string(result))
}

fn uuid(bytes: &[u8], version: u8) -> Value {
    let mut id = [0u8; 16];
    id.copy_from_slice(&bytes[..16]);
    id[6] = (id[6] & 0x0f) | (version << 4);
    id[8] = (id[8] & 0x3f) | 0x80;
    let all = hex(&id);
    let text = all.as_str().unwrap_or_default();
    let parts = [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]];
    Value::string(parts.join("-"))
}

/// A random UUID needs luck, which is the caller's: what it gave is hashed, so the same luck gives
/// the same ID.
pub(super) fn uuidv4(_: &[Value], around: &Surroundings<'_>) -> Answer {
    let drawn = around.draws.get();
    around.draws.set(drawn.wrapping_add(1));
    let seed = [&around.luck.to_be_bytes()[..], &drawn.to_be_bytes()[..]].concat();
    Ok(uuid(&sha2::Sha256::digest(seed), 4))
}

pub(super) fn uuidv5(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let (namespace, name) = (text(arguments, 0), text(arguments, 1));
    let known = |last: u8| -> Vec<u8> {
        let mut id = vec![0x6b, 0xa7, 0xb8, last, 0x9d, 0xad, 0x11, 0xd1];
        id.extend([0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8]);
        id
    };
    let space = match namespace {
        "dns" => known(0x10),
        "url" => known(0x11),
        "oid" => known(0x12),
        "x500" => known(0x14),
        other => parse_uuid(other).ok_or_else(|| format!("`{other}` is not a UUID"))?,
    };
    Ok(uuid(&sha1::Sha1::digest([&space, name.as_bytes()].concat()), 5))
}

fn parse_uuid(text: &str) -> Option<Vec<u8>> {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    if lengths != [8, 4, 4, 4, 12] || !text.is_ascii() {
        return None;
    }
    let digits = text.replace('-', "");
    (0..16).map(|at| u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).ok()).collect()
}

pub(super) fn csvdecode(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let mut rows = crate::csv::rows(text(arguments, 0))?.into_iter();
    let names = rows.next().ok_or("there is no header line")?;
    for (at, name) in names.iter().enumerate() {
        if names[..at].contains(name) {
            return Err(format!("the column `{name}` is there twice"));
        }
    }
    let mut objects = Vec::new();
    for row in rows {
        if row.len() != names.len() {
            return Err(format!("a line has {} fields, not {}", row.len(), names.len()));
        }
        let pair =
            |(name, value): (&String, &String)| (Rc::from(name.as_str()), Value::string(value));
        objects.push(Value::object(names.iter().zip(&row).map(pair).collect()));
    }
    let column = |name: &String| (Rc::from(name.as_str()), (Type::String, false));
    let row = Type::Object(Rc::new(names.iter().map(column).collect()));
    Ok(Value::list(row, objects))
}

pub(super) fn jsonencode(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let mut result = String::new();
    to_json(&arguments[0], &mut result)?;
    Ok(Value::string(result))
}

/// Writes a value as JSON, as Go writes it.
pub(crate) fn to_json(value: &Value, result: &mut String) -> Result<(), String> {
    at_most(result.len())?;
    if let Some(elements) = value.elements() {
        for (at, each) in elements.iter().enumerate() {
            result.push(if at == 0 { '[' } else { ',' });
            to_json(each, result)?;
        }
        result.push_str(if elements.is_empty() { "[]" } else { "]" });
        return Ok(());
    }
    if let Some(entries) = value.entries() {
        for (at, (name, each)) in entries.iter().enumerate() {
            result.push(if at == 0 { '{' } else { ',' });
            quote(name, result);
            result.push(':');
            to_json(each, result)?;
        }
        result.push_str(if entries.is_empty() { "{}" } else { "}" });
        return Ok(());
    }
    match value {
        Value::Bool(yes) => result.push_str(if *yes { "true" } else { "false" }),
        Value::Number(number) => result.push_str(&number.to_string()),
        Value::String(text) => quote(text, result),
        _ => result.push_str("null"),
    }
    Ok(())
}

fn quote(text: &str, result: &mut String) {
    let quoted = serde_json::Value::from(text).to_string();
    for letter in quoted.chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                write!(result, "\\u{:04x}", u32::from(letter)).expect("a string takes everything");
            }
            _ => result.push(letter),
        }
    }
}

pub(super) fn jsondecode(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    from_json(text(arguments, 0))
}

/// Reads JSON, with the types that follow from what is there.
fn from_json(text: &str) -> Answer {
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("this is not JSON: {error}"))?;
    lift(&value)
}

fn lift(value: &serde_json::Value) -> Answer {
    Ok(match value {
        serde_json::Value::Null => Value::Null(Type::Any),
        serde_json::Value::Bool(yes) => Value::Bool(*yes),
        serde_json::Value::Number(number) => {
            let written = number.to_string();
            let number =
                Number::parse(&written).ok_or_else(|| format!("`{written}` is too large"))?;
            Value::Number(number)
        }
        serde_json::Value::String(text) => Value::string(text),
        serde_json::Value::Array(elements) => {
            Value::tuple(elements.iter().map(lift).collect::<Result<_, _>>()?)
        }
        serde_json::Value::Object(entries) => {
            let pairs =
                entries.iter().map(|(name, value)| Ok((Rc::from(name.as_str()), lift(value)?)));
            Value::object(pairs.collect::<Result<BTreeMap<_, _>, String>>()?)
        }
    })
}

/// Reads JSON as a value of a type.
pub(crate) fn from_json_as(text: &str, ty: &Type) -> Answer {
    convert(&from_json(text)?, ty)
}
