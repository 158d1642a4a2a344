//! Instructions of one image's Dockerfile that are written otherwise than before.
//!
//! Only what the wanted stage needs is compared, by meaning: comments, blank lines, the case
//! of keywords and lines that are broken elsewhere are no difference. An `ARG` counts only if
//! something may use it.

use std::collections::BTreeSet;

use super::Because;
use crate::dockerfile::mount::parse_mount;
use crate::dockerfile::{Dockerfile, Instruction, InstructionKind, Span, Stage};
use crate::fleet::Image;
use crate::lower::Settings;

/// Instructions beyond this are compared by place alone.
const MAX_COMPARED: usize = 1000;

/// One line of a Dockerfile that may differ.
struct Line<'d> {
    text: &'d str,
    span: Span,
    keyword: &'static str,
    means: Meaning<'d>,
}

/// What must be equal for two lines to mean the same.
#[derive(Debug, PartialEq)]
enum Meaning<'d> {
    From(&'d str, Option<&'d str>),
    Arg(Vec<(&'d str, Option<&'d str>)>),
    OnBuild(&'d str),
    Other(&'d InstructionKind),
}

/// What the Dockerfile of `after` says otherwise than that of `before`. A `FROM` at one of the
/// lines `told` is left out.
pub(super) fn compare(
    before: &Image,
    after: &Image,
    settings: &Settings,
    told: &BTreeSet<u32>,
) -> Vec<Because> {
    let (old, new) = (&before.dockerfile, &after.dockerfile);
    let then = needed(old, before.target.as_deref());
    let now = needed(new, after.target.as_deref());
    let mut because = Vec::new();
    let globals = (globals(old), globals(new));
    let used = |line: &Line<'_>| is_used(line, (old, &then), (new, &now), (after, settings));
    let mut add = |was: Vec<Line<'_>>, is: Vec<Line<'_>>| {
        for (was, is) in changed(was, is) {
            let line = is.as_ref().or(was.as_ref()).expect("one of two is there");
            let from = line.keyword == "FROM" && told.contains(&line.span.line);
            if !from && [&was, &is].into_iter().flatten().any(&used) {
                because.push(Because::Instruction {
                    before: was.as_ref().map(|line| line.text.to_owned()),
                    after: is.as_ref().map(|line| line.text.to_owned()),
                    location: line.span.of(&after.file),
                });
            }
        }
    };
    add(globals.0, globals.1);
    for (was, is) in pairs((old, &then), (new, &now)) {
        add(was.map_or_else(Vec::new, lines), is.map_or_else(Vec::new, lines));
    }
    because
}

/// Stages that belong together: by name, else by place among those without one.
fn pairs<'d>(
    (old, then): (&'d Dockerfile, &BTreeSet<usize>),
    (new, now): (&'d Dockerfile, &BTreeSet<usize>),
) -> Vec<(Option<&'d Stage>, Option<&'d Stage>)> {
    let mut left: Vec<&Stage> = then.iter().filter_map(|at| old.stages.get(*at)).collect();
    let mut pairs = Vec::new();
    let new: Vec<&Stage> = now.iter().filter_map(|at| new.stages.get(*at)).collect();
    let names: BTreeSet<&String> = new.iter().filter_map(|stage| stage.name.as_ref()).collect();
    for (at, stage) in new.iter().enumerate() {
        let same = |other: &&Stage| match (&stage.name, &other.name) {
            (Some(name), Some(other)) => name == other,
            (None, None) => true,
            // A stage that got a name or lost it: the last is the last.
            (None, Some(other)) => at + 1 == new.len() && !names.contains(other),
            (Some(_), None) => at + 1 == new.len(),
        };
        let found = if at + 1 == new.len() {
            left.iter().rposition(same)
        } else {
            left.iter().position(same)
        };
        pairs.push((found.map(|at| left.remove(at)), Some(*stage)));
    }
    pairs.extend(left.into_iter().map(|stage| (Some(stage), None)));
    pairs
}

/// The stages that the wanted one needs. A name that only a variable gives may be any stage
/// above.
fn needed(dockerfile: &Dockerfile, target: Option<&str>) -> BTreeSet<usize> {
    let last = dockerfile.stages.len().saturating_sub(1);
    let number = |name: &str| name.parse::<usize>().ok().filter(|at| *at <= last);
    let wanted = target.filter(|name| !name.is_empty());
    let wanted = wanted.and_then(|name| dockerfile.stage_by_name(name).or_else(|| number(name)));
    let mut needed = BTreeSet::new();
    let mut stack = vec![wanted.unwrap_or(last)];
    while let Some(at) = stack.pop() {
        let Some(stage) = dockerfile.stages.get(at).filter(|_| needed.insert(at)) else { continue };
        for name in names(stage) {
            if name.contains('$') {
                stack.extend(0..at);
            } else {
                let from_number = || number(&name).filter(|number| *number < at);
                stack.extend(dockerfile.stage_before(&name, at).or_else(from_number));
            }
        }
    }
    needed
}

/// What a stage stands on, copies from and mounts.
fn names(stage: &Stage) -> Vec<String> {
    let mut names = vec![stage.base.clone()];
    for instruction in &stage.instructions {
        match &instruction.kind {
            InstructionKind::Copy(copy) => names.extend(copy.from.clone()),
            InstructionKind::Run(run) => names.extend(
                run.mounts
                    .iter()
                    .filter_map(|csv| parse_mount(csv, &mut |word| Ok(word.to_owned())).ok()?.from),
            ),
            _ => {}
        }
    }
    names
}

fn globals(dockerfile: &Dockerfile) -> Vec<Line<'_>> {
    dockerfile
        .meta_args
        .iter()
        .map(|arg| Line {
            text: &arg.text,
            span: arg.span,
            keyword: "ARG",
            means: Meaning::Arg(declared(&arg.args)),
        })
        .collect()
}

fn declared(args: &[crate::dockerfile::ArgDeclaration]) -> Vec<(&str, Option<&str>)> {
    args.iter().map(|arg| (arg.name.as_str(), arg.default.as_deref())).collect()
}

fn lines(stage: &Stage) -> Vec<Line<'_>> {
    let from = Line {
        text: &stage.text,
        span: stage.span,
        keyword: "FROM",
        means: Meaning::From(&stage.base, stage.platform.as_deref()),
    };
    let rest = stage.instructions.iter().map(|instruction: &Instruction| Line {
        text: &instruction.text,
        span: instruction.span,
        keyword: instruction.keyword(),
        means: match &instruction.kind {
            InstructionKind::Arg(args) => Meaning::Arg(declared(args)),
            InstructionKind::OnBuild(trigger) => Meaning::OnBuild(&trigger.expression),
            kind => Meaning::Other(kind),
        },
    });
    std::iter::once(from).chain(rest).collect()
}

