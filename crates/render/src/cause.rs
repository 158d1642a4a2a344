//! What it all began with: of everything that an image had to have made, the one thing that a
//! person changed.
//!
//! A plan and a past run tell of their steps in the same shape ([`CauseStep`]), so both are
//! explained by the same words. What an image has of its own comes before what its bases bring.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bakehouse_model::{Digest, MissReason, PathChange, StepId, StepInfo};

use crate::explain::explain;

/// The longest piece of an instruction that a sentence has.
const QUOTED: usize = 40;

/// A step, as far as causes go.
#[derive(Debug, Clone, Copy)]
pub struct CauseStep<'a> {
    /// What is known of it beforehand.
    pub info: &'a StepInfo,
    /// Why it must run, if that is known.
    pub miss: Option<&'a MissReason>,
    /// Whether it runs, or did.
    pub runs: bool,
}

/// All steps of a plan or of a run.
#[derive(Debug, Default)]
pub struct Causes<'a> {
    steps: Vec<CauseStep<'a>>,
    by_id: BTreeMap<&'a StepId, usize>,
}

/// What an image is made anew for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause<'a> {
    /// The bases through which it comes, the nearest first; none if it is the image's own.
    pub bases: Vec<String>,
    /// The step where it begins.
    pub step: &'a StepInfo,
    /// Why that one must run.
    pub miss: &'a MissReason,
}

impl<'a> Causes<'a> {
    /// Of these steps, needs first.
    pub fn new(steps: impl IntoIterator<Item = CauseStep<'a>>) -> Self {
        let steps: Vec<CauseStep<'a>> = steps.into_iter().collect();
        let by_id = steps.iter().enumerate().map(|(at, step)| (&step.info.id, at)).collect();
        Self { steps, by_id }
    }

    /// What makes `root` run; none if nothing does. `bases` are the images that its image
    /// stands on, near and far.
    pub fn of(&self, root: &StepId, bases: &BTreeSet<String>) -> Option<Cause<'a>> {
        let from = self.ways(*self.by_id.get(root)?);
        let is_base = |at: usize| bases.contains(image_of(self.steps[at].info));
        let ranked = from.keys().filter_map(|at| {
            let miss = self.steps[*at].miss?;
            Some((rank(miss), is_base(*at), *at, miss))
        });
        // What nobody did is a cause only if nobody did anything.
        let least = |(rank, base, at, _): &(u8, bool, usize, &MissReason)| {
            (*rank >= PASSED_ON, *base, *rank, *at)
        };
        let (.., at, miss) = ranked.min_by_key(least)?;
        let mut through = Vec::new();
        let mut next = Some(at);
        while let Some(step) = next {
            let image = image_of(self.steps[step].info);
            if is_base(step) && through.last().is_none_or(|last| last != image) {
                through.push(image.to_owned());
            }
            next = from[&step];
        }
        through.reverse();
        Some(Cause { bases: through, step: self.steps[at].info, miss })
    }

    /// The steps that run below `root`, each with the one that asked for it first.
    fn ways(&self, root: usize) -> BTreeMap<usize, Option<usize>> {
        let mut from = BTreeMap::new();
        let mut open = VecDeque::from([(root, None)]);
        while let Some((at, asked)) = open.pop_front() {
            let step = &self.steps[at];
            if !step.runs || from.contains_key(&at) {
                continue;
            }
            from.insert(at, asked);
            let needs = step.info.needs.iter().filter_map(|need| self.by_id.get(need));
            open.extend(needs.map(|need| (*need, Some(at))));
        }
        from
    }
}

/// From here on a reason is nobody's doing.
const PASSED_ON: u8 = 3;

/// How far a reason is from what a person did.
fn rank(miss: &MissReason) -> u8 {
    match miss {
        MissReason::NeedChanged { .. } => 4,
        MissReason::MustFetch => PASSED_ON,
        MissReason::NeverBuilt => 2,
        MissReason::ResultSwept | MissReason::Forced => 1,
        _ => 0,
    }
}

/// The image that brought a step in; one that is built for several platforms is called
/// `app linux/amd64`.
fn image_of(step: &StepInfo) -> &str {
    step.image.split(' ').next().unwrap_or_default()
}

