//! When each step runs: list scheduling by the longest tail, over costs of past runs.
//!
//! No clock and no chance: the same graph and costs give the same plan everywhere. Graham's
//! bound holds for it: no more than `2 − 1/workers` times the best makespan there is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::op::{Op, Source};
use serde::Serialize;

use crate::graph::{Graph, Step, StepIndex};

/// A plan in time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Schedule {
    /// The steps that run, in the order they start.
    pub slots: Vec<Slot>,
    /// When the last one ends.
    pub makespan_ms: u64,
    /// The longest chain: no number of workers beats it.
    pub critical_path_ms: u64,
    /// The better of the critical path and the work divided by the workers.
    pub lower_bound_ms: u64,
    /// For each step that runs, the longest chain from its start to the end.
    pub tails: BTreeMap<StepIndex, u64>,
    /// Steps on a longest chain.
    pub critical: BTreeSet<StepIndex>,
}

impl Schedule {
    /// One longest chain of steps, from its start to the end.
    pub fn longest_chain(&self, graph: &Graph) -> Vec<StepIndex> {
        let ms: BTreeMap<StepIndex, u64> =
            self.slots.iter().map(|slot| (slot.step, slot.end_ms - slot.start_ms)).collect();
        let first = self.tails.iter().find(|(_, tail)| **tail == self.critical_path_ms);
        let mut chain: Vec<StepIndex> = first.map(|(step, _)| *step).into_iter().collect();
        // Needs come first, so one pass sees every step that goes on with the last one.
        for (step, tail) in &self.tails {
            let Some(last) = chain.last() else { break };
            let left = self.tails[last] - ms.get(last).copied().unwrap_or(0);
            if *tail == left && graph.step(*step).inputs.contains(last) {
                chain.push(*step);
            }
        }
        chain
    }
}

/// One step of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Slot {
    /// The step.
    pub step: StepIndex,
    /// Who runs it.
    pub worker: usize,
    /// When it starts.
    pub start_ms: u64,
    /// When it ends.
    pub end_ms: u64,
}

/// What a step costs when nothing is known of it.
pub fn default_cost_ms(step: &Step) -> u64 {
    match &step.op {
        Op::Source(Source::Context(_)) => 0,
        Op::Source(_) => 2_000,
        Op::Exec(_) => 1_000,
        Op::File(_) => 20,
        Op::Merge => 1,
    }
}

/// Plans `steps` (any set of the graph; needs outside of it are taken as there already).
pub fn schedule(
    graph: &Graph,
    steps: &BTreeSet<StepIndex>,
    cost: &dyn Fn(StepIndex) -> u64,
    workers: usize,
) -> Schedule {
    let workers = workers.max(1);
    let tails = tails(graph, steps, cost);
    let critical_path_ms = tails.values().copied().max().unwrap_or(0);
    let slots = place(graph, &tails, cost, workers);
    let total: u64 = steps.iter().map(|step| cost(*step)).sum();
    Schedule {
        makespan_ms: slots.iter().map(|slot| slot.end_ms).max().unwrap_or(0),
        critical_path_ms,
        lower_bound_ms: critical_path_ms.max(total.div_ceil(workers as u64)),
        critical: critical(graph, &tails, cost),
        slots,
        tails,
    }
}

fn tails(
    graph: &Graph,
    steps: &BTreeSet<StepIndex>,
    cost: &dyn Fn(StepIndex) -> u64,
) -> BTreeMap<StepIndex, u64> {
    let mut tails: BTreeMap<StepIndex, u64> = steps.iter().map(|s| (*s, cost(*s))).collect();
    for step in steps.iter().rev() {
        let tail = tails[step];
        for need in &graph.step(*step).inputs {
            if let Some(below) = tails.get_mut(need) {
                *below = (*below).max(cost(*need) + tail);
            }
        }
    }
    tails
}

fn place(
    graph: &Graph,
    tails: &BTreeMap<StepIndex, u64>,
    cost: &dyn Fn(StepIndex) -> u64,
    workers: usize,
) -> Vec<Slot> {
    let mut free: BTreeSet<(u64, usize)> = (0..workers).map(|worker| (0, worker)).collect();
    let mut waiting = Waiting::new(graph, tails);
    let mut slots = Vec::with_capacity(tails.len());
    // Needs come first, so as long as steps wait, some step has all of its needs placed.
    while let Some((now, worker)) = free.pop_first()
        && let Some((step, start)) = waiting.next(now)
    {
        let end = start + cost(step);
        waiting.ended(step, end);
        free.insert((end, worker));
        slots.push(Slot { step, worker, start_ms: start, end_ms: end });
    }
    slots
}

/// Steps that are not placed yet.
struct Waiting<'a> {
    tails: &'a BTreeMap<StepIndex, u64>,
    users: BTreeMap<StepIndex, Vec<StepIndex>>,
    /// How many needs of a step are not placed, and when the last of the others ends.
    open: BTreeMap<StepIndex, (usize, u64)>,
    /// All needs are placed and end at that time: the earliest first, then the longest tail.
    later: BTreeSet<(u64, Reverse<u64>, StepIndex)>,
    /// All needs have ended: the longest tail first.
    ready: BTreeSet<(Reverse<u64>, StepIndex)>,
}

