//! Images: what became of them, and which step is to answer for it.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::{Digest, EventKind, ImageInfo, StepId};

use super::{Progress, StepProgress, StepState};
use crate::explain::explain;

/// One image and how far it is.
#[derive(Debug, Clone)]
pub struct ImageProgress {
    /// What was said of it before the run.
    pub info: ImageInfo,
    /// Where it stands.
    pub state: ImageState,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// Tags that point at it now.
    pub tags: Vec<Tag>,
    /// What exporters wrote.
    pub exports: Vec<Exported>,
    /// Every step it stands on, and those of them that no image it needs has; needs first.
    chain: Vec<usize>,
    own: Vec<usize>,
}

/// Where an image stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageState {
    /// Not there yet.
    Waiting,
    /// It is whole.
    Done {
        /// Digest of its manifest.
        manifest: Digest,
        /// Digest of its configuration.
        config: Digest,
        /// Bytes of its layers.
        bytes: u64,
        /// Whether no step of it had to run.
        cached: bool,
    },
    /// It could not be made, for a reason of its own.
    Failed {
        /// The error and its causes, outermost first.
        causes: Vec<String>,
        /// What to do about it.
        hints: Vec<String>,
    },
    /// It could not be made, because an image it needs failed.
    Skipped {
        /// That image.
        needs: String,
    },
    /// The run was interrupted before it was whole.
    Cancelled,
}

/// A tag that points at an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The whole reference.
    pub reference: String,
    /// What it points at.
    pub digest: Digest,
    /// Whether it did so before.
    pub unchanged: bool,
}

/// What an exporter wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The kind of output.
    pub kind: String,
    /// Where.
    pub dest: String,
}

