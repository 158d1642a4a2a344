//! Conversions between types, and the type that several values have in common.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::number::Number;
use crate::value::{Type, Value};

/// Converts `value`, or says what is in the way.
pub(crate) fn convert(value: &Value, wanted: &Type) -> Result<Value, String> {
    if let Value::Null(from) = value {
        if *from != Type::Any && !convertible(from, wanted) {
            return Err(mismatch(from, wanted));
        }
        let ty = if *wanted == Type::Any { from } else { wanted };
        return Ok(Value::Null(ty.clone()));
    }
    match (value, wanted) {
        (_, Type::Any) => Ok(value.clone()),
        (Value::String(_), Type::String)
        | (Value::Bool(_), Type::Bool)
        | (Value::Number(_), Type::Number) => Ok(value.clone()),
        (Value::Bool(yes), Type::String) => Ok(Value::string(if *yes { "true" } else { "false" })),
        (Value::Number(number), Type::String) => Ok(Value::string(number.to_string())),
        (Value::String(text), Type::Bool) => to_bool(text),
        (Value::String(text), Type::Number) => Number::parse(text)
            .map(Value::Number)
            .ok_or_else(|| format!("a number is required, not `{text}`")),
        (_, Type::List(element) | Type::Set(element)) => to_sequence(value, wanted, element),
        (_, Type::Map(element)) => to_map(value, wanted, element),
        (Value::Tuple(elements), Type::Tuple(types)) if elements.len() == types.len() => {
            let converted = elements.iter().zip(&**types).map(|(each, ty)| convert(each, ty));
            Ok(Value::tuple(converted.collect::<Result<_, _>>()?))
        }
        (_, Type::Object(attributes)) => to_object(value, wanted, attributes),
        _ => Err(mismatch(&value.ty(), wanted)),
    }
}

/// `convert` to a string, with nothing there for null.
pub(crate) fn text(value: &Value) -> Result<Rc<str>, String> {
    match convert(value, &Type::String)? {
        Value::String(text) => Ok(text),
        _ => Err("a string is required, not null".to_owned()),
    }
}

fn mismatch(from: &Type, wanted: &Type) -> String {
    format!("{} is required, not {}", article(&wanted.name()), article(&from.name()))
}

fn article(name: &str) -> String {
    let vowel = name.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {name}", if vowel { "an" } else { "a" })
}

fn to_bool(text: &str) -> Result<Value, String> {
    match text {
        "true" | "1" => Ok(Value::Bool(true)),
        "false" | "0" => Ok(Value::Bool(false)),
        _ => Err(format!("a bool is required, not `{text}`")),
    }
}

fn to_sequence(value: &Value, wanted: &Type, element: &Type) -> Result<Value, String> {
    let Some(elements) = value.elements() else { return Err(mismatch(&value.ty(), wanted)) };
    let (ty, elements) = uniform(elements.iter(), element, value.ty().element())?;
    Ok(match wanted {
        Type::Set(_) => Value::set(ty, elements),
        _ => Value::list(ty, elements),
    })
}

fn to_map(value: &Value, wanted: &Type, element: &Type) -> Result<Value, String> {
    let Some(entries) = value.entries() else { return Err(mismatch(&value.ty(), wanted)) };
    let (ty, values) = uniform(entries.values(), element, value.ty().element())?;
    Ok(Value::map(ty, entries.keys().cloned().zip(values).collect()))
}

/// Brings all elements to one type: `element`, or what they have in common if that is open.
fn uniform<'v>(
    elements: impl Iterator<Item = &'v Value>,
    element: &Type,
    known: Option<&Type>,
) -> Result<(Type, Vec<Value>), String> {
    let elements: Vec<&Value> = elements.collect();
    let common = if *element != Type::Any {
        element.clone()
    } else if let Some(known) = known {
        known.clone()
    } else if elements.is_empty() {
        Type::Any
    } else {
        let types: Vec<Type> = elements.iter().map(|each| each.ty()).collect();
        unify(&types).ok_or("all elements must have the same type")?
    };
    let converted: Vec<Value> =
        elements.iter().map(|each| convert(each, &common)).collect::<Result<_, _>>()?;
    let ty = converted.first().map_or_else(|| without_optional(&common), Value::ty);
    Ok((ty, converted))
}

