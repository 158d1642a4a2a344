//! The `RUN` instructions of a fleet with their cache mounts and their commands, each
//! Dockerfile once.

use std::collections::BTreeSet;

use bakehouse_model::Location;
use bakehouse_model::op::Sharing;

use crate::dockerfile::mount::{self, Mount, MountType};
use crate::dockerfile::{Command, Instruction, InstructionKind, Run, Stage};
use crate::fleet::{Fleet, Image};

/// A `RUN` of a stage of an image.
pub(super) struct Step<'a> {
    pub(super) image: &'a Image,
    pub(super) stage: &'a Stage,
    /// What comes before it in its stage.
    pub(super) before: &'a [Instruction],
    instruction: &'a Instruction,
    run: &'a Run,
}

/// Every `RUN` of every Dockerfile.
pub(super) fn steps(fleet: &Fleet) -> impl Iterator<Item = Step<'_>> {
    let mut seen = BTreeSet::new();
    let images = fleet.images.iter().filter(move |image| seen.insert(image.file.as_str()));
    images.flat_map(|image| image.dockerfile.stages.iter().flat_map(|stage| of(image, stage)))
}

fn of<'a>(image: &'a Image, stage: &'a Stage) -> impl Iterator<Item = Step<'a>> {
    stage.instructions.iter().enumerate().filter_map(move |(at, instruction)| {
        let InstructionKind::Run(run) = &instruction.kind else { return None };
        Some(Step { image, stage, before: &stage.instructions[..at], instruction, run })
    })
}

impl Step<'_> {
    /// Where it is.
    pub(super) fn location(&self) -> Location {
        self.instruction.span.of(&self.image.file)
    }

    /// The cache mounts whose target fits: the target without its last slash, and how the
    /// mount is shared.
    pub(super) fn caches(&self, fits: fn(&str) -> bool) -> Option<(String, Option<Sharing>)> {
        let read = |csv: &String| mount::parse_mount(csv, &mut |word| Ok(word.to_owned())).ok();
        let mounts = self.run.mounts.iter().filter_map(read);
        let target = |mount: &Mount| mount.target.trim_end_matches('/').to_owned();
        let mut caches = mounts.filter(|mount| mount.kind == MountType::Cache);
        let found = caches.find(|mount| fits(&target(mount)))?;
        Some((target(&found), found.sharing))
    }

    /// Its simple commands, as words.
    pub(super) fn commands(&self) -> Vec<Vec<&str>> {
        let mut commands = Vec::new();
        match &self.run.command {
            Command::Exec(words) => {
                commands.push(words.iter().flat_map(|word| word.split_whitespace()).collect());
            }
            Command::Shell(text) => simple_commands(text, &mut commands),
        }
        for heredoc in &self.run.heredocs {
            simple_commands(&heredoc.content, &mut commands);
        }
        commands
    }

    /// Whether it, or anything before it in its stage, mentions `text`.
    pub(super) fn mentions(&self, text: &str) -> bool {
        self.before.iter().chain([self.instruction]).any(|instruction| mentions(instruction, text))
    }

    /// Whether it installs packages with APT.
    pub(super) fn installs_with_apt(&self) -> bool {
        self.commands().iter().any(|words| {
            let apt = words.iter().position(|word| matches!(program(word), "apt" | "apt-get"));
            apt.is_some_and(|at| words[at..].contains(&"install"))
        })
    }
}

/// Whether an instruction or its here-documents have `text` in them.
pub(super) fn mentions(instruction: &Instruction, text: &str) -> bool {
    let within = match &instruction.kind {
        InstructionKind::Run(run) => run.heredocs.iter().any(|h| h.content.contains(text)),
        InstructionKind::Copy(copy) => {
            copy.transfer.contents.iter().any(|content| content.data.contains(text))
        }
        _ => false,
    };
    within || instruction.text.contains(text)
}

/// `/usr/bin/apt-get` is `apt-get`.
pub(super) fn program(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

fn simple_commands<'a>(text: &'a str, commands: &mut Vec<Vec<&'a str>>) {
    let ends = |c: char| matches!(c, '&' | '|' | ';' | '\n' | '(' | ')');
    for command in text.split(ends) {
        let words = command.split_whitespace().filter(|word| *word != "\\");
        let words: Vec<&str> = words.collect();
        if !words.is_empty() {
            commands.push(words);
        }
    }
}

/// Whether a folder is where APT keeps packages.
pub(super) fn is_apt_archive(target: &str) -> bool {
    matches!(target, "/var/cache/apt" | "/var/cache/apt/archives")
}
