//! What a place of a Dockerfile looked like in the last run, to say why it is different now.
//!
//! A slot decides nothing; keys do. It only turns «this key is not known» into a reason
//! that a person can act on.

mod files;

use std::collections::BTreeMap;
use std::sync::Arc;

use bakehouse_model::op::{Op, Source};
use bakehouse_model::{Digest, Key, MissReason, PathChange, StepId};
use serde::{Deserialize, Serialize};

pub use files::{ByPath, Files};

/// What a run saw at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The op.
    pub op: Digest,
    /// The instruction, variables resolved.
    pub text: String,
    /// Variables the step saw: names and short digests of their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// The image, where the step is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<(String, Digest)>,
    /// The inputs, by number.
    #[serde(default)]
    pub inputs: Vec<SlotInput>,
}

impl Slot {
    /// Whether this is worth remembering in the place of `known`: it is different, and does not
    /// merely name an input whose contents are known.
    pub fn tells_more_than(&self, known: &Self) -> bool {
        let mut pairs = self.inputs.iter().zip(&known.inputs);
        let less = pairs.any(|(now, then)| {
            matches!((now, then), (SlotInput::Key { .. }, SlotInput::Contents { .. }))
        });
        self != known && !less
    }

    /// The slot as text: a line for all of it, and one for the paths of each input of which the
    /// contents are known.
    pub fn encode(&self) -> String {
        let mut text = serde_json::to_string(self).expect("a slot has only string keys");
        for input in &self.inputs {
            if let SlotInput::Contents { files, .. } = input {
                text.push('\n');
                text.push_str(&serde_json::to_string(files.all()).expect("paths are strings"));
            }
        }
        text
    }

    /// Reads what [`Self::encode`] wrote, the paths only once they are asked for; none if it is
    /// something else.
    pub fn decode(text: String) -> Option<Self> {
        let text: Arc<str> = text.into();
        let mut slot: Self = serde_json::from_str(text.lines().next()?).ok()?;
        let mut line = 0;
        for input in &mut slot.inputs {
            if let SlotInput::Contents { files, .. } = input {
                line += 1;
                let text = Arc::clone(&text);
                *files = Files::later(move || {
                    let paths = text.lines().nth(line);
                    paths.and_then(|it| serde_json::from_str(it).ok()).unwrap_or_default()
                });
            }
        }
        Some(slot)
    }
}

/// What a run saw of an input.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum SlotInput {
    /// Its key.
    Key {
        /// The key.
        key: Key,
    },
    /// The contents of the selected paths.
    Contents {
        /// Of all of them.
        digest: Digest,
        /// Of each.
        #[serde(skip)]
        files: Files,
    },
}

impl PartialEq for SlotInput {
    /// Contents of one digest have the same paths.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Key { key: a }, Self::Key { key: b }) => a == b,
            (Self::Contents { digest: a, .. }, Self::Contents { digest: b, .. }) => a == b,
            _ => false,
        }
    }
}

impl Eq for SlotInput {}

/// An input of the step in question.
pub(crate) struct Need<'a> {
    pub(crate) step: &'a StepId,
    pub(crate) op: &'a Op,
    pub(crate) before: Option<&'a Slot>,
}

/// The reference and the manifest of an image source.
pub(crate) fn image(op: &Op) -> Option<(String, Digest)> {
    match op {
        Op::Source(Source::Image(image)) => {
            Some((image.reference.familiar(), image.manifest.clone()))
        }
        _ => None,
    }
}

