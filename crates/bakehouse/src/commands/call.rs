//! `bakehouse build --call`: what a Dockerfile says of itself, in the forms of `docker buildx`.

use std::fmt::Write as _;

use bakehouse_model::{Diagnostic, ExitCode, Location};
use bakehouse_plan::codes;
use bakehouse_plan::dockerfile::{Span, buildkit_rule};
use bakehouse_plan::fleet::Image;
use bakehouse_plan::outline::{self, Outline, OutlineMount};
use bakehouse_render::excerpt;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::bases::Lookup;
use crate::cli::BuildArgs;
use crate::context::Context;
use crate::discovery;
use crate::failure::{Failure, Kind};
use crate::planning;
use crate::request::Request;

/// Runs the command.
pub(super) fn run(args: &BuildArgs, cx: &mut Context) -> Result<ExitCode, Failure> {
    let call = Call::parse(args.call.as_deref().unwrap_or("check"))?;
    let mut shape = args.shape.clone();
    if call.method == Method::Check {
        // Nothing runs, so nothing needs a permission.
        shape.allow = vec!["security.insecure".to_owned(), "network.host".to_owned()];
    }
    let request = Request::read(&args.place, &shape, &args.images, cx)?;
    match call.method {
        Method::Check => check(&request, call.json, cx),
        Method::Outline => {
            let outlines = named(&request).map(|image| Told::outline(image, &request));
            tell(outlines.collect::<Result<_, _>>()?, call.json, cx)
        }
        Method::Targets => {
            let targets = named(&request).map(|image| Told::targets(image, &request));
            tell(targets.collect(), call.json, cx)
        }
        Method::Methods => {
            let text = "check     what is doubtful in it\noutline   what a build may be given\n\
                        targets   the stages that can be built\n";
            super::print(cx, text)?;
            Ok(ExitCode::Ok)
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Check,
    Outline,
    Targets,
    Methods,
}

#[derive(Debug, PartialEq, Eq)]
struct Call {
    method: Method,
    json: bool,
}

impl Call {
    /// `METHOD[,format=text|json]`.
    fn parse(text: &str) -> Result<Self, Failure> {
        let mut parts = text.split(',');
        let wrong = |what: &str| {
            let message = format!("--call `{what}` is not known");
            Failure::new(Kind::Usage, message)
                .hint("check, outline and targets are, and format=json")
        };
        let method = match parts.next().unwrap_or_default() {
            "check" | "lint" => Method::Check,
            "outline" => Method::Outline,
            "targets" => Method::Targets,
            "subrequests.describe" => Method::Methods,
            other => return Err(wrong(other)),
        };
        let mut json = false;
        for part in parts {
            json = match part {
                "format=json" => true,
                "format=text" | "format=" => false,
                other => return Err(wrong(other)),
            };
        }
        Ok(Self { method, json })
    }
}

fn named(request: &Request) -> impl Iterator<Item = &Image> {
    request.fleet.images.iter().filter(|image| request.named.contains(&image.name))
}

/// What is told of one image.
struct Told {
    image: String,
    json: Value,
    text: String,
}

fn tell(told: Vec<Told>, json: bool, cx: &mut Context) -> Result<ExitCode, Failure> {
    if !json {
        let texts: Vec<String> = told.into_iter().map(|told| told.text).collect();
        super::print(cx, &texts.join("\n"))?;
    } else if let [only] = told.as_slice() {
        super::print_json(cx, &only.json)?;
    } else {
        let all: Map<String, Value> =
            told.into_iter().map(|told| (told.image, told.json)).collect();
        super::print_json(cx, &all)?;
    }
    Ok(ExitCode::Ok)
}

impl Told {
    fn targets(image: &Image, request: &Request) -> Self {
        let targets = outline::targets(&image.dockerfile);
        let mut text = Lines::default();
        text.row(&["TARGET", "DESCRIPTION"]);
        for target in &targets {
            let mark = if target.is_default { " (default)" } else { "" };
            text.row(&[&format!("{}{mark}", target.name), &target.description]);
        }
        let values: Vec<Value> = targets
            .iter()
            .map(|target| {
                let mut value = Map::new();
                text_field(&mut value, "name", &target.name);
                if target.is_default {
                    value.insert("default".to_owned(), json!(true));
                }
                text_field(&mut value, "description", &target.description);
                text_field(&mut value, "base", &target.base);
                value.insert("location".to_owned(), place(target.span));
                Value::Object(value)
            })
            .collect();
        let json = json!({ "targets": values, "sources": [source(request, &image.file)] });
        Self { image: image.name.clone(), json, text: text.aligned(1) }
    }

    fn outline(image: &Image, request: &Request) -> Result<Self, Failure> {
        let target = image.target.as_deref();
        let settings = image.settings(&request.settings);
        let given = &settings.build_args;
        let Some(outline) = outline::outline(&image.dockerfile, target, given) else {
            let message = format!("`{}` has no stage `{}`", image.file, target.unwrap_or_default());
            return Err(Failure::new(Kind::Input, message).hint("--call=targets lists them"));
        };
        let text = outline_text(&outline);
        let mut json = outline_json(&outline);
        json.insert("sources".to_owned(), json!([source(request, &image.file)]));
        Ok(Self { image: image.name.clone(), json: Value::Object(json), text })
    }
}

fn outline_text(outline: &Outline) -> String {
    let mut text = String::new();
    for (title, what) in [("TARGET:     ", &outline.name), ("DESCRIPTION:", &outline.description)] {
        if !what.is_empty() {
            writeln!(text, "{title} {what}").expect("a string takes all");
        }
    }
    if !outline.args.is_empty() {
        let mut lines = Lines::default();
        lines.row(&["BUILD ARG", "VALUE", "DESCRIPTION"]);
        for arg in &outline.args {
            lines.row(&[&arg.name, arg.value.as_deref().unwrap_or_default(), &arg.description]);
        }
        text.push_str(&format!("\n{}", lines.aligned(3)));
    }
    for (title, mounts) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if mounts.is_empty() {
            continue;
        }
        let mut lines = Lines::default();
        lines.row(&[title, "REQUIRED"]);
        for mount in mounts {
            lines.row(&[&mount.id, if mount.required { "true" } else { "" }]);
        }
        text.push_str(&format!("\n{}", lines.aligned(3)));
    }
    text
}

fn outline_json(outline: &Outline) -> Map<String, Value> {
    let mut json = Map::new();
    text_field(&mut json, "name", &outline.name);
    text_field(&mut json, "description", &outline.description);
    let args = outline.args.iter().map(|arg| {
        let mut value = Map::new();
        text_field(&mut value, "name", &arg.name);
        text_field(&mut value, "description", &arg.description);
        text_field(&mut value, "value", arg.value.as_deref().unwrap_or_default());
        value.insert("location".to_owned(), place(arg.span));
        Value::Object(value)
    });
    let mount = |mount: &OutlineMount| {
        let mut value = Map::new();
        text_field(&mut value, "name", &mount.id);
        if mount.required {
            value.insert("required".to_owned(), json!(true));
        }
        value.insert("location".to_owned(), place(mount.span));
        Value::Object(value)
    };
    let lists: [(&str, Vec<Value>); 3] = [
        ("args", args.collect()),
        ("secrets", outline.secrets.iter().map(mount).collect()),
        ("ssh", outline.ssh.iter().map(mount).collect()),
    ];
    for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        json.insert(name.to_owned(), Value::Array(list));
    }
    json
}

