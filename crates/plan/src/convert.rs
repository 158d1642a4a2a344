//! Rewrites a Dockerfile so that its base is handed to it: `FROM x` becomes `ARG BASE_IMAGE=x`
//! and `FROM ${BASE_IMAGE}`.
//!
//! Everything else stays as it is, to the byte: flags, names of stages, comments, line ends,
//! the byte order mark, the case of keywords. The result is read again, and unless it says the
//! same as before it is not given out.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::dockerfile::mount::mount_from;
use crate::dockerfile::{self, Dockerfile, InstructionKind, Parsed, Span, Stage};

/// The name that the argument has if none is asked for.
pub const BASE_IMAGE: &str = "BASE_IMAGE";

/// A Dockerfile, rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversion {
    /// The base that is now the argument's default, as it was written.
    pub base: String,
    /// The new file.
    pub text: Vec<u8>,
    /// The lines that differ, in order.
    pub edits: Vec<Edit>,
}

/// Lines that are replaced by others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The first line that goes, from 1; what is added comes before it if none goes.
    pub line: usize,
    /// How many lines go.
    pub removed: usize,
    /// What comes in their place, without line ends.
    pub added: Vec<String>,
}

/// Why a Dockerfile is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unconverted {
    /// Nothing is left to do.
    #[error("its base is the argument `{0}` already")]
    Already(String),
    /// Every stage starts from `scratch` or from another stage.
    #[error("it has no base: it starts from `scratch`")]
    NoBase,
    /// The name means something else in the file.
    #[error("`{0}` is an argument of it already, and something else")]
    Taken(String),
    /// The name cannot be that of an argument.
    #[error("`{0}` cannot be the name of an argument of its own")]
    BadName(String),
    /// The file has mistakes.
    #[error("it cannot be read")]
    Broken,
    /// The stage that is wanted is not there.
    #[error("it has no stage `{0}`")]
    NoStage(String),
    /// The base is written in a way that cannot be replaced and mean the same.
    #[error("the `FROM` in line {0} is written in a way that is better changed by hand")]
    ByHand(u32),
}

/// Makes the first base that `target` (the last stage if none) reaches an argument.
pub fn convert(text: &[u8], target: Option<&str>, arg: &str) -> Result<Conversion, Unconverted> {
    if !is_free_name(arg) {
        return Err(Unconverted::BadName(arg.to_owned()));
    }
    let before = dockerfile::parse(text, "");
    if before.has_errors() || before.dockerfile.stages.is_empty() {
        return Err(Unconverted::Broken);
    }
    let file = &before.dockerfile;
    let chosen = chosen(file, target)?;
    let base = file.stages[chosen].base.clone();
    if let Some(name) = variable(&base) {
        return Err(Unconverted::Already(name.to_owned()));
    }
    if declares(file, arg) {
        return Err(Unconverted::Taken(arg.to_owned()));
    }
    let (mark, body) = split_mark(text);
    let lines: Vec<&[u8]> = body.split_inclusive(|byte| *byte == b'\n').collect();
    let edits = edits(file, &lines, (&base, arg))?;
    let text = [mark, &applied(&lines, &edits)].concat();
    let after = dockerfile::parse(&text, "");
    if !says_the_same(&before, &after, (&base, arg)) {
        return Err(Unconverted::ByHand(file.stages[chosen].span.line));
    }
    Ok(Conversion { base, text, edits })
}

