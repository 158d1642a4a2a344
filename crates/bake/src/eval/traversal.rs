//! Taking attributes and elements out of values.

use super::{Machine, Scope};
use crate::convert::{convert, text, unify};
use crate::source::{Outcome, Problem, Span};
use crate::syntax::{Expr, Step};
use crate::value::{Type, Value};

/// `base.name`.
pub(super) fn attribute(base: &Value, name: &str, span: Span) -> Outcome<Value> {
    let found = base.entries().map(|entries| entries.get(name));
    match found {
        Some(Some(value)) => Ok(value.clone()),
        Some(None) => {
            Err(Problem::new("unknown-attribute", span, format!("there is no `{name}` in this"))
                .help("check the name, or use `try` to have a default"))
        }
        None => {
            let message = format!("a value of type `{}` has no attribute `{name}`", kind(base));
            Err(Problem::new("unknown-attribute", span, message)
                .help("only maps and objects have attributes"))
        }
    }
}

fn kind(value: &Value) -> String {
    if value.is_null() { "null".to_owned() } else { value.ty().name() }
}

/// `base[key]`.
pub(super) fn index(base: &Value, key: &Value, span: Span) -> Outcome<Value> {
    element(base, key).map_err(|why| {
        Problem::new("invalid-index", span, why).help("check what is indexed, or use `try`")
    })
}

/// What `base` has at `key`.
pub(crate) fn element(base: &Value, key: &Value) -> Result<Value, String> {
    if base.is_null() || key.is_null() {
        return Err("null has no elements, and is no index".to_owned());
    }
    if let Some(entries) = base.entries() {
        let name = text(key)?;
        return entries.get(&name).cloned().ok_or_else(|| format!("there is no element `{name}`"));
    }
    let (Some(elements), false) = (base.elements(), matches!(base, Value::Set(..))) else {
        return Err(format!("a value of type `{}` cannot be indexed", base.ty().name()));
    };
    let Value::Number(at) = convert(key, &Type::Number)? else {
        return Err("null is no index".to_owned());
    };
    let position = at.to_i64().and_then(|at| usize::try_from(at).ok());
    position
        .and_then(|at| elements.get(at).cloned())
        .ok_or_else(|| format!("there is no element {at} among {}", elements.len()))
}

impl Machine<'_> {
    /// `base[*].steps`: a value that is no list stands for a list of itself, null for none.
    pub(super) fn splat(
        &mut self,
        base: &Expr,
        steps: &[Step],
        scope: &Scope<'_>,
    ) -> Outcome<Value> {
        let source = self.value(base, scope)?;
        if let Value::Null(ty) = &source {
            if matches!(ty, Type::List(_) | Type::Set(_) | Type::Tuple(_)) {
                return Err(Problem::new(
                    "null-value",
                    base.span,
                    "there is no list to go through",
                )
                .help("give the list a default"));
            }
            return Ok(Value::tuple(Vec::new()));
        }
        let one = [source.clone()];
        let mut results = Vec::new();
        for item in source.elements().unwrap_or(&one) {
            let mut value = item.clone();
            for step in steps {
                self.spend(1, base.span)?;
                value = match step {
                    Step::Attribute(name, span) => attribute(&value, name, *span)?,
                    Step::Index(key) => index(&value, &self.value(key, scope)?, key.span)?,
                };
            }
            results.push(value);
        }
        if !matches!(source, Value::List(..) | Value::Set(..)) {
            return Ok(Value::tuple(results));
        }
        let types: Vec<Type> = results.iter().map(Value::ty).collect();
        Ok(Value::list(unify(&types).unwrap_or(Type::Any), results))
    }
}
