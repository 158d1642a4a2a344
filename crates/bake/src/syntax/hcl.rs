//! HCL, from `hcl-edit`'s tree to ours.
//!
//! The parser bounds nesting and chains of operators, so recursion here is bounded too. What it
//! lets through although HCL forbids it (a line break in a quoted string) is refused here.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use hcl_edit::Span as _;
use hcl_edit::expr::{Expression, ForExpr, FuncCall, ObjectKey, Traversal, TraversalOperator};
use hcl_edit::parser;
use hcl_edit::structure::{self, BlockLabel, Structure};

use super::template;
use super::{Attribute, Block, Body, Call, Expr, For, Kind, Loop, Step};
use crate::number::Number;
use crate::source::{Outcome, Problem, Span, offset};
use crate::value::Value;

/// One text that is parsed, and where it stands in its file.
#[derive(Clone, Copy)]
pub(super) struct Reader<'s> {
    pub(super) text: &'s str,
    file: u32,
    base: u32,
}

pub(super) fn read(text: &str, file: u32) -> Outcome<Body> {
    let reader = Reader { text, file, base: 0 };
    let body = parser::parse_body(text).map_err(|error| reader.refused(&error))?;
    reader.body(&body)
}

pub(super) fn read_expression(text: &str, span: Span) -> Outcome<Expr> {
    let reader = Reader { text, file: span.file, base: span.start };
    let expression = parser::parse_expr(text).map_err(|error| reader.refused(&error))?;
    reader.expr(&expression)
}

pub(super) fn read_template(text: &str, span: Span) -> Outcome<Expr> {
    let reader = Reader { text, file: span.file, base: span.start };
    let parsed = parser::parse_template(text).map_err(|error| reader.refused(&error))?;
    let kind = template::lower(&reader, &parsed, template::Style::Plain)?;
    Ok(Expr { kind, span })
}

