//! Variables, global attributes and functions.

use crate::convert::convert;
use crate::csv;
use crate::entries::parse_bool;
use crate::eval::{Scope, UserFunction};
use crate::functions;
use crate::number::Number;
use crate::source::{Outcome, Problem, Span};
use crate::syntax::{Attribute, Block, Expr, Kind};
use crate::typexpr;
use crate::value::{Type, Value};

use super::{Loader, State, cycle};

impl<'a> Loader<'a> {
    pub(super) fn evaluate_variables(&mut self) {
        for name in ["BAKE_CMD_CONTEXT", "BAKE_LOCAL_PLATFORM"] {
            let outcome = self.resolve_variable(name, Span::default());
            self.report(outcome);
        }
        let variables: Vec<_> =
            self.variables.iter().map(|(name, block)| (*name, *block)).collect();
        for (name, block) in &variables {
            let outcome = self.resolve_variable(name, block.span);
            self.report(outcome);
        }
        for (name, block) in variables {
            if self.machine.variables.contains_key(name) {
                self.validate(name, block);
            }
        }
    }

    pub(super) fn evaluate_attributes(&mut self) {
        let attributes: Vec<_> =
            self.attributes.iter().map(|(name, each)| (*name, *each)).collect();
        for (name, attribute) in attributes {
            let outcome = self.resolve_variable(name, attribute.name);
            self.report(outcome);
        }
    }

    pub(super) fn evaluate_functions(&mut self) {
        let functions: Vec<_> =
            self.functions.iter().map(|(name, each)| (*name, each.span)).collect();
        for (name, span) in functions {
            let outcome = self.resolve_function(name, span);
            self.report(outcome);
        }
    }

    /// Evaluates a variable, and says whether there is one of that name.
    pub(super) fn resolve_variable(&mut self, name: &'a str, span: Span) -> Outcome<bool> {
        if self.machine.variables.contains_key(name) {
            return Ok(true);
        }
        match self.variable_states.get(name) {
            Some(State::Running) => return Err(cycle("variable", name, span)),
            Some(State::Failed(problem)) => return Err(problem.clone()),
            None => {}
        }
        let known = self.attributes.contains_key(name) || self.variables.contains_key(name);
        if !known && self.builtin(name).is_none() {
            return Ok(false);
        }
        self.machine.enter(span)?;
        self.variable_states.insert(name, State::Running);
        let outcome = self.variable(name);
        self.machine.leave();
        match outcome {
            Ok(value) => {
                self.variable_states.remove(name);
                self.machine.variables.insert(name, value);
                Ok(true)
            }
            Err(problem) => {
                self.variable_states.insert(name, State::Failed(problem.clone()));
                Err(problem)
            }
        }
    }

    fn variable(&mut self, name: &'a str) -> Outcome<Value> {
        if let Some(value) = self.builtin(name) {
            return Ok(Value::string(value));
        }
        let block = self.variables.get(name).copied();
        if let Some(attribute) = self.attributes.get(name).copied() {
            let default = self.default(&attribute.expr, None)?;
            return match block {
                Some(_) => self.overridden(name, Some(default), None, attribute.name),
                None => Ok(default),
            };
        }
        let block = block.expect("a variable that is known is a block, an attribute or built in");
        self.constant_description(block)?;
        let constraint = match block.body.attributes.get("type") {
            Some(attribute) if !is_null(&attribute.expr) => {
                Some(typexpr::constraint(&attribute.expr)?)
            }
            _ => None,
        };
        let default = match block.body.attributes.get("default") {
            Some(attribute) => Some(self.default(&attribute.expr, constraint.as_ref())?),
            None => None,
        };
        self.overridden(name, default, constraint.as_ref(), block.span)
    }

    fn default(&mut self, expr: &'a Expr, constraint: Option<&Type>) -> Outcome<Value> {
        let scope = Scope::default();
        self.load(expr, &scope, &[], false)?;
        let value = self.machine.value(expr, &scope)?;
        convert(&value, constraint.unwrap_or(&Type::Any)).map_err(|why| {
            Problem::new("wrong-default", expr.span, format!("the default does not fit: {why}"))
                .help("change the default or the `type`")
        })
    }

