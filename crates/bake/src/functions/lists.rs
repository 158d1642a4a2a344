//! Lists and tuples.

use super::{Answer, elements, whole};
use crate::Surroundings;
use crate::convert::{convert, unify};
use crate::value::{Type, Value};

/// The same kind of sequence with other elements of the same types.
fn alike(like: &Value, elements: Vec<Value>) -> Value {
    match like {
        Value::List(element, _) | Value::Set(element, _) => Value::list(element.clone(), elements),
        _ => Value::tuple(elements),
    }
}

fn position(arguments: &[Value], at: usize) -> Result<usize, String> {
    usize::try_from(whole(arguments, at)?).map_err(|_| "it must not be negative".to_owned())
}

pub(super) fn chunklist(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let all = elements(arguments, 0)?;
    let size = position(arguments, 1)?;
    let ty = arguments[0].ty();
    let chunk = |chunk: &[Value]| alike(&arguments[0], chunk.to_vec());
    let chunks = if all.is_empty() {
        Vec::new()
    } else if size == 0 {
        vec![chunk(all)]
    } else {
        all.chunks(size).map(chunk).collect()
    };
    Ok(Value::list(ty, chunks))
}

pub(super) fn coalescelist(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let listed = |each: &Value| matches!(each.ty(), Type::List(_) | Type::Tuple(_));
    if !arguments.iter().all(listed) {
        return Err("all arguments must be lists or tuples".to_owned());
    }
    let filled = |each: &&Value| each.elements().is_some_and(|elements| !elements.is_empty());
    arguments.iter().find(filled).cloned().ok_or_else(|| "all lists are empty".to_owned())
}

pub(super) fn compact(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let filled = |each: &&Value| each.as_str().is_some_and(|text| !text.is_empty());
    let kept = elements(arguments, 0)?.iter().filter(filled).cloned().collect();
    Ok(Value::list(Type::String, kept))
}

pub(super) fn concat(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    if arguments.is_empty() {
        return Err("at least one argument is required".to_owned());
    }
    if arguments.iter().any(|each| !matches!(each, Value::List(..) | Value::Tuple(_))) {
        return Err("all arguments must be lists or tuples".to_owned());
    }
    let all = || arguments.iter().filter_map(Value::elements).flatten();
    let types: Vec<Type> = arguments.iter().map(Value::ty).collect();
    let listed = types.iter().all(|ty| matches!(ty, Type::List(_)));
    if let (true, Some(Type::List(element))) = (listed, unify(&types)) {
        let converted = all().map(|each| convert(each, &element)).collect::<Result<_, _>>()?;
        return Ok(Value::list((*element).clone(), converted));
    }
    Ok(Value::tuple(all().cloned().collect()))
}

pub(super) fn distinct(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let mut seen = std::collections::BTreeSet::new();
    let kept = elements(arguments, 0)?.iter().filter(|each| seen.insert(*each)).cloned().collect();
    Ok(alike(&arguments[0], kept))
}

pub(super) fn element(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let all = match &arguments[0] {
        Value::List(..) | Value::Tuple(_) => elements(arguments, 0)?,
        _ => return Err("a list or a tuple is required".to_owned()),
    };
    let length = i64::try_from(all.len()).unwrap_or(i64::MAX);
    if length == 0 {
        return Err("an empty list has no elements".to_owned());
    }
    let at = whole(arguments, 1)?.rem_euclid(length);
    Ok(all[usize::try_from(at).unwrap_or(0)].clone())
}

pub(super) fn flatten(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let mut flat = Vec::new();
    elements(arguments, 0)?;
    flatten_into(&arguments[0], &mut flat);
    Ok(Value::tuple(flat))
}

fn flatten_into(value: &Value, flat: &mut Vec<Value>) {
    match value.elements() {
        Some(elements) => elements.iter().for_each(|each| flatten_into(each, flat)),
        None => flat.push(value.clone()),
    }
}

pub(super) fn reverselist(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let reversed = elements(arguments, 0)?.iter().rev().cloned().collect();
    Ok(alike(&arguments[0], reversed))
}

pub(super) fn slice(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    if matches!(arguments[0], Value::Set(..)) {
        return Err("a list or a tuple is required: a set has no order".to_owned());
    }
    let all = elements(arguments, 0)?;
    let (start, end) = (position(arguments, 1)?, position(arguments, 2)?);
    let part = all.get(start..end).ok_or_else(|| {
        format!("there is no part from {start} to {end} of {} elements", all.len())
    })?;
    Ok(alike(&arguments[0], part.to_vec()))
}

pub(super) fn sort(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let mut sorted = elements(arguments, 0)?.to_vec();
    if sorted.iter().any(Value::is_null) {
        return Err("an element is null".to_owned());
    }
    sorted.sort();
    Ok(Value::list(Type::String, sorted))
}