impl Progress {
    pub(super) fn begin_images(&mut self, images: &[ImageInfo]) {
        for info in images {
            let chain = info.step.as_ref().map_or_else(BTreeSet::new, |step| self.closure(step));
            if self.by_name.contains_key(&info.name) {
                continue;
            }
            self.by_name.insert(info.name.clone(), self.images.len());
            self.images.push(ImageProgress {
                info: info.clone(),
                state: ImageState::Waiting,
                ended_ms: None,
                tags: Vec::new(),
                exports: Vec::new(),
                own: Vec::new(),
                chain: chain.into_iter().collect(),
            });
        }
        let mut own: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, image) in self.images.iter().enumerate() {
            let others: BTreeSet<usize> =
                self.needed_by(image).flat_map(|need| need.chain.iter().copied()).collect();
            let mine = image.chain.iter().copied().filter(|step| !others.contains(step));
            own.insert(at, mine.collect());
        }
        for (at, steps) in own {
            self.images[at].own = steps;
        }
    }

    fn closure(&self, step: &StepId) -> BTreeSet<usize> {
        let mut seen = BTreeSet::new();
        let mut open: Vec<usize> = self.by_id.get(step).copied().into_iter().collect();
        while let Some(at) = open.pop() {
            if seen.insert(at) {
                open.extend(&self.steps[at].needs);
            }
        }
        seen
    }

    fn needed_by(&self, image: &ImageProgress) -> impl Iterator<Item = &ImageProgress> {
        image.info.needs.iter().filter_map(|name| self.image(name))
    }

    pub(super) fn apply_to_image(&mut self, kind: &EventKind, at_ms: u64) {
        match kind {
            EventKind::ImageFinished { image, manifest, config, bytes, cached } => {
                let (manifest, config) = (manifest.clone(), config.clone());
                let done = ImageState::Done { manifest, config, bytes: *bytes, cached: *cached };
                self.end_image(image, done, at_ms);
            }
            EventKind::ImageFailed { image, causes, hints } => {
                let Some(known) = self.image(image) else { return };
                let state = self
                    .stopped(known)
                    .filter(|state| !matches!(state, ImageState::Failed { .. }))
                    .unwrap_or_else(|| ImageState::Failed {
                        causes: causes.clone(),
                        hints: hints.clone(),
                    });
                self.end_image(image, state, at_ms);
            }
            EventKind::TagMoved { image, reference, digest, unchanged } => {
                if let Some(&at) = self.by_name.get(image) {
                    self.images[at].tags.push(Tag {
                        reference: reference.clone(),
                        digest: digest.clone(),
                        unchanged: *unchanged,
                    });
                }
            }
            EventKind::Exported { image, kind, dest } => {
                if let Some(&at) = self.by_name.get(image) {
                    let (kind, dest) = (kind.clone(), dest.clone());
                    self.images[at].exports.push(Exported { kind, dest });
                }
            }
            _ => {}
        }
    }

    fn end_image(&mut self, name: &str, state: ImageState, at_ms: u64) {
        if let Some(&at) = self.by_name.get(name) {
            self.images[at].state = state;
            self.images[at].ended_ms = Some(at_ms);
        }
    }

    /// At the end of the run, images that nobody reported are judged by their steps.
    pub(super) fn settle_images(&mut self) {
        let settled: Vec<(usize, ImageState)> = self
            .images
            .iter()
            .enumerate()
            .filter(|(_, image)| image.state == ImageState::Waiting)
            .filter_map(|(at, image)| Some((at, self.stopped(image)?)))
            .collect();
        for (at, state) in settled {
            self.images[at].state = state;
        }
    }

    /// What the steps of `image` say, if they stopped it.
    fn stopped(&self, image: &ImageProgress) -> Option<ImageState> {
        if let Some(failed) = self.failed_step(image) {
            let at = self.by_id[&failed.info.id];
            if let Some(need) = self.needed_by(image).find(|need| need.chain.contains(&at)) {
                return Some(ImageState::Skipped { needs: need.info.name.clone() });
            }
            let StepState::Failed { causes, hints, .. } = &failed.state else { return None };
            let (causes, hints) = (causes.clone(), hints.clone());
            return Some(ImageState::Failed { causes, hints });
        }
        let cancelled = |&at: &usize| self.steps[at].state == StepState::Cancelled;
        image.chain.iter().any(cancelled).then_some(ImageState::Cancelled)
    }

    /// Every step that `image` stands on, needs first.
    pub fn steps_of(&self, image: &ImageProgress) -> impl Iterator<Item = &StepProgress> {
        image.chain.iter().map(|&at| &self.steps[at])
    }

    /// The first failed step that `image` stands on.
    pub fn failed_step(&self, image: &ImageProgress) -> Option<&StepProgress> {
        let failed = |step: &&StepProgress| matches!(step.state, StepState::Failed { .. });
        self.steps_of(image).find(failed)
    }

    /// Images that cannot be made because `step` failed.
    pub fn stopped_by(&self, step: &StepId) -> Vec<&str> {
        let Some(at) = self.by_id.get(step) else { return Vec::new() };
        let stands_on = |image: &&ImageProgress| image.chain.contains(at);
        self.images.iter().filter(stands_on).map(|image| image.info.name.as_str()).collect()
    }

    /// The step that answers for `image` being built anew: the first of its own that
    /// ran, else the first that ran of all it stands on.
    pub fn blame(&self, image: &ImageProgress) -> Option<&StepProgress> {
        let ran = |step: &&StepProgress| step.miss.is_some();
        let mut own = image.own.iter().map(|&at| &self.steps[at]);
        own.find(ran).or_else(|| self.steps_of(image).find(ran))
    }

    /// Why `image` was built anew, in words; none if nothing of it ran.
    pub fn why(&self, image: &ImageProgress) -> Option<String> {
        let step = self.blame(image)?;
        let at = self.by_id[&step.info.id];
        if !image.own.contains(&at)
            && let Some(need) = self.needed_by(image).find(|need| need.chain.contains(&at))
        {
            return Some(format!("`{}` made something new", need.info.name));
        }
        let miss = step.miss.as_ref()?;
        Some(explain(miss, |need| self.name_for(need, image)))
    }

    /// Why `step` had to run, in words; none if it did not.
    pub fn why_step(&self, step: &StepProgress) -> Option<String> {
        let image = self.image(&step.info.image);
        let name = |need: &StepId| match image {
            Some(image) => self.name_for(need, image),
            None => self.step(need).map(|(_, need)| need.info.name.clone()),
        };
        step.miss.as_ref().map(|miss| explain(miss, name))
    }

    /// What `need` is called when one looks from `image`: the image it belongs to, or
    /// the instruction when that is the same image.
    fn name_for(&self, need: &StepId, image: &ImageProgress) -> Option<String> {
        let at = *self.by_id.get(need)?;
        if let Some(other) = self.needed_by(image).find(|other| other.chain.contains(&at)) {
            return Some(other.info.name.clone());
        }
        let info = &self.steps[at].info;
        let same = info.image == image.info.name || image.own.contains(&at);
        Some(if same { info.name.clone() } else { info.image.clone() })
    }

    /// How long the steps ran that are counted for `image`; a step that several images
    /// share is counted for the first of them only, so that these times add up.
    pub fn image_ran_ms(&self, image: &ImageProgress) -> u64 {
        let counted = self.steps_of(image).filter(|step| step.info.image == image.info.name);
        counted.fold(0, |sum, step| sum.saturating_add(step.ran_ms))
    }
}