/// Tells what BuildKit's rules find.
fn check(request: &Request, as_json: bool, cx: &mut Context) -> Result<ExitCode, Failure> {
    let store = super::open_store(cx)?;
    let client = super::client(request, &store, cx);
    let lookup =
        Lookup { store: &store, client: &client, pull: request.pull, offline: false, memory: None };
    let mut found = request.fleet.diagnostics.clone();
    if !request.fleet.has_errors() {
        found.extend(planning::lower_with_mistakes(request, &lookup)?.diagnostics);
    }
    found.sort();
    found.dedup();
    let (mut warnings, mut errors) = (Vec::new(), Vec::new());
    for one in found {
        match rule(&one.code) {
            Some(rule) => warnings.push((rule, one)),
            None if one.severity == bakehouse_model::Severity::Error => errors.push(one),
            None => {}
        }
    }
    if as_json {
        super::print_json(cx, &check_json(request, &warnings, &errors))?;
    } else {
        super::print(cx, &check_text(request, &warnings, &errors))?;
    }
    Ok(if warnings.is_empty() && errors.is_empty() { ExitCode::Ok } else { ExitCode::Input })
}

fn rule(code: &str) -> Option<String> {
    match code {
        "base-platform" => Some("InvalidBaseImagePlatform".to_owned()),
        code => buildkit_rule(code),
    }
}

