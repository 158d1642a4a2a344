//! Templates: which blanks `~` eats, and which indentation `<<-` takes away.
//!
//! A template is first laid out flat, as a row of tokens, because both rules look at neighbours
//! without regard to what is inside of what. Then the row becomes a tree.

use std::ops::Range;

use hcl_edit::Span as _;
use hcl_edit::template::{Directive, Element, Strip, Template};

use super::hcl::Reader;
use super::{Expr, Kind, Loop, Part};
use crate::source::Outcome;

/// How a template is delimited.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// By quotes: it may have escapes, and no line breaks.
    Quoted,
    /// By lines; `flush` takes indentation away.
    Heredoc { flush: bool },
    /// It is the whole text.
    Plain,
}

enum Token {
    Text(String),
    Value(Expr),
    If(Expr),
    Else,
    EndIf,
    For(Box<Loop>),
    EndFor,
}

/// The row of tokens while it is laid out.
struct Row<'r, 's> {
    reader: &'r Reader<'s>,
    style: Style,
    tokens: Vec<Token>,
    /// Whether the token before wants blanks of the next text eaten.
    eat: bool,
}

pub(super) fn lower(reader: &Reader<'_>, template: &Template, style: Style) -> Outcome<Kind> {
    let mut row = Row { reader, style, tokens: Vec::new(), eat: false };
    row.elements(template)?;
    let mut tokens = row.tokens;
    if style == (Style::Heredoc { flush: true }) {
        flush(&mut tokens);
    }
    if let [Token::Value(_)] = &tokens[..]
        && let Some(Token::Value(expr)) = tokens.pop()
    {
        return Ok(Kind::Wrap(Box::new(expr)));
    }
    Ok(Kind::Template(tree(&mut tokens.into_iter())))
}

impl Row<'_, '_> {
    fn elements(&mut self, template: &Template) -> Outcome<()> {
        for element in template {
            match element {
                Element::Literal(text) => self.text(text, element.span())?,
                Element::Interpolation(interpolation) => {
                    let expr = self.reader.expr(&interpolation.expr)?;
                    self.push(Token::Value(expr), interpolation.strip);
                }
                Element::Directive(directive) => self.directive(directive)?,
            }
        }
        Ok(())
    }

    /// Every line is a token of its own: indentation and blanks are a line's matter.
    fn text(&mut self, parsed: &str, range: Option<Range<usize>>) -> Outcome<()> {
        let text = match self.style {
            Style::Quoted => {
                self.reader.one_line(range)?;
                parsed.to_owned()
            }
            Style::Plain => parsed.to_owned(),
            Style::Heredoc { .. } => {
                self.reader.source(range).replace("$${", "${").replace("%%{", "%{")
            }
        };
        for line in text.split_inclusive('\n') {
            let line = if self.eat { line.trim_start() } else { line };
            self.eat = false;
            self.tokens.push(Token::Text(line.to_owned()));
        }
        Ok(())
    }

    fn push(&mut self, token: Token, strip: Strip) {
        if strip.strip_start()
            && let Some(Token::Text(before)) = self.tokens.last_mut()
        {
            before.truncate(before.trim_end().len());
        }
        self.tokens.push(token);
        self.eat = strip.strip_end();
    }

    fn directive(&mut self, directive: &Directive) -> Outcome<()> {
        match directive {
            Directive::If(parts) => {
                let condition = self.reader.expr(&parts.if_expr.cond_expr)?;
                self.push(Token::If(condition), parts.if_expr.strip);
                self.elements(&parts.if_expr.template)?;
                if let Some(otherwise) = &parts.else_expr {
                    self.push(Token::Else, otherwise.strip);
                    self.elements(&otherwise.template)?;
                }
                self.push(Token::EndIf, parts.endif_expr.strip);
            }
            Directive::For(parts) => {
                let intro = Loop {
                    key: parts.for_expr.key_var.as_ref().map(|name| name.as_str().into()),
                    value: parts.for_expr.value_var.as_str().into(),
                    source: self.reader.expr(&parts.for_expr.collection_expr)?,
                };
                self.push(Token::For(Box::new(intro)), parts.for_expr.strip);
                self.elements(&parts.for_expr.template)?;
                self.push(Token::EndFor, parts.endfor_expr.strip);
            }
        }
        Ok(())
    }
}

/// Takes as many blanks from the beginning of each line as all lines have.
fn flush(tokens: &mut [Token]) {
    let (mut least, mut line_begins) = (usize::MAX, true);
    let mut begins = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Token::Text(text) = token else {
            least = if line_begins { 0 } else { least };
            line_begins = false;
            continue;
        };
        let trimmed = text.trim_start();
        if line_begins && !(trimmed.is_empty() && text.ends_with('\n')) {
            least = least.min(text[..text.len() - trimmed.len()].chars().count());
            begins.push(at);
        }
        line_begins = text.ends_with('\n');
    }
    for at in begins {
        if let Token::Text(text) = &mut tokens[at] {
            *text = text.chars().skip(least).collect();
        }
    }
}

/// Reads parts up to the directive that ends them, which is left out. The parser has seen to it
/// that directives are balanced.
fn tree(tokens: &mut std::vec::IntoIter<Token>) -> Vec<Part> {
    let (parts, _) = branch(tokens);
    parts
}

fn branch(tokens: &mut std::vec::IntoIter<Token>) -> (Vec<Part>, bool) {
    let mut parts: Vec<Part> = Vec::new();
    let mut text = String::new();
    while let Some(token) = tokens.next() {
        if let Token::Text(more) = &token {
            text.push_str(more);
            continue;
        }
        if !text.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut text).into()));
        }
        match token {
            Token::Text(_) => {}
            Token::Value(expr) => parts.push(Part::Value(expr)),
            Token::If(condition) => {
                let (then, has_else) = branch(tokens);
                let otherwise = if has_else { branch(tokens).0 } else { Vec::new() };
                parts.push(Part::If(condition, then, otherwise));
            }
            Token::For(intro) => parts.push(Part::For(intro, branch(tokens).0)),
            Token::Else => return (parts, true),
            Token::EndIf | Token::EndFor => return (parts, false),
        }
    }
    if !text.is_empty() {
        parts.push(Part::Text(text.into()));
    }
    (parts, false)
}
