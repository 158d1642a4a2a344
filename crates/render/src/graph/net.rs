//! The graph with its names resolved: who stands on whom, on which level, used by how many.
//!
//! Every text in a [`Net`] is clean and of bounded length, so that a drawing has only its
//! own syntax left to escape.

use std::collections::{BTreeMap, BTreeSet};

use super::{Edge, Graph, Node, Via};
use crate::measure::{self, plural};
use crate::text;

/// Columns of a name or a reference; more is nobody's name.
const NAME: usize = 120;

/// The needs of an image as places in the list of images.
#[derive(Debug)]
pub(super) struct Net<'a> {
    pub(super) nodes: &'a [Node],
    /// Their names, clean.
    pub(super) names: Vec<String>,
    /// What each needs, without cycles, in the order of the file.
    pub(super) needs: Vec<Vec<Need>>,
    /// What each needs that stands on it as well.
    pub(super) cut: Vec<BTreeSet<usize>>,
    /// Length of the longest chain of needs below each.
    pub(super) level: Vec<usize>,
    /// How many images stand on each, directly or not.
    pub(super) used_by: Vec<usize>,
    /// The bases from outside, in the order in which they are first needed.
    pub(super) outside: Vec<Outside>,
}

/// One need, in all the ways in which it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) at: usize,
    pub(super) via: BTreeSet<Via>,
}

impl Need {
    /// Whether the image continues what it needs, rather than taking something out of it.
    pub(super) fn continues(&self) -> bool {
        self.via.contains(&Via::From)
    }

    pub(super) fn words(&self) -> String {
        let words: Vec<&str> = self.via.iter().map(|via| via.word()).collect();
        words.join(", ")
    }
}

/// A base that is no image of the fleet.
#[derive(Debug)]
pub(super) struct Outside {
    pub(super) name: String,
    /// The images that need it.
    pub(super) users: Vec<Need>,
}

