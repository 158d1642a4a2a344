//! What caches have for steps.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use bakehouse_model::Record;

use super::{Decision, Evaluation, State};
use crate::caches::import::Term;
use crate::caches::{Cache, Import};
use crate::graph::StepIndex;
use crate::key;

impl<'g> Evaluation<'g> {
    /// Looks also into these caches.
    #[must_use]
    pub fn with_caches(mut self, caches: &'g [Cache]) -> Self {
        self.caches = caches;
        for state in &mut self.states {
            state.found = vec![BTreeSet::new(); caches.len()];
        }
        self
    }

    /// Steps whose results are wanted and are in a cache.
    pub fn wanted_imports(&self) -> Vec<(StepIndex, &Import)> {
        let import = |index: StepIndex| match &self.states[index.0] {
            State { output: true, decision: Decision::Import(import), .. } => Some((index, import)),
            _ => None,
        };
        self.graph.indexes().filter_map(import).collect()
    }

    /// The steps whose results in caches come with this one: their layers are its lowest.
    pub fn comes_with(&self, import: &Import) -> Vec<(StepIndex, &Import)> {
        let comes = |index: StepIndex| match &self.states[index.0].decision {
            Decision::Import(own) if import.layers.starts_with(&own.layers) => Some((index, own)),
            _ => None,
        };
        self.graph.indexes().filter_map(comes).collect()
    }

    /// A result of a cache was fetched.
    pub fn fetched(&mut self, step: StepIndex, record: Record) {
        self.states[step.0].decision = Decision::Hit(record);
    }

    /// A result of a cache could not be had: the step is decided as if there were none.
    pub fn lost(&mut self, step: StepIndex) {
        let state = &mut self.states[step.0];
        state.lost = true;
        state.decision = Decision::Open;
    }

    /// The records that stand for a step, in each cache. What is made anew on purpose is none
    /// of theirs, and neither is what stands on it.
    pub(super) fn find(&self, index: StepIndex) -> Vec<BTreeSet<usize>> {
        let node = self.graph.step(index);
        if self.caches.is_empty() || node.no_cache || !key::is_shareable(node) {
            return vec![BTreeSet::new(); self.caches.len()];
        }
        let find = |(at, cache): (usize, &Cache)| {
            let mut terms = Vec::with_capacity(node.inputs.len());
            for (input, dep, contents) in self.inputs(index) {
                let by_content = self.is_context(input) || dep.by_content;
                terms.push(Term {
                    records: self.states[input.0].found.get(at),
                    selector: dep.selector.as_ref(),
                    contents: contents.filter(|_| by_content).map(|contents| &contents.digest),
                });
            }
            let mut found = cache.find(self.op(index), &terms);
            for alias in key::aliases(node, |manifest| cache.index_of(manifest)) {
                found.extend(cache.find(&alias, &terms));
            }
            found
        };
        self.caches.iter().enumerate().map(find).collect()
    }

    /// The newest result that a cache has for a step.
    pub(super) fn import(&self, index: StepIndex) -> Option<Import> {
        let state = &self.states[index.0];
        if state.lost || self.graph.step(index).inputs.is_empty() {
            return None;
        }
        let results = self.caches.iter().zip(&state.found).enumerate();
        let results = results.filter_map(|(at, (cache, found))| {
            let (created_ms, layers) = cache.result(found)?;
            Some((Reverse(created_ms), at, layers))
        });
        let (Reverse(created_ms), cache, layers) = results.min_by_key(|r| (r.0, r.1))?;
        let id = state.slow.clone().or_else(|| state.fast.clone())?;
        let from = self.caches[cache].name().to_owned();
        Some(Import { id, cache, from, layers, created_ms })
    }
}
