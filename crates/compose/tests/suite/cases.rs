//! Fixture projects: a folder each, with the environment in `case.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use bakehouse_compose::{Project, SourceFile, Surroundings, find, read};
use serde_json::Value;

/// A project among the fixtures.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) root: PathBuf,
    /// The folder to work in, from the root.
    pub(crate) folder: String,
    /// The files to read, from the root; none, if they are to be found.
    pub(crate) files: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    settings: Value,
}

impl Case {
    fn open(root: PathBuf) -> Self {
        let settings = fs::read_to_string(root.join("case.json")).unwrap_or("{}".to_owned());
        let settings: Value = serde_json::from_str(&settings).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let files = settings["files"].as_array().into_iter().flatten();
        let env = settings["env"].as_object().into_iter().flatten();
        Self {
            name: root.file_name().unwrap().to_string_lossy().into_owned(),
            folder: text(&settings["folder"]),
            files: files.map(text).collect(),
            env: env.map(|(name, value)| (name.clone(), text(value))).collect(),
            root,
            settings,
        }
    }

    /// A single file of a repository at `root`.
    pub(crate) fn of_file(root: &Path, file: &str, env: &[(&str, &str)]) -> Self {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            name: root.file_name().unwrap().to_string_lossy().into_owned(),
            root: root.to_owned(),
            folder: String::new(),
            files: vec![file.to_owned()],
            env: env.iter().map(own).collect(),
            settings: Value::Null,
        }
    }

    /// Whether `tool` does not take this case; `case.json` says why.
    pub(crate) fn refused_by(&self, tool: &str) -> bool {
        self.settings[tool].is_string()
    }

    /// Reads the project with every profile on.
    pub(crate) fn read(&self) -> Project {
        self.read_with(Some(&["*".to_owned()]))
    }

    pub(crate) fn read_with(&self, profiles: Option<&[String]>) -> Project {
        let env = |name: &str| self.env.get(name).cloned();
        let load = |path: &str| fs::read(self.root.join(path)).ok();
        let folder = self.files.first().map_or(self.folder.as_str(), |first| {
            first.rsplit_once('/').map_or("", |(folder, _)| folder)
        });
        let folder = self.root.join(folder);
        let project = folder.file_name().unwrap().to_string_lossy();
        let around = Surroundings { env: &env, load: &load, project: &project, profiles };
        read(&self.sources(&around), &around)
    }

    pub(crate) fn sources(&self, around: &Surroundings<'_>) -> Vec<SourceFile> {
        if self.files.is_empty() {
            return find(&self.folder, around).0;
        }
        let source = |path: &String| SourceFile {
            path: path.clone(),
            text: fs::read(self.root.join(path)).unwrap(),
        };
        self.files.iter().map(source).collect()
    }

    /// The files to read, seen from the folder to work in.
    pub(crate) fn found(&self) -> Vec<String> {
        let env = |name: &str| self.env.get(name).cloned();
        let load = |path: &str| fs::read(self.root.join(path)).ok();
        let around = Surroundings { env: &env, load: &load, project: "", profiles: None };
        let lead = format!("{}/", self.folder);
        let sources = self.sources(&around).into_iter();
        sources.map(|file| file.path.strip_prefix(&lead).unwrap_or(&file.path).to_owned()).collect()
    }
}

/// Whether pins are to be written anew.
pub(crate) fn blesses() -> bool {
    std::env::var("BAKEHOUSE_BLESS").is_ok()
}

/// The cases of a kind, by name.
pub(crate) fn cases(kind: &str) -> Vec<Case> {
    let folder = repository().join("fixtures/compose").join(kind);
    let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<Case> = entries.map(Case::open).collect();
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(cases.len() > 9, "the walk found only {} cases", cases.len());
    cases
}

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A value of a pin file, if there is one.
pub(crate) fn pin(case: &Case, name: &str) -> Option<Value> {
    let text = fs::read_to_string(case.root.join(name)).ok()?;
    Some(serde_json::from_str(&text).unwrap())
}

/// Writes a pin file.
pub(crate) fn bless(case: &Case, name: &str, value: &Value) {
    let text = serde_json::to_string_pretty(value).unwrap() + "\n";
    fs::write(case.root.join(name), text).unwrap();
}

/// What a command prints, or what it complains about.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let done = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
}

/// A folder under the system's temporary one, gone when the test ends.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    /// A copy of `folder`, under the same last name.
    pub(crate) fn copy(folder: &Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bakehouse-compose-{}-{number}", std::process::id());
        let scratch = Self(std::env::temp_dir().join(name));
        copy(folder, &scratch.0.join(folder.file_name().unwrap()));
        scratch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}
