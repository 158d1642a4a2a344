//! Type constraints: what may stand after `type =`.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::source::{Outcome, Problem, Span};
use crate::syntax::{Call, Expr, Kind, read_expression};
use crate::value::{Type, Value};

const HELP: &str = "write `string`, `number`, `bool`, `any`, or `list(…)`, `set(…)`, `map(…)`, \
                    `tuple([…])`, `object({…})` of such";

/// Reads a type.
pub(crate) fn constraint(expr: &Expr) -> Outcome<Type> {
    let expr = expr.bare();
    if let Kind::Json(raw, _) = &expr.kind {
        return constraint(&read_expression(raw, expr.span)?);
    }
    match &expr.kind {
        Kind::Variable(name) => named(name, expr.span),
        Kind::Call(call) => applied(call, expr.span),
        _ => Err(refused(expr.span, "this is not a type")),
    }
}

fn refused(span: Span, message: impl Into<String>) -> Box<Problem> {
    Problem::new("invalid-type", span, message).help(HELP)
}

fn named(name: &str, span: Span) -> Outcome<Type> {
    match name {
        "bool" => Ok(Type::Bool),
        "string" => Ok(Type::String),
        "number" => Ok(Type::Number),
        "any" => Ok(Type::Any),
        _ => Err(refused(span, format!("`{name}` is not a type"))),
    }
}

fn applied(call: &Call, span: Span) -> Outcome<Type> {
    let [argument] = &call.arguments[..] else {
        return Err(refused(span, format!("`{}` takes one type", call.name)));
    };
    match &*call.name {
        "list" => Ok(Type::List(Rc::new(constraint(argument)?))),
        "set" => Ok(Type::Set(Rc::new(constraint(argument)?))),
        "map" => Ok(Type::Map(Rc::new(constraint(argument)?))),
        "tuple" => match &argument.bare().kind {
            Kind::Tuple(types) => {
                Ok(Type::Tuple(Rc::new(types.iter().map(constraint).collect::<Outcome<_>>()?)))
            }
            _ => Err(refused(argument.span, "`tuple` takes a list of types")),
        },
        "object" => match &argument.bare().kind {
            Kind::Object(entries) => object(entries),
            _ => Err(refused(argument.span, "`object` takes names with their types")),
        },
        name => Err(refused(span, format!("`{name}` is not a type"))),
    }
}

fn object(entries: &[(Expr, Expr)]) -> Outcome<Type> {
    let mut attributes = BTreeMap::new();
    for (key, ty) in entries {
        let Kind::Literal(Value::String(name)) = &key.kind else {
            return Err(refused(key.span, "the name of an attribute cannot be computed"));
        };
        attributes.insert(name.clone(), (constraint(ty)?, false));
    }
    Ok(Type::Object(Rc::new(attributes)))
}