    /// A description is read before anything is evaluated.
    fn constant_description(&self, block: &Block) -> Outcome<()> {
        let Some(attribute) = block.body.attributes.get("description") else { return Ok(()) };
        let mut constant = true;
        attribute.expr.references(&mut |_| constant = false);
        if constant || matches!(attribute.expr.kind, Kind::Json(..)) {
            return Ok(());
        }
        Err(Problem::new(
            "not-constant",
            attribute.expr.span,
            "a description cannot refer to anything",
        )
        .help("write the description out"))
    }

    /// The value of a variable, which the environment may give.
    fn overridden(
        &self,
        name: &str,
        default: Option<Value>,
        constraint: Option<&Type>,
        span: Span,
    ) -> Outcome<Value> {
        let refused = |why: String| {
            let message = format!("`{name}` in the environment does not fit: {why}");
            Problem::new("wrong-environment", span, message)
                .help(format!("set or unset `{name}` in the environment"))
        };
        let Some((text, is_json)) = self.environment(name, constraint.is_some()) else {
            return Ok(default.unwrap_or_else(|| match constraint {
                Some(ty) => Value::Null(ty.clone()),
                None => Value::string(""),
            }));
        };
        let value = match (constraint, default.as_ref().map(Value::ty)) {
            (Some(ty), _) if is_json => functions::from_json_as(&text, ty),
            (Some(ty), _) => from_text(&text, ty),
            (None, None | Some(Type::Any)) => Ok(Value::string(text)),
            (None, Some(ty)) => from_text(&text, &ty),
        };
        value.map_err(refused)
    }

    /// What the environment says of a variable, and whether it says so in JSON.
    fn environment(&self, name: &str, favour_json: bool) -> Option<(String, bool)> {
        let env = self.machine.around.env;
        let plain = env(name);
        if plain.is_none() || favour_json {
            let json = format!("{name}_JSON");
            let taken = self.variables.contains_key(json.as_str()) || self.builtin(&json).is_some();
            if let Some(text) = env(&json).filter(|_| !taken) {
                return Some((text, true));
            }
        }
        plain.map(|text| (text, false))
    }

    fn validate(&mut self, name: &str, block: &'a Block) {
        for rule in block.body.blocks.iter().filter(|rule| &*rule.kind == "validation") {
            let outcome = self.check(name, rule);
            self.report(outcome);
        }
    }

    fn check(&mut self, name: &str, rule: &'a Block) -> Outcome<()> {
        only(rule, &["condition", "error_message"])?;
        let scope = Scope::default();
        let Some(condition) = rule.body.attributes.get("condition") else {
            return Err(Problem::new("missing-attribute", rule.span, "this has no `condition`")
                .help("add `condition = …`"));
        };
        if self.machine.condition(&condition.expr, &scope)? {
            return Ok(());
        }
        let message = match rule.body.attributes.get("error_message") {
            Some(attribute) => self.machine.value(&attribute.expr, &scope)?,
            None => Value::Null(Type::String),
        };
        let why = message.as_str().unwrap_or("a condition is not met").to_owned();
        Err(Problem::new("validation-failed", condition.expr.span, format!("`{name}`: {why}"))
            .help(format!("change `{name}` or its default")))
    }

    /// Prepares a function, and says whether there is one of that name.
    pub(super) fn resolve_function(&mut self, name: &'a str, span: Span) -> Outcome<bool> {
        if functions::find(name).is_some() || self.machine.functions.contains_key(name) {
            return Ok(true);
        }
        match self.function_states.get(name) {
            Some(State::Running) => return Err(cycle("function", name, span)),
            Some(State::Failed(problem)) => return Err(problem.clone()),
            None => {}
        }
        let Some(block) = self.functions.get(name).copied() else { return Ok(false) };
        self.machine.enter(span)?;
        self.function_states.insert(name, State::Running);
        let outcome = self.function(block);
        self.machine.leave();
        match outcome {
            Ok(function) => {
                self.function_states.remove(name);
                self.machine.functions.insert(name, function);
                Ok(true)
            }
            Err(problem) => {
                self.function_states.insert(name, State::Failed(problem.clone()));
                Err(problem)
            }
        }
    }

