//! Evaluates expressions.
//!
//! Everything is bounded: each step takes from a budget, and so does the size of every value
//! that is made, as it would be if written out. Two halves of a conditional are both looked
//! at, because the result has the type that both can have.

mod operators;
mod traversal;

use std::collections::BTreeMap;
use std::rc::Rc;

pub(crate) use traversal::element;

use crate::Surroundings;
use crate::convert::{convert, text, unify};
use crate::functions;
use crate::source::{Outcome, Problem, Span};
use crate::syntax::{Call, Expr, For, Kind, Loop, Part};
use crate::value::{Type, Value};

/// How much work all expressions of a bake file may be.
const BUDGET: u64 = 2_000_000;
/// How deep evaluations may be nested: expressions, and variables and functions used by others.
pub(crate) const MAX_DEPTH: u32 = 200;

/// A function that a bake file defines.
#[derive(Debug)]
pub(crate) struct UserFunction<'a> {
    pub(crate) params: Vec<&'a str>,
    pub(crate) variadic: Option<&'a str>,
    pub(crate) result: &'a Expr,
}

/// Names that hold within an expression only.
#[derive(Debug, Default)]
pub(crate) struct Scope<'p> {
    pub(crate) names: Vec<(Rc<str>, Value)>,
    pub(crate) outer: Option<&'p Self>,
}

impl Scope<'_> {
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        let here = self.names.iter().rev().find(|(known, _)| &**known == name);
        match here {
            Some((_, value)) => Some(value),
            None => self.outer.and_then(|outer| outer.get(name)),
        }
    }
}

/// What is known while expressions are evaluated.
pub(crate) struct Machine<'a> {
    pub(crate) around: &'a Surroundings<'a>,
    pub(crate) variables: BTreeMap<&'a str, Value>,
    pub(crate) functions: BTreeMap<&'a str, UserFunction<'a>>,
    /// Blocks by kind and name, as far as somebody refers to them.
    pub(crate) blocks: BTreeMap<&'static str, BTreeMap<Rc<str>, Value>>,
    pub(crate) depth: u32,
    budget: u64,
}

impl<'a> Machine<'a> {
    pub(crate) fn new(around: &'a Surroundings<'a>) -> Self {
        Self {
            around,
            variables: BTreeMap::new(),
            functions: BTreeMap::new(),
            blocks: BTreeMap::new(),
            depth: 0,
            budget: BUDGET,
        }
    }

