//! Parents first, with the level of each image; cycles are reported.

use std::collections::BTreeMap;

use bakehouse_model::{Diagnostic, Severity};

use super::Image;

/// Parents first, else by name. Images on a cycle, and what stands on them, are left out.
pub(super) fn in_order(images: Vec<Image>, diagnostics: &mut Vec<Diagnostic>) -> Vec<Image> {
    let mut waiting: BTreeMap<String, Image> =
        images.into_iter().map(|image| (image.name.clone(), image)).collect();
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut open: BTreeMap<String, usize> = BTreeMap::new();
    for image in waiting.values() {
        open.insert(image.name.clone(), image.needs.len());
        for edge in &image.needs {
            users.entry(edge.image.clone()).or_default().push(image.name.clone());
        }
    }
    let mut ordered: Vec<Image> = Vec::with_capacity(waiting.len());
    let mut ready: Vec<String> =
        open.iter().filter(|(_, needs)| **needs == 0).map(|(name, _)| name.clone()).collect();
    let mut level = 0;
    while !ready.is_empty() {
        let mut next = Vec::new();
        for name in ready {
            let Some(mut image) = waiting.remove(&name) else { continue };
            image.level = level;
            for user in users.get(&name).into_iter().flatten() {
                let needs = open.get_mut(user).expect("every user is an image");
                *needs -= 1;
                if *needs == 0 {
                    next.push(user.clone());
                }
            }
            ordered.push(image);
        }
        next.sort();
        ready = next;
        level += 1;
    }
    if let Some(diagnostic) = cycle(&waiting) {
        diagnostics.push(diagnostic);
    }
    ordered
}

/// The cycle among images that wait for each other, from the smallest name on it.
fn cycle(waiting: &BTreeMap<String, Image>) -> Option<Diagnostic> {
    let mut path: Vec<&str> = Vec::new();
    let mut name = waiting.keys().next()?.as_str();
    while !path.contains(&name) {
        path.push(name);
        // Every image that waits has a need that waits, so the walk ends in a cycle.
        name = waiting[name]
            .needs
            .iter()
            .map(|e| e.image.as_str())
            .find(|n| waiting.contains_key(*n))?;
    }
    let start = path.iter().position(|n| *n == name)?;
    let mut on: Vec<&str> = path[start..].to_vec();
    let smallest = on.iter().enumerate().min_by_key(|(_, n)| **n).map_or(0, |(at, _)| at);
    on.rotate_left(smallest);
    let edges: Vec<String> = on
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let next = on[(at + 1) % on.len()];
            let edge = waiting[*name].needs.iter().find(|edge| edge.image == next);
            let place = edge.and_then(|e| e.location.as_ref()).map(ToString::to_string);
            format!("`{name}` stands on `{next}` ({})", place.unwrap_or_default())
        })
        .collect();
    let location =
        waiting[on[0]].needs.iter().find(|e| on.contains(&e.image.as_str()))?.location.clone();
    Some(Diagnostic {
        location,
        severity: Severity::Error,
        code: "image-cycle".to_owned(),
        message: format!("images stand on each other: {}", edges.join(", ")),
        help: Some("one of them has to start from another base".to_owned()),
    })
}