impl Reader<'_> {
    fn refused(&self, error: &parser::Error) -> Box<Problem> {
        let at = error.location().offset();
        let span = self.span(Some(at..at));
        let message = error.message().lines().next().unwrap_or_default();
        Problem::new("syntax", span, format!("this is not HCL: {message}"))
            .help("see https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md")
    }

    pub(super) fn span(&self, range: Option<Range<usize>>) -> Span {
        let range = range.unwrap_or_default();
        let at = |byte: usize| self.base.saturating_add(offset(byte));
        Span { file: self.file, start: at(range.start), end: at(range.end) }
    }

    pub(super) fn source(&self, range: Option<Range<usize>>) -> &str {
        range.and_then(|range| self.text.get(range)).unwrap_or_default()
    }

    fn body(&self, body: &structure::Body) -> Outcome<Body> {
        let mut result = Body { attributes: BTreeMap::new(), blocks: Vec::new() };
        for structure in body {
            match structure {
                Structure::Attribute(attribute) => {
                    let name = self.span(attribute.key.span());
                    let expr = self.expr(&attribute.value)?;
                    result
                        .attributes
                        .insert(attribute.key.as_str().into(), Attribute { expr, name });
                }
                Structure::Block(block) => result.blocks.push(self.block(block)?),
            }
        }
        Ok(result)
    }

    fn block(&self, block: &structure::Block) -> Outcome<Block> {
        let label = |label: &BlockLabel| {
            let span = match label {
                BlockLabel::Ident(ident) => ident.span(),
                BlockLabel::String(text) => text.span(),
            };
            (Rc::from(label.as_str()), self.span(span))
        };
        let labels: Vec<_> = block.labels.iter().map(label).collect();
        let start = self.span(block.ident.span());
        Ok(Block {
            kind: block.ident.as_str().into(),
            span: labels.last().map_or(start, |(_, last)| start.to(*last)),
            labels,
            body: self.body(&block.body)?,
        })
    }

    pub(super) fn expr(&self, expression: &Expression) -> Outcome<Expr> {
        let span = self.span(expression.span());
        Ok(Expr { kind: self.kind(expression, span)?, span })
    }

    fn boxed(&self, expression: &Expression) -> Outcome<Box<Expr>> {
        self.expr(expression).map(Box::new)
    }

    fn kind(&self, expression: &Expression, span: Span) -> Outcome<Kind> {
        Ok(match expression {
            Expression::Null(_) => Kind::Literal(Value::Null(crate::value::Type::Any)),
            Expression::Bool(yes) => Kind::Literal(Value::Bool(**yes)),
            Expression::Number(_) => self.number(expression.span(), span)?,
            Expression::String(text) => {
                self.one_line(expression.span())?;
                Kind::Literal(Value::string(text.as_str()))
            }
            Expression::Array(array) => {
                Kind::Tuple(array.iter().map(|each| self.expr(each)).collect::<Outcome<_>>()?)
            }
            Expression::Object(object) => {
                let entry = |(key, value): (&ObjectKey, &hcl_edit::expr::ObjectValue)| {
                    Ok((self.key(key)?, self.expr(value.expr())?))
                };
                Kind::Object(object.iter().map(entry).collect::<Outcome<_>>()?)
            }
            Expression::StringTemplate(quoted) => {
                template::lower(self, quoted, template::Style::Quoted)?
            }
            Expression::HeredocTemplate(heredoc) => {
                let flush = self.source(expression.span()).starts_with("<<-");
                template::lower(self, &heredoc.template, template::Style::Heredoc { flush })?
            }
            Expression::Parenthesis(parens) => Kind::Parens(self.boxed(parens.inner())?),
            Expression::Variable(name) => Kind::Variable(name.as_str().into()),
            Expression::Conditional(parts) => Kind::Conditional(Box::new((
                self.expr(&parts.cond_expr)?,
                self.expr(&parts.true_expr)?,
                self.expr(&parts.false_expr)?,
            ))),
            Expression::FuncCall(call) => self.call(call)?,
            Expression::Traversal(traversal) => self.traversal(traversal)?,
            Expression::UnaryOp(op) => Kind::Unary(*op.operator.value(), self.boxed(&op.expr)?),
            Expression::BinaryOp(op) => {
                let sides = (self.expr(&op.lhs_expr)?, self.expr(&op.rhs_expr)?);
                Kind::Binary(*op.operator.value(), Box::new(sides))
            }
            Expression::ForExpr(each) => self.for_expr(each)?,
        })
    }

    /// The parser has numbers as machine words; what is written has more digits.
    fn number(&self, range: Option<Range<usize>>, span: Span) -> Outcome<Kind> {
        let written: String =
            self.source(range).chars().filter(|letter| !letter.is_whitespace()).collect();
        let number = Number::parse(&written).ok_or_else(|| {
            Problem::new("number-too-large", span, format!("`{written}` is not a usable number"))
                .help("write a number with fewer digits")
        })?;
        Ok(Kind::Literal(Value::Number(number)))
    }

    pub(super) fn one_line(&self, range: Option<Range<usize>>) -> Outcome<()> {
        match self.source(range.clone()).find('\n') {
            None => Ok(()),
            Some(at) => {
                let start = range.map_or(0, |range| range.start) + at;
                let span = self.span(Some(start..start));
                Err(Problem::new(
                    "line-break-in-string",
                    span,
                    "a quoted string goes over a line break",
                )
                .help("write `\\n`, or a heredoc: `<<EOT`"))
            }
        }
    }

    fn key(&self, key: &ObjectKey) -> Outcome<Expr> {
        match key {
            ObjectKey::Ident(name) => Ok(Expr {
                kind: Kind::Literal(Value::string(name.as_str())),
                span: self.span(name.span()),
            }),
            ObjectKey::Expression(Expression::Traversal(traversal)) => {
                let span = self.span(traversal.span());
                Err(Problem::new("ambiguous-key", span, "a key that is a reference is ambiguous")
                    .help("write it in parentheses if it is a reference, in quotes if not"))
            }
            ObjectKey::Expression(expression) => self.expr(expression),
        }
    }

    fn call(&self, call: &FuncCall) -> Outcome<Kind> {
        let namespace = call.name.namespace.iter().map(|part| format!("{}::", part.as_str()));
        let name = namespace.collect::<String>() + call.name.name.as_str();
        let arguments = call.args.iter().map(|each| self.expr(each)).collect::<Outcome<_>>()?;
        Ok(Kind::Call(Call { name: name.into(), arguments, expand: call.args.expand_final() }))
    }

    fn for_expr(&self, each: &ForExpr) -> Outcome<Kind> {
        let intro = Loop {
            key: each.intro.key_var.as_ref().map(|name| name.as_str().into()),
            value: each.intro.value_var.as_str().into(),
            source: self.expr(&each.intro.collection_expr)?,
        };
        Ok(Kind::For(Box::new(For {
            intro,
            key: each.key_expr.as_ref().map(|key| self.expr(key)).transpose()?,
            value: self.expr(&each.value_expr)?,
            condition: each.cond.as_ref().map(|cond| self.expr(&cond.expr)).transpose()?,
            grouping: each.grouping,
        })))
    }

    fn traversal(&self, traversal: &Traversal) -> Outcome<Kind> {
        let mut expr = self.expr(&traversal.expr)?;
        let mut operators = traversal.operators.iter().peekable();
        while let Some(operator) = operators.next() {
            let span = expr.span.to(self.span(operator.span()));
            let full = match operator.value() {
                TraversalOperator::AttrSplat(_) => false,
                TraversalOperator::FullSplat(_) => true,
                one => {
                    expr = Expr { kind: self.step(one)?.after(expr), span };
                    continue;
                }
            };
            let mut steps = Vec::new();
            while let Some(next) = operators.next_if(|next| follows(next.value(), full)) {
                steps.push(self.step(next.value())?);
            }
            expr = Expr { kind: Kind::Splat(Box::new(expr), steps), span };
        }
        Ok(expr.kind)
    }

    fn step(&self, operator: &TraversalOperator) -> Outcome<Step> {
        let span = self.span(operator.span());
        Ok(match operator {
            TraversalOperator::GetAttr(name) => Step::Attribute(name.as_str().into(), span),
            TraversalOperator::Index(index) => Step::Index(self.expr(index)?),
            TraversalOperator::LegacyIndex(index) => {
                let at = usize::try_from(**index).unwrap_or(usize::MAX);
                Step::Index(Expr { kind: Kind::Literal(Value::count(at)), span })
            }
            TraversalOperator::AttrSplat(_) | TraversalOperator::FullSplat(_) => {
                return Err(Problem::new("nested-splat", span, "a `*` cannot stand here")
                    .help("write a `for` expression"));
            }
        })
    }
}

/// Whether an operator belongs to what a splat does with each element.
fn follows(operator: &TraversalOperator, full: bool) -> bool {
    match operator {
        TraversalOperator::GetAttr(_) | TraversalOperator::LegacyIndex(_) => true,
        TraversalOperator::Index(_) => full,
        TraversalOperator::AttrSplat(_) | TraversalOperator::FullSplat(_) => false,
    }
}

impl Step {
    fn after(self, base: Expr) -> Kind {
        match self {
            Self::Attribute(name, _) => Kind::Attribute(Box::new(base), name),
            Self::Index(index) => Kind::Index(Box::new(base), Box::new(index)),
        }
    }
}