/// What made the difference between `before` and `now`.
pub(crate) fn reason(before: &Slot, now: &Slot, needs: &[Need<'_>]) -> MissReason {
    // An image's op is its contents, so a tag that moved comes first.
    if let Some(reason) = moved_base(before, now) {
        return reason;
    }
    if before.op != now.op {
        return op_reason(before, now);
    }
    for (number, (then, today)) in before.inputs.iter().zip(&now.inputs).enumerate() {
        match (then, today) {
            (a, b) if a == b => {}
            (SlotInput::Contents { files: a, .. }, SlotInput::Contents { files: b, .. })
                if a.all() != b.all() =>
            {
                return first_change(a.all(), b.all());
            }
            // Lists of files may be cut short: then only the input as a whole can be named.
            _ => {
                if let Some(need) = needs.get(number) {
                    return need_reason(need);
                }
            }
        }
    }
    // It was built from the very same, and what came of it is not known any more.
    MissReason::ResultSwept
}

fn op_reason(before: &Slot, now: &Slot) -> MissReason {
    if before.text == now.text
        && let Some(name) = first_variable(&before.variables, &now.variables)
    {
        return MissReason::VariableChanged { name };
    }
    if before.text == now.text {
        return MissReason::OptionsChanged;
    }
    MissReason::InstructionChanged { before: before.text.clone(), after: now.text.clone() }
}

fn moved_base(before: &Slot, now: &Slot) -> Option<MissReason> {
    let ((reference, then), (same, today)) = (before.image.as_ref()?, now.image.as_ref()?);
    (reference == same && then != today).then(|| MissReason::BaseMoved {
        reference: reference.clone(),
        before: then.clone(),
        after: today.clone(),
    })
}

fn need_reason(need: &Need<'_>) -> MissReason {
    let today = image(need.op);
    let then = need.before.and_then(|slot| slot.image.clone());
    if let (Some((reference, after)), Some((same, before))) = (today, then)
        && reference == same
        && after != before
    {
        return MissReason::BaseMoved { reference, before, after };
    }
    MissReason::NeedChanged { step: need.step.clone() }
}

fn first_variable(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> Option<String> {
    let names = a.keys().chain(b.keys());
    names.filter(|name| a.get(*name) != b.get(*name)).min().cloned()
}

/// The first path that differs, of two lists that do.
fn first_change(a: &ByPath, b: &ByPath) -> MissReason {
    let changed = changes(a, b);
    let (path, change) = changed.first().expect("lists that differ have a path that does");
    MissReason::InputChanged {
        path: path.clone(),
        change: *change,
        others: u32::try_from(changed.len() - 1).unwrap_or(u32::MAX),
    }
}

/// Every path that differs: what is new or changed by name, then what is gone.
fn changes(a: &ByPath, b: &ByPath) -> Vec<(String, PathChange)> {
    let mut changed: Vec<(&String, PathChange)> = Vec::new();
    for (path, digest) in b {
        match a.get(path) {
            None => changed.push((path, PathChange::Added)),
            Some(before) if before != digest => changed.push((path, PathChange::Modified)),
            Some(_) => {}
        }
    }
    changed.extend(a.keys().filter(|p| !b.contains_key(*p)).map(|p| (p, PathChange::Removed)));
    changed.into_iter().map(|(path, change)| (path.clone(), change)).collect()
}

/// Every path that differs in the first input of which both know the paths and that is not the
/// same: the one that [`MissReason::InputChanged`] speaks of.
pub fn changed_paths(before: &Slot, now: &Slot) -> Vec<(String, PathChange)> {
    let pairs = before.inputs.iter().zip(&now.inputs);
    let differ = pairs.filter_map(|pair| match pair {
        (SlotInput::Contents { files: a, .. }, SlotInput::Contents { files: b, .. }) => {
            let (a, b) = (a.all(), b.all());
            (a != b).then(|| changes(a, b))
        }
        _ => None,
    });
    differ.into_iter().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bakehouse_model::oci::Platform;
    use bakehouse_model::op::{ContextSource, ImageSource};

    use super::*;

    #[test]
    fn a_slot_is_read_back_with_its_paths() {
        let inputs =
            vec![contents(&[("a", "1"), ("line\nbreak", "2")]), key("k"), contents(&[("b", "3")])];
        let known = slot("COPY . .", &[("A", "1")], inputs);
        let read = Slot::decode(known.encode()).unwrap();
        assert_eq!(read, known);
        let paths = |slot: &Slot, input: usize| match &slot.inputs[input] {
            SlotInput::Contents { files, .. } => files.all().clone(),
            SlotInput::Key { .. } => ByPath::new(),
        };
        assert!((0..3).all(|input| paths(&read, input) == paths(&known, input)));
        assert_eq!(paths(&read, 2).len(), 1);
        assert!(Slot::decode("{}".to_owned()).is_none());
        assert!(Slot::decode(String::new()).is_none());
        let cut = known.encode().lines().next().unwrap().to_owned();
        assert!(paths(&Slot::decode(cut).unwrap(), 0).is_empty(), "paths only explain");
    }

    fn slot(text: &str, variables: &[(&str, &str)], inputs: Vec<SlotInput>) -> Slot {
        let pairs = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Slot {
            op: Digest::of(format!("{text} {variables:?}")),
            text: text.to_owned(),
            variables: pairs.collect(),
            image: None,
            inputs,
        }
    }

    fn contents(files: &[(&str, &str)]) -> SlotInput {
        let pairs = files.iter().map(|(path, digest)| ((*path).to_owned(), (*digest).to_owned()));
        SlotInput::Contents {
            digest: Digest::of(format!("{files:?}")),
            files: pairs.collect::<ByPath>().into(),
        }
    }

    fn key(text: &str) -> SlotInput {
        SlotInput::Key { key: Key(Digest::of(text)) }
    }

    fn source(manifest: &str) -> Op {
        Op::Source(Source::Image(ImageSource {
            reference: "base:1".parse().unwrap(),
            manifest: Digest::of(manifest),
            platform: Platform::linux("amd64"),
            chain: None,
        }))
    }

    fn context() -> Op {
        let name = "context".to_owned();
        Op::Source(Source::Context(ContextSource {
            name,
            root: "/".to_owned(),
            ignore: Vec::new(),
        }))
    }

    #[test]
    fn the_instruction_counts_before_its_variables_before_its_files() {
        let files = |digest: &str| vec![contents(&[("a", digest)])];
        let before = slot("RUN a", &[("A", "1")], files("1"));
        let step = StepId(Digest::of("context"));
        let op = context();
        let needs = [Need { step: &step, op: &op, before: None }];
        let table = [
            (
                slot("RUN b", &[("A", "2")], files("2")),
                MissReason::InstructionChanged {
                    before: "RUN a".to_owned(),
                    after: "RUN b".to_owned(),
                },
            ),
            (
                slot("RUN a", &[("A", "2")], files("2")),
                MissReason::VariableChanged { name: "A".to_owned() },
            ),
            (
                slot("RUN a", &[("A", "1"), ("B", "1")], files("1")),
                MissReason::VariableChanged { name: "B".to_owned() },
            ),
            (slot("RUN a", &[("A", "1")], files("1")), MissReason::ResultSwept),
            (
                slot("RUN a", &[("A", "1")], vec![key("other")]),
                MissReason::NeedChanged { step: step.clone() },
            ),
        ];
        for (now, expected) in table {
            assert_eq!(reason(&before, &now, &needs), expected);
        }
    }

    #[test]
    fn of_files_what_is_new_or_changed_is_named_first() {
        let step = StepId(Digest::of("context"));
        let op = context();
        let needs = [Need { step: &step, op: &op, before: None }];
        let before = slot("COPY", &[], vec![contents(&[("a", "1"), ("b", "1"), ("c", "1")])]);
        let changed = |path: &str, change, others| MissReason::InputChanged {
            path: path.to_owned(),
            change,
            others,
        };
        type Files<'a> = &'a [(&'a str, &'a str)];
        let table: [(Files<'_>, MissReason); 4] = [
            (&[("a", "1"), ("b", "2"), ("c", "2")], changed("b", PathChange::Modified, 1)),
            (&[("a", "1"), ("b", "1")], changed("c", PathChange::Removed, 0)),
            (&[("b", "1"), ("c", "1"), ("d", "1")], changed("d", PathChange::Added, 1)),
            // A list that was cut short says only that something is different.
            (&[], changed("a", PathChange::Removed, 2)),
        ];
        for (files, expected) in table {
            let now = slot("COPY", &[], vec![contents(files)]);
            assert_eq!(reason(&before, &now, &needs), expected, "{files:?}");
        }
        let cut = |text: &str| SlotInput::Contents {
            digest: Digest::of(text),
            files: super::Files::default(),
        };
        let before = slot("COPY", &[], vec![cut("1")]);
        let now = slot("COPY", &[], vec![cut("2")]);
        assert_eq!(reason(&before, &now, &needs), MissReason::NeedChanged { step: step.clone() });
    }

    #[test]
    fn a_tag_that_moved_is_told_as_such() {
        let step = StepId(Digest::of("base"));
        let (old, new) = (source("old"), source("new"));
        let place = |op: &Op| {
            let image = image(op);
            let op = Digest::of(format!("{image:?}"));
            Slot { image, op, ..slot("FROM base:1", &[], Vec::new()) }
        };
        let moved = MissReason::BaseMoved {
            reference: "base:1".to_owned(),
            before: Digest::of("old"),
            after: Digest::of("new"),
        };
        // Of the source itself, and of what stands on it.
        assert_eq!(reason(&place(&old), &place(&new), &[]), moved);
        let known = place(&old);
        let needs = [Need { step: &step, op: &new, before: Some(&known) }];
        let above = |text: &str| slot("RUN a", &[], vec![key(text)]);
        assert_eq!(reason(&above("1"), &above("2"), &needs), moved);
        let needs = [Need { step: &step, op: &old, before: Some(&known) }];
        let expected = MissReason::NeedChanged { step: step.clone() };
        assert_eq!(reason(&above("1"), &above("2"), &needs), expected);
    }

    #[test]
    fn a_slot_survives_being_written_down() {
        let slot = Slot {
            image: image(&source("x")),
            ..slot("RUN", &[("A", "1")], vec![key("k"), contents(&[("a", "1")])])
        };
        let text = serde_json::to_string(&slot).unwrap();
        assert_eq!(serde_json::from_str::<Slot>(&text).unwrap(), slot);
    }
}
