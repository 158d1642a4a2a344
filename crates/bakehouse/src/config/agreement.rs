//! What the parts of a file must agree on: a service has one base, so it is in one family.

use std::collections::BTreeMap;

use bakehouse_model::Location;
use bakehouse_plan::fleet;

use super::mistake::{Mistake, shown};
use super::names::{Name, Pattern};
use super::placed::Placed;
use super::reader::{LONGEST_SLIP, Reader};
use super::tables::Config;

/// The letters of all names times those of all patterns: a bound of what comparing them costs.
const MOST_WORK: usize = 1 << 25;

/// How many classes are guessed at, from how many.
const MOST_CLASSES: usize = 100;

/// Looks for parts that contradict each other.
pub(super) fn check(reader: &mut Reader<'_>, config: &Config) {
    families(reader, config);
    classes(reader, config);
}

/// A service of a family.
#[derive(Clone, Copy)]
struct Member<'a> {
    family: &'a Name,
    service: &'a Placed<Pattern>,
}

impl Member<'_> {
    fn name(&self) -> &str {
        self.service.value.as_str()
    }
}

fn families(reader: &mut Reader<'_>, config: &Config) {
    let families = config.family.iter();
    let mut members: Vec<Member<'_>> = families
        .flat_map(|(family, table)| {
            table.value.services.iter().map(move |service| Member { family, service })
        })
        .collect();
    members.sort_by_key(|member| &member.service.place);
    let once = written_once(reader, &members);
    let (wild, plain): (Vec<_>, Vec<_>) =
        once.into_iter().partition(|member| member.service.value.is_wild());
    if letters(&wild).saturating_mul(letters(&plain)) > MOST_WORK {
        let message = format!(
            "the `services` of all families are too many to compare: {} names and {} patterns",
            plain.len(),
            wild.len()
        );
        let help = "name the services by fewer patterns, or without any";
        reader.wrong(Mistake::new("too-many-patterns", message, help), first(&wild));
        return;
    }
    for member in &plain {
        let other = wild.iter().find(|pattern| {
            pattern.family != member.family && pattern.service.value.matches(member.name())
        });
        if let Some(other) = other {
            contradict(reader, *member, *other);
        }
    }
}

fn letters(members: &[Member<'_>]) -> usize {
    members.iter().map(|member| member.name().len()).sum()
}

fn first(members: &[Member<'_>]) -> Location {
    members.first().map(|member| member.service.place.clone()).expect("there are pairs of them")
}

/// Those that are not written before, in this family or in another one.
fn written_once<'a>(reader: &mut Reader<'_>, members: &[Member<'a>]) -> Vec<Member<'a>> {
    let mut seen: BTreeMap<&str, Member<'a>> = BTreeMap::new();
    let mut once = Vec::new();
    for member in members {
        match seen.get(member.service.value.as_str()) {
            None => {
                seen.insert(member.service.value.as_str(), *member);
                once.push(*member);
            }
            Some(before) if before.family == member.family => {
                let message = format!(
                    "service `{}` is in family `{}` already: {}",
                    shown(member.name()),
                    shown(member.family.as_str()),
                    spot(&before.service.place)
                );
                let mistake =
                    Mistake::new("repeated-service", message, "name each service of a family once");
                reader.wrong(mistake, member.service.place.clone());
            }
            Some(before) => contradict(reader, *member, *before),
        }
    }
    once
}

/// A service cannot be in both families: said at the later place, with the earlier one.
fn contradict(reader: &mut Reader<'_>, one: Member<'_>, other: Member<'_>) {
    let (earlier, later) =
        if one.service.place < other.service.place { (one, other) } else { (other, one) };
    let service = if one.service.value.is_wild() { other } else { one };
    let by = |member: Member<'_>| match member.name() == service.name() {
        true => String::new(),
        false => format!(" as `{}`", shown(member.name())),
    };
    let message = format!(
        "service `{}` is in two families: in `{}` here{}, and in `{}` at {}{}",
        shown(service.name()),
        shown(later.family.as_str()),
        by(later),
        shown(earlier.family.as_str()),
        spot(&earlier.service.place),
        by(earlier),
    );
    let help = "a service has one base: leave it in the family that it is built on";
    let mistake = Mistake::new("service-in-two-families", message, help);
    reader.wrong(mistake, later.service.place.clone());
}

fn spot(place: &Location) -> String {
    format!("{place}:{}", place.column)
}

/// A class need not have a table. One that is called almost like one probably has.
fn classes(reader: &mut Reader<'_>, config: &Config) {
    let known = || config.classes.keys().map(Name::as_str).filter(is_short).take(MOST_CLASSES);
    let mut guesses: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for image in config.images.values() {
        let Some(class) = &image.value.class else { continue };
        let name = class.value.as_str();
        let open = guesses.len() < MOST_CLASSES || guesses.contains_key(name);
        if config.classes.contains_key(name) || !is_short(&name) || !open {
            continue;
        }
        let near = *guesses.entry(name).or_insert_with(|| fleet::suggest(name, known()));
        if let Some(near) = near {
            let message = format!("there is no class `{name}`");
            let help = format!("did you mean `{near}`?");
            reader.doubt(Mistake::new("unknown-class", message, help), class.place.clone());
        }
    }
}

fn is_short(name: &&str) -> bool {
    name.len() <= LONGEST_SLIP
}
