//! Operators.

use super::{Machine, Scope};
use crate::convert::convert;
use crate::number::Number;
use crate::source::{Outcome, Problem, Span};
use crate::syntax::{BinaryOperator, Expr, UnaryOperator};
use crate::value::{Type, Value};

impl Machine<'_> {
    pub(super) fn binary(
        &mut self,
        operator: BinaryOperator,
        sides: &(Expr, Expr),
        span: Span,
        scope: &Scope<'_>,
    ) -> Outcome<Value> {
        let (left, right) = (self.value(&sides.0, scope), self.value(&sides.1, scope));
        if matches!(operator, BinaryOperator::And | BinaryOperator::Or) {
            return logical(operator, (left, sides.0.span), (right, sides.1.span));
        }
        let (left, right) = (left?, right?);
        match operator {
            BinaryOperator::Eq => return Ok(Value::Bool(left.equals(&right))),
            BinaryOperator::NotEq => return Ok(Value::Bool(!left.equals(&right))),
            _ => {}
        }
        let (left, right) = (number(&left, sides.0.span)?, number(&right, sides.1.span)?);
        Ok(match operator {
            BinaryOperator::Less => Value::Bool(left < right),
            BinaryOperator::LessEq => Value::Bool(left <= right),
            BinaryOperator::Greater => Value::Bool(left > right),
            BinaryOperator::GreaterEq => Value::Bool(left >= right),
            _ => Value::Number(arithmetic(operator, &left, &right, span)?),
        })
    }
}

fn arithmetic(
    operator: BinaryOperator,
    left: &Number,
    right: &Number,
    span: Span,
) -> Outcome<Number> {
    if matches!(operator, BinaryOperator::Div | BinaryOperator::Mod) && right.is_zero() {
        return Err(Problem::new("division-by-zero", span, "this divides by zero")
            .help("check the divisor first, with a conditional"));
    }
    let result = match operator {
        BinaryOperator::Plus => left.add(right),
        BinaryOperator::Minus => left.subtract(right),
        BinaryOperator::Mul => left.multiply(right),
        BinaryOperator::Div => left.divide(right),
        _ => left.remainder(right),
    };
    result.ok_or_else(|| {
        Problem::new("number-too-large", span, "the result is too large a number")
            .help("use smaller numbers")
    })
}

/// One side that decides the result is enough, whichever it is.
fn logical(
    operator: BinaryOperator,
    left: (Outcome<Value>, Span),
    right: (Outcome<Value>, Span),
) -> Outcome<Value> {
    let decisive = operator == BinaryOperator::Or;
    let left = left.0.and_then(|value| boolean(&value, left.1));
    let right = right.0.and_then(|value| boolean(&value, right.1));
    if left == Ok(decisive) || right == Ok(decisive) {
        return Ok(Value::Bool(decisive));
    }
    left?;
    right?;
    Ok(Value::Bool(!decisive))
}

pub(super) fn unary(operator: UnaryOperator, value: &Value, span: Span) -> Outcome<Value> {
    Ok(match operator {
        UnaryOperator::Neg => Value::Number(number(value, span)?.negated()),
        UnaryOperator::Not => Value::Bool(!boolean(value, span)?),
    })
}

fn operand(why: String, span: Span) -> Box<Problem> {
    Problem::new("invalid-operand", span, format!("not an operand: {why}"))
        .help("arithmetic is for numbers, logic for bools")
}

fn number(value: &Value, span: Span) -> Outcome<Number> {
    match convert(value, &Type::Number) {
        Ok(Value::Number(number)) => Ok(number),
        Ok(_) => Err(operand("it is null".to_owned(), span)),
        Err(why) => Err(operand(why, span)),
    }
}

fn boolean(value: &Value, span: Span) -> Outcome<bool> {
    match convert(value, &Type::Bool) {
        Ok(Value::Bool(yes)) => Ok(yes),
        Ok(_) => Err(operand("it is null".to_owned(), span)),
        Err(why) => Err(operand(why, span)),
    }
}
