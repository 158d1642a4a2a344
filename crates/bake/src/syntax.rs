//! What a bake file says, whichever of its two syntaxes it is written in.
//!
//! [`read`] turns a file's text into a [`Body`]. Nothing is evaluated here. Nesting is bounded by
//! the readers, so everything that walks an [`Expr`] may recurse.

mod hcl;
mod json;
mod template;

use std::collections::BTreeMap;
use std::rc::Rc;

pub(crate) use hcl_edit::expr::{BinaryOperator, UnaryOperator};

use crate::source::{Outcome, Problem, Span, offset};
use crate::value::Value;

/// An expression.
#[derive(Debug)]
pub(crate) struct Expr {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
}

/// What kind of expression.
#[derive(Debug)]
pub(crate) enum Kind {
    Literal(Value),
    Template(Vec<Part>),
    /// `"${x}"` and nothing else: the value itself.
    Wrap(Box<Expr>),
    Variable(Rc<str>),
    Attribute(Box<Expr>, Rc<str>),
    Index(Box<Expr>, Box<Expr>),
    /// What is before the `*`, and what is done with each element.
    Splat(Box<Expr>, Vec<Step>),
    Tuple(Vec<Expr>),
    Object(Vec<(Expr, Expr)>),
    Call(Call),
    Unary(UnaryOperator, Box<Expr>),
    Binary(BinaryOperator, Box<(Expr, Expr)>),
    /// Condition, then, otherwise.
    Conditional(Box<(Expr, Expr, Expr)>),
    For(Box<For>),
    Parens(Box<Expr>),
    /// A string of a JSON file: as it is written, and as the template that it may be.
    Json(Rc<str>, Box<Outcome<Expr>>),
}

/// A call of a function.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) name: Rc<str>,
    pub(crate) arguments: Vec<Expr>,
    /// Whether the last argument is a list of arguments.
    pub(crate) expand: bool,
}

/// `for key, value in source`.
#[derive(Debug)]
pub(crate) struct Loop {
    pub(crate) key: Option<Rc<str>>,
    pub(crate) value: Rc<str>,
    pub(crate) source: Expr,
}

/// A `for` expression.
#[derive(Debug)]
pub(crate) struct For {
    pub(crate) intro: Loop,
    /// There is one if the result is an object.
    pub(crate) key: Option<Expr>,
    pub(crate) value: Expr,
    pub(crate) condition: Option<Expr>,
    pub(crate) grouping: bool,
}

/// A piece of a template.
#[derive(Debug)]
pub(crate) enum Part {
    Text(Rc<str>),
    Value(Expr),
    If(Expr, Vec<Self>, Vec<Self>),
    For(Box<Loop>, Vec<Self>),
}

/// One step after a splat.
#[derive(Debug)]
pub(crate) enum Step {
    Attribute(Rc<str>, Span),
    Index(Expr),
}

/// A name with the value that it is given.
#[derive(Debug)]
pub(crate) struct Attribute {
    pub(crate) expr: Expr,
    pub(crate) name: Span,
}

/// A block.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) kind: Rc<str>,
    pub(crate) labels: Vec<(Rc<str>, Span)>,
    pub(crate) body: Body,
    pub(crate) span: Span,
}

/// What stands in a file or between the braces of a block.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub(crate) attributes: BTreeMap<Rc<str>, Attribute>,
    pub(crate) blocks: Vec<Block>,
}

/// A file larger than this is not a bake file that somebody wrote.
const MAX_BYTES: usize = 16 << 20;

/// Reads the text of file number `file`, whose name says which syntax it has.
pub(crate) fn read(path: &str, text: &[u8], file: u32) -> Outcome<Body> {
    let start = Span { file, ..Span::default() };
    if text.len() > MAX_BYTES {
        return Err(Problem::new(
            "file-too-large",
            start,
            format!("`{path}` is larger than 16 MiB"),
        )
        .help("split the file"));
    }
    let text = std::str::from_utf8(text).map_err(|error| {
        let at = offset(error.valid_up_to());
        Problem::new(
            "not-utf-8",
            Span { file, start: at, end: at },
            format!("`{path}` is not UTF-8"),
        )
        .help("save the file as UTF-8")
    })?;
    if text.starts_with('\u{feff}') {
        return Err(Problem::new(
            "byte-order-mark",
            start,
            format!("`{path}` has a byte order mark"),
        )
        .help("save the file as UTF-8 without a byte order mark"));
    }
    if path.ends_with(".json") {
        return json::read(text, file);
    }
    let body = hcl::read(text, file);
    if path.ends_with(".hcl") || body.is_ok() {
        return body;
    }
    json::read(text, file).or(body)
}

/// Reads an expression that is written in a string of a JSON file.
pub(crate) fn read_expression(text: &str, span: Span) -> Outcome<Expr> {
    hcl::read_expression(text, span)
}