    fn function(&mut self, block: &'a Block) -> Outcome<UserFunction<'a>> {
        only(block, &["params", "variadic_params", "result"])?;
        let needed = |name: &str| -> Outcome<&'a Attribute> {
            block.body.attributes.get(name).ok_or_else(|| {
                Problem::new(
                    "missing-attribute",
                    block.span,
                    format!("this function has no `{name}`"),
                )
                .help(format!("add `{name} = …`"))
            })
        };
        let (result, listed) = (&needed("result")?.expr, &needed("params")?.expr);
        let Kind::Tuple(names) = &listed.kind else {
            return Err(parameter(listed.span));
        };
        let params = names.iter().map(|each| each.keyword().ok_or_else(|| parameter(each.span)));
        let params: Vec<&str> = params.collect::<Outcome<_>>()?;
        let variadic = match block.body.attributes.get("variadic_params") {
            Some(attribute) => {
                let name = attribute.expr.keyword();
                Some(name.ok_or_else(|| parameter(attribute.expr.span))?)
            }
            None => None,
        };
        let own: Vec<&str> = params.iter().copied().chain(variadic).collect();
        self.load(result, &Scope::default(), &own, true)?;
        Ok(UserFunction { params, variadic, result })
    }
}

fn parameter(span: Span) -> Box<Problem> {
    Problem::new("invalid-parameter", span, "the parameters of a function are a list of names")
        .help("write `params = [a, b]`")
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr.kind, Kind::Literal(Value::Null(_)))
}

/// Refuses a block that has other attributes than these.
fn only(block: &Block, names: &[&str]) -> Outcome<()> {
    let unknown = block.body.attributes.iter().find(|(name, _)| !names.contains(&&***name));
    if let Some((name, attribute)) = unknown {
        let message = format!("a `{}` has no `{name}`", block.kind);
        return Err(Problem::new("unknown-attribute", attribute.name, message)
            .help(format!("it has: {}", names.join(", "))));
    }
    match block.body.blocks.first() {
        Some(inner) => {
            let message = format!("a `{}` has no block `{}`", block.kind, inner.kind);
            Err(Problem::new("unknown-block", inner.span, message).help("remove the block"))
        }
        None => Ok(()),
    }
}

/// Reads a value of a type from the environment: lists and maps are lines with commas.
fn from_text(text: &str, ty: &Type) -> Result<Value, String> {
    let fields = || csv::fields(text, ',');
    let all = |element: &Type| -> Result<Vec<Value>, String> {
        let values: Vec<Value> =
            fields()?.iter().map(|field| primitive(field, element)).collect::<Result<_, _>>()?;
        if values.is_empty() { Err("it is empty".to_owned()) } else { Ok(values) }
    };
    match ty {
        Type::List(element) => Ok(Value::list((**element).clone(), all(element)?)),
        Type::Set(element) => Ok(Value::set((**element).clone(), all(element)?)),
        Type::Tuple(types) => {
            let fields = fields()?;
            if fields.len() != types.len() {
                return Err(format!("{} values are needed, not {}", types.len(), fields.len()));
            }
            let values = fields.iter().zip(&**types).map(|(field, ty)| primitive(field, ty));
            Ok(Value::tuple(values.collect::<Result<_, _>>()?))
        }
        Type::Map(element) => {
            let mut entries = std::collections::BTreeMap::new();
            for field in fields()? {
                let [key, value] = &csv::fields(&field, ':')?[..] else {
                    return Err(format!("`{field}` is not of the form `key:value`"));
                };
                entries.insert(key.as_str().into(), primitive(value, element)?);
            }
            if entries.is_empty() {
                return Err("it is empty".to_owned());
            }
            Ok(Value::map((**element).clone(), entries))
        }
        _ => primitive(text, ty),
    }
}

fn primitive(text: &str, ty: &Type) -> Result<Value, String> {
    match ty {
        Type::String => Ok(Value::string(text)),
        Type::Bool => {
            parse_bool(text).map(Value::Bool).ok_or_else(|| format!("`{text}` is not a bool"))
        }
        Type::Number => Number::parse_float(text)
            .map(Value::Number)
            .ok_or_else(|| format!("`{text}` is not a number")),
        other => Err(format!("a value of type `{}` must be given in JSON", other.name())),
    }
}
