//! Why a step had to run, in words.

use bakehouse_model::{MissReason, PathChange, StepId};

/// The longest piece of an instruction that is quoted.
const QUOTED: usize = 60;

/// `reason` as a phrase that stands alone: `` `requirements.txt` changed (and 2 others) ``.
///
/// `name` says what a step is called: the image it belongs to, or its instruction.
pub fn explain(reason: &MissReason, name: impl Fn(&StepId) -> Option<String>) -> String {
    match reason {
        MissReason::NeverBuilt => "never built before".to_owned(),
        MissReason::InstructionChanged { before, after } => {
            let (before, after) = difference(before, after);
            format!("the instruction changed: `{after}` was `{before}`")
        }
        MissReason::VariableChanged { name } => format!("`{name}` has another value"),
        MissReason::OptionsChanged => "an option of the build changed".to_owned(),
        MissReason::InputChanged { path, change, others } => {
            let change = match change {
                PathChange::Added => "is new",
                PathChange::Modified => "changed",
                PathChange::Removed => "is gone",
            };
            let others = match others {
                0 => String::new(),
                1 => " (and 1 other)".to_owned(),
                n => format!(" (and {n} others)"),
            };
            format!("`{path}` {change}{others}")
        }
        MissReason::NeedChanged { step } => {
            let name = name(step).unwrap_or_else(|| format!("step {}", step.short()));
            format!("`{}` made something new", quoted(&name))
        }
        MissReason::BaseMoved { reference, before, after } => {
            let (before, after) = (before.short(), after.short());
            format!("`{reference}` moved from sha256:{before} to sha256:{after}")
        }
        MissReason::ResultSwept => "its result is no longer in the store".to_owned(),
        MissReason::Forced => "the cache was not to be used".to_owned(),
        MissReason::MustFetch => "it cannot be known without fetching it".to_owned(),
        _ => "for a reason that this version does not know".to_owned(),
    }
}

/// Both texts, short enough to quote, from a little before where they part.
fn difference(before: &str, after: &str) -> (String, String) {
    const CONTEXT: usize = 20;
    if before.chars().count().max(after.chars().count()) <= QUOTED {
        return (quoted(before), quoted(after));
    }
    let same = before.chars().zip(after.chars()).take_while(|(a, b)| a == b).count();
    let skip = if same > CONTEXT + 3 { same - CONTEXT } else { 0 };
    let from = |text: &str| {
        let rest: String = text.chars().skip(skip).collect();
        if skip > 0 { format!("...{}", quoted(&rest)) } else { quoted(&rest) }
    };
    (from(before), from(after))
}

fn quoted(text: &str) -> String {
    if text.chars().count() <= QUOTED {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(QUOTED - 3).collect();
    short.push_str("...");
    short
}

#[cfg(test)]
mod tests {
    use bakehouse_model::Digest;

    use super::*;

    #[test]
    fn every_reason_has_words() {
        let step = StepId(Digest::of("s"));
        let digest = Digest::of("d");
        let input =
            |change, others| MissReason::InputChanged { path: "a/b.py".to_owned(), change, others };
        let instruction = |before: &str, after: &str| MissReason::InstructionChanged {
            before: before.to_owned(),
            after: after.to_owned(),
        };
        let long = format!("RUN apt-get install {}", "x ".repeat(60));
        let table = [
            (MissReason::NeverBuilt, "never built before"),
            (instruction("RUN b", "RUN a"), "the instruction changed: `RUN a` was `RUN b`"),
            (
                instruction(&format!("{long}curl"), &format!("{long}wget")),
                "the instruction changed: `...x x x x x x x x x x wget` was \
                 `...x x x x x x x x x x curl`",
            ),
            (MissReason::VariableChanged { name: "V".to_owned() }, "`V` has another value"),
            (input(PathChange::Modified, 0), "`a/b.py` changed"),
            (input(PathChange::Added, 1), "`a/b.py` is new (and 1 other)"),
            (input(PathChange::Removed, 2), "`a/b.py` is gone (and 2 others)"),
            (MissReason::NeedChanged { step }, "`base` made something new"),
            (
                MissReason::BaseMoved {
                    reference: "python:3".to_owned(),
                    before: digest.clone(),
                    after: digest,
                },
                "`python:3` moved from sha256:18ac3e7343f0 to sha256:18ac3e7343f0",
            ),
            (MissReason::ResultSwept, "its result is no longer in the store"),
            (MissReason::Forced, "the cache was not to be used"),
            (MissReason::MustFetch, "it cannot be known without fetching it"),
        ];
        for (reason, expected) in table {
            assert_eq!(explain(&reason, |_| Some("base".to_owned())), expected);
        }
    }
}
