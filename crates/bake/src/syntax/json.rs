//! JSON bake files: what the keys mean is said by the schema, strings are templates.
//!
//! The reader is our own because diagnostics need places, and because it bounds nesting.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::hcl::read_template;
use super::{Attribute, Block, Body, Expr, Kind};
use crate::number::Number;
use crate::source::{Outcome, Problem, Span, offset};
use crate::value::{Type, Value};

/// How deep objects and arrays may be nested.
const MAX_DEPTH: usize = 64;

/// What is a block at the top of a file, with one label each.
const TOP: &[&str] = &["variable", "function", "target", "group"];

enum Node {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<(Self, Span)>),
    Object(Vec<Member>),
}

struct Member {
    key: String,
    name: Span,
    value: Node,
    span: Span,
}

pub(super) fn read(text: &str, file: u32) -> Outcome<Body> {
    let mut reader = Reader { text, at: 0, file };
    let (node, span) = reader.value(0)?;
    reader.blank();
    if reader.at < text.len() {
        return Err(reader.refused("the end of the file"));
    }
    body(node, span, TOP)
}

struct Reader<'s> {
    text: &'s str,
    at: usize,
    file: u32,
}

impl Reader<'_> {
    fn refused(&self, wanted: &str) -> Box<Problem> {
        let at = offset(self.at);
        let span = Span { file: self.file, start: at, end: at };
        Problem::new("syntax", span, format!("this is not JSON: expected {wanted}"))
            .help("check the file with a JSON tool, or write it as HCL")
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn span(&self, start: usize) -> Span {
        Span { file: self.file, start: offset(start), end: offset(self.at) }
    }

    /// Whether `byte` comes next, which is then read.
    fn eats(&mut self, byte: u8) -> bool {
        self.blank();
        let eaten = self.peek() == Some(byte);
        self.at += usize::from(eaten);
        eaten
    }

    fn value(&mut self, depth: usize) -> Outcome<(Node, Span)> {
        self.blank();
        let start = self.at;
        if depth > MAX_DEPTH {
            return Err(self.refused("at most 64 nested levels"));
        }
        let node = match self.peek() {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => Node::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'a'..=b'z') => self.word()?,
            _ => return Err(self.refused("a value")),
        };
        Ok((node, self.span(start)))
    }

    fn object(&mut self, depth: usize) -> Outcome<Node> {
        self.at += 1;
        let mut members = Vec::new();
        if self.eats(b'}') {
            return Ok(Node::Object(members));
        }
        loop {
            self.blank();
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.refused("a key in quotes"));
            }
            let key = self.string()?;
            let name = self.span(start);
            if !self.eats(b':') {
                return Err(self.refused("`:`"));
            }
            let (value, span) = self.value(depth + 1)?;
            members.push(Member { key, name, value, span });
            if self.eats(b'}') {
                return Ok(Node::Object(members));
            }
            if !self.eats(b',') {
                return Err(self.refused("`,` or `}`"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Outcome<Node> {
        self.at += 1;
        let mut elements = Vec::new();
        if self.eats(b']') {
            return Ok(Node::Array(elements));
        }
        loop {
            elements.push(self.value(depth + 1)?);
            if self.eats(b']') {
                return Ok(Node::Array(elements));
            }
            if !self.eats(b',') {
                return Err(self.refused("`,` or `]`"));
            }
        }
    }

    /// Finds the end of a string; what is in it is `serde_json`'s to decode.
    fn string(&mut self) -> Outcome<String> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
                None => return Err(self.refused("`\"`")),
            }
        }
        self.at += 1;
        let written = self.text.get(start..self.at).unwrap_or_default();
        serde_json::from_str(written).map_err(|_| {
            self.at = start;
            self.refused("a string without control characters and unknown escapes")
        })
    }

    fn number(&mut self) -> Outcome<Node> {
        let start = self.at;
        while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        let written = &self.text[start..self.at];
        let valid = is_number(written);
        match Number::parse(written).filter(|_| valid) {
            Some(number) => Ok(Node::Number(number)),
            None => {
                self.at = start;
                Err(self.refused("a number"))
            }
        }
    }

    fn word(&mut self) -> Outcome<Node> {
        let start = self.at;
        while matches!(self.peek(), Some(b'a'..=b'z')) {
            self.at += 1;
        }
        match &self.text[start..self.at] {
            "null" => Ok(Node::Null),
            "true" => Ok(Node::Bool(true)),
            "false" => Ok(Node::Bool(false)),
            _ => {
                self.at = start;
                Err(self.refused("`null`, `true` or `false`"))
            }
        }
    }
}