/// Lines that are not the same in both, side by side where one took the place of the other.
fn changed<'d>(
    old: Vec<Line<'d>>,
    new: Vec<Line<'d>>,
) -> Vec<(Option<Line<'d>>, Option<Line<'d>>)> {
    let kept = common(&old, &new);
    let (mut old, mut new) = (old.into_iter().enumerate(), new.into_iter().enumerate());
    let mut changed = Vec::new();
    for (was, is) in kept.into_iter().chain([(usize::MAX, usize::MAX)]) {
        let gone: Vec<_> = old.by_ref().take_while(|(at, _)| *at != was).collect();
        let come: Vec<_> = new.by_ref().take_while(|(at, _)| *at != is).collect();
        let strip = |lines: Vec<(usize, Line<'d>)>| lines.into_iter().map(|(_, line)| line);
        changed.extend(side_by_side(strip(gone).collect(), strip(come).collect()));
    }
    changed
}

fn side_by_side<'d>(
    mut gone: Vec<Line<'d>>,
    come: Vec<Line<'d>>,
) -> Vec<(Option<Line<'d>>, Option<Line<'d>>)> {
    let mut both = Vec::new();
    for line in come {
        let same = gone.iter().position(|other| other.keyword == line.keyword);
        both.push((same.map(|at| gone.remove(at)), Some(line)));
    }
    both.extend(gone.into_iter().map(|line| (Some(line), None)));
    both
}

