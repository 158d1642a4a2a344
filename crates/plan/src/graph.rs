//! The step graph of a whole fleet: every step once, needs before what needs them.
//!
//! A step's identity is the digest of its op and of the steps it needs ([`StepId`]), so
//! images that do the same on the same base share steps by construction. A [`Graph`] can
//! only be added to at the end with inputs that are there already: it has no cycles.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::oci::Platform;
use bakehouse_model::op::Op;
use bakehouse_model::{Digest, Location, StepId};
use serde::Serialize;

/// Position of a step in its [`Graph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct StepIndex(pub usize);

/// One node of the graph.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// Identity.
    pub id: StepId,
    /// What it does.
    pub op: Op,
    /// What it reads, by the number that the op uses.
    pub inputs: Vec<StepIndex>,
    /// The platform it runs for.
    pub platform: Platform,
    /// Whether its earlier results must not be used.
    pub no_cache: bool,
    /// Where it comes from, for people.
    pub origin: Origin,
    /// The other places that it is at, of images that share it.
    #[serde(skip)]
    pub also: BTreeSet<String>,
    /// Images that need it, by name.
    pub images: BTreeSet<String>,
}

impl Step {
    /// The names of all places that it is at.
    pub fn slots(&self) -> impl Iterator<Item = String> + '_ {
        std::iter::once(self.origin.slot()).chain(self.also.iter().cloned())
    }
}

/// Where a step comes from, for people and for comparing with the last run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The instruction, variables resolved.
    pub name: String,
    /// The image that brought it in first.
    pub image: String,
    /// The stage it is in.
    pub stage: String,
    /// Position within the stage, from 1, and the number of steps in it; 0 of 0 outside.
    pub position: (u32, u32),
    /// Where it is written.
    pub location: Option<Location>,
}

impl Origin {
    /// A name of the place that stays the same from run to run.
    pub fn slot(&self) -> String {
        let (at, _) = self.position;
        if at == 0 {
            return format!("{}/{}/{}", self.image, self.stage, self.name);
        }
        format!("{}/{}/{at}", self.image, self.stage)
    }

    /// `builder 2/5`.
    pub fn stage_position(&self) -> String {
        match self.position {
            (0, _) => self.stage.clone(),
            (at, of) if self.stage.is_empty() => format!("{at}/{of}"),
            (at, of) => format!("{} {at}/{of}", self.stage),
        }
    }
}

/// A new step, before it has an identity.
#[derive(Debug, Clone)]
pub struct NewStep {
    /// What it does.
    pub op: Op,
    /// What it reads.
    pub inputs: Vec<StepIndex>,
    /// The platform it runs for.
    pub platform: Platform,
    /// Whether its earlier results must not be used.
    pub no_cache: bool,
    /// Where it comes from.
    pub origin: Origin,
}

/// Steps, each after those that it needs.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Graph {
    steps: Vec<Step>,
    #[serde(skip)]
    by_id: BTreeMap<StepId, StepIndex>,
}

impl Graph {
    /// All steps; needs come first.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The positions of all steps; needs come first.
    pub fn indexes(&self) -> impl DoubleEndedIterator<Item = StepIndex> + use<> {
        (0..self.steps.len()).map(StepIndex)
    }

    /// One step.
    pub fn step(&self, index: StepIndex) -> &Step {
        &self.steps[index.0]
    }

    /// Where a step is.
    pub fn find(&self, id: &StepId) -> Option<StepIndex> {
        self.by_id.get(id).copied()
    }

    /// Adds a step, or finds the one that does the same.
    pub fn add(&mut self, new: NewStep) -> StepIndex {
        let id = self.identity(&new);
        if let Some(index) = self.by_id.get(&id).copied() {
            let step = &mut self.steps[index.0];
            step.no_cache |= new.no_cache;
            if new.origin.image != step.origin.image {
                step.also.insert(new.origin.slot());
            }
            return index;
        }
        let index = StepIndex(self.steps.len());
        self.by_id.insert(id.clone(), index);
        let NewStep { op, inputs, platform, no_cache, origin } = new;
        self.steps.push(Step {
            id,
            op,
            inputs,
            platform,
            no_cache,
            origin,
            also: BTreeSet::new(),
            images: BTreeSet::new(),
        });
        index
    }