fn without_optional(ty: &Type) -> Type {
    match ty {
        Type::Object(attributes) => {
            let plain = |(name, (ty, _)): (&Rc<str>, &(Type, bool))| {
                (name.clone(), (without_optional(ty), false))
            };
            Type::Object(Rc::new(attributes.iter().map(plain).collect()))
        }
        _ => ty.clone(),
    }
}

fn to_object(
    value: &Value,
    wanted: &Type,
    attributes: &BTreeMap<Rc<str>, (Type, bool)>,
) -> Result<Value, String> {
    let Some(entries) = value.entries() else { return Err(mismatch(&value.ty(), wanted)) };
    if matches!(value, Value::Map(..))
        && let Some(extra) = entries.keys().find(|key| !attributes.contains_key(*key))
    {
        return Err(format!("a map with the key `{extra}` does not fit the object"));
    }
    let mut object = BTreeMap::new();
    for (name, (ty, optional)) in attributes {
        let attribute = match entries.get(name) {
            Some(given) => {
                convert(given, ty).map_err(|why| format!("attribute `{name}`: {why}"))?
            }
            None if *optional => Value::Null(without_optional(ty)),
            None => return Err(format!("attribute `{name}` is required")),
        };
        object.insert(name.clone(), attribute);
    }
    Ok(Value::object(object))
}

/// Whether a value of type `from` can, if it is lucky, become one of type `to`.
pub(crate) fn convertible(from: &Type, to: &Type) -> bool {
    match (from, to) {
        (_, Type::Any) | (Type::Any, _) => true,
        (Type::Bool, Type::Number) | (Type::Number, Type::Bool) => false,
        (from, to) if from.is_primitive() && to.is_primitive() => true,
        (Type::List(a) | Type::Set(a), Type::List(b) | Type::Set(b))
        | (Type::Map(a), Type::Map(b)) => convertible(a, b),
        (Type::Tuple(types), Type::List(b) | Type::Set(b)) => {
            types.iter().all(|a| convertible(a, b))
                && (**b != Type::Any || unify(types).is_some() || types.is_empty())
        }
        (Type::Tuple(a), Type::Tuple(b)) => {
            a.len() == b.len() && a.iter().zip(&**b).all(|(a, b)| convertible(a, b))
        }
        (Type::Object(a), Type::Map(b)) => a.values().all(|(a, _)| convertible(a, b)),
        (Type::Map(a), Type::Object(b)) => b.values().all(|(b, _)| convertible(a, b)),
        (Type::Object(a), Type::Object(b)) => b.iter().all(|(name, (to, optional))| {
            a.get(name).map_or(*optional, |(from, _)| convertible(from, to))
        }),
        _ => false,
    }
}

/// The type that values of all of `types` can be brought to, if there is one.
pub(crate) fn unify(types: &[Type]) -> Option<Type> {
    let first = types.first()?;
    if types.iter().all(|ty| ty == first) {
        return Some(first.clone());
    }
    let count = |kind: fn(&Type) -> bool| types.iter().filter(|ty| kind(ty)).count();
    let open = count(|ty| *ty == Type::Any);
    let lists = count(|ty| matches!(ty, Type::List(_)));
    let sets = count(|ty| matches!(ty, Type::Set(_)));
    let maps = count(|ty| matches!(ty, Type::Map(_)));
    let tuples = count(|ty| matches!(ty, Type::Tuple(_)));
    let objects = count(|ty| matches!(ty, Type::Object(_)));
    let all = |some: usize| some > 0 && some + open == types.len();
    if all(lists) || all(sets) || all(maps) || all(tuples) || all(objects) {
        if open > 0 {
            return Some(Type::Any);
        }
        return match first {
            Type::Tuple(_) => unify_tuples(types),
            Type::Object(_) => unify_objects(types),
            _ => unify_collections(types),
        };
    }
    if (maps > 0 && all(maps + objects)) || (lists > 0 && all(lists + tuples)) {
        let flat = |ty: &Type| flatten_to(ty, maps > 0);
        if let Some(Some(common)) = flatten_all(types, flat).map(|types| unify(&types)) {
            return Some(common);
        }
    }
    if objects > 0 && tuples > 0 {
        return None;
    }
    preferred(types)
}