impl Cause<'_> {
    /// The cause as a sentence without its subject: `services/common/x.py changed (COPY
    /// services/common, services/stt/Dockerfile:92)`, `base python-ml rebuilt because …`.
    ///
    /// `folder` is where the step's context is in the repository, to name its files from there.
    pub fn sentence(&self, folder: Option<&str>) -> String {
        let what = self.what(folder);
        if self.bases.is_empty() {
            return match self.place() {
                Some(place) => format!("{what} ({place})"),
                None => what,
            };
        }
        let through: Vec<String> =
            self.bases.iter().map(|base| format!("base {base} rebuilt because ")).collect();
        format!("{}{what}", through.concat())
    }

    fn what(&self, folder: Option<&str>) -> String {
        match self.miss {
            MissReason::InputChanged { path, change, others } => {
                let path = from_root(path, folder);
                match (others, change) {
                    (0, PathChange::Added) => format!("{path} is new"),
                    (0, PathChange::Modified) => format!("{path} changed"),
                    (0, PathChange::Removed) => format!("{path} is gone"),
                    (1, _) => format!("{path} and 1 other changed"),
                    (n, _) => format!("{path} and {n} others changed"),
                }
            }
            MissReason::BaseMoved { reference, before, after } => {
                format!("{reference} moved from {} to {}", short(before), short(after))
            }
            MissReason::NeedChanged { .. } => "what it stands on was made anew since".to_owned(),
            other => explain(other, |_| None),
        }
    }

    /// The instruction and where it is, where that tells more.
    fn place(&self) -> Option<String> {
        let telling = !matches!(self.miss, MissReason::NeverBuilt | MissReason::BaseMoved { .. });
        let place = self.step.location.as_ref().filter(|_| telling)?;
        Some(format!("{}, {place}", instruction(&self.step.name)))
    }
}

/// A path of a context as it is called from the repository's root.
fn from_root(path: &str, folder: Option<&str>) -> String {
    match folder {
        Some(folder) if !path.starts_with('/') && folder != "." && !folder.is_empty() => {
            format!("{}/{path}", folder.trim_end_matches('/'))
        }
        _ => path.to_owned(),
    }
}

fn short(digest: &Digest) -> String {
    format!("sha256:{}", digest.short())
}

/// An instruction in a few words: of a copy what it copies, of a command its beginning.
fn instruction(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().filter(|word| !word.starts_with("--")).collect();
    let text = match words.as_slice() {
        [verb @ ("COPY" | "ADD"), sources @ .., _] if !sources.is_empty() => {
            let sources: Vec<&str> =
                sources.iter().map(|source| source.trim_end_matches('/')).collect();
            format!("{verb} {}", sources.join(" "))
        }
        words => words.join(" "),
    };
    if text.chars().count() <= QUOTED {
        return text;
    }
    let mut cut: String = text.chars().take(QUOTED - 3).collect();
    cut.push_str("...");
    cut
}

#[cfg(test)]
mod tests {
    use bakehouse_model::Location;

    use super::*;

    fn id(name: &str) -> StepId {
        StepId(Digest::of(name))
    }

    fn info(name: &str, image: &str, instruction: &str, needs: &[&str]) -> StepInfo {
        StepInfo {
            id: id(name),
            name: instruction.to_owned(),
            image: image.to_owned(),
            shared_by: 1,
            stage: String::new(),
            location: Some(Location::new(format!("services/{image}/Dockerfile"), 92, 1)),
            needs: needs.iter().map(|need| id(need)).collect(),
            cost_ms: 0,
            critical: false,
            planned: true,
        }
    }

    fn input(path: &str, others: u32) -> MissReason {
        MissReason::InputChanged { path: path.to_owned(), change: PathChange::Modified, others }
    }

    fn need(name: &str) -> MissReason {
        MissReason::NeedChanged { step: id(name) }
    }

    fn moved() -> MissReason {
        MissReason::BaseMoved {
            reference: "python:3.11-slim".to_owned(),
            before: Digest::of("a"),
            after: Digest::of("b"),
        }
    }

