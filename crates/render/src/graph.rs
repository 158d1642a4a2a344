//! The fleet as a tree: what stands on what.

use std::collections::{BTreeMap, BTreeSet};

use crate::measure::plural;
use crate::style::{Line, Style, Tone, render_all};
use crate::text;

/// An image as `graph` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GraphImage {
    /// Name in the fleet.
    pub name: String,
    /// Its Dockerfile.
    pub file: String,
    /// Its build context.
    pub context: String,
    /// Images of the fleet that it stands on.
    pub needs: Vec<String>,
    /// Anything else worth a word.
    pub notes: Vec<String>,
}

/// The images as a tree, each once: below the need that stands on the most others. Its
/// other needs are named beside it, and so is how many images stand on it.
pub fn tree(images: &[GraphImage], style: Style) -> String {
    let graph = Graph::new(images);
    let names = images.iter().map(|image| text::width(&text::clean(&image.name)));
    let rows = graph.rows(style);
    let column = names.max().unwrap_or(0).max(
        rows.iter()
            .map(|(at, prefix)| text::width(prefix) + graph.name_width(*at))
            .max()
            .unwrap_or(0),
    );
    let levels = graph.level.iter().flatten().max().map_or(0, |level| level + 1);
    let head = format!("{}, {}", plural(images.len(), "image"), plural(levels, "level"));
    let mut lines = vec![Line::new().add(Tone::Bold, &head)];
    for (at, prefix) in &rows {
        lines.push(graph.line(*at, prefix, column));
    }
    render_all(&lines, style)
}

struct Graph<'a> {
    images: &'a [GraphImage],
    needs: Vec<Vec<usize>>,
    /// Length of the longest chain of needs below; none on a cycle or above one.
    level: Vec<Option<usize>>,
    /// How many images stand on each, directly or not.
    used_by: Vec<usize>,
}

impl<'a> Graph<'a> {
    fn new(images: &'a [GraphImage]) -> Self {
        let by_name: BTreeMap<&str, usize> =
            images.iter().enumerate().map(|(at, image)| (image.name.as_str(), at)).collect();
        let known = |name: &String| by_name.get(name.as_str()).copied();
        let needs: Vec<Vec<usize>> =
            images.iter().map(|image| image.needs.iter().filter_map(known).collect()).collect();
        let mut users = vec![Vec::new(); images.len()];
        for (at, needs) in needs.iter().enumerate() {
            for &need in needs {
                users[need].push(at);
            }
        }
        let used_by = (0..images.len()).map(|at| reach(at, &users).len()).collect();
        let level = levels(&needs, &users);
        Self { images, needs, level, used_by }
    }

    /// The need that an image is drawn below.
    fn parent(&self, at: usize) -> Option<usize> {
        self.level[at]?;
        self.needs[at].iter().copied().rev().max_by_key(|&need| self.level[need])
    }

    /// Every image with the branches before it.
    fn rows(&self, style: Style) -> Vec<(usize, String)> {
        let glyphs = style.glyphs();
        let mut children = vec![Vec::new(); self.images.len()];
        let mut roots = Vec::new();
        for at in 0..self.images.len() {
            match self.parent(at) {
                Some(parent) => children[parent].push(at),
                None => roots.push(at),
            }
        }
        let mut rows = Vec::new();
        let mut open: Vec<(usize, String, String)> =
            roots.into_iter().rev().map(|at| (at, String::new(), String::new())).collect();
        while let Some((at, prefix, below)) = open.pop() {
            rows.push((at, prefix));
            for (nth, &child) in children[at].iter().enumerate().rev() {
                let last = nth + 1 == children[at].len();
                let (branch, trunk) =
                    if last { (glyphs.last_branch, "   ") } else { (glyphs.branch, glyphs.trunk) };
                open.push((child, format!("{below}{branch}"), format!("{below}{trunk}")));
            }
        }
        rows
    }

    fn name_width(&self, at: usize) -> usize {
        text::width(&text::clean(&self.images[at].name))
    }