/// The longest common sequence, as pairs of places.
fn common(old: &[Line<'_>], new: &[Line<'_>]) -> Vec<(usize, usize)> {
    let same = |i: usize, j: usize| old[i].means == new[j].means;
    if old.len().max(new.len()) > MAX_COMPARED {
        return (0..old.len().min(new.len())).filter(|at| same(*at, *at)).map(|a| (a, a)).collect();
    }
    let width = new.len() + 1;
    let mut longest = vec![0_u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            longest[i * width + j] = if same(i, j) {
                longest[(i + 1) * width + j + 1] + 1
            } else {
                longest[(i + 1) * width + j].max(longest[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < old.len() && j < new.len() {
        if same(i, j) {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if longest[(i + 1) * width + j] >= longest[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

type Needed<'d> = (&'d Dockerfile, &'d BTreeSet<usize>);

/// Whether a line can make a difference. All can but an `ARG` whose value is given from
/// outside, or that no `RUN` sees and nothing names.
fn is_used(
    line: &Line<'_>,
    (old, then): Needed<'_>,
    (new, now): Needed<'_>,
    (image, settings): (&Image, &Settings),
) -> bool {
    let Meaning::Arg(args) = &line.means else { return true };
    let given =
        |name: &str| image.args.contains_key(name) || settings.build_args.contains_key(name);
    args.iter().any(|(name, _)| !given(name) && (uses(old, then, name) || uses(new, now, name)))
}

/// Whether something in the stages `needed` may see the argument `name`.
pub(super) fn uses(dockerfile: &Dockerfile, needed: &BTreeSet<usize>, name: &str) -> bool {
    let named = |text: &str| mentions(text, name);
    let from_args = dockerfile.meta_args.iter().flat_map(|arg| &arg.args);
    if from_args.filter_map(|arg| arg.default.as_deref()).any(named) {
        return true;
    }
    let stages = needed.iter().filter_map(|at| dockerfile.stages.get(*at));
    stages.into_iter().any(|stage| {
        let base = named(&stage.base) || stage.platform.as_deref().is_some_and(named);
        let mut seen = false;
        base || stage.instructions.iter().any(|instruction| match &instruction.kind {
            InstructionKind::Arg(args) => {
                let own = args.iter().any(|arg| arg.name == name);
                seen |= own;
                named(&instruction.text)
            }
            InstructionKind::Run(_) => seen,
            InstructionKind::Copy(copy) => {
                named(&instruction.text)
                    || seen && copy.transfer.contents.iter().any(|content| named(&content.data))
            }
            _ => named(&instruction.text),
        }) || seen && inherits(dockerfile, needed, stage)
    })
}

/// Whether another needed stage stands on `stage` and so has its arguments.
fn inherits(dockerfile: &Dockerfile, needed: &BTreeSet<usize>, stage: &Stage) -> bool {
    let users = needed.iter().filter_map(|at| dockerfile.stages.get(*at));
    users.into_iter().any(|user| {
        stage.written_name.is_some()
            && stage.name.as_deref() == Some(user.base.to_lowercase().as_str())
            && user.instructions.iter().any(|i| matches!(i.kind, InstructionKind::Run(_)))
    })
}

/// Whether `text` has the variable `name` in it.
fn mentions(text: &str, name: &str) -> bool {
    text.match_indices('$').any(|(at, _)| {
        let rest = &text[at + 1..];
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        rest.strip_prefix(name).is_some_and(|after| {
            !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        })
    })
}

/// The stages that an image needs.
pub(super) fn stages(image: &Image) -> BTreeSet<usize> {
    needed(&image.dockerfile, image.target.as_deref())
}

#[cfg(test)]
mod tests {
    use super::mentions;

    #[test]
    fn a_variable_is_named_with_or_without_braces_and_not_by_its_beginning() {
        let table = [
            ("FROM x:$A", true),
            ("FROM x:${A}", true),
            ("FROM x:${A:-1}", true),
            ("FROM x:$AB", false),
            ("FROM x:A", false),
            ("$B$A", true),
        ];
        for (text, expected) in table {
            assert_eq!(mentions(text, "A"), expected, "{text}");
        }
    }
}
