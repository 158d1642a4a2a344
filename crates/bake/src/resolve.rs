//! From what is defined to what is built: inheritance, groups, links, `--set`.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::{Diagnostic, Location, Severity};

use crate::checks::check;
use crate::entries::Output;
use crate::load::{Group, distinct, load};
use crate::paths;
use crate::sets::{Set, Sets};
use crate::source::{Places, SourceFile};
use crate::surroundings::Surroundings;
use crate::syntax;
use crate::target::Target;

/// What bake files define.
#[derive(Debug, Default)]
pub struct Bake {
    groups: Vec<Group>,
    targets: Vec<Target>,
    /// Places of targets in the list, by name.
    index: BTreeMap<String, usize>,
    /// Places of groups in the list, by name; of several, the first.
    group_index: BTreeMap<String, usize>,
    failed: BTreeSet<String>,
    diagnostics: Vec<Diagnostic>,
    /// `SOURCE_DATE_EPOCH`, which every target gets as an argument.
    epoch: Option<String>,
    /// The first file, for what has no other place.
    file: String,
}

/// What was asked for, with nothing left to resolve.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolved {
    /// Groups that were asked for or are within such groups; `default` is what was asked for.
    pub groups: BTreeMap<String, Group>,
    /// Targets that are asked for, or that contexts of such targets refer to.
    pub targets: BTreeMap<String, Target>,
}

/// Reads bake files. Later ones are put on top of earlier ones.
///
/// Nothing fails here as a whole: see [`Bake::diagnostics`].
pub fn read(files: &[SourceFile], around: &Surroundings<'_>) -> Bake {
    let mut places = Places::default();
    let (mut bodies, mut problems) = (Vec::new(), Vec::new());
    for file in files {
        let number = places.add(&file.path, &String::from_utf8_lossy(&file.text));
        match syntax::read(&file.path, &file.text, number) {
            Ok(body) => bodies.push(body),
            Err(problem) => problems.push(*problem),
        }
    }
    let (config, more) = load(&bodies, around, &places);
    let mut diagnostics: Vec<Diagnostic> =
        problems.iter().chain(&more).map(|problem| places.diagnostic(problem)).collect();
    diagnostics.sort();
    diagnostics.dedup();
    let index = config.targets.iter().enumerate().map(|(at, target)| (target.name.clone(), at));
    let groups = config.groups.iter().enumerate().rev();
    Bake {
        index: index.collect(),
        group_index: groups.map(|(at, group)| (group.name.clone(), at)).collect(),
        groups: config.groups,
        targets: config.targets,
        failed: config.failed.into_iter().collect(),
        diagnostics,
        file: files.first().map(|file| file.path.clone()).unwrap_or_default(),
        epoch: (around.env)("SOURCE_DATE_EPOCH").filter(|epoch| !epoch.is_empty()),
    }
}

impl Bake {
    /// What is wrong with the files, by place.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// The targets, in the order in which they are defined.
    pub fn targets(&self) -> impl Iterator<Item = (&str, Option<&Location>)> {
        self.targets.iter().map(|target| (target.name.as_str(), target.block()))
    }

    /// The groups, in the order in which they are defined.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Resolves targets, groups and patterns of them, or `default` if none is given.
    pub fn resolve(&self, wanted: &[String], sets: &[Set]) -> Result<Resolved, Vec<Diagnostic>> {
        if !self.diagnostics.is_empty() {
            return Err(self.diagnostics.clone());
        }
        let default = ["default".to_owned()];
        let wanted = if wanted.is_empty() { &default } else { wanted };
        let one = |diagnostic| vec![diagnostic];
        let mut names = Vec::new();
        for pattern in wanted {
            names.extend(self.matching(&pattern.replace('.', "_")).map_err(one)?);
        }
        let names = distinct(names);
        let sets = Sets::new(sets, &self.names()).map_err(one)?;
        let mut work = Work::new(self, &sets);
        let mut resolved = Resolved::default();
        for name in &names {
            let (targets, groups) = self.members(name);
            let from = self.group(name).and_then(|group| group.location.clone());
            for target in targets {
                let built = work.target(&target, from.as_ref()).map_err(one)?;
                resolved.targets.insert(target, built);
            }
            for group in groups {
                if let Some(found) = self.group(&group) {
                    resolved.groups.insert(group, found.clone());
                }
            }
        }
        add_default(&mut resolved.groups, &names);
        work.link(&mut resolved.targets).map_err(one)?;
        resolved.targets.values_mut().try_for_each(|target| self.finish(target)).map_err(one)?;
        Ok(resolved)
    }