    fn line(&self, at: usize, prefix: &str, column: usize) -> Line {
        let image = &self.images[at];
        let line = Line::new().add(Tone::Dim, prefix).add(Tone::Bold, &image.name).pad(column + 2);
        let mut line = line.text(&image.file);
        if !image.context.is_empty() {
            line.push(Tone::Dim, &format!(" in {}", image.context));
        }
        let mut words = Vec::new();
        if self.used_by[at] > 0 {
            words.push(format!("used by {}", self.used_by[at]));
        }
        let parent = self.parent(at);
        let others: Vec<&str> = (self.needs[at].iter())
            .filter(|&&need| Some(need) != parent)
            .map(|&need| self.images[need].name.as_str())
            .collect();
        if self.level[at].is_none() {
            words.push(format!("waits for itself: needs {}", others.join(", ")));
        } else if !others.is_empty() {
            words.push(format!("also needs {}", others.join(", ")));
        }
        words.extend(image.notes.iter().cloned());
        if !words.is_empty() {
            line.push(Tone::Info, &format!("  ({})", words.join("; ")));
        }
        line
    }
}

fn reach(from: usize, edges: &[Vec<usize>]) -> BTreeSet<usize> {
    let mut seen = BTreeSet::new();
    let mut open = edges[from].clone();
    while let Some(at) = open.pop() {
        if seen.insert(at) {
            open.extend(&edges[at]);
        }
    }
    seen.remove(&from);
    seen
}

fn levels(needs: &[Vec<usize>], users: &[Vec<usize>]) -> Vec<Option<usize>> {
    let mut missing: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut level = vec![None; needs.len()];
    let mut ready: Vec<usize> = (0..needs.len()).filter(|&at| missing[at] == 0).collect();
    while let Some(at) = ready.pop() {
        let below = needs[at].iter().filter_map(|&need| level[need]).max();
        level[at] = Some(below.map_or(0, |level: usize| level + 1));
        for &user in &users[at] {
            missing[user] -= 1;
            if missing[user] == 0 {
                ready.push(user);
            }
        }
    }
    level
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str, needs: &[&str]) -> GraphImage {
        GraphImage {
            name: name.to_owned(),
            file: format!("{name}/Dockerfile"),
            context: if name == "stt" { ".".to_owned() } else { String::new() },
            needs: needs.iter().map(|&need| need.to_owned()).collect(),
            notes: if name == "tts" { vec!["2 stages".to_owned()] } else { Vec::new() },
        }
    }

    #[test]
    fn every_image_is_drawn_once_below_its_deepest_need() {
        let fleet = [
            image("stt", &["python-web", "models"]),
            image("python-base", &[]),
            image("python-web", &["python-base"]),
            image("tts", &["python-web"]),
            image("models", &[]),
            image("cron", &["python-base"]),
        ];
        insta::assert_snapshot!(tree(&fleet, Style { colour: false, unicode: true }), @r"
        6 images, 3 levels
        python-base    python-base/Dockerfile  (used by 4)
        ├─ python-web  python-web/Dockerfile  (used by 2)
        │  ├─ stt      stt/Dockerfile in .  (also needs models)
        │  └─ tts      tts/Dockerfile  (2 stages)
        └─ cron        cron/Dockerfile
        models         models/Dockerfile  (used by 1)
        ");
        insta::assert_snapshot!(tree(&fleet, Style::PLAIN), @r"
        6 images, 3 levels
        python-base    python-base/Dockerfile  (used by 4)
        |- python-web  python-web/Dockerfile  (used by 2)
        |  |- stt      stt/Dockerfile in .  (also needs models)
        |  `- tts      tts/Dockerfile  (2 stages)
        `- cron        cron/Dockerfile
        models         models/Dockerfile  (used by 1)
        ");
    }

    #[test]
    fn a_cycle_and_what_stands_on_it_are_drawn_as_such() {
        let fleet = [image("a", &["b"]), image("b", &["a"]), image("c", &["a"]), image("d", &[])];
        insta::assert_snapshot!(tree(&fleet, Style::PLAIN), @r"
        4 images, 1 level
        a  a/Dockerfile  (used by 2; waits for itself: needs b)
        b  b/Dockerfile  (used by 2; waits for itself: needs a)
        c  c/Dockerfile  (waits for itself: needs a)
        d  d/Dockerfile
        ");
    }

    #[test]
    fn a_chain_of_two_thousand_images_is_drawn() {
        let needs = |n: u32| if n == 0 { vec![] } else { vec![format!("i{}", n - 1)] };
        let fleet: Vec<GraphImage> = (0..2_000)
            .map(|n| GraphImage { name: format!("i{n}"), needs: needs(n), ..Default::default() })
            .collect();
        assert_eq!(tree(&fleet, Style::PLAIN).lines().count(), 2_001);
    }
}