    /// base → ml → stt, with a reason for each; no reason means that it does not run.
    fn told(reasons: [Option<MissReason>; 5]) -> Option<String> {
        let infos = [
            info("from", "base", "FROM python:3.11-slim", &[]),
            info("base", "base", "RUN pip install wheel", &["from"]),
            info("ml", "ml", "COPY --chown=1 requirements.txt /tmp/", &["base"]),
            info("copy", "stt", "COPY services/common/ /app/common/", &["ml"]),
            info("stt", "stt", "RUN make", &["copy"]),
        ];
        let steps = infos.iter().zip(&reasons).map(|(info, miss)| CauseStep {
            info,
            miss: miss.as_ref(),
            runs: miss.is_some(),
        });
        let causes = Causes::new(steps);
        let bases = BTreeSet::from(["base".to_owned(), "ml".to_owned()]);
        Some(causes.of(&id("stt"), &bases)?.sentence(Some(".")))
    }

    #[test]
    fn a_cause_is_the_images_own_or_comes_through_its_bases() {
        let (to_copy, to_ml, to_base, to_from) =
            (need("copy"), need("ml"), need("base"), need("from"));
        let table: [([Option<MissReason>; 5], Option<&str>); 7] = [
            (
                [None, None, None, Some(input("services/common/x.py", 0)), Some(to_copy.clone())],
                Some(
                    "services/common/x.py changed (COPY services/common, services/stt/Dockerfile:92)",
                ),
            ),
            (
                [
                    None,
                    None,
                    Some(input("requirements.txt", 2)),
                    Some(to_ml.clone()),
                    Some(to_copy.clone()),
                ],
                Some("base ml rebuilt because requirements.txt and 2 others changed"),
            ),
            (
                [
                    None,
                    Some(moved()),
                    Some(to_base.clone()),
                    Some(to_ml.clone()),
                    Some(to_copy.clone()),
                ],
                Some(
                    "base ml rebuilt because base base rebuilt because python:3.11-slim moved \
                     from sha256:ca978112ca1b to sha256:3e23e8160039",
                ),
            ),
            // What the image has of its own comes first.
            (
                [
                    Some(moved()),
                    Some(to_from),
                    Some(to_base),
                    Some(input("a", 0)),
                    Some(to_copy.clone()),
                ],
                Some("a changed (COPY services/common, services/stt/Dockerfile:92)"),
            ),
            (
                [None, None, None, Some(to_ml), Some(to_copy)],
                Some(
                    "what it stands on was made anew since (COPY services/common, services/stt/Dockerfile:92)",
                ),
            ),
            (std::array::from_fn(|_| Some(MissReason::NeverBuilt)), Some("never built before")),
            ([None, None, None, None, None], None),
        ];
        for (reasons, expected) in table {
            assert_eq!(told(reasons.clone()).as_deref(), expected, "{reasons:?}");
        }
    }

    #[test]
    fn an_instruction_is_told_in_a_few_words() {
        let table = [
            ("COPY a b /dest", "COPY a b"),
            ("COPY --link --chown=1:1 services/common/ /x", "COPY services/common"),
            ("COPY a", "COPY a"),
            ("RUN --mount=type=cache,target=/c make all", "RUN make all"),
            (
                "RUN apt-get update && apt-get install -y a-package",
                "RUN apt-get update && apt-get install...",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(instruction(text), expected);
        }
    }

    #[test]
    fn files_are_named_from_the_repositorys_root() {
        let table = [
            ("a.py", Some("services/stt"), "services/stt/a.py"),
            ("a.py", Some("x/"), "x/a.py"),
            ("a.py", Some("."), "a.py"),
            ("a.py", None, "a.py"),
            ("/level", Some("x"), "/level"),
        ];
        for (path, folder, expected) in table {
            assert_eq!(from_root(path, folder), expected);
        }
    }

    #[test]
    fn steps_that_need_each_other_are_walked_once() {
        let infos = [info("a", "x", "RUN a", &["b"]), info("b", "x", "RUN b", &["a", "b"])];
        let forced = MissReason::Forced;
        let causes = Causes::new(infos.iter().map(|info| CauseStep {
            info,
            miss: Some(&forced),
            runs: true,
        }));
        assert!(causes.of(&id("a"), &BTreeSet::new()).is_some());
    }
}