    /// Resolves every target that can be, and every group. The diagnostics say what is missing
    /// and why.
    pub fn resolve_all(&self, sets: &[Set]) -> (Resolved, Vec<Diagnostic>) {
        let mut diagnostics = self.diagnostics.clone();
        let mut resolved = Resolved::default();
        let sets = match Sets::new(sets, &self.names()) {
            Ok(sets) => sets,
            Err(diagnostic) => {
                diagnostics.push(diagnostic);
                Sets::default()
            }
        };
        let mut work = Work::new(self, &sets);
        for target in &self.targets {
            match work.target(&target.name, None) {
                Ok(built) => resolved.targets.extend([(target.name.clone(), built)]),
                Err(diagnostic) => diagnostics.push(diagnostic),
            }
        }
        for group in &self.groups {
            resolved.groups.entry(group.name.clone()).or_insert_with(|| group.clone());
        }
        let names: Vec<String> = resolved.targets.keys().cloned().collect();
        let mut done = BTreeSet::new();
        for name in &names {
            let linked = work.link_one(name, &mut resolved.targets, &mut Vec::new(), &mut done);
            diagnostics.extend(linked.err());
        }
        resolved.targets.retain(|name, target| {
            let checked = self.finish(target);
            let good = checked.is_ok() && done.contains(name);
            diagnostics.extend(checked.err());
            good
        });
        diagnostics.sort();
        diagnostics.dedup();
        (resolved, diagnostics)
    }

    fn names(&self) -> Vec<&str> {
        self.targets.iter().map(|target| target.name.as_str()).collect()
    }

    fn group(&self, name: &str) -> Option<&Group> {
        self.group_index.get(name).map(|at| &self.groups[*at])
    }

    fn matching(&self, pattern: &str) -> Result<Vec<String>, Diagnostic> {
        if !pattern.contains(['*', '?', '[', ']']) {
            return Ok(vec![pattern.to_owned()]);
        }
        let groups = self.groups.iter().map(|group| &group.name);
        let all = groups.chain(self.targets.iter().map(|target| &target.name));
        let found: Vec<String> =
            all.filter(|name| paths::matches(pattern, name)).cloned().collect();
        if found.is_empty() {
            return Err(unknown(pattern, "no target matches", Location::file(self.file.clone())));
        }
        Ok(found)
    }

    /// The targets that a name stands for, and the groups that it goes through. A group that has
    /// nothing in it, or is within itself, counts as a target there, which usually is not one.
    fn members(&self, name: &str) -> (Vec<String>, Vec<String>) {
        let (mut targets, mut groups) = (Vec::new(), Vec::new());
        let (mut entered, mut left) = (BTreeSet::new(), BTreeSet::new());
        // A stack of what is still to be done, because chains of groups may be long.
        let mut waiting = vec![Visit::Enter(name)];
        while let Some(visit) = waiting.pop() {
            let name = match visit {
                Visit::Enter(name) => name,
                Visit::Leave(name) => {
                    left.insert(name);
                    continue;
                }
            };
            let Some(group) = self.group(name) else {
                targets.push(name.to_owned());
                continue;
            };
            let nested = !groups.is_empty();
            if entered.insert(name) {
                groups.push(name.to_owned());
                waiting.push(Visit::Leave(name));
                waiting.extend(group.targets.iter().rev().map(|member| Visit::Enter(member)));
            } else if !left.contains(name) {
                targets.push(name.to_owned());
            }
            if nested && group.targets.is_empty() {
                targets.push(name.to_owned());
            }
        }
        (distinct(targets), groups)
    }

    /// Checks a target, and settles what only a build would.
    fn finish(&self, target: &mut Target) -> Result<(), Diagnostic> {
        if let Some(epoch) = &self.epoch {
            let key = "SOURCE_DATE_EPOCH".to_owned();
            target.args.entry(key).or_insert_with(|| epoch.clone());
        }
        check(target)
    }
}