impl<'a> Waiting<'a> {
    fn new(graph: &Graph, tails: &'a BTreeMap<StepIndex, u64>) -> Self {
        let mut users: BTreeMap<StepIndex, Vec<StepIndex>> = BTreeMap::new();
        let mut open = BTreeMap::new();
        let mut later = BTreeSet::new();
        for (step, tail) in tails {
            let needs: BTreeSet<StepIndex> = graph
                .step(*step)
                .inputs
                .iter()
                .filter(|n| tails.contains_key(n))
                .copied()
                .collect();
            if needs.is_empty() {
                later.insert((0, Reverse(*tail), *step));
            } else {
                open.insert(*step, (needs.len(), 0));
            }
            for need in needs {
                users.entry(need).or_default().push(*step);
            }
        }
        Self { tails, users, open, later, ready: BTreeSet::new() }
    }

    /// What a worker that is free `now` runs next, and when: the earliest possible start
    /// counts first, then the longest tail, then order.
    fn next(&mut self, now: u64) -> Option<(StepIndex, u64)> {
        while let Some(first) = self.later.first().copied()
            && first.0 <= now
        {
            self.later.remove(&first);
            self.ready.insert((first.1, first.2));
        }
        if let Some((_, step)) = self.ready.pop_first() {
            return Some((step, now));
        }
        self.later.pop_first().map(|(at, _, step)| (step, at))
    }

    fn ended(&mut self, step: StepIndex, end: u64) {
        for user in self.users.remove(&step).unwrap_or_default() {
            let Some((needs, at)) = self.open.get_mut(&user) else { continue };
            *needs -= 1;
            *at = (*at).max(end);
            if *needs == 0 {
                let at = *at;
                self.open.remove(&user);
                self.later.insert((at, Reverse(self.tails[&user]), user));
            }
        }
    }
}

fn critical(
    graph: &Graph,
    tails: &BTreeMap<StepIndex, u64>,
    cost: &dyn Fn(StepIndex) -> u64,
) -> BTreeSet<StepIndex> {
    let longest = tails.values().copied().max().unwrap_or(0);
    let mut heads: BTreeMap<StepIndex, u64> = BTreeMap::new();
    for step in tails.keys() {
        let needs = &graph.step(*step).inputs;
        let head = needs.iter().filter_map(|n| Some(heads.get(n)? + cost(*n))).max().unwrap_or(0);
        heads.insert(*step, head);
    }
    let on_path = |step: &&StepIndex| heads[*step] + tails[*step] == longest && longest > 0;
    tails.keys().filter(on_path).copied().collect()
}

#[cfg(test)]
mod tests {
    use bakehouse_model::oci::Platform;
    use bakehouse_model::op::{ContextSource, File, Op, Source};

    use super::*;
    use crate::graph::{NewStep, Origin};

    fn step(graph: &mut Graph, name: &str, inputs: Vec<StepIndex>) -> StepIndex {
        let op = if inputs.is_empty() {
            Op::Source(Source::Context(ContextSource {
                name: name.to_owned(),
                root: "/".to_owned(),
                ignore: Vec::new(),
            }))
        } else {
            Op::File(File { base: Some(0), actions: Vec::new() })
        };
        let origin = Origin {
            name: name.to_owned(),
            image: "i".to_owned(),
            stage: String::new(),
            position: (0, 0),
            location: None,
        };
        graph.add(NewStep {
            op,
            inputs,
            platform: Platform::linux("amd64"),
            no_cache: false,
            origin,
        })
    }

    /// A small linear congruential generator: tests must not depend on chance.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % limit
        }
    }

    #[test]
    fn no_schedule_leaves_the_bounds_or_starts_before_its_needs() {
        let mut numbers = Numbers(7);
        for round in 0..200_u64 {
            let mut graph = Graph::default();
            let mut costs = BTreeMap::new();
            let count = 2 + numbers.below(20);
            let mut all = Vec::new();
            for at in 0..count {
                let needs: Vec<StepIndex> =
                    all.iter().copied().filter(|_| numbers.below(4) == 0).collect();
                let index = step(&mut graph, &format!("{round}-{at}"), needs);
                if !all.contains(&index) {
                    all.push(index);
                }
                costs.insert(index, 1 + numbers.below(50));
            }
            let steps: BTreeSet<StepIndex> = all.iter().copied().collect();
            let cost = |s: StepIndex| costs[&s];
            for workers in 1..=4_u64 {
                let plan = schedule(&graph, &steps, &cost, usize::try_from(workers).unwrap());
                assert_eq!(plan.slots.len(), steps.len());
                assert!(plan.makespan_ms >= plan.lower_bound_ms);
                assert!(plan.makespan_ms * workers <= plan.lower_bound_ms * (2 * workers - 1));
                let ends: BTreeMap<StepIndex, u64> =
                    plan.slots.iter().map(|s| (s.step, s.end_ms)).collect();
                for slot in &plan.slots {
                    for need in &graph.step(slot.step).inputs {
                        assert!(ends[need] <= slot.start_ms);
                    }
                }
            }
        }
    }

    #[test]
    fn the_longest_tail_goes_first() {
        let mut graph = Graph::default();
        let base = step(&mut graph, "base", vec![]);
        let short = step(&mut graph, "short", vec![base]);
        let other = step(&mut graph, "other", vec![]);
        let long = step(&mut graph, "long", vec![other, base]);
        let costs = BTreeMap::from([(base, 1), (short, 1), (other, 5), (long, 20)]);
        let steps = costs.keys().copied().collect();
        let plan = schedule(&graph, &steps, &|s| costs[&s], 1);
        let order: Vec<StepIndex> = plan.slots.iter().map(|s| s.step).collect();
        assert_eq!(order, [other, base, long, short]);
        assert_eq!(plan.critical, BTreeSet::from([other, long]));
    }
}