/// What an expression needs to be known before it can be evaluated.
#[derive(Debug)]
pub(crate) enum Reference<'a> {
    Function(&'a str),
    /// A variable, with the attributes that are taken of it, as far as they are written.
    Variable(&'a str, Vec<&'a str>),
    /// A variable that is indexed right away.
    Indexed(&'a str),
}

impl Expr {
    /// The expression without parentheses around it.
    pub(crate) fn bare(&self) -> &Self {
        match &self.kind {
            Kind::Parens(inner) => inner.bare(),
            _ => self,
        }
    }

    /// The name that the expression consists of, where a name is wanted and not its value.
    pub(crate) fn keyword(&self) -> Option<&str> {
        match &self.kind {
            Kind::Variable(name) => Some(name),
            Kind::Literal(Value::Bool(true)) => Some("true"),
            Kind::Literal(Value::Bool(false)) => Some("false"),
            Kind::Json(raw, _) if is_name(raw) => Some(raw),
            _ => None,
        }
    }

    /// Calls `found` for everything that is referred to, but for what a `for` defines itself.
    pub(crate) fn references<'a>(&'a self, found: &mut dyn FnMut(Reference<'a>)) {
        self.walk(&mut Vec::new(), found);
    }

    fn walk<'a>(&'a self, bound: &mut Vec<&'a str>, found: &mut dyn FnMut(Reference<'a>)) {
        match &self.kind {
            Kind::Literal(_) => {}
            Kind::Template(parts) => walk_parts(parts, bound, found),
            Kind::Wrap(inner) | Kind::Parens(inner) | Kind::Unary(_, inner) => {
                inner.walk(bound, found);
            }
            Kind::Variable(_) | Kind::Attribute(..) => self.walk_traversal(bound, found),
            Kind::Index(base, index) => {
                match &base.kind {
                    Kind::Variable(name) if matches!(index.kind, Kind::Literal(_)) => {
                        if !bound.contains(&&**name) {
                            found(Reference::Indexed(name));
                        }
                    }
                    _ => base.walk(bound, found),
                }
                index.walk(bound, found);
            }
            Kind::Splat(base, steps) => {
                base.walk(bound, found);
                for step in steps {
                    if let Step::Index(index) = step {
                        index.walk(bound, found);
                    }
                }
            }
            Kind::Tuple(elements) => elements.iter().for_each(|each| each.walk(bound, found)),
            Kind::Object(entries) => {
                for (key, value) in entries {
                    key.walk(bound, found);
                    value.walk(bound, found);
                }
            }
            Kind::Call(call) => {
                found(Reference::Function(&call.name));
                // What `convert` takes second is a type, in which names stand for themselves.
                let values = if &*call.name == "convert" { 1 } else { usize::MAX };
                call.arguments.iter().take(values).for_each(|each| each.walk(bound, found));
            }
            Kind::Binary(_, sides) => {
                sides.0.walk(bound, found);
                sides.1.walk(bound, found);
            }
            Kind::Conditional(parts) => {
                for part in [&parts.0, &parts.1, &parts.2] {
                    part.walk(bound, found);
                }
            }
            Kind::For(each) => each.walk(bound, found),
            Kind::Json(_, template) => {
                if let Ok(template) = &**template {
                    template.walk(bound, found);
                }
            }
        }
    }

    fn walk_traversal<'a>(
        &'a self,
        bound: &mut Vec<&'a str>,
        found: &mut dyn FnMut(Reference<'a>),
    ) {
        let (mut path, mut at) = (Vec::new(), self);
        while let Kind::Attribute(base, name) = &at.kind {
            path.push(&**name);
            at = base;
        }
        match &at.kind {
            Kind::Variable(name) if bound.contains(&&**name) => {}
            Kind::Variable(name) => {
                path.reverse();
                found(Reference::Variable(name, path));
            }
            _ => at.walk(bound, found),
        }
    }
}

impl Loop {
    fn walk<'a>(
        &'a self,
        bound: &mut Vec<&'a str>,
        found: &mut dyn FnMut(Reference<'a>),
        inside: impl FnOnce(&mut Vec<&'a str>, &mut dyn FnMut(Reference<'a>)),
    ) {
        self.source.walk(bound, found);
        let outer = bound.len();
        bound.extend(self.key.as_deref());
        bound.push(&self.value);
        inside(bound, found);
        bound.truncate(outer);
    }
}

impl For {
    fn walk<'a>(&'a self, bound: &mut Vec<&'a str>, found: &mut dyn FnMut(Reference<'a>)) {
        self.intro.walk(bound, found, |bound, found| {
            for expr in self.key.iter().chain([&self.value]).chain(&self.condition) {
                expr.walk(bound, found);
            }
        });
    }
}

fn walk_parts<'a>(
    parts: &'a [Part],
    bound: &mut Vec<&'a str>,
    found: &mut dyn FnMut(Reference<'a>),
) {
    for part in parts {
        match part {
            Part::Text(_) => {}
            Part::Value(expr) => expr.walk(bound, found),
            Part::If(condition, then, otherwise) => {
                condition.walk(bound, found);
                walk_parts(then, bound, found);
                walk_parts(otherwise, bound, found);
            }
            Part::For(intro, parts) => {
                intro.walk(bound, found, |bound, found| walk_parts(parts, bound, found));
            }
        }
    }
}

/// Whether `text` could be the name of a variable.
pub(crate) fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_alphanumeric() || letter == '_' || letter == '-')
}