/// Whether JSON would call `written` a number.
fn is_number(written: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = written.strip_prefix('-').unwrap_or(written);
    let (digits_part, power) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, part) = digits_part.split_once('.').unwrap_or((digits_part, "0"));
    let power = power.strip_prefix(['-', '+']).unwrap_or(power);
    digits(whole) && (whole == "0" || !whole.starts_with('0')) && digits(part) && digits(power)
}

fn wrong(span: Span, wanted: &str) -> Box<Problem> {
    Problem::new("wrong-json-type", span, format!("{wanted} is required here"))
        .help("see https://docs.docker.com/build/bake/reference/ for the shape of a bake file")
}

/// The members of an object, or of all objects of an array.
fn members(node: Node, span: Span) -> Outcome<Vec<Member>> {
    match node {
        Node::Null => Ok(Vec::new()),
        Node::Object(members) => Ok(members),
        Node::Array(elements) => {
            let mut all = Vec::new();
            for (element, span) in elements {
                let Node::Object(members) = element else { return Err(wrong(span, "an object")) };
                all.extend(members);
            }
            Ok(all)
        }
        _ => Err(wrong(span, "an object")),
    }
}

fn body(node: Node, span: Span, kinds: &[&str]) -> Outcome<Body> {
    let mut result = Body { attributes: BTreeMap::new(), blocks: Vec::new() };
    for member in members(node, span)? {
        if member.key == "//" {
            continue;
        } else if let Some(kind) = kinds.iter().find(|kind| **kind == member.key) {
            unpack(kind, None, member, &mut result.blocks)?;
        } else if result.attributes.contains_key(&*member.key) {
            let message = format!("`{}` is set twice", member.key);
            return Err(Problem::new("duplicate-attribute", member.name, message)
                .help("remove one of the two"));
        } else {
            let expr = expr(member.value, member.span);
            result.attributes.insert(member.key.into(), Attribute { expr, name: member.name });
        }
    }
    Ok(result)
}

/// Adds the blocks that a member stands for: those at the top have a label, `validation` has none.
fn unpack(
    kind: &str,
    label: Option<(Rc<str>, Span)>,
    member: Member,
    blocks: &mut Vec<Block>,
) -> Outcome<()> {
    if label.is_none() && TOP.contains(&kind) {
        let inner = members(member.value, member.span)?;
        if inner.is_empty() {
            let message = format!("this `{kind}` has no name");
            return Err(Problem::new("missing-label", member.span, message)
                .help(format!("write `\"{kind}\": {{\"name\": {{}}}}`")));
        }
        for each in inner {
            unpack(kind, Some((each.key.as_str().into(), each.name)), each, blocks)?;
        }
        return Ok(());
    }
    let contents = match member.value {
        Node::Null => return Ok(()),
        Node::Array(elements) => elements,
        object @ Node::Object(_) => vec![(object, member.span)],
        _ => return Err(wrong(member.span, "an object or an array of objects")),
    };
    let inside: &[&str] = if kind == "variable" { &["validation"] } else { &[] };
    for (node, span) in contents {
        let (kind, body) = (kind.into(), body(node, span, inside)?);
        let labels = label.clone().into_iter().collect();
        blocks.push(Block { kind, labels, body, span: member.name });
    }
    Ok(())
}

fn expr(node: Node, span: Span) -> Expr {
    let kind = match node {
        Node::Null => Kind::Literal(Value::Null(Type::Any)),
        Node::Bool(yes) => Kind::Literal(Value::Bool(yes)),
        Node::Number(number) => Kind::Literal(Value::Number(number)),
        Node::String(text) => return string(&text, span),
        Node::Array(elements) => {
            Kind::Tuple(elements.into_iter().map(|(node, span)| expr(node, span)).collect())
        }
        Node::Object(members) => {
            let entry = |member: Member| {
                (string(&member.key, member.name), expr(member.value, member.span))
            };
            Kind::Object(members.into_iter().map(entry).collect())
        }
    };
    Expr { kind, span }
}

fn string(text: &str, span: Span) -> Expr {
    let inside = Span { start: span.start + 1, ..span };
    let template = if text.contains(['$', '%']) {
        read_template(text, inside)
    } else {
        Ok(Expr { kind: Kind::Literal(Value::string(text)), span })
    };
    Expr { kind: Kind::Json(text.into(), Box::new(template)), span }
}