    /// Takes from the budget.
    pub(crate) fn spend(&mut self, amount: usize, span: Span) -> Outcome<()> {
        match self.budget.checked_sub(amount as u64) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => {
                self.budget = 0;
                Err(Problem::new("too-much-work", span, "evaluating this file takes too much work")
                    .help("make lists and texts smaller, or use fewer `for` expressions"))
            }
        }
    }

    /// Takes the size of a value from the budget.
    fn spend_on(&mut self, value: &Value, span: Span) -> Outcome<()> {
        let mut left = usize::try_from(self.budget).unwrap_or(usize::MAX);
        let before = left;
        let fits = weigh(value, &mut left);
        self.spend(if fits { before - left } else { usize::MAX }, span)
    }

    /// Goes one level down, which [`Machine::leave`] undoes.
    pub(crate) fn enter(&mut self, span: Span) -> Outcome<()> {
        self.spend(1, span)?;
        if self.depth >= MAX_DEPTH {
            return Err(Problem::new("too-deep", span, "this is nested too deep to be evaluated")
                .help(format!(
                    "at most {MAX_DEPTH} levels of expressions and variables are read"
                )));
        }
        self.depth += 1;
        Ok(())
    }

    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }

    pub(crate) fn value(&mut self, expr: &Expr, scope: &Scope<'_>) -> Outcome<Value> {
        self.enter(expr.span)?;
        let value = self.kind(expr, scope);
        self.leave();
        value
    }

    fn kind(&mut self, expr: &Expr, scope: &Scope<'_>) -> Outcome<Value> {
        match &expr.kind {
            Kind::Literal(value) => Ok(value.clone()),
            Kind::Template(parts) => self.template(parts, expr.span, scope),
            Kind::Wrap(inner) | Kind::Parens(inner) => self.value(inner, scope),
            Kind::Json(_, template) => match &**template {
                Ok(template) => self.value(template, scope),
                Err(problem) => Err(problem.clone()),
            },
            Kind::Variable(name) => self.variable(name, expr.span, scope),
            Kind::Attribute(base, name) => self.attribute(base, name, expr.span, scope),
            Kind::Index(base, index) => {
                let (base, key) = (self.value(base, scope)?, self.value(index, scope)?);
                traversal::index(&base, &key, expr.span)
            }
            Kind::Splat(base, steps) => self.splat(base, steps, scope),
            Kind::Tuple(elements) => {
                let values = elements.iter().map(|each| self.value(each, scope));
                let tuple = Value::tuple(values.collect::<Outcome<_>>()?);
                self.spend_on(&tuple, expr.span)?;
                Ok(tuple)
            }
            Kind::Object(entries) => self.object(entries, expr.span, scope),
            Kind::Call(call) => self.call(call, expr.span, scope),
            Kind::Unary(operator, inner) => {
                let value = self.value(inner, scope)?;
                operators::unary(*operator, &value, expr.span)
            }
            Kind::Binary(operator, sides) => self.binary(*operator, sides, expr.span, scope),
            Kind::Conditional(parts) => self.conditional(parts, scope),
            Kind::For(each) => self.for_expr(each, expr.span, scope),
        }
    }

    fn variable(&self, name: &str, span: Span, scope: &Scope<'_>) -> Outcome<Value> {
        if let Some(value) = scope.get(name).or_else(|| self.variables.get(name)) {
            return Ok(value.clone());
        }
        Err(Problem::new("unknown-variable", span, format!("there is no variable `{name}`"))
            .help(format!("define it: `variable \"{name}\" {{ default = \"\" }}`")))
    }

    fn attribute(
        &mut self,
        base: &Expr,
        name: &str,
        span: Span,
        scope: &Scope<'_>,
    ) -> Outcome<Value> {
        if let Kind::Variable(kind) = &base.kind
            && scope.get(kind).is_none()
            && let Some(blocks) = self.blocks.get(&**kind)
        {
            return blocks.get(name).cloned().ok_or_else(|| {
                Problem::new("unknown-reference", span, format!("there is no {kind} `{name}`"))
                    .help(format!("define it, or refer to one that is there: `{kind}.NAME`"))
            });
        }
        let base = self.value(base, scope)?;
        traversal::attribute(&base, name, span)
    }

    fn object(
        &mut self,
        entries: &[(Expr, Expr)],
        span: Span,
        scope: &Scope<'_>,
    ) -> Outcome<Value> {
        let mut object = BTreeMap::new();
        for (key, value) in entries {
            let name = self.key(key, scope)?;
            let value = self.value(value, scope)?;
            if object.insert(name.clone(), value).is_some() && matches!(key.kind, Kind::Json(..)) {
                return Err(duplicate(&name, key.span));
            }
        }
        let object = Value::object(object);
        self.spend_on(&object, span)?;
        Ok(object)
    }

    fn key(&mut self, key: &Expr, scope: &Scope<'_>) -> Outcome<Rc<str>> {
        let value = self.value(key, scope)?;
        text(&value).map_err(|why| {
            Problem::new("invalid-key", key.span, format!("this cannot be a key: {why}"))
                .help("use a string as the key")
        })
    }

    fn template(&mut self, parts: &[Part], span: Span, scope: &Scope<'_>) -> Outcome<Value> {
        let mut result = String::new();
        self.parts(parts, scope, &mut result)?;
        self.spend(result.len() / 8, span)?;
        Ok(Value::string(result))
    }

    fn parts(&mut self, parts: &[Part], scope: &Scope<'_>, result: &mut String) -> Outcome<()> {
        for part in parts {
            match part {
                Part::Text(text) => result.push_str(text),
                Part::Value(expr) => {
                    let value = self.value(expr, scope)?;
                    let piece = text(&value).map_err(|why| {
                        Problem::new("invalid-template-value", expr.span, why)
                            .help("only strings, numbers and bools can be part of a string")
                    })?;
                    self.spend(piece.len() / 8, expr.span)?;
                    result.push_str(&piece);
                }
                Part::If(condition, then, otherwise) => {
                    let chosen = if self.condition(condition, scope)? { then } else { otherwise };
                    self.parts(chosen, scope, result)?;
                }
                Part::For(intro, parts) => {
                    self.each(intro, scope, |machine, scope| machine.parts(parts, scope, result))?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn condition(&mut self, expr: &Expr, scope: &Scope<'_>) -> Outcome<bool> {
        let value = self.value(expr, scope)?;
        match convert(&value, &Type::Bool) {
            Ok(Value::Bool(yes)) => Ok(yes),
            refused => {
                let why = refused.err().unwrap_or_else(|| "it is null".to_owned());
                Err(Problem::new("invalid-condition", expr.span, format!("not a condition: {why}"))
                    .help("a condition is either true or false"))
            }
        }
    }

    fn conditional(&mut self, parts: &(Expr, Expr, Expr), scope: &Scope<'_>) -> Outcome<Value> {
        let (condition, then, otherwise) = parts;
        let (left, right) = (self.value(then, scope), self.value(otherwise, scope));
        let common = match (&left, &right) {
            (Ok(left), Ok(right)) => common_type(left, right).ok_or_else(|| {
                let span = then.span.to(otherwise.span);
                let (left, right) = (left.ty().name(), right.ty().name());
                let message = format!("one half is of type `{left}`, the other of type `{right}`");
                Problem::new("inconsistent-types", span, message)
                    .help("make both halves of the same type, for example with `convert`")
            })?,
            _ => Type::Any,
        };
        let chosen =
            if self.condition(condition, scope)? { (left, then) } else { (right, otherwise) };
        let value = chosen.0?;
        convert(&value, &common).map_err(|why| {
            Problem::new("inconsistent-types", chosen.1.span, why)
                .help("make both halves of the same type, for example with `convert`")
        })
    }

    /// Does something for each element of what a loop goes through.
    fn each(
        &mut self,
        intro: &Loop,
        scope: &Scope<'_>,
        mut visit: impl FnMut(&mut Self, &Scope<'_>) -> Outcome<()>,
    ) -> Outcome<()> {
        let source = self.value(&intro.source, scope)?;
        let Some(pairs) = source.pairs() else {
            let message =
                format!("`for` cannot go through a value of type `{}`", source.ty().name());
            return Err(Problem::new("not-iterable", intro.source.span, message)
                .help("use a list, a set, a map or an object"));
        };
        for (key, value) in pairs {
            self.spend(1, intro.source.span)?;
            let named = intro.key.iter().map(|name| (name.clone(), key.clone()));
            let names = named.chain([(intro.value.clone(), value)]).collect();
            visit(self, &Scope { names, outer: Some(scope) })?;
        }
        Ok(())
    }

    fn for_expr(&mut self, each: &For, span: Span, scope: &Scope<'_>) -> Outcome<Value> {
        let mut elements = Vec::new();
        let mut entries: BTreeMap<Rc<str>, Vec<Value>> = BTreeMap::new();
        self.each(&each.intro, scope, |machine, scope| {
            if let Some(condition) = &each.condition
                && !machine.condition(condition, scope)?
            {
                return Ok(());
            }
            let Some(key) = &each.key else {
                elements.push(machine.value(&each.value, scope)?);
                return Ok(());
            };
            let name = machine.key(key, scope)?;
            let value = machine.value(&each.value, scope)?;
            let group = entries.entry(name.clone()).or_default();
            if !group.is_empty() && !each.grouping {
                return Err(duplicate(&name, key.span));
            }
            group.push(value);
            Ok(())
        })?;
        let value = match (&each.key, each.grouping) {
            (None, _) => Value::tuple(elements),
            (Some(_), true) => Value::object(
                entries.into_iter().map(|(key, group)| (key, Value::tuple(group))).collect(),
            ),
            (Some(_), false) => {
                let first = |(key, group): (_, Vec<Value>)| Some((key, group.into_iter().next()?));
                Value::object(entries.into_iter().filter_map(first).collect())
            }
        };
        self.spend_on(&value, span)?;
        Ok(value)
    }

    fn call(&mut self, call: &Call, span: Span, scope: &Scope<'_>) -> Outcome<Value> {
        if let Some(special) = self.special(call, span, scope) {
            return special;
        }
        let arguments = self.arguments(call, scope)?;
        if let Some(builtin) = functions::find(&call.name) {
            let value = builtin.call(&arguments, self.around).map_err(|why| {
                Problem::new("function-failed", span, format!("`{}`: {why}", call.name))
                    .help(format!("call it as `{}`", builtin.usage()))
            })?;
            self.spend_on(&value, span)?;
            return Ok(value);
        }
        let Some(function) = self.functions.get(&*call.name) else {
            return Err(unknown_function(&call.name, span));
        };
        let names = bind(function, &call.name, arguments, span)?;
        let result = function.result;
        self.value(result, &Scope { names, outer: None })
    }

    fn arguments(&mut self, call: &Call, scope: &Scope<'_>) -> Outcome<Vec<Value>> {
        let mut values: Vec<Value> =
            call.arguments.iter().map(|each| self.value(each, scope)).collect::<Outcome<_>>()?;
        if call.expand
            && let (Some(last), Some(expr)) = (values.pop(), call.arguments.last())
        {
            let Some(more) = last.elements() else {
                return Err(Problem::new("not-a-list", expr.span, "`...` needs a list before it")
                    .help("leave `...` out, or give a list or a tuple"));
            };
            values.extend(more.iter().cloned());
        }
        Ok(values)
    }

    /// Functions that do not just take the values of their arguments.
    fn special(&mut self, call: &Call, span: Span, scope: &Scope<'_>) -> Option<Outcome<Value>> {
        match (&*call.name, &call.arguments[..]) {
            ("can", [one]) => Some(match self.value(one, scope) {
                Err(problem) if problem.code == "too-much-work" => Err(problem),
                result => Ok(Value::Bool(result.is_ok())),
            }),
            ("try", many) if !many.is_empty() => {
                let found = many.iter().find_map(|each| match self.value(each, scope) {
                    Err(problem) if problem.code != "too-much-work" => None,
                    result => Some(result),
                });
                Some(found.unwrap_or_else(|| {
                    Err(Problem::new("function-failed", span, "`try`: no expression succeeded")
                        .help("add a last argument that always has a value"))
                }))
            }
            ("convert", [value, ty]) => Some(self.value(value, scope).and_then(|value| {
                let ty = crate::typexpr::constraint(ty)?;
                convert(&value, &ty).map_err(|why| {
                    Problem::new("function-failed", span, format!("`convert`: {why}"))
                        .help("give a value that can be of this type")
                })
            })),
            _ => None,
        }
    }
}

pub(crate) fn unknown_function(name: &str, span: Span) -> Box<Problem> {
    Problem::new("unknown-function", span, format!("there is no function `{name}`"))
        .help(format!("define it: `function \"{name}\" {{ … }}`, or check its spelling"))
}

fn duplicate(name: &str, span: Span) -> Box<Problem> {
    Problem::new("duplicate-key", span, format!("the key `{name}` is there twice"))
        .help("make keys different, or collect values of the same key with `...`")
}

/// The type that both halves of a conditional are brought to.
fn common_type(left: &Value, right: &Value) -> Option<Type> {
    match (left, right) {
        (Value::Null(Type::Any), other) | (other, Value::Null(Type::Any)) => Some(other.ty()),
        _ => unify(&[left.ty(), right.ty()]),
    }
}

/// Gives the parameters of a function their values.
fn bind(
    function: &UserFunction<'_>,
    name: &str,
    mut arguments: Vec<Value>,
    span: Span,
) -> Outcome<Vec<(Rc<str>, Value)>> {
    let wanted = function.params.len();
    let (given, more) = (arguments.len(), function.variadic.is_some());
    if given < wanted || (given > wanted && !more) {
        let at_least = if more { "at least " } else { "" };
        let message = format!("`{name}` takes {at_least}{wanted} arguments, not {given}");
        return Err(Problem::new("wrong-argument-count", span, message)
            .help(format!("its parameters are: {}", function.params.join(", "))));
    }
    let rest = arguments.split_off(wanted);
    let named = function.params.iter().map(|name| Rc::from(*name)).zip(arguments);
    let variadic = function.variadic.map(|name| (Rc::from(name), Value::tuple(rest)));
    Ok(named.chain(variadic).collect())
}

/// Takes the size of a value, as if it were written out, from `left`, and says whether it fits.
fn weigh(value: &Value, left: &mut usize) -> bool {
    let own = 1 + value.as_str().map_or(0, str::len) / 8;
    let Some(rest) = left.checked_sub(own) else { return false };
    *left = rest;
    if let Some(elements) = value.elements() {
        return elements.iter().all(|each| weigh(each, left));
    }
    value.entries().is_none_or(|entries| entries.values().all(|each| weigh(each, left)))
}
