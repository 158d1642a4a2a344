//! Regular expressions. Both Go's and these run in linear time and write patterns alike.

use std::collections::BTreeMap;
use std::rc::Rc;

use regex::{Captures, Regex, RegexBuilder};

use super::{Answer, at_most, text};
use crate::Surroundings;
use crate::value::{Type, Value};

/// How large a pattern may get once compiled.
const MAX_COMPILED: usize = 1 << 20;

fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .size_limit(MAX_COMPILED)
        .build()
        .map_err(|_| format!("`{pattern}` is not a regular expression"))
}

/// What a match comes to: its text, or its groups if the pattern has some.
fn groups(pattern: &Regex, found: &Captures<'_>) -> Value {
    let group = |at: usize| match found.get(at) {
        Some(text) => Value::string(text.as_str()),
        None => Value::Null(Type::String),
    };
    if pattern.captures_len() == 1 {
        return group(0);
    }
    let named = pattern.capture_names().enumerate();
    let names: BTreeMap<Rc<str>, Value> =
        named.filter_map(|(at, name)| Some((Rc::from(name?), group(at)))).collect();
    if names.is_empty() {
        return Value::tuple((1..pattern.captures_len()).map(group).collect());
    }
    Value::object(names)
}

/// The type that [`groups`] has.
fn shape(pattern: &Regex) -> Result<Type, String> {
    let count = pattern.captures_len() - 1;
    let names: BTreeMap<Rc<str>, (Type, bool)> = pattern
        .capture_names()
        .flatten()
        .map(|name| (Rc::from(name), (Type::String, false)))
        .collect();
    if !names.is_empty() && names.len() != count {
        return Err("either all groups have names, or none".to_owned());
    }
    Ok(match (count, names.is_empty()) {
        (0, _) => Type::String,
        (_, true) => Type::Tuple(Rc::new(vec![Type::String; count])),
        (_, false) => Type::Object(Rc::new(names)),
    })
}

pub(super) fn regex(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let pattern = compile(text(arguments, 0))?;
    shape(&pattern)?;
    let found = pattern.captures(text(arguments, 1));
    found
        .map(|found| groups(&pattern, &found))
        .ok_or_else(|| "the pattern does not match".to_owned())
}

pub(super) fn regexall(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let pattern = compile(text(arguments, 0))?;
    let shape = shape(&pattern)?;
    let found = pattern.captures_iter(text(arguments, 1)).map(|found| groups(&pattern, &found));
    Ok(Value::list(shape, found.collect()))
}

pub(super) fn regex_replace(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let (text, pattern, to) =
        (text(arguments, 0), compile(text(arguments, 1))?, text(arguments, 2));
    let mut result = String::new();
    let mut after = 0;
    for found in pattern.captures_iter(text) {
        let whole = found.get_match();
        result.push_str(&text[after..whole.start()]);
        found.expand(to, &mut result);
        after = whole.end();
        at_most(result.len())?;
    }
    result.push_str(&text[after..]);
    Ok(Value::string(result))
}
