//! The fixtures: which files belong together, what is asked of them, in which environment.
//!
//! A fixture is a file of `fixtures/bake/ok` or a folder with several. Comments of the form
//! `# run: ARGUMENTS` (in JSON `"//": "run: …"`) say what is asked, once each; `# env: NAME=value`
//! says what the environment has. What must come of it is in the `.out` beside the fixture.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bakehouse_bake::{Bake, Resolved, Set, SourceFile, Surroundings, read};
use bakehouse_model::Diagnostic;
use serde_json::Value;

/// A fixture.
pub(crate) struct Case {
    pub(crate) name: String,
    /// Where its files are.
    pub(crate) folder: PathBuf,
    /// Its files, in the order in which they are read.
    pub(crate) files: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) runs: Vec<String>,
}

pub(crate) fn fixtures(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/bake").join(kind)
}

/// The order in which Buildx looks for files.
const ORDER: &[&str] = &[
    "docker-bake.json",
    "docker-bake.hcl",
    "docker-bake.override.json",
    "docker-bake.override.hcl",
];

pub(crate) fn cases(kind: &str) -> Vec<Case> {
    let entries = std::fs::read_dir(fixtures(kind)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .filter(|path| path.extension().is_none_or(|kind| kind != "out"))
        .map(|path| case(path))
        .collect()
}

fn case(path: &Path) -> Case {
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let (folder, files) = if path.is_dir() {
        let there = |file: &&&str| path.join(file).exists();
        (path.to_owned(), ORDER.iter().filter(there).map(|file| (*file).to_owned()).collect())
    } else {
        (path.parent().unwrap().to_owned(), vec![name.clone()])
    };
    let (mut env, mut runs) = (BTreeMap::new(), Vec::new());
    for file in &files {
        for line in std::fs::read_to_string(folder.join(file)).unwrap().lines() {
            let line = line.trim();
            let json = line.strip_prefix("\"//\": \"").and_then(|rest| rest.rsplit_once('"'));
            let said = line.strip_prefix("# ").or(json.map(|(said, _)| said)).unwrap_or("");
            if let Some(run) = said.strip_prefix("run:") {
                runs.push(run.trim().to_owned());
            }
            if let Some((name, value)) =
                said.strip_prefix("env: ").and_then(|env| env.split_once('='))
            {
                env.insert(name.to_owned(), value.to_owned());
            }
        }
    }
    if runs.is_empty() {
        runs.push(String::new());
    }
    Case { name, folder, files, env, runs }
}

impl Case {
    pub(crate) fn read(&self) -> Bake {
        let source = |file: &String| SourceFile {
            path: file.clone(),
            text: std::fs::read(self.folder.join(file)).unwrap(),
        };
        let files: Vec<SourceFile> = self.files.iter().map(source).collect();
        read(&files, &Surroundings::new(&|name| self.env.get(name).cloned()))
    }

    /// What comes of one run.
    pub(crate) fn run(&self, run: &str) -> Result<Resolved, Vec<Diagnostic>> {
        let (wanted, sets) = arguments(run);
        let env = |name: &str| self.env.get(name).cloned();
        let sets = sets.iter().map(|set| Set::parse(set, &env)).collect::<Result<Vec<_>, _>>();
        self.read().resolve(&wanted, &sets.map_err(|diagnostic| vec![diagnostic])?)
    }

    /// What must come of each run, as Buildx had it.
    pub(crate) fn pinned(&self) -> BTreeMap<String, Value> {
        let text = std::fs::read_to_string(self.pin()).unwrap_or_else(|_| "{}".to_owned());
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) fn pin(&self) -> PathBuf {
        let base = if self.files.len() == 1 && self.files[0] == self.name {
            &self.folder
        } else {
            self.folder.parent().unwrap()
        };
        base.join(format!("{}.out", self.name))
    }
}

/// Targets, and what is set.
pub(crate) fn arguments(run: &str) -> (Vec<String>, Vec<String>) {
    let (mut wanted, mut sets) = (Vec::new(), Vec::new());
    let mut words = run.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "--set" => sets.push(words.next().unwrap().to_owned()),
            _ => wanted.push(word.to_owned()),
        }
    }
    (wanted, sets)
}

/// Several axes of a matrix have no order in Buildx, so neither have the groups made of them.
pub(crate) fn without_order(mut document: Value) -> Value {
    let groups = document.get_mut("group").and_then(Value::as_object_mut);
    for group in groups.into_iter().flat_map(|groups| groups.values_mut()) {
        if let Some(targets) = group.get_mut("targets").and_then(Value::as_array_mut) {
            targets.sort_by_key(|target| target.as_str().map(str::to_owned));
        }
    }
    document
}
