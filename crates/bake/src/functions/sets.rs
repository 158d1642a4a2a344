//! Sets.

use super::{Answer, elements};
use crate::Surroundings;
use crate::convert::{convert, unify};
use crate::value::{Type, Value};

/// Products with more elements than this are refused.
const MAX_PRODUCT: usize = 1 << 20;

pub(super) fn sethaselement(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    Ok(Value::Bool(elements(arguments, 0)?.iter().any(|each| each.equals(&arguments[1]))))
}

/// All sets with elements of one type.
fn sets(arguments: &[Value]) -> Result<(Type, Vec<Vec<Value>>), String> {
    let filled = arguments.iter().filter(|each| each.elements().is_some_and(|all| !all.is_empty()));
    let types: Vec<Type> = filled.filter_map(|each| each.ty().element().cloned()).collect();
    let element = if types.is_empty() { Some(Type::Any) } else { unify(&types) };
    let element = element.ok_or("all sets must have elements of the same type")?;
    let each = |set: &Value| {
        let all = set.elements().unwrap_or_default().iter();
        all.map(|value| convert(value, &element)).collect::<Result<Vec<_>, _>>()
    };
    let sets = arguments.iter().map(each).collect::<Result<_, _>>()?;
    Ok((element, sets))
}

fn combine(arguments: &[Value], two: fn(&[Value], &[Value]) -> Vec<Value>) -> Answer {
    let (element, sets) = sets(arguments)?;
    let mut sets = sets.into_iter();
    let first = sets.next().unwrap_or_default();
    let combined = sets.fold(first, |left, right| two(&left, &right));
    Ok(Value::set(element, combined))
}

fn only(left: &[Value], right: &[Value], there: bool) -> Vec<Value> {
    left.iter().filter(|each| right.contains(each) == there).cloned().collect()
}

pub(super) fn setintersection(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    combine(arguments, |left, right| only(left, right, true))
}

pub(super) fn setsubtract(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    combine(arguments, |left, right| only(left, right, false))
}

pub(super) fn setsymmetricdifference(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    combine(arguments, |left, right| [only(left, right, false), only(right, left, false)].concat())
}

pub(super) fn setunion(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    combine(arguments, |left, right| [left, right].concat())
}

pub(super) fn setproduct(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    if arguments.len() < 2 {
        return Err("at least two arguments are required".to_owned());
    }
    let mut product: Vec<Vec<Value>> = vec![Vec::new()];
    let mut types = Vec::new();
    for at in 0..arguments.len() {
        let (element, values) = uniform(&arguments[at], elements(arguments, at)?)?;
        types.push(element);
        if product.len().saturating_mul(values.len()) > MAX_PRODUCT {
            return Err("the product has too many elements".to_owned());
        }
        let longer = |row: &Vec<Value>| {
            let row = row.clone();
            values
                .iter()
                .map(move |each| [row.as_slice(), std::slice::from_ref(each)].concat())
                .collect::<Vec<_>>()
        };
        product = product.iter().flat_map(longer).collect();
    }
    let rows = product.into_iter().map(Value::tuple).collect();
    let row = Type::Tuple(std::rc::Rc::new(types));
    let as_sets = arguments.iter().all(|each| matches!(each, Value::Set(..)));
    Ok(if as_sets { Value::set(row, rows) } else { Value::list(row, rows) })
}

fn uniform(like: &Value, values: &[Value]) -> Result<(Type, Vec<Value>), String> {
    if let Some(element) = like.ty().element() {
        return Ok((element.clone(), values.to_vec()));
    }
    let types: Vec<Type> = values.iter().map(Value::ty).collect();
    let element = if types.is_empty() { Some(Type::Any) } else { unify(&types) };
    let element = element.ok_or("all elements must have the same type")?;
    let values = values.iter().map(|each| convert(each, &element)).collect::<Result<_, _>>()?;
    Ok((element, values))
}