impl<'a> Net<'a> {
    pub(super) fn new(graph: &'a Graph) -> Self {
        let nodes = graph.nodes.as_slice();
        let mut by_name = BTreeMap::new();
        for (at, node) in nodes.iter().enumerate() {
            by_name.entry(node.name.as_str()).or_insert(at);
        }
        let known = |edge: &&Edge| by_name.contains_key(edge.to.as_str());
        let mut needs: Vec<Vec<Need>> = (nodes.iter())
            .map(|node| {
                let edges = node.needs.iter().filter(known);
                merged(edges.map(|edge| (by_name[edge.to.as_str()], edge.via)))
            })
            .collect();
        let outside = outside(nodes, |edge| known(&edge));
        let cut = cut_cycles(&mut needs);
        let (order, level) = levels(&needs);
        let used_by = used_by(&needs, &order);
        let names = nodes.iter().map(|node| named(&node.name)).collect();
        Self { nodes, names, needs, cut, level, used_by, outside }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The images that need each, in the order of the list.
    pub(super) fn users(&self) -> Vec<Vec<usize>> {
        let mut users = vec![Vec::new(); self.len()];
        for (at, needs) in self.needs.iter().enumerate() {
            for need in needs {
                users[need.at].push(at);
            }
        }
        users
    }

    /// The bases from outside that each image needs.
    pub(super) fn outside_of_each(&self) -> Vec<Vec<usize>> {
        let mut of_each = vec![Vec::new(); self.len()];
        for (base, outside) in self.outside.iter().enumerate() {
            for user in &outside.users {
                of_each[user.at].push(base);
            }
        }
        of_each
    }

    /// What is known of an image in a few words: kind, time, size.
    pub(super) fn facts(&self, at: usize) -> Vec<String> {
        let node = &self.nodes[at];
        let class = node.class.as_deref().map(|class| short(class, 24));
        let cost = node.cost_ms.map(measure::short_duration);
        let size = node.size_bytes.map(measure::bytes);
        [class, cost, size].into_iter().flatten().filter(|fact| !fact.is_empty()).collect()
    }

    /// The names of what an image needs although that stands on it, if any.
    pub(super) fn waits_for_itself(&self, at: usize) -> Option<String> {
        if self.cut[at].is_empty() {
            return None;
        }
        let names = self.cut[at].iter().map(|&need| &self.names[need]);
        Some(format!("waits for itself: needs {}", listed(names)))
    }

    /// The whole in one line.
    pub(super) fn head(&self) -> String {
        let mut per_level: Vec<usize> = Vec::new();
        for &level in &self.level {
            per_level.resize(per_level.len().max(level + 1), 0);
            per_level[level] += 1;
        }
        let edges = self.needs.iter().map(Vec::len).chain(self.cut.iter().map(BTreeSet::len)).sum();
        let mut levels = plural(per_level.len(), "level");
        if (2..=12).contains(&per_level.len()) {
            let counts: Vec<String> = per_level.iter().map(usize::to_string).collect();
            levels = format!("{levels} ({})", counts.join(" + "));
        }
        let mut words = vec![plural(self.len(), "image"), plural(edges, "edge"), levels];
        let total = |of: fn(&Node) -> Option<u64>| {
            self.nodes.iter().filter_map(of).reduce(u64::saturating_add)
        };
        words.extend(total(|node| node.cost_ms).map(measure::short_duration));
        words.extend(total(|node| node.size_bytes).map(measure::bytes));
        words.join(", ")
    }
}

/// `text` clean, in at most `max` columns.
pub(super) fn short(text: &str, max: usize) -> String {
    text::cut(&text::clean(text::bounded(text, 16 * max)), max, "…")
}

/// A name that can be seen.
fn named(name: &str) -> String {
    let name = short(name.trim(), NAME);
    if name.is_empty() { "?".to_owned() } else { name }
}

/// As many of the words as anybody reads, and how many there are besides.
pub(super) fn listed<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> String {
    const SHOWN: usize = 12;
    let mut words = words.into_iter();
    let shown: Vec<T> = words.by_ref().take(SHOWN).collect();
    let shown: Vec<&str> = shown.iter().map(T::as_ref).collect();
    match words.count() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The edges with each other end once, in the order of their first appearance.
fn merged(edges: impl Iterator<Item = (usize, Via)>) -> Vec<Need> {
    let mut place = BTreeMap::new();
    let mut needs: Vec<Need> = Vec::new();
    for (at, via) in edges {
        let nth = *place.entry(at).or_insert(needs.len());
        if nth == needs.len() {
            needs.push(Need { at, via: BTreeSet::new() });
        }
        needs[nth].via.insert(via);
    }
    needs
}

/// The bases from outside: those that are said to be, and needs that are no image.
fn outside(nodes: &[Node], known: impl Fn(&Edge) -> bool) -> Vec<Outside> {
    let mut place = BTreeMap::new();
    let mut users: Vec<Vec<(usize, Via)>> = Vec::new();
    let mut names = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        let unknown = node.needs.iter().filter(|edge| !known(edge));
        for edge in node.external.iter().chain(unknown) {
            let base = *place.entry(edge.to.as_str()).or_insert(names.len());
            if base == names.len() {
                names.push(named(&edge.to));
                users.push(Vec::new());
            }
            users[base].push((at, edge.via));
        }
    }
    let users = users.into_iter().map(|users| merged(users.into_iter()));
    names.into_iter().zip(users).map(|(name, users)| Outside { name, users }).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    Open,
    Done,
}

/// Takes out the needs that close a cycle, and returns them.
fn cut_cycles(needs: &mut [Vec<Need>]) -> Vec<BTreeSet<usize>> {
    let mut cut = vec![BTreeSet::new(); needs.len()];
    let mut marks = vec![Mark::New; needs.len()];
    for root in 0..needs.len() {
        if marks[root] != Mark::New {
            continue;
        }
        marks[root] = Mark::Open;
        let mut path = vec![(root, 0)];
        while let Some((at, next)) = path.last_mut() {
            let Some(need) = needs[*at].get(*next).map(|need| need.at) else {
                marks[*at] = Mark::Done;
                path.pop();
                continue;
            };
            *next += 1;
            match marks[need] {
                Mark::New => {
                    marks[need] = Mark::Open;
                    path.push((need, 0));
                }
                Mark::Open => {
                    cut[*at].insert(need);
                }
                Mark::Done => {}
            }
        }
    }
    for (needs, cut) in needs.iter_mut().zip(&cut) {
        needs.retain(|need| !cut.contains(&need.at));
    }
    cut
}

/// The images with needs first, and the level of each.
fn levels(needs: &[Vec<Need>]) -> (Vec<usize>, Vec<usize>) {
    let mut users = vec![Vec::new(); needs.len()];
    for (at, needs) in needs.iter().enumerate() {
        for need in needs {
            users[need.at].push(at);
        }
    }
    let mut missing: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut level = vec![0; needs.len()];
    let mut order: Vec<usize> = (0..needs.len()).filter(|&at| missing[at] == 0).collect();
    let mut next = 0;
    while let Some(&at) = order.get(next) {
        next += 1;
        for &user in &users[at] {
            level[user] = level[user].max(level[at] + 1);
            missing[user] -= 1;
            if missing[user] == 0 {
                order.push(user);
            }
        }
    }
    (order, level)
}

/// How many images reach each through needs, counted for 64 of them at a time.
fn used_by(needs: &[Vec<Need>], order: &[usize]) -> Vec<usize> {
    let mut used_by = vec![0; needs.len()];
    let mut rank = vec![0; needs.len()];
    for (nth, &at) in order.iter().enumerate() {
        rank[at] = nth;
    }
    for first in (0..order.len()).step_by(64) {
        let mut users = vec![0_u64; needs.len()];
        let last = order.len().min(first + 64);
        // What comes later in the order is no need of these, nor of their needs.
        for &at in order[..last].iter().rev() {
            let own = if rank[at] >= first { 1 << (rank[at] - first) } else { 0 };
            used_by[at] += users[at].count_ones() as usize;
            let passed_on = users[at] | own;
            for need in &needs[at] {
                users[need.at] |= passed_on;
            }
        }
    }
    used_by
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::samples::chain;

    #[test]
    fn a_long_list_says_how_much_of_it_is_left_out() {
        for (count, expected) in [(0, ""), (1, "w0"), (2, "w0, w1")] {
            assert_eq!(listed((0..count).map(|nth| format!("w{nth}"))), expected);
        }
        let long = listed((0..50).map(|nth| format!("w{nth}")));
        assert!(long.starts_with("w0, ") && long.ends_with("w11 and 38 more"), "{long}");
    }

    #[test]
    fn users_are_counted_through_others_and_once() {
        let mut graph = chain(200);
        // A second way from the first to the last.
        let first = Edge::new("i0", Via::Copy);
        graph.nodes[199].needs.push(first);
        let net = Net::new(&graph);
        let expected: Vec<usize> = (0..200).rev().collect();
        assert_eq!(net.used_by, expected);
        assert_eq!(net.level, (0..200).collect::<Vec<_>>());
    }
}
