//! A bake file that resolves to what was resolved, so that people can take it elsewhere.

use std::fmt::Write as _;

use serde_json::Value;

use crate::print::escape;
use crate::resolve::Resolved;

/// Fields that [`Resolved::to_json`] escapes already.
const ESCAPED: &[&str] = &["annotations", "args", "dockerfile-inline", "extra-hosts", "labels"];

/// Writes a bake file with no variables left in it.
pub fn to_hcl(resolved: &Resolved) -> String {
    let document = resolved.to_json();
    let mut text = String::new();
    for kind in ["group", "target"] {
        for (name, block) in document.get(kind).and_then(Value::as_object).into_iter().flatten() {
            if !text.is_empty() {
                text.push('\n');
            }
            line(&mut text, format_args!("{kind} \"{name}\" {{"));
            for (field, value) in block.as_object().into_iter().flatten() {
                let plain = !ESCAPED.contains(&field.as_str());
                line(&mut text, format_args!("  {field} = {}", written(value, plain, 1)));
            }
            line(&mut text, format_args!("}}"));
        }
    }
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("a string takes everything");
}

/// A value, in lines of its own if it has several parts.
fn written(value: &Value, plain: bool, depth: usize) -> String {
    let (outer, inner) = ("  ".repeat(depth), "  ".repeat(depth + 1));
    match value {
        Value::Array(elements) => {
            let each =
                |element: &Value| format!("{inner}{},\n", written(element, plain, depth + 1));
            format!("[\n{}{outer}]", elements.iter().map(each).collect::<String>())
        }
        Value::Object(entries) => {
            let each = |(name, value): (&String, &Value)| {
                format!("{inner}{} = {}\n", quoted(name, true), written(value, plain, depth + 1))
            };
            format!("{{\n{}{outer}}}", entries.iter().map(each).collect::<String>())
        }
        Value::String(text) => quoted(text, plain),
        other => other.to_string(),
    }
}

/// A text as HCL quotes it. What is `plain` must not become a template.
fn quoted(text: &str, plain: bool) -> String {
    let text = if plain { escape(text) } else { text.to_owned() };
    let mut result = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => result.push_str("\\\""),
            '\\' => result.push_str("\\\\"),
            '\n' => result.push_str("\\n"),
            '\r' => result.push_str("\\r"),
            '\t' => result.push_str("\\t"),
            control if control.is_control() => {
                write!(result, "\\u{:04x}", u32::from(control)).expect("a string takes everything");
            }
            other => result.push(other),
        }
    }
    result.push('"');
    result
}
