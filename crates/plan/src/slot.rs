//! What a place of a Dockerfile looked like in the last run, to say why it is different now.
//!
//! A slot decides nothing; keys do. It only turns «this key is not known» into a reason
//! that a person can act on.

use std::collections::BTreeMap;

use bakehouse_model::op::{Op, Source};
use bakehouse_model::{Digest, Key, MissReason, PathChange, StepId};
use serde::{Deserialize, Serialize};

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

/// What a run saw of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
        files: BTreeMap<String, String>,
    },
}

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
    if before.op != now.op {
        return op_reason(before, now);
    }
    if let Some(reason) = moved_base(before, now) {
        return reason;
    }
    for (number, (then, today)) in before.inputs.iter().zip(&now.inputs).enumerate() {
        match (then, today) {
            (SlotInput::Contents { files: a, .. }, SlotInput::Contents { files: b, .. }) => {
                if let Some(reason) = first_change(a, b) {
                    return reason;
                }
                if then != today {
                    // So many paths that none is remembered.
                    let (path, change) = (".".to_owned(), PathChange::Modified);
                    return MissReason::InputChanged { path, change, others: 0 };
                }
            }
            (a, b) if a != b => {
                if let Some(need) = needs.get(number) {
                    return need_reason(need);
                }
            }
            _ => {}
        }
    }
    MissReason::NeverBuilt
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

fn first_change(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> Option<MissReason> {
    let mut changed: Vec<(&String, PathChange)> = Vec::new();
    for (path, digest) in b {
        match a.get(path) {
            None => changed.push((path, PathChange::Added)),
            Some(before) if before != digest => changed.push((path, PathChange::Modified)),
            Some(_) => {}
        }
    }
    changed.extend(a.keys().filter(|p| !b.contains_key(*p)).map(|p| (p, PathChange::Removed)));
    changed.sort_by_key(|(path, change)| (*change == PathChange::Removed, (*path).clone()));
    let (path, change) = changed.first()?;
    Some(MissReason::InputChanged {
        path: (*path).clone(),
        change: *change,
        others: u32::try_from(changed.len() - 1).unwrap_or(u32::MAX),
    })
}
