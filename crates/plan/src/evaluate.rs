//! Which steps must run: cache keys, records and contents put together, one fact at a time.
//!
//! An [`Evaluation`] is pure. It returns [`Question`]s as data and is told the answers; the
//! `plan` command answers them from the store alone, a build goes on and tells it what steps
//! made. Both see the same decisions, so a plan shows exactly what the next build does.
//!
//! 1. Keys are computed from the bottom. A step that only reads an input (COPY, bind mounts)
//!    is tried by that input's key first; only where this misses are its contents asked for.
//! 2. Work is demanded from the top. What stands on a hit is not looked into any further.
//! 3. Every step that must run has a [`MissReason`].
//!
//! What nothing is remembered of may be in a cache that others have written. Such a step is
//! not fetched before its result is wanted, and runs if it cannot be fetched.

mod imports;

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::op::{Op, Output, Source};
use bakehouse_model::{Digest, Key, MissReason, Record};

use crate::caches::{Cache, Import};
use crate::gitaddress::GitAddress;
use crate::graph::{Graph, StepIndex};
use crate::key::{self, Dependency, Part, Selection};
use crate::slot::{self, Files, Slot, SlotInput};

/// Something the evaluation has to know to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// What is remembered under these keys, if what it names is still there?
    Records(Vec<Key>),
    /// What do the selected paths of an input of a step contain?
    Content {
        /// The step.
        step: StepIndex,
        /// Number of the input.
        input: usize,
        /// Where the contents are.
        output: Output,
        /// Which paths.
        selections: Vec<Selection>,
    },
}

/// What is remembered under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remembered {
    /// A result that is there.
    Found(Record),
    /// A result that was there once.
    Swept,
    /// Nothing.
    Nothing,
}

/// The contents of the selected paths of an input.
#[derive(Debug, Clone)]
pub struct Contents {
    /// Of all of them.
    pub digest: Digest,
    /// Of each path, to say which one changed; may be cut short.
    pub files: Files,
}

/// Where a step stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Not known yet: what it needs must be decided, or run, first.
    Open,
    /// The result is there.
    Hit(Record),
    /// The result is in a cache, and is fetched when it is wanted.
    Import(Import),
    /// It must run.
    Run(MissReason),
    /// It ran in this run.
    Built(Record),
    /// It ran, or something it needs did, without success.
    Failed,
}

#[derive(Debug, Clone)]
struct State {
    op: Digest,
    deps: Vec<Dependency>,
    contents: Vec<Option<Contents>>,
    /// Key by the keys of the inputs.
    fast: Option<Key>,
    /// Key by contents where they can stand for an input.
    slow: Option<Key>,
    remembered: BTreeMap<Key, Remembered>,
    /// The records that stand for it, in each cache.
    found: Vec<BTreeSet<usize>>,
    /// Whether what a cache has could not be had.
    lost: bool,
    decision: Decision,
    decide: bool,
    output: bool,
}

/// The state of all decisions about a graph.
#[derive(Debug)]
pub struct Evaluation<'g> {
    graph: &'g Graph,
    states: Vec<State>,
    slots: &'g BTreeMap<String, Slot>,
    caches: &'g [Cache],
    asked: BTreeSet<(StepIndex, usize)>,
}

impl<'g> Evaluation<'g> {
    /// Wants the results of `roots`. `slots` say what the last run saw at each place.
    pub fn new(graph: &'g Graph, roots: &[StepIndex], slots: &'g BTreeMap<String, Slot>) -> Self {
        let states = graph.steps().iter().map(State::new).collect();
        let mut evaluation = Self { graph, states, slots, caches: &[], asked: BTreeSet::new() };
        for root in roots {
            evaluation.states[root.0].output = true;
            evaluation.states[root.0].decide = true;
        }
        evaluation
    }