/// The variable that a base consists of: `${NAME}`, `$NAME` or `${NAME:-default}`.
pub fn variable(base: &str) -> Option<&str> {
    let rest = base.trim_matches('"').strip_prefix('$')?;
    let name = match rest.strip_prefix('{') {
        Some(braced) => {
            let inside = braced.strip_suffix('}')?;
            inside.split_once(':').map_or(inside, |(name, _)| name)
        }
        None => rest,
    };
    is_name(name).then_some(name)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether `text` can name an argument that nobody else gives a value.
fn is_free_name(text: &str) -> bool {
    let given = ["PLATFORM", "OS", "ARCH", "VARIANT", "OSVERSION"];
    let rest = text.strip_prefix("TARGET").or_else(|| text.strip_prefix("BUILD"));
    let predefined = rest.is_some_and(|rest| given.contains(&rest));
    is_name(text) && !predefined && !text.to_ascii_uppercase().ends_with("_PROXY")
}

fn declares(file: &Dockerfile, arg: &str) -> bool {
    let within = file.stages.iter().flat_map(|stage| &stage.instructions);
    let within = within.filter_map(|instruction| match &instruction.kind {
        InstructionKind::Arg(args) => Some(args),
        _ => None,
    });
    let mut all = file.meta_args.iter().map(|meta| &meta.args).chain(within).flatten();
    all.any(|declared| declared.name == arg)
}

/// The first stage of those that `target` reaches which starts from an image.
fn chosen(file: &Dockerfile, target: Option<&str>) -> Result<usize, Unconverted> {
    let last = file.stages.len() - 1;
    let target = match target {
        Some(name) => {
            let number = || name.parse().ok().filter(|number| *number <= last);
            let found = file.stage_by_name(name).or_else(number);
            found.ok_or_else(|| Unconverted::NoStage(name.to_owned()))?
        }
        None => last,
    };
    let mut reached = reached(file, target).into_iter();
    let is_image = |at: &usize| {
        let base = &file.stages[*at].base;
        base != "scratch" && file.stage_before(base, *at).is_none()
    };
    reached.find(is_image).ok_or(Unconverted::NoBase)
}

/// The stages that `target` starts or copies from, and itself.
fn reached(file: &Dockerfile, target: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut open = vec![target];
    while let Some(at) = open.pop() {
        if !reached.insert(at) {
            continue;
        }
        let stage = &file.stages[at];
        open.extend(file.stage_before(&stage.base, at));
        let named = stage.instructions.iter().flat_map(|instruction| match &instruction.kind {
            InstructionKind::Copy(copy) => copy.from.iter().cloned().collect(),
            InstructionKind::Run(run) => {
                run.mounts.iter().filter_map(|csv| mount_from(csv)).collect()
            }
            _ => Vec::new(),
        });
        open.extend(named.filter_map(|name| {
            let number = || name.parse().ok().filter(|number| *number < at);
            file.stage_before(&name, at).or_else(number)
        }));
    }
    reached
}

fn split_mark(text: &[u8]) -> (&[u8], &[u8]) {
    let mark = if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    text.split_at(mark)
}

/// The argument's line, and every `FROM` of the base.
fn edits(
    file: &Dockerfile,
    lines: &[&[u8]],
    (base, arg): (&str, &str),
) -> Result<Vec<Edit>, Unconverted> {
    let first = &file.stages[0];
    let lower = first.text.starts_with("from");
    let keyword = if lower { "arg" } else { "ARG" };
    let declaration = Edit {
        line: place(file, lines),
        removed: 0,
        added: vec![format!("{keyword} {arg}={base}")],
    };
    let mut edits = vec![declaration];
    for (at, stage) in file.stages.iter().enumerate() {
        if stage.base != base || file.stage_before(base, at).is_some() {
            continue;
        }
        let replaced = replaced(stage, lines, (file.escape, arg));
        edits.push(replaced.ok_or(Unconverted::ByHand(stage.span.line))?);
    }
    Ok(edits)
}

/// The line before which the argument is declared: after the last one there is, else before
/// the first `FROM` and the comments that belong to it.
fn place(file: &Dockerfile, lines: &[&[u8]]) -> usize {
    let number = |line: u32| usize::try_from(line).unwrap_or(usize::MAX);
    if let Some(last) = file.meta_args.last() {
        return number(last.span.end_line).saturating_add(1);
    }
    let directives = &file.directives;
    let directives = [&directives.syntax, &directives.escape, &directives.check];
    let last = directives.into_iter().flatten().map(|found| number(found.line)).max();
    let shebang = usize::from(lines.first().is_some_and(|line| line.starts_with(b"#!")));
    let top = last.unwrap_or(0).max(shebang);
    let stage = &file.stages[0];
    let speaks = |comment: &String| comment.to_ascii_lowercase().starts_with("check");
    if stage.doc.is_some() || stage.comments.iter().any(speaks) {
        return top + 1;
    }
    let mut line = number(stage.span.line);
    let is_comment = |line: usize| {
        lines.get(line - 1).is_some_and(|line| line.trim_ascii_start().starts_with(b"#"))
    };
    while line - 1 > top && is_comment(line - 1) {
        line -= 1;
    }
    line
}

/// The line of a `FROM` that has the base, with the argument in its place.
fn replaced(stage: &Stage, lines: &[&[u8]], (escape, arg): (char, &str)) -> Option<Edit> {
    let Span { line, end_line, .. } = stage.span;
    let mut words = 0;
    for number in line..=end_line {
        let number = usize::try_from(number).ok()?;
        let text = std::str::from_utf8(lines.get(number - 1)?).ok()?;
        let text = text.trim_end_matches(['\r', '\n']);
        if words > 0 && text.trim_start().starts_with('#') {
            continue;
        }
        let code = text.trim_end_matches([' ', '\t']);
        let code = code.strip_suffix(escape).unwrap_or(code);
        for word in code.split([' ', '\t']).filter(|word| !word.is_empty()) {
            words += 1;
            if words == 1 || word.starts_with("--") {
                continue;
            }
            if word != stage.base {
                return None;
            }
            let at = word.as_ptr() as usize - text.as_ptr() as usize;
            let (head, tail) = (&text[..at], &text[at + word.len()..]);
            return Some(Edit {
                line: number,
                removed: 1,
                added: vec![format!("{head}${{{arg}}}{tail}")],
            });
        }
    }
    None
}

/// The lines with the edits in place, each with the line end of what it replaces or, if it is
/// new, of the first line.
fn applied(lines: &[&[u8]], edits: &[Edit]) -> Vec<u8> {
    let end = |line: &&[u8]| -> &[u8] {
        match line {
            line if line.ends_with(b"\r\n") => b"\r\n",
            line if line.ends_with(b"\n") => b"\n",
            _ => b"",
        }
    };
    let usual: &[u8] = match lines.first().map(end) {
        Some(end) if !end.is_empty() => end,
        _ => b"\n",
    };
    let mut text = Vec::new();
    let mut at = 1;
    for edit in edits {
        text.extend(lines[at - 1..edit.line - 1].concat());
        let last = if edit.removed > 0 { end(&lines[edit.line - 1]) } else { usual };
        for added in &edit.added {
            text.extend_from_slice(added.as_bytes());
            text.extend_from_slice(last);
        }
        at = edit.line + edit.removed;
    }
    text.extend(lines[at - 1..].concat());
    text
}

/// Whether nothing but the base of stages is another, and that one the argument.
fn says_the_same(before: &Parsed, after: &Parsed, (base, arg): (&str, &str)) -> bool {
    let (old, new) = (&before.dockerfile, &after.dockerfile);
    let handed = format!("${{{arg}}}");
    let stages = old.stages.iter().zip(&new.stages).enumerate().all(|(at, (old_stage, stage))| {
        let expected = if old_stage.base == base && old.stage_before(base, at).is_none() {
            &handed
        } else {
            &old_stage.base
        };
        let texts = |stage: &Stage| -> Vec<_> {
            stage.instructions.iter().map(|i| (i.kind.clone(), i.text.clone())).collect()
        };
        stage.base == *expected
            && stage.name == old_stage.name
            && stage.platform == old_stage.platform
            && texts(stage) == texts(old_stage)
    });
    let values = |directive: &Option<dockerfile::Directive>| {
        directive.as_ref().map(|directive| directive.value.clone())
    };
    let (was, is) = (&old.directives, &new.directives);
    !after.has_errors()
        && stages
        && old.stages.len() == new.stages.len()
        && new.meta_args.len() == old.meta_args.len() + 1
        && old.escape == new.escape
        && values(&was.syntax) == values(&is.syntax)
        && values(&was.escape) == values(&is.escape)
        && values(&was.check) == values(&is.check)
}