    /// Records that `image` needs `root` and all that `root` needs.
    pub fn claim(&mut self, image: &str, root: StepIndex) {
        for index in self.reach([root]) {
            self.steps[index.0].images.insert(image.to_owned());
        }
    }

    /// Everything that `roots` need, themselves included, in order.
    pub fn reach(&self, roots: impl IntoIterator<Item = StepIndex>) -> BTreeSet<StepIndex> {
        let mut reached = BTreeSet::new();
        let mut stack: Vec<StepIndex> = roots.into_iter().collect();
        while let Some(index) = stack.pop() {
            if reached.insert(index) {
                stack.extend(self.steps[index.0].inputs.iter().copied());
            }
        }
        reached
    }

    fn identity(&self, new: &NewStep) -> StepId {
        let inputs: Vec<&StepId> = new.inputs.iter().map(|i| &self.steps[i.0].id).collect();
        let text = serde_json::to_vec(&(&new.op, &inputs, &new.platform))
            .expect("ops have only string keys");
        StepId(Digest::of(text))
    }
}

#[cfg(test)]
mod tests {
    use bakehouse_model::op::{ContextSource, File, Source};

    use super::*;

    fn new(name: &str, inputs: Vec<StepIndex>) -> NewStep {
        let op = if inputs.is_empty() {
            let root = "/".to_owned();
            let name = name.to_owned();
            Op::Source(Source::Context(ContextSource { name, root, ignore: Vec::new() }))
        } else {
            Op::File(File { base: Some(0), actions: Vec::new() })
        };
        let origin = Origin {
            name: name.to_owned(),
            image: "app".to_owned(),
            stage: "build".to_owned(),
            position: (2, 5),
            location: None,
        };
        NewStep { op, inputs, platform: Platform::linux("amd64"), no_cache: false, origin }
    }

    #[test]
    fn what_does_the_same_on_the_same_is_one_step() {
        let mut graph = Graph::default();
        let a = graph.add(new("a", Vec::new()));
        let b = graph.add(new("b", Vec::new()));
        let on_a = graph.add(new("first", vec![a]));
        // Whoever asks, and whatever it is called.
        assert_eq!(graph.add(new("second", vec![a])), on_a);
        assert_eq!(graph.step(on_a).origin.name, "first");
        let others = [
            new("on another", vec![b]),
            new("on both", vec![a, b]),
            new("the other way round", vec![b, a]),
            NewStep { platform: Platform::linux("arm64"), ..new("elsewhere", vec![a]) },
        ];
        for other in others {
            let count = graph.steps().len();
            assert_eq!(graph.add(other).0, count);
        }
        assert_eq!(graph.find(&graph.step(on_a).id), Some(on_a));
    }

    #[test]
    fn one_who_distrusts_the_cache_is_enough() {
        let mut graph = Graph::default();
        let a = graph.add(new("a", Vec::new()));
        graph.add(NewStep { no_cache: true, ..new("a", Vec::new()) });
        assert!(graph.step(a).no_cache);
        graph.add(new("a", Vec::new()));
        assert!(graph.step(a).no_cache);
    }

    #[test]
    fn a_claim_reaches_all_that_is_needed_and_nothing_else() {
        let mut graph = Graph::default();
        let a = graph.add(new("a", Vec::new()));
        let b = graph.add(new("b", Vec::new()));
        let top = graph.add(new("top", vec![a]));
        graph.claim("one", top);
        graph.claim("two", a);
        let images = |at: StepIndex| graph.step(at).images.iter().cloned().collect::<Vec<_>>();
        assert_eq!(images(a), ["one", "two"]);
        assert_eq!(images(top), ["one"]);
        assert!(images(b).is_empty());
    }

    #[test]
    fn places_are_named_by_number_within_a_stage_and_by_text_outside() {
        let origin = new("RUN x", Vec::new()).origin;
        assert_eq!(
            (origin.slot(), origin.stage_position()),
            ("app/build/2".into(), "build 2/5".into())
        );
        let outside = Origin { position: (0, 0), stage: String::new(), ..origin.clone() };
        assert_eq!(
            (outside.slot(), outside.stage_position()),
            ("app//RUN x".into(), String::new())
        );
        let nameless = Origin { stage: String::new(), ..origin };
        assert_eq!(nameless.stage_position(), "2/5");
    }
}