#[cfg(test)]
mod tests {
    use bakehouse_model::{ExitCode, MissReason, PathChange};

    use super::*;
    use crate::recorded::Log;

    /// base <- app <- top; `shared` is a builder stage of app and other.
    fn fleet() -> Log {
        let mut log = Log::new();
        log.plan(
            &[
                ("b", "base", "RUN base", &[]),
                ("shared", "app", "RUN shared", &[]),
                ("a", "app", "RUN app", &["b", "shared"]),
                ("o", "other", "RUN other", &["shared"]),
                ("t", "top", "RUN top", &["a"]),
            ],
            &[
                ("base", "b", &[]),
                ("app", "a", &["base"]),
                ("other", "o", &[]),
                ("top", "t", &["app"]),
            ],
        );
        log
    }

    fn why(log: &Log, image: &str) -> Option<String> {
        let progress = Progress::replay(log.events());
        progress.why(progress.image(image).unwrap())
    }

    #[test]
    fn an_image_rebuilds_for_its_own_first_reason_or_for_the_image_it_needs() {
        let mut log = fleet();
        let changed = MissReason::InputChanged {
            path: "app/main.py".to_owned(),
            change: PathChange::Modified,
            others: 2,
        };
        log.start("b", changed).built("b", 5);
        log.start("a", MissReason::NeedChanged { step: Log::id("b") }).built("a", 5);
        log.start("t", MissReason::NeedChanged { step: Log::id("a") }).built("t", 5);
        assert_eq!(why(&log, "base").unwrap(), "`app/main.py` changed (and 2 others)");
        assert_eq!(why(&log, "app").unwrap(), "`base` made something new");
        assert_eq!(why(&log, "top").unwrap(), "`app` made something new");
        assert_eq!(why(&log, "other"), None);
    }

    #[test]
    fn an_image_whose_own_steps_were_found_names_the_image_that_was_not() {
        let mut log = fleet();
        log.start("b", MissReason::Forced).built("b", 5).cached("a").cached("t");
        assert_eq!(why(&log, "app").unwrap(), "`base` made something new");
    }

    #[test]
    fn a_failure_fails_the_images_that_own_the_step_and_skips_those_above() {
        let mut log = fleet();
        log.start("shared", MissReason::NeverBuilt).failed("shared", &["exit code 1"], &[]);
        for step in ["a", "o", "t"] {
            log.skipped(step, "shared");
        }
        log.image_failed("app", &["step failed"]).image_failed("top", &["step failed"]);
        log.finish(ExitCode::WorkFailed);
        let progress = Progress::replay(log.events());
        let state = |name| progress.image(name).unwrap().state.clone();
        assert_eq!(
            state("app"),
            ImageState::Failed { causes: vec!["step failed".to_owned()], hints: Vec::new() }
        );
        assert_eq!(
            state("other"),
            ImageState::Failed { causes: vec!["exit code 1".to_owned()], hints: Vec::new() }
        );
        assert_eq!(state("top"), ImageState::Skipped { needs: "app".to_owned() });
        assert_eq!(state("base"), ImageState::Waiting);
        assert_eq!(progress.stopped_by(&Log::id("shared")), ["app", "other", "top"]);
    }

    #[test]
    fn times_of_images_add_up_to_the_work() {
        let mut log = fleet();
        for (step, ran) in [("b", 1), ("shared", 20), ("a", 300), ("o", 4000), ("t", 50_000)] {
            log.start(step, MissReason::NeverBuilt).built(step, ran);
        }
        let progress = Progress::replay(log.events());
        let times: Vec<u64> =
            progress.images().iter().map(|image| progress.image_ran_ms(image)).collect();
        assert_eq!(times, [1, 320, 4000, 50_000]);
        assert_eq!(times.iter().sum::<u64>(), progress.worked_ms());
    }
}