    /// The graph that this is about.
    pub fn graph(&self) -> &'g Graph {
        self.graph
    }

    /// Where a step stands.
    pub fn decision(&self, step: StepIndex) -> &Decision {
        &self.states[step.0].decision
    }

    /// Whether the result of a step is asked for, by a root or by a step that must run.
    pub fn is_wanted(&self, step: StepIndex) -> bool {
        self.states[step.0].output
    }

    /// Whether a result that is there was found by what the step reads, and not by what is
    /// written: something below it was made anew and came out the same.
    pub fn is_found_by_contents(&self, step: StepIndex) -> bool {
        let state = &self.states[step.0];
        let found = |key: &Option<Key>| {
            let answer = key.as_ref().and_then(|key| state.remembered.get(key));
            matches!(answer, Some(Remembered::Found(_)))
        };
        matches!(state.decision, Decision::Hit(_)) && !found(&state.fast) && found(&state.slow)
    }

    /// Goes as far as it can and returns what it must know to go further; nothing if only
    /// running steps can help.
    pub fn advance(&mut self) -> Vec<Question> {
        loop {
            self.demand();
            let changed = self.decide_all();
            if !changed {
                break;
            }
        }
        self.questions()
    }

    /// Wanted steps that must run and whose inputs are all there.
    pub fn ready(&self) -> Vec<StepIndex> {
        self.graph
            .indexes()
            .filter(|index| {
                let state = &self.states[index.0];
                state.output
                    && matches!(state.decision, Decision::Run(_))
                    && self.graph.step(*index).inputs.iter().all(|i| self.output(*i).is_some())
            })
            .collect()
    }

    /// The digest of a step's op.
    pub fn op(&self, step: StepIndex) -> &Digest {
        &self.states[step.0].op
    }

    /// How each input of a step enters its key, and its contents as far as they are known.
    pub fn inputs(
        &self,
        step: StepIndex,
    ) -> impl Iterator<Item = (StepIndex, &Dependency, Option<&Contents>)> {
        let state = &self.states[step.0];
        let known = state.deps.iter().zip(&state.contents);
        let inputs = self.graph.step(step).inputs.iter().zip(known);
        inputs.map(|(input, (dep, contents))| (*input, dep, contents.as_ref()))
    }

    /// What a step made, if it is known.
    pub fn output(&self, step: StepIndex) -> Option<Output> {
        if let Op::Source(Source::Context(context)) = &self.graph.step(step).op {
            return Some(Output::Context { context: context.clone() });
        }
        match &self.states[step.0].decision {
            Decision::Hit(record) | Decision::Built(record) => {
                Some(Output::Snapshot { snapshot: record.snapshot.clone() })
            }
            _ => None,
        }
    }

    /// The answer to [`Question::Records`].
    pub fn remember(&mut self, answers: &BTreeMap<Key, Remembered>) {
        for state in &mut self.states {
            for key in [&state.fast, &state.slow].into_iter().flatten() {
                if let Some(answer) = answers.get(key) {
                    state.remembered.insert(key.clone(), answer.clone());
                }
            }
        }
    }

    /// The answer to [`Question::Content`].
    pub fn content(&mut self, step: StepIndex, input: usize, contents: Contents) {
        self.states[step.0].contents[input] = Some(contents);
    }

    /// A step ran and this is its result.
    pub fn built(&mut self, step: StepIndex, record: Record) {
        self.states[step.0].decision = Decision::Built(record);
    }

    /// A step was to run, and this is what another run has made of it meanwhile.
    pub fn found(&mut self, step: StepIndex, record: Record) {
        self.states[step.0].decision = Decision::Hit(record);
    }

    /// A step failed; what needs it never runs.
    pub fn failed(&mut self, step: StepIndex) {
        self.states[step.0].decision = Decision::Failed;
        // Needs come first, so one pass sees all that was to run above it.
        for index in self.graph.indexes().skip(step.0 + 1) {
            let inputs = &self.graph.step(index).inputs;
            let lost = inputs.iter().any(|i| self.states[i.0].decision == Decision::Failed);
            if lost && matches!(self.states[index.0].decision, Decision::Run(_)) {
                self.states[index.0].decision = Decision::Failed;
            }
        }
    }

    /// The keys that a step's result is to be found under, the one that it is named by first.
    pub fn keys(&self, step: StepIndex) -> Vec<Key> {
        let state = &self.states[step.0];
        state.slow.iter().chain(&state.fast).cloned().collect()
    }

    /// What the last run saw at each place.
    pub fn slots(&self) -> &'g BTreeMap<String, Slot> {
        self.slots
    }

    /// What this run saw at the place of `step`, to compare the next one with.
    pub fn slot(&self, step: StepIndex) -> Option<Slot> {
        let state = &self.states[step.0];
        let node = self.graph.step(step);
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (number, input) in node.inputs.iter().enumerate() {
            inputs.push(match &state.contents[number] {
                Some(contents) => SlotInput::Contents {
                    digest: contents.digest.clone(),
                    files: contents.files.clone(),
                },
                None => SlotInput::Key { key: self.canonical(*input)? },
            });
        }
        Some(Slot {
            op: state.op.clone(),
            text: node.origin.name.clone(),
            variables: key::variables(&node.op),
            image: slot::image(&node.op),
            inputs,
        })
    }

    /// The key that what stands on `step` is keyed by.
    fn canonical(&self, step: StepIndex) -> Option<Key> {
        let state = &self.states[step.0];
        match &state.decision {
            Decision::Hit(record) | Decision::Built(record) => Some(record.id.clone()),
            Decision::Import(import) => Some(import.id.clone()),
            // What comes of it is new, so nothing that is remembered may stand on it.
            Decision::Run(MissReason::Forced | MissReason::MustFetch) => None,
            Decision::Run(_) => state.slow.clone().or_else(|| state.fast.clone()),
            Decision::Open | Decision::Failed => None,
        }
    }

    /// Whether contents of another step's result may stand for an input of `step`.
    fn is_slow(&self, step: StepIndex) -> bool {
        let node = self.graph.step(step);
        let deps = &self.states[step.0].deps;
        deps.iter().zip(&node.inputs).any(|(dep, input)| dep.by_content && !self.is_context(*input))
    }

    fn is_context(&self, step: StepIndex) -> bool {
        matches!(self.graph.step(step).op, Op::Source(Source::Context(_)))
    }

    /// A source that is known only once it is fetched.
    fn must_fetch(&self, step: StepIndex) -> bool {
        match &self.graph.step(step).op {
            Op::Source(Source::Http(http)) => http.checksum.is_none(),
            Op::Source(Source::Git(git)) => {
                !git.reference.as_deref().is_some_and(GitAddress::is_commit)
            }
            _ => false,
        }
    }

    /// Steps that have no key before something below them ran.
    fn unnamed(&self) -> Vec<bool> {
        let mut unnamed = vec![false; self.states.len()];
        for index in self.graph.indexes() {
            unnamed[index.0] = match self.states[index.0].decision {
                Decision::Run(_) => self.canonical(index).is_none(),
                Decision::Open => self.graph.step(index).inputs.iter().any(|i| unnamed[i.0]),
                _ => false,
            };
        }
        unnamed
    }

    /// Passes demands down from what is wanted.
    fn demand(&mut self) {
        let unnamed = self.unnamed();
        for index in self.graph.indexes().rev() {
            let State { decide, output, decision, .. } = &self.states[index.0];
            let (decide, output) = (*decide || *output, *output);
            let open = matches!(decision, Decision::Open);
            let runs = output && matches!(decision, Decision::Run(_));
            // What stands on something new is new too, so what it copies is needed for sure.
            let missed = self.fast_missed(index) || unnamed[index.0];
            let contents_help = open && decide && missed && self.import(index).is_none();
            for (number, input) in self.graph.step(index).inputs.iter().enumerate() {
                let by_content = self.states[index.0].deps[number].by_content;
                let must_run =
                    matches!(self.states[input.0].decision, Decision::Run(_)) && unnamed[input.0];
                let state = &mut self.states[input.0];
                state.decide |= open && decide;
                state.output |=
                    runs || (open && decide && must_run) || (contents_help && by_content);
            }
        }
    }

    fn fast_missed(&self, index: StepIndex) -> bool {
        let state = &self.states[index.0];
        let missed =
            |fast| state.remembered.get(fast).is_some_and(|it| !matches!(it, Remembered::Found(_)));
        self.graph.step(index).no_cache || state.fast.as_ref().is_some_and(missed)
    }

    fn decide_all(&mut self) -> bool {
        let mut changed = false;
        for index in self.graph.indexes() {
            let state = &self.states[index.0];
            if !(state.decide || state.output) || state.decision != Decision::Open {
                continue;
            }
            changed |= self.compute_keys(index);
            if let Some(decision) = self.decide(index) {
                self.states[index.0].decision = decision;
                changed = true;
            }
        }
        changed
    }

    fn compute_keys(&mut self, index: StepIndex) -> bool {
        let (fast, slow) = (self.key_of(index, false), self.key_of(index, true));
        let found = self.find(index);
        let state = &mut self.states[index.0];
        let changed = state.fast != fast || state.slow != slow || state.found != found;
        state.fast = fast;
        state.slow = slow;
        state.found = found;
        changed
    }

    /// The key by keys, or by contents where they can stand for an input.
    fn key_of(&self, index: StepIndex, by_content: bool) -> Option<Key> {
        if by_content && !self.is_slow(index) {
            return None;
        }
        let node = self.graph.step(index);
        let state = &self.states[index.0];
        let mut parts = Vec::with_capacity(node.inputs.len());
        for (number, input) in node.inputs.iter().enumerate() {
            let dep = &state.deps[number];
            parts.push(if self.is_context(*input) || (by_content && dep.by_content) {
                Part::Content(state.contents[number].as_ref()?.digest.clone())
            } else {
                Part::Key(self.canonical(*input)?, key::selector(dep))
            });
        }
        Some(key::key(&state.op, &parts))
    }

    fn decide(&self, index: StepIndex) -> Option<Decision> {
        let node = self.graph.step(index);
        let state = &self.states[index.0];
        if self.is_context(index) {
            return None;
        }
        if node.inputs.iter().any(|i| self.states[i.0].decision == Decision::Failed) {
            return Some(Decision::Failed);
        }
        if self.must_fetch(index) {
            return Some(Decision::Run(MissReason::MustFetch));
        }
        let slow_needed = self.is_slow(index);
        if node.no_cache && !matches!(node.op, Op::Source(_)) {
            let known = if slow_needed { &state.slow } else { &state.fast };
            return known.as_ref().map(|_| Decision::Run(MissReason::Forced));
        }
        let mut swept = false;
        for key in [&state.fast, &state.slow].into_iter().flatten() {
            match state.remembered.get(key) {
                Some(Remembered::Found(record)) => return Some(Decision::Hit(record.clone())),
                Some(Remembered::Swept) => swept = true,
                Some(Remembered::Nothing) => {}
                None => return None,
            }
            // Contents are looked into only where no cache knows what is written.
            if let Some(import) = self.import(index) {
                return Some(Decision::Import(import));
            }
        }
        let last = if slow_needed { state.slow.as_ref()? } else { state.fast.as_ref()? };
        state.remembered.get(last)?;
        Some(Decision::Run(if swept { MissReason::ResultSwept } else { self.reason(index) }))
    }

    fn reason(&self, index: StepIndex) -> MissReason {
        let node = self.graph.step(index);
        let (Some(before), Some(now)) = (self.slots.get(&node.origin.slot()), self.slot(index))
        else {
            return MissReason::NeverBuilt;
        };
        let needs: Vec<slot::Need<'_>> = node
            .inputs
            .iter()
            .map(|input| {
                let need = self.graph.step(*input);
                let before = self.slots.get(&need.origin.slot());
                slot::Need { step: &need.id, op: &need.op, before }
            })
            .collect();
        slot::reason(before, &now, &needs)
    }

    fn questions(&mut self) -> Vec<Question> {
        let mut keys = BTreeSet::new();
        let mut questions = Vec::new();
        for index in self.graph.indexes() {
            let state = &self.states[index.0];
            if !(state.decide || state.output) || state.decision != Decision::Open {
                continue;
            }
            if !self.graph.step(index).no_cache {
                let unknown = [&state.fast, &state.slow].into_iter().flatten();
                keys.extend(unknown.filter(|key| !state.remembered.contains_key(*key)).cloned());
            }
            questions.extend(self.content_questions(index));
        }
        for question in &questions {
            if let Question::Content { step, input, .. } = question {
                self.asked.insert((*step, *input));
            }
        }
        if !keys.is_empty() {
            questions.push(Question::Records(keys.into_iter().collect()));
        }
        questions
    }

    fn content_questions(&self, index: StepIndex) -> Vec<Question> {
        let node = self.graph.step(index);
        let state = &self.states[index.0];
        let missed = self.fast_missed(index);
        let wanted = |number: usize, input: StepIndex| {
            state.contents[number].is_none()
                && !self.asked.contains(&(index, number))
                && (self.is_context(input) || (state.deps[number].by_content && missed))
        };
        node.inputs
            .iter()
            .enumerate()
            .filter(|(number, input)| wanted(*number, **input))
            .filter_map(|(number, input)| {
                let selections = state.deps[number].selections.clone();
                let output = self.output(*input)?;
                Some(Question::Content { step: index, input: number, output, selections })
            })
            .collect()
    }
}

impl State {
    fn new(step: &crate::graph::Step) -> Self {
        Self {
            op: key::op_digest(step),
            deps: key::dependencies(step),
            contents: vec![None; step.inputs.len()],
            fast: None,
            slow: None,
            remembered: BTreeMap::new(),
            found: Vec::new(),
            lost: false,
            decision: Decision::Open,
            decide: false,
            output: false,
        }
    }
}
