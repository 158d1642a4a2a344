//! Maps, objects, and what holds for every collection.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Answer, elements, text};
use crate::Surroundings;
use crate::convert::{convert, unify};
use crate::eval::element;
use crate::value::{Type, Value};

type Entries = BTreeMap<Rc<str>, Value>;

fn entries(value: &Value) -> Result<&Entries, String> {
    value
        .entries()
        .ok_or_else(|| format!("a map or an object is required, not a {}", value.ty().name()))
}

pub(super) fn equal(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    Ok(Value::Bool(arguments[0].equals(&arguments[1])))
}

pub(super) fn notequal(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    Ok(Value::Bool(!arguments[0].equals(&arguments[1])))
}

pub(super) fn contains(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    Ok(Value::Bool(elements(arguments, 0)?.iter().any(|each| each.equals(&arguments[1]))))
}

pub(super) fn index(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    if matches!(arguments[0], Value::Object(_)) {
        return Err("a list, a tuple or a map is required".to_owned());
    }
    element(&arguments[0], &arguments[1])
}

pub(super) fn hasindex(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let (collection, key) = (&arguments[0], &arguments[1]);
    let fits = match collection {
        Value::Map(..) => key.as_str().is_some(),
        Value::List(..) | Value::Tuple(_) => matches!(key, Value::Number(_)),
        _ => return Err("a list, a tuple or a map is required".to_owned()),
    };
    Ok(Value::Bool(fits && element(collection, key).is_ok()))
}

pub(super) fn indexof(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    if matches!(arguments[0], Value::Set(..)) {
        return Err("a list or a tuple is required".to_owned());
    }
    let found = elements(arguments, 0)?.iter().position(|each| each.equals(&arguments[1]));
    found.map(Value::count).ok_or_else(|| "there is no such element".to_owned())
}

pub(super) fn length(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    match &arguments[0] {
        Value::Map(_, entries) => Ok(Value::count(entries.len())),
        _ => Ok(Value::count(elements(arguments, 0)?.len())),
    }
}

pub(super) fn keys(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let names = entries(&arguments[0])?.keys().map(|name| Value::String(name.clone())).collect();
    Ok(match &arguments[0] {
        Value::Map(..) => Value::list(Type::String, names),
        _ => Value::tuple(names),
    })
}

pub(super) fn values(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let all = entries(&arguments[0])?.values().cloned().collect();
    Ok(match &arguments[0] {
        Value::Map(element, _) => Value::list(element.clone(), all),
        _ => Value::tuple(all),
    })
}

pub(super) fn lookup(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let (name, default) = (text(arguments, 1), &arguments[2]);
    let default = match &arguments[0] {
        Value::Map(element, _) => convert(default, element)?,
        _ => default.clone(),
    };
    Ok(entries(&arguments[0])?.get(name).cloned().unwrap_or(default))
}

pub(super) fn merge(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let mut merged = Entries::new();
    for each in arguments.iter().filter(|each| !each.is_null()) {
        let more = entries(each)?.iter().map(|(name, value)| (name.clone(), value.clone()));
        merged.extend(more);
    }
    let Some(Value::Map(element, _)) = arguments.first() else {
        return Ok(Value::object(merged));
    };
    let alike = arguments.iter().all(|each| matches!(each, Value::Map(ty, _) if ty == element));
    Ok(if alike { Value::map(element.clone(), merged) } else { Value::object(merged) })
}

pub(super) fn coalesce(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let types: Vec<Type> = arguments.iter().map(Value::ty).filter(|ty| *ty != Type::Any).collect();
    let common = if types.is_empty() { Some(Type::Any) } else { unify(&types) };
    let common = common.ok_or("all arguments must have the same type")?;
    let found = arguments.iter().find(|each| !each.is_null());
    convert(found.ok_or("all arguments are null")?, &common)
}

pub(super) fn zipmap(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let (names, values) = (elements(arguments, 0)?, elements(arguments, 1)?);
    if names.len() != values.len() {
        return Err(format!("{} keys do not go with {} values", names.len(), values.len()));
    }
    let mut zipped = Entries::new();
    for (name, value) in names.iter().zip(values) {
        zipped.insert(name.as_str().ok_or("a key is null")?.into(), value.clone());
    }
    match &arguments[1] {
        Value::List(element, _) => Ok(Value::map(element.clone(), zipped)),
        Value::Tuple(_) => Ok(Value::object(zipped)),
        _ => Err("values must be a list or a tuple".to_owned()),
    }
}