fn address(code: &str) -> String {
    format!("https://docs.docker.com/go/dockerfile/rule/{code}/")
}

fn check_text(
    request: &Request,
    warnings: &[(String, Diagnostic)],
    errors: &[Diagnostic],
) -> String {
    let mut text = match warnings.len() {
        0 => "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        many => format!("Check complete, {many} warnings have been found!\n"),
    };
    let excerpt_of = |location: &Location| {
        let source = text_of(request, &location.file);
        excerpt(&location.file, &source, location.line, location.end_line)
    };
    for (rule, warning) in warnings {
        text.push_str(&format!(
            "\nWARNING: {rule} - {}\n{}\n",
            address(&warning.code),
            warning.message
        ));
        if let Some(location) = &warning.location {
            text.push_str(&excerpt_of(location));
        }
    }
    for error in errors {
        text.push_str(&format!("\nERROR: {}\n", error.message));
        if let Some(location) = &error.location {
            text.push_str(&excerpt_of(location));
        }
    }
    text
}

fn check_json(
    request: &Request,
    warnings: &[(String, Diagnostic)],
    errors: &[Diagnostic],
) -> Value {
    let all = warnings.iter().map(|(_, warning)| warning).chain(errors);
    let mut files: Vec<&str> = all
        .filter_map(|found| found.location.as_ref())
        .map(|location| location.file.as_str())
        .chain(named(request).map(|image| image.file.as_str()))
        .collect();
    files.sort_unstable();
    files.dedup();
    let located = |location: Option<&Location>| {
        let Some(location) = location else { return json!({}) };
        let mut place = ranges(location.line, location.end_line);
        // The first source is told by leaving its number out.
        if let Some(index @ 1..) = files.iter().position(|file| *file == location.file) {
            place["sourceIndex"] = json!(index);
        }
        place
    };
    let told: Vec<Value> = warnings
        .iter()
        .map(|(rule, warning)| {
            json!({
                "ruleName": rule,
                "description": codes::get(&warning.code).map_or("", |code| code.about),
                "url": address(&warning.code),
                "detail": warning.message,
                "location": located(warning.location.as_ref()),
            })
        })
        .collect();
    let sources: Vec<Value> = files
        .iter()
        .map(|file| json!({ "filename": file, "language": "Dockerfile", "data": source(request, file) }))
        .collect();
    let mut result = json!({ "warnings": told, "sources": sources });
    if let Some(error) = errors.first() {
        let location = located(error.location.as_ref());
        result["buildError"] = json!({ "message": error.message, "location": location });
    }
    result
}

/// The text of an input file.
fn text_of(request: &Request, file: &str) -> String {
    request.text(file).unwrap_or_else(|| {
        let bytes = discovery::read(&request.root.join(file)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn source(request: &Request, file: &str) -> String {
    STANDARD.encode(text_of(request, file))
}

fn place(span: Span) -> Value {
    ranges(span.line, span.end_line)
}

fn ranges(line: u32, end_line: u32) -> Value {
    json!({ "ranges": [{ "start": { "line": line }, "end": { "line": end_line } }] })
}

fn text_field(value: &mut Map<String, Value>, name: &str, text: &str) {
    if !text.is_empty() {
        value.insert(name.to_owned(), json!(text));
    }
}

/// Rows of words in columns.
#[derive(Debug, Default)]
struct Lines(Vec<Vec<String>>);

impl Lines {
    fn row(&mut self, words: &[&str]) {
        self.0.push(words.iter().map(|&word| word.to_owned()).collect());
    }

    /// The rows, with `gap` blanks between the columns.
    fn aligned(&self, gap: usize) -> String {
        let width = |column: usize| {
            let words = self.0.iter().filter_map(|row| row.get(column));
            words.map(|word| word.chars().count()).max().unwrap_or(0) + gap
        };
        let mut text = String::new();
        for row in &self.0 {
            let last = row.len().saturating_sub(1);
            for (column, word) in row.iter().enumerate() {
                let width = if column == last { 0 } else { width(column) };
                text.push_str(&format!("{word:width$}"));
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_a_method_and_a_format() {
        let call = |method, json| Some(Call { method, json });
        let cases = [
            ("check", call(Method::Check, false)),
            ("targets,format=json", call(Method::Targets, true)),
            ("outline,format=text", call(Method::Outline, false)),
            ("build", None),
            ("check,format=xml", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Call::parse(text).ok(), expected, "{text}");
        }
    }
}
