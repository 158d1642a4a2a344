//! What a Dockerfile offers to whoever builds it: its targets, and for each of them the
//! arguments, secrets, agents and caches that a build of it may be given.
//!
//! Nothing is looked up: values are those of defaults and `--build-arg`.

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::words::Lexer;
use crate::dockerfile::{
    ArgDeclaration, Dockerfile, InstructionKind, MountType, Span, mount_from, parse_mount,
};

/// A stage that can be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name; empty if it has none.
    pub name: String,
    /// Whether it is built where none is named.
    pub is_default: bool,
    /// What the comment above it says.
    pub description: String,
    /// What it stands on, as written.
    pub base: String,
    /// Where it begins.
    pub span: Span,
}

/// What a build of one target may be given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outline {
    /// The target's name; empty if it has none.
    pub name: String,
    /// What the comment above it says.
    pub description: String,
    /// `ARG`s of the stages that are built.
    pub args: Vec<OutlineArg>,
    /// `RUN --mount=type=secret`.
    pub secrets: Vec<OutlineMount>,
    /// `RUN --mount=type=ssh`.
    pub ssh: Vec<OutlineMount>,
    /// `RUN --mount=type=cache`.
    pub caches: Vec<OutlineMount>,
}

/// An argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// What the comment above it says.
    pub description: String,
    /// Its value; none if it has none.
    pub value: Option<String>,
    /// Where it is declared.
    pub span: Span,
}

/// A secret, an agent or a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineMount {
    /// Its id.
    pub id: String,
    /// Whether nothing is built without it.
    pub required: bool,
    /// The `RUN` that wants it.
    pub span: Span,
}

/// The stages of a Dockerfile that have a name, and the last one.
pub fn targets(file: &Dockerfile) -> Vec<Target> {
    let last = file.stages.len().saturating_sub(1);
    let all = file.stages.iter().enumerate().map(|(index, stage)| Target {
        name: stage.name.clone().unwrap_or_default(),
        is_default: index == last,
        description: stage.doc.clone().unwrap_or_default(),
        base: stage.base.clone(),
        span: stage.span,
    });
    all.filter(|target| !target.name.is_empty() || target.is_default).collect()
}

/// What a build of `target` (the last stage if none) may be given; none if there is no such stage.
pub fn outline(
    file: &Dockerfile,
    target: Option<&str>,
    given: &BTreeMap<String, String>,
) -> Option<Outline> {
    let last = file.stages.len().checked_sub(1)?;
    let index = match target.filter(|name| !name.is_empty()) {
        None => last,
        Some(name) => file
            .stage_by_name(name)
            .or_else(|| name.parse::<usize>().ok().filter(|number| *number <= last))?,
    };
    let stage = &file.stages[index];
    let mut outline = Outline {
        name: stage.name.clone().unwrap_or_default(),
        description: stage.doc.clone().unwrap_or_default(),
        ..Outline::default()
    };
    let lexer = Lexer::new(file.escape);
    let reached = reached(file, index);
    let used: BTreeSet<String> = reached
        .iter()
        .flat_map(|stage| {
            let stage = &file.stages[*stage];
            [Some(&stage.base), stage.platform.as_ref()].into_iter().flatten()
        })
        .filter_map(|word| lexer.expand(word, &Values::default()).ok())
        .flat_map(|expanded| expanded.unmatched)
        .collect();
    let mut globals = Values::default();
    for meta in &file.meta_args {
        for arg in &meta.args {
            let value = globals.declare(arg, given, &lexer, None);
            if used.contains(&arg.name) {
                outline.args.push(described(arg, value, meta.span));
            }
        }
    }
    for stage in reached {
        outline.read_stage(file, stage, given, &globals);
    }
    outline.args.sort_by_key(|arg| arg.span);
    Some(outline)
}

impl Outline {
    fn read_stage(
        &mut self,
        file: &Dockerfile,
        stage: usize,
        given: &BTreeMap<String, String>,
        globals: &Values,
    ) {
        let lexer = Lexer::new(file.escape);
        let mut values = Values::default();
        for instruction in &file.stages[stage].instructions {
            match &instruction.kind {
                InstructionKind::Arg(args) => {
                    for arg in args {
                        let value = values.declare(arg, given, &lexer, Some(globals));
                        self.args.push(described(arg, value, instruction.span));
                    }
                }
                InstructionKind::Run(run) => {
                    for csv in &run.mounts {
                        self.read_mount(csv, instruction.span, &lexer, &values);
                    }
                }
                _ => {}
            }
        }
    }