/// The first of the types, the most general ones first, that all others can be converted to.
fn preferred(types: &[Type]) -> Option<Type> {
    let general = |ty: &Type| match ty {
        Type::Any => 0,
        Type::String => 1,
        Type::List(_) => 2,
        Type::Map(_) => 3,
        Type::Set(_) => 4,
        _ => 5,
    };
    let mut order: Vec<&Type> = types.iter().collect();
    order.sort_by_key(|ty| general(ty));
    order.into_iter().find(|to| types.iter().all(|from| convertible(from, to))).cloned()
}

fn flatten_all(types: &[Type], flat: impl Fn(&Type) -> Option<Type>) -> Option<Vec<Type>> {
    let structural: Vec<Type> =
        types.iter().filter(|ty| matches!(ty, Type::Tuple(_) | Type::Object(_))).cloned().collect();
    let common = flat(&merged(&structural)?)?;
    let swap = |ty: &Type| match ty {
        Type::Tuple(_) | Type::Object(_) => common.clone(),
        _ => ty.clone(),
    };
    Some(types.iter().map(swap).collect())
}

/// One tuple or object that has the elements of all.
fn merged(types: &[Type]) -> Option<Type> {
    let mut elements = Vec::new();
    for ty in types {
        match ty {
            Type::Tuple(inner) => elements.extend(inner.iter().cloned()),
            Type::Object(inner) => elements.extend(inner.values().map(|(ty, _)| ty.clone())),
            _ => return None,
        }
    }
    Some(Type::Tuple(Rc::new(elements)))
}

fn flatten_to(ty: &Type, map: bool) -> Option<Type> {
    let Type::Tuple(elements) = ty else { return None };
    let element = unify(elements)?;
    Some(if map { Type::map(element) } else { Type::list(element) })
}

fn unify_collections(types: &[Type]) -> Option<Type> {
    let elements: Vec<Type> = types.iter().filter_map(Type::element).cloned().collect();
    let element = Rc::new(unify(&elements)?);
    Some(match types.first()? {
        Type::List(_) => Type::List(element),
        Type::Set(_) => Type::Set(element),
        _ => Type::Map(element),
    })
}

fn unify_tuples(types: &[Type]) -> Option<Type> {
    let tuples: Vec<&Rc<Vec<Type>>> = types
        .iter()
        .filter_map(|ty| if let Type::Tuple(elements) = ty { Some(elements) } else { None })
        .collect();
    let length = tuples.first()?.len();
    if tuples.iter().any(|elements| elements.len() != length) {
        return flatten_to(&merged(types)?, false);
    }
    let column = |at: usize| {
        let across: Vec<Type> = tuples.iter().map(|elements| elements[at].clone()).collect();
        unify(&across)
    };
    Some(Type::Tuple(Rc::new((0..length).map(column).collect::<Option<_>>()?)))
}

fn unify_objects(types: &[Type]) -> Option<Type> {
    let objects: Vec<_> = types
        .iter()
        .filter_map(|ty| if let Type::Object(entries) = ty { Some(entries) } else { None })
        .collect();
    let first = objects.first()?;
    if objects.iter().any(|entries| !entries.keys().eq(first.keys())) {
        return flatten_to(&merged(types)?, true);
    }
    let mut common = BTreeMap::new();
    for name in first.keys() {
        let across: Vec<Type> = objects.iter().map(|entries| entries[name].0.clone()).collect();
        common.insert(name.clone(), (unify(&across)?, false));
    }
    Some(Type::Object(Rc::new(common)))
}