/// A step of a walk through groups.
enum Visit<'b> {
    Enter(&'b str),
    Leave(&'b str),
}

/// The group `default` names everything that was asked for.
fn add_default(groups: &mut BTreeMap<String, Group>, names: &[String]) {
    for name in names {
        if name == "default" && groups.contains_key("default") {
            continue;
        }
        let named = Group { name: "default".to_owned(), ..Group::default() };
        groups.entry("default".to_owned()).or_insert(named).targets.push(name.clone());
    }
    if let Some(group) = groups.get_mut("default") {
        group.targets.sort();
        group.targets.dedup();
    }
}

fn unknown(name: &str, what: &str, place: Location) -> Diagnostic {
    Diagnostic {
        location: Some(place),
        severity: Severity::Error,
        code: "unknown-target".to_owned(),
        message: format!("{what} `{name}`"),
        help: Some("define it, or ask for a target or group that is there".to_owned()),
    }
}

fn wrong(code: &str, place: Option<&Location>, message: String, help: &str) -> Diagnostic {
    Diagnostic {
        location: Some(place.cloned().unwrap_or_else(|| Location::file("docker-bake.hcl"))),
        severity: Severity::Error,
        code: code.to_owned(),
        message,
        help: Some(help.to_owned()),
    }
}

/// How long a chain of `inherits` or of contexts may be.
const MAX_CHAIN: usize = 256;

/// Targets while they are resolved.
struct Work<'b> {
    bake: &'b Bake,
    sets: &'b Sets,
    /// Targets that are the same from wherever they are come to.
    known: BTreeMap<String, Target>,
    /// What is wrong with targets that were come to, so that it is found out once.
    refused: BTreeMap<String, Diagnostic>,
    unlinked: BTreeMap<String, Diagnostic>,
}

/// One walk along `inherits`.
#[derive(Default)]
struct Walk {
    /// Targets on the way, `None` while they are not done.
    visited: BTreeMap<String, Option<Target>>,
    depth: usize,
    /// How often the walk came back to a target that it had not done with.
    cycles: usize,
}

impl<'b> Work<'b> {
    fn new(bake: &'b Bake, sets: &'b Sets) -> Self {
        let (known, refused, unlinked) = Default::default();
        Self { bake, sets, known, refused, unlinked }
    }

    fn target(&mut self, name: &str, from: Option<&Location>) -> Result<Target, Diagnostic> {
        let mut target = self.inherited(name, &mut Walk::default(), from)?;
        target.context.get_or_insert_with(|| ".".to_owned());
        if target.dockerfile.as_ref().is_none_or(String::is_empty) {
            target.dockerfile = Some("Dockerfile".to_owned());
        }
        Ok(target)
    }

    /// A target with what it inherits. One that inherits itself inherits nothing from there.
    fn inherited(
        &mut self,
        name: &str,
        walk: &mut Walk,
        from: Option<&Location>,
    ) -> Result<Target, Diagnostic> {
        if let Some(known) = self.known.get(name) {
            return Ok(known.clone());
        }
        if let Some(refused) = self.refused.get(name) {
            return Err(refused.clone());
        }
        let target = self.inherit(name, walk, from);
        if let Err(refused) = &target {
            self.refused.insert(name.to_owned(), refused.clone());
        }
        target
    }

    fn inherit(
        &mut self,
        name: &str,
        walk: &mut Walk,
        from: Option<&Location>,
    ) -> Result<Target, Diagnostic> {
        let Some(own) = self.bake.index.get(name).map(|at| &self.bake.targets[*at]) else {
            let what = if self.bake.failed.contains(name) {
                "this target is not readable:"
            } else {
                "there is no target"
            };
            let file = || Location::file(self.bake.file.clone());
            return Err(unknown(name, what, from.cloned().unwrap_or_else(file)));
        };
        if walk.depth > MAX_CHAIN {
            let message = format!("`{name}` is inherited over more than {MAX_CHAIN} targets");
            return Err(wrong(
                "inherits-too-long",
                own.location("inherits"),
                message,
                "make the chain shorter",
            ));
        }
        walk.visited.insert(name.to_owned(), None);
        walk.depth += 1;
        let cycles = walk.cycles;
        let place = own.location("inherits");
        let mut target =
            Target { name: own.name.clone(), block: own.block.clone(), ..Target::default() };
        for parent in &own.inherits {
            match walk.visited.get(parent) {
                Some(Some(done)) => target.merge(done),
                Some(None) => walk.cycles += 1,
                None => target.merge(&self.inherited(parent, walk, place)?),
            }
        }
        walk.depth -= 1;
        target.merge(own);
        self.sets.apply(name, &mut target)?;
        target.normalize();
        target.inherits.clear();
        if walk.cycles == cycles {
            self.known.insert(name.to_owned(), target.clone());
        }
        walk.visited.insert(name.to_owned(), Some(target.clone()));
        Ok(target)
    }