    fn read_mount(&mut self, csv: &str, span: Span, lexer: &Lexer, values: &Values) {
        let mut expand = |word: &str| lexer.expand(word, values).map(|expanded| expanded.text);
        let Ok(mount) = parse_mount(csv, &mut expand) else { return };
        let named = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let (list, id) = match mount.kind {
            MountType::Secret => {
                let id = named(&mount.source).or(mount.id.clone());
                (&mut self.secrets, id.unwrap_or_else(|| last(&mount.target)))
            }
            MountType::Ssh => (&mut self.ssh, mount.id.clone().unwrap_or("default".to_owned())),
            MountType::Cache => {
                let id = mount.id.clone();
                (&mut self.caches, id.unwrap_or_else(|| mount.target.clone()))
            }
            MountType::Bind | MountType::Tmpfs => return,
        };
        match list.iter_mut().find(|known| known.id == id) {
            Some(known) => known.required |= mount.required,
            None => list.push(OutlineMount { id, required: mount.required, span }),
        }
    }
}

fn described(arg: &ArgDeclaration, value: Option<String>, span: Span) -> OutlineArg {
    let description = arg.doc.clone().unwrap_or_default();
    OutlineArg { name: arg.name.clone(), description, value, span }
}

/// The stages that a build of one reaches, in the order of the file.
fn reached(file: &Dockerfile, target: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut open = vec![target];
    while let Some(index) = open.pop() {
        let Some(stage) = file.stages.get(index).filter(|_| reached.insert(index)) else {
            continue;
        };
        open.extend(file.stage_before(&stage.base, index));
        for instruction in &stage.instructions {
            let froms: Vec<String> = match &instruction.kind {
                InstructionKind::Copy(copy) => copy.from.iter().cloned().collect(),
                InstructionKind::Run(run) => {
                    run.mounts.iter().filter_map(|csv| mount_from(csv)).collect()
                }
                _ => continue,
            };
            open.extend(froms.iter().filter_map(|from| {
                let number = || from.parse::<usize>().ok().filter(|number| *number < index);
                file.stage_before(from, index).or_else(number)
            }));
        }
    }
    reached
}

/// Variables and their values.
#[derive(Debug, Default)]
struct Values(BTreeMap<String, String>);

impl Values {
    /// Adds an argument, and gives its value.
    fn declare(
        &mut self,
        arg: &ArgDeclaration,
        given: &BTreeMap<String, String>,
        lexer: &Lexer,
        globals: Option<&Self>,
    ) -> Option<String> {
        let value = match (given.get(&arg.name), &arg.default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => lexer.expand(default, self).ok().map(|e| e.text),
            (None, None) => globals.and_then(|globals| globals.0.get(&arg.name).cloned()),
        };
        if let Some(value) = &value {
            self.0.insert(arg.name.clone(), value.clone());
        }
        value
    }
}

impl crate::dockerfile::words::Env for Values {
    fn get(&self, name: &str) -> Option<std::borrow::Cow<'_, str>> {
        self.0.get(name).map(|value| value.as_str().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "ARG VERSION=12\nARG UNUSED=1\n\
        # base is the first\nFROM debian:${VERSION} AS base\n\
        # WHO is greeted\nARG WHO=you\nARG PLAIN\n\
        RUN --mount=type=secret,id=tok --mount=type=ssh --mount=type=cache,target=/c true\n\
        RUN --mount=type=secret,id=tok,required true\n\
        FROM scratch AS other\nARG ELSEWHERE\n\
        # app is what runs\nFROM scratch AS App\nARG WHO\nCOPY --from=base / /\n";

    fn parsed() -> Dockerfile {
        crate::dockerfile::parse(TEXT.as_bytes(), "Dockerfile").dockerfile
    }

    #[test]
    fn every_named_stage_is_a_target_and_the_last_is_the_default() {
        let told: Vec<String> = targets(&parsed())
            .into_iter()
            .map(|t| {
                format!(
                    "{} {} {:?} {} {}",
                    t.name, t.is_default, t.description, t.base, t.span.line
                )
            })
            .collect();
        let expected = [
            "base false \"is the first\" debian:${VERSION} 4",
            "other false \"\" scratch 10",
            "app true \"is what runs\" scratch 13",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn an_outline_has_what_the_stages_of_a_target_want() {
        let given = BTreeMap::from([("WHO".to_owned(), "me".to_owned())]);
        let outline = outline(&parsed(), None, &given).unwrap();
        let args: Vec<(&str, &str, Option<&str>)> = outline
            .args
            .iter()
            .map(|arg| (arg.name.as_str(), arg.description.as_str(), arg.value.as_deref()))
            .collect();
        let expected = [
            ("VERSION", "", Some("12")),
            ("WHO", "is greeted", Some("me")),
            ("PLAIN", "", None),
            ("WHO", "", Some("me")),
        ];
        assert_eq!(args, expected);
        let secrets = [OutlineMount { id: "tok".to_owned(), required: true, span: Span::line(8) }];
        assert_eq!(outline.secrets, secrets);
        assert_eq!((outline.ssh[0].id.as_str(), outline.caches[0].id.as_str()), ("default", "/c"));
        assert_eq!(super::outline(&parsed(), Some("other"), &given).unwrap().args.len(), 1);
        assert_eq!(super::outline(&parsed(), Some("none"), &given), None);
    }
}
