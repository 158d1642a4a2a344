//! How long it took, and how long it will take.
//!
//! The estimate replaces every cost by the real duration as soon as it is known: what is
//! left is the longest chain of what is not done, or the work that is left shared by the
//! workers, whichever is longer.

use super::{Progress, StepProgress, StepState};

/// How long a run is: with these workers, and with as many as one likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Length {
    /// From the start to the end.
    pub makespan_ms: u64,
    /// The longest chain of needs.
    pub critical_path_ms: u64,
}

impl Progress {
    /// What the plan said.
    pub fn planned(&self) -> Length {
        self.planned
    }

    /// What became of it so far; the critical path is the longest chain of real durations.
    pub fn realised(&self) -> Length {
        Length {
            makespan_ms: self.last_ms.saturating_sub(self.started_ms),
            critical_path_ms: self.longest_chain(|step| step.ran_ms),
        }
    }

    /// Time since the run started.
    pub fn elapsed_ms(&self, now_ms: u64) -> u64 {
        now_ms.max(self.last_ms).saturating_sub(self.started_ms)
    }

    /// Time of workers that was used so far.
    pub fn worked_ms(&self) -> u64 {
        self.steps.iter().fold(0, |sum, step| sum.saturating_add(step.ran_ms))
    }

    /// An estimate of the time that is left.
    pub fn left_ms(&self, now_ms: u64) -> u64 {
        if self.exit.is_some() {
            return 0;
        }
        let work = self.steps.iter().fold(0u64, |sum, s| sum.saturating_add(s.left_ms(now_ms)));
        let shared = work / u64::from(self.workers.max(1));
        shared.max(self.longest_chain(|step| step.left_ms(now_ms)))
    }

    /// How much of the work is done, in thousandths.
    pub fn permille(&self, now_ms: u64) -> u32 {
        let (mut done, mut all) = (0u128, 0u128);
        for step in &self.steps {
            let weight = u128::from(step.weight());
            all += weight;
            done += match step.state {
                StepState::Waiting => 0,
                // A running step never looks finished.
                StepState::Running { .. } => {
                    u128::from(step.running_ms(now_ms)).min(weight * 95 / 100)
                }
                _ => weight,
            };
        }
        if all == 0 {
            return if self.exit.is_some() { 1000 } else { 0 };
        }
        u32::try_from(done * 1000 / all).unwrap_or(1000)
    }

    /// The longest chain of needs by `length`; steps are stored needs first.
    fn longest_chain(&self, length: impl Fn(&StepProgress) -> u64) -> u64 {
        let mut ends: Vec<u64> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let head = step.needs.iter().map(|&need| ends[need]).max().unwrap_or(0);
            ends.push(head.saturating_add(length(step)));
        }
        ends.into_iter().max().unwrap_or(0)
    }
}

impl StepProgress {
    /// How long it has been running, if it does.
    pub fn running_ms(&self, now_ms: u64) -> u64 {
        match (&self.state, self.started_ms) {
            (StepState::Running { .. }, Some(since)) => now_ms.saturating_sub(since),
            _ => 0,
        }
    }

    fn left_ms(&self, now_ms: u64) -> u64 {
        match self.state {
            StepState::Waiting if self.info.planned => self.info.cost_ms,
            // A step beyond its cost is more likely to go on for a while than to end now.
            StepState::Running { .. } => {
                let ran = self.running_ms(now_ms);
                self.info.cost_ms.saturating_sub(ran).max(ran / 10)
            }
            _ => 0,
        }
    }

    /// The step's share of the progress bar: finding it costs next to nothing.
    fn weight(&self) -> u64 {
        let runs = self.miss.is_some() || (self.info.planned && !self.state.is_ended());
        let was_to_run = self.info.planned && self.state != StepState::Cached;
        if runs || was_to_run { self.info.cost_ms.max(10) } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use bakehouse_model::MissReason;

    use super::*;
    use crate::recorded::Log;

    fn two_chains() -> Log {
        let mut log = Log::new();
        // Costs are 1000 each: a-b-c is the longest chain, 5 steps are the work.
        log.plan(
            &[
                ("a", "x", "RUN a", &[]),
                ("b", "x", "RUN b", &["a"]),
                ("c", "x", "RUN c", &["b"]),
                ("d", "y", "RUN d", &[]),
                ("e", "y", "RUN e", &["d"]),
            ],
            &[("x", "c", &[]), ("y", "e", &[])],
        );
        log
    }

    #[test]
    fn what_is_left_shrinks_with_real_durations() {
        let mut log = two_chains();
        assert_eq!(Progress::replay(log.events()).left_ms(0), 3000);
        log.at(0).start("a", MissReason::NeverBuilt).start("d", MissReason::NeverBuilt);
        assert_eq!(Progress::replay(log.events()).left_ms(400), 2600);
        log.at(500).built("a", 500);
        assert_eq!(Progress::replay(log.events()).left_ms(500), 2000);
        log.at(5000);
        // d takes five times its cost: it is expected to go on for a tenth of that.
        assert_eq!(Progress::replay(log.events()).left_ms(5000), 2000);
        log.built("b", 1).built("c", 1).built("d", 5000).built("e", 1);
        assert_eq!(Progress::replay(log.events()).left_ms(5000), 0);
    }

    #[test]
    fn the_realised_critical_path_is_the_longest_chain_of_real_durations() {
        let mut log = two_chains();
        for (step, ran) in [("a", 10), ("b", 20), ("c", 30), ("d", 100), ("e", 7)] {
            log.start(step, MissReason::NeverBuilt).at(200).built(step, ran);
        }
        let progress = Progress::replay(log.events());
        assert_eq!(progress.realised(), Length { makespan_ms: 200, critical_path_ms: 107 });
        assert_eq!(progress.worked_ms(), 167);
    }

    #[test]
    fn the_bar_never_goes_back_and_ends_full() {
        let mut log = two_chains();
        let mut last = 0;
        for (at, step) in [(0, "a"), (900, "b"), (5000, "c"), (5100, "d"), (5200, "e")] {
            log.at(at).start(step, MissReason::NeverBuilt);
            for now in [at, at + 50, at + 99] {
                let now_permille = Progress::replay(log.events()).permille(now);
                assert!(now_permille >= last && now_permille < 1000);
                last = now_permille;
            }
            log.at(at + 100).built(step, 100);
        }
        assert_eq!(Progress::replay(log.events()).permille(9000), 1000);
    }
}