    /// Adds the targets that contexts refer to, and hands on what these are allowed.
    fn link(&mut self, targets: &mut BTreeMap<String, Target>) -> Result<(), Diagnostic> {
        let names: Vec<String> = targets.keys().cloned().collect();
        let mut done = BTreeSet::new();
        for name in names {
            self.link_one(&name, targets, &mut Vec::new(), &mut done)?;
        }
        Ok(())
    }

    fn link_one(
        &mut self,
        name: &str,
        targets: &mut BTreeMap<String, Target>,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Result<(), Diagnostic> {
        if done.contains(name) {
            return Ok(());
        }
        if let Some(unlinked) = self.unlinked.get(name) {
            return Err(unlinked.clone());
        }
        let linked = self.link_contexts(name, targets, way, done);
        if let Err(unlinked) = &linked {
            self.unlinked.insert(name.to_owned(), unlinked.clone());
        }
        linked
    }

    fn link_contexts(
        &mut self,
        name: &str,
        targets: &mut BTreeMap<String, Target>,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Result<(), Diagnostic> {
        let place = targets.get(name).and_then(|target| target.location("contexts")).cloned();
        if way.len() > MAX_CHAIN {
            let message = format!("`{name}` stands on more than {MAX_CHAIN} targets in a row");
            return Err(wrong(
                "contexts-too-long",
                place.as_ref(),
                message,
                "make the chain shorter",
            ));
        }
        way.push(name.to_owned());
        let contexts = targets.get(name).map(|target| target.contexts.clone()).unwrap_or_default();
        for linked in contexts.values().filter_map(|context| context.strip_prefix("target:")) {
            if way.iter().any(|before| before == linked) {
                let message = format!("`{linked}` and `{name}` stand on each other");
                let help = "take one of the two `target:` contexts away";
                return Err(wrong("context-cycle", place.as_ref(), message, help));
            }
            if !targets.contains_key(linked) {
                let mut target = self.target(linked, place.as_ref())?;
                let (kind, destination) = ("cacheonly".to_owned(), String::new());
                target.output =
                    Some(vec![Output { kind, destination, attributes: BTreeMap::new() }]);
                targets.insert(linked.to_owned(), target);
            }
            self.link_one(linked, targets, way, done)?;
            hand_on(linked, name, targets)?;
        }
        way.pop();
        done.insert(name.to_owned());
        Ok(())
    }
}

/// What a target is allowed, those that stand on it are; and they need its platforms.
fn hand_on(
    linked: &str,
    name: &str,
    targets: &mut BTreeMap<String, Target>,
) -> Result<(), Diagnostic> {
    let Some(from) = targets.get(linked).cloned() else { return Ok(()) };
    let Some(to) = targets.get_mut(name) else { return Ok(()) };
    for entitlement in from.entitlements.iter().flatten() {
        let list = to.entitlements.get_or_insert_default();
        if !list.contains(entitlement) {
            list.push(entitlement.clone());
        }
    }
    let (own, given) = (to.platforms.iter().flatten(), from.platforms.unwrap_or_default());
    let own: Vec<&String> = own.collect();
    let fits = own.len() < 2 || given.len() < 2 || own.iter().all(|each| given.contains(each));
    if fits {
        return Ok(());
    }
    let message =
        format!("`{name}` is built for platforms that `{linked}`, which it stands on, is not");
    let help = "give both targets the same `platforms`";
    Err(wrong("platforms-do-not-fit", to.location("platforms"), message, help))
}
