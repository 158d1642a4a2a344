//! Cache keys, as BuildKit has them: from definitions first, from contents where that can help.
//!
//! What goes into the key of a step:
//!
//! | part | definition key | content key |
//! |---|---|---|
//! | the op, without what must not matter (selectors, hosts' addresses, proxies, cache ids) | yes | yes |
//! | platform of an exec | yes | yes |
//! | the file system that is written to | its key | its key |
//! | an image | its chain id | its chain id |
//! | a build context | the digest of the selected paths | the same |
//! | another step's files, copied or mounted | its key and the selected paths | the digest of those paths |
//!
//! Not in any key: names, positions, secrets' values, modification times of copied files,
//! who asked. The op's text follows the JSON that BuildKit's solver hashes
//! (`CacheMap` of `solver/llbsolver/ops`), so that keys can be shared with it.

pub(crate) mod json;

use std::collections::BTreeMap;

use bakehouse_model::op::{self, Exec, File, FileAction, MountKind, Op, Owner, Principal, Source};
use bakehouse_model::{Digest, Key};
use serde::{Deserialize, Serialize};

use crate::graph::Step;

/// Paths of an input that a step reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Selection {
    /// Path or wildcard, absolute within the input.
    pub path: String,
    /// Whether a link at the end is followed.
    pub follow: bool,
    /// Whether `path` has wildcards.
    pub wildcard: bool,
    /// Only what these match.
    pub include: Vec<String>,
    /// Not what these match.
    pub exclude: Vec<String>,
    /// Paths that must be there.
    pub required: Vec<String>,
}

/// How one input of a step enters its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// What is read of it, as its contents are asked for; empty means all of it.
    pub selections: Vec<Selection>,
    /// Names what is read of it where the input's own key counts; none where all of it is.
    pub selector: Option<Digest>,
    /// Whether the contents of `selections` may stand for the input: it is only read.
    pub by_content: bool,
}

/// How each input of `step` enters its key.
pub fn dependencies(step: &Step) -> Vec<Dependency> {
    let mut deps = vec![Dependency::whole(); step.inputs.len()];
    match &step.op {
        Op::Source(_) | Op::Merge => {}
        Op::Exec(exec) => exec_dependencies(exec, &mut deps),
        Op::File(file) => file_dependencies(file, &mut deps),
    }
    for dep in &mut deps {
        // Where nothing is selected, all of it is read.
        dep.by_content &= !dep.selections.is_empty();
    }
    deps
}

fn exec_dependencies(exec: &Exec, deps: &mut [Dependency]) {
    let mut named: Vec<Vec<String>> = vec![Vec::new(); deps.len()];
    for mount in &exec.mounts {
        let Some((dep, names)) = mount.input.and_then(|at| deps.get_mut(at).zip(named.get_mut(at)))
        else {
            continue;
        };
        dep.by_content &= mount.kind != MountKind::Root;
        names.push(Selection::plain(&mount.selector).path);
        if mount.kind != MountKind::Root {
            dep.selections.push(Selection::plain(&mount.selector));
        }
    }
    let shared = !mounts_are_ambiguous(exec);
    for (dep, names) in deps.iter_mut().zip(named) {
        // The names are in the order of the mounts, whatever is read of them.
        dep.selector = (!names.is_empty()).then(|| Digest::of(names.join("\0")));
        if !shared {
            continue;
        }
        dedupe(&mut dep.selections);
        if dep.selections.iter().any(|selection| selection.path == "/") {
            dep.selections = vec![Selection { follow: false, ..Selection::plain("/") }];
        }
    }
}

fn file_dependencies(file: &File, deps: &mut [Dependency]) {
    for action in &file.actions {
        let owner = match action {
            FileAction::Copy(copy) => {
                if let Some(dep) = deps.get_mut(copy.input) {
                    dep.selections.push(copied(copy));
                }
                copy.owner.as_ref()
            }
            FileAction::MakeFile(make) => make.owner.as_ref(),
            FileAction::MakeDir(make) => make.owner.as_ref(),
        };
        owner_dependencies(owner, deps);
    }
    let shared = !copies_are_ambiguous(file);
    for dep in deps.iter_mut().filter(|dep| !dep.selections.is_empty()) {
        let mut names: Vec<&str> = dep.selections.iter().map(|one| one.path.as_str()).collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        dep.selector = Some(Digest::of(names.join("\0")));
        if shared {
            dedupe(&mut dep.selections);
        }
    }
    if let Some(dep) = file.base.and_then(|base| deps.get_mut(base)) {
        dep.by_content = false;
        dep.selector = None;
    }
}

/// What a copy reads of its input.
fn copied(copy: &op::Copy) -> Selection {
    Selection {
        path: copy.src.clone(),
        follow: copy.follow_symlink,
        wildcard: copy.allow_wildcard && has_wildcards(&copy.src),
        include: copy.include_patterns.clone(),
        exclude: copy.exclude_patterns.clone(),
        required: copy.required_paths.clone(),
    }
}

/// In the order of their paths, without plain ones that are below another: as BuildKit has them.
fn dedupe(selections: &mut Vec<Selection>) {
    let all = std::mem::take(selections);
    let (plain, filtered): (Vec<Selection>, Vec<Selection>) =
        all.into_iter().partition(Selection::is_plain);
    for one in &plain {
        let covered = |other: &Selection| {
            let folder = if other.path.ends_with('/') {
                other.path.clone()
            } else {
                format!("{}/", other.path)
            };
            other.follow == one.follow && other.path != one.path && one.path.starts_with(&folder)
        };
        if !plain.iter().any(covered) && !selections.contains(one) {
            selections.push(one.clone());
        }
    }
    selections.extend(filtered);
    selections.sort_by(|a, b| a.path.cmp(&b.path));
}

impl Dependency {
    /// All of an input.
    fn whole() -> Self {
        Self { selections: Vec::new(), selector: None, by_content: true }
    }
}

fn owner_dependencies(owner: Option<&Owner>, deps: &mut [Dependency]) {
    let Some(owner) = owner else { return };
    let named = [(&owner.user, "/etc/passwd"), (&owner.group, "/etc/group")];
    for (principal, path) in named {
        if let Some(Principal::Name { input: Some(input), .. }) = principal
            && let Some(dep) = deps.get_mut(*input)
        {
            dep.selections.push(Selection { follow: true, ..Selection::plain(path) });
        }
    }
}

impl Selection {
    /// Whether nothing but a path says what is selected.
    fn is_plain(&self) -> bool {
        !self.wildcard && self.include.is_empty() && self.exclude.is_empty()
    }

    fn plain(path: &str) -> Self {
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Self {
            path,
            follow: true,
            wildcard: false,
            include: Vec::new(),
            exclude: Vec::new(),
            required: Vec::new(),
        }
    }
}

/// Whether `path` has an unescaped `*`, `?` or `[`.
pub(crate) fn has_wildcards(path: &str) -> bool {
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'*' | b'?' | b'[' => return true,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
    false
}

/// What one input gives to a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The input's own key, with the selector.
    Key(Key, Digest),
    /// The digest of the selected contents.
    Content(Digest),
}

/// The digest of a step's op: what it does, whatever it does it to.
pub fn op_digest(step: &Step) -> Digest {
    match &step.op {
        Op::Source(source) => Digest::of(source_text(source)),
        Op::Exec(exec) if mounts_are_ambiguous(exec) => {
            let mounts = exec.mounts.iter().map(|mount| (mount.input, &mount.selector));
            let mounts: Vec<_> = mounts.collect();
            let mounts = serde_json::to_string(&mounts).expect("plain fields");
            Digest::of(format!("{}\0{mounts}", json::exec(exec, step)))
        }
        Op::Exec(exec) => Digest::of(json::exec(exec, step)),
        Op::File(file) if copies_are_ambiguous(file) => {
            let whole = serde_json::to_string(&step.op).expect("ops have only string keys");
            Digest::of(whole)
        }
        Op::File(file) => Digest::of(json::file(file, step.inputs.len())),
        Op::Merge => Digest::of(json::merge(step.inputs.len())),
    }
}

/// Other digests that BuildKit may know a step's op by: it looks an image up by what its name
/// points at before it knows the layers, and keeps whichever it found. `index_of` says which
/// index a manifest was found in.
pub(crate) fn aliases<'a>(
    step: &Step,
    index_of: impl Fn(&Digest) -> Option<&'a Digest>,
) -> Vec<Digest> {
    let Op::Source(Source::Image(image)) = &step.op else { return Vec::new() };
    let named = image.reference.digest().into_iter().chain([&image.manifest]);
    let named = named.chain(index_of(&image.manifest));
    named.map(|digest| Digest::of(json::named_image(digest, &image.platform))).collect()
}

/// Whether other builders can tell this step from every other one by its key.
pub fn is_shareable(step: &Step) -> bool {
    match &step.op {
        Op::Source(Source::Image(image)) => image.chain.is_some(),
        // Others are known only once they are fetched.
        Op::Source(_) => false,
        Op::Merge => true,
        Op::Exec(exec) => !mounts_are_ambiguous(exec),
        Op::File(file) => !copies_are_ambiguous(file),
    }
}

/// Whether BuildKit's key is that of other mounts too: its op does not say which paths are
/// mounted, and the digests of what they hold are in the order of the paths, without those that
/// are below another. They tell which is where only if the mounts are in that order themselves.
fn mounts_are_ambiguous(exec: &Exec) -> bool {
    let mut read: BTreeMap<usize, Vec<Selection>> = BTreeMap::new();
    for mount in exec.mounts.iter().filter(|mount| mount.kind != MountKind::Root) {
        if let Some(input) = mount.input {
            read.entry(input).or_default().push(Selection::plain(&mount.selector));
        }
    }
    read.into_values().any(|mounted| {
        let mut told = mounted.clone();
        dedupe(&mut told);
        told != mounted
    })
}

/// Whether BuildKit's key is that of other copies too. Its ops have only the last name of what
/// is copied. The rest is in the selector, but in no order, and not if the same input is
/// written to; and the digests of contents are in the order of the paths, without those that
/// are below another.
fn copies_are_ambiguous(file: &File) -> bool {
    let mut read: BTreeMap<usize, Vec<Selection>> = BTreeMap::new();
    for action in &file.actions {
        let FileAction::Copy(copy) = action else { continue };
        let selection = copied(copy);
        let of_input = read.entry(copy.input).or_default();
        if !of_input.contains(&selection) {
            of_input.push(selection);
        }
    }
    read.into_iter().any(|(input, mut copied)| {
        let mut told = copied.clone();
        dedupe(&mut told);
        copied.sort_by(|a, b| json::base_name(&a.path).cmp(json::base_name(&b.path)));
        let twice = |pair: &[Selection]| {
            json::base_name(&pair[0].path) == json::base_name(&pair[1].path)
                && pair[0].path != pair[1].path
        };
        let paths =
            |all: &[Selection]| -> Vec<String> { all.iter().map(|one| one.path.clone()).collect() };
        file.base == Some(input) || copied.windows(2).any(twice) || paths(&told) != paths(&copied)
    })
}

fn source_text(source: &Source) -> String {
    match source {
        Source::Image(image) => match &image.chain {
            Some(chain) => format!("buildkit.source.v0:{chain}"),
            None => format!("buildkit.source.v0:{}", image.manifest),
        },
        Source::Context(context) => format!("context:{}", context.name),
        Source::Http(http) => serde_json::to_string(http).expect("plain fields"),
        Source::Git(git) => serde_json::to_string(git).expect("plain fields"),
    }
}

/// The selector of an input: which paths of it the step reads.
pub fn selector(dependency: &Dependency) -> Digest {
    dependency.selector.clone().unwrap_or_else(|| Digest::of(""))
}

/// The key of a step from its op and from what its inputs give.
pub fn key(op: &Digest, parts: &[Part]) -> Key {
    if parts.is_empty() {
        return Key(op.clone());
    }
    let text = serde_json::to_vec(&(op, parts)).expect("plain fields");
    Key(Digest::of(text))
}

/// The variables an op sees, to say which of them changed.
pub fn variables(op: &Op) -> BTreeMap<String, String> {
    let Op::Exec(exec) = op else { return BTreeMap::new() };
    exec.env
        .iter()
        .map(|line| match line.split_once('=') {
            Some((name, value)) => (name.to_owned(), Digest::of(value).hex()[..16].to_owned()),
            None => (line.clone(), String::new()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use bakehouse_model::oci::Platform;
    use bakehouse_model::op::{
        ContextSource, Copy, GitSource, HttpSource, ImageSource, MakeDir, Mode, Mount, Network,
        Security, Sharing,
    };

    use super::*;
    use crate::graph::{Graph, NewStep, Origin, StepIndex};

    fn mount(input: Option<usize>, selector: &str, dest: &str, kind: MountKind) -> Mount {
        let readonly = kind == MountKind::Bind;
        let (selector, dest) = (selector.to_owned(), dest.to_owned());
        Mount { input, selector, dest, readonly, kind }
    }

    fn cache(id: &str, sharing: Sharing) -> MountKind {
        MountKind::Cache { id: id.to_owned(), sharing, uid: 0, gid: 0, mode: 0o755 }
    }

    fn secret(id: &str) -> MountKind {
        MountKind::Secret { id: id.to_owned(), uid: 0, gid: 0, mode: 0o400, optional: true }
    }

    fn exec(mounts: Vec<Mount>) -> Exec {
        let root = mount(Some(0), "", "/", MountKind::Root);
        Exec {
            args: ["/bin/sh", "-c", "a && b <c>"].map(str::to_owned).to_vec(),
            env: vec!["PATH=/bin".to_owned()],
            cwd: "/".to_owned(),
            user: String::new(),
            hostname: String::new(),
            network: Network::Default,
            security: Security::Sandbox,
            extra_hosts: Vec::new(),
            ulimits: Vec::new(),
            shm_size: None,
            proxy_env: Vec::new(),
            secret_env: Vec::new(),
            mounts: std::iter::once(root).chain(mounts).collect(),
        }
    }

    fn copy(input: usize, src: &str) -> Copy {
        Copy {
            input,
            src: src.to_owned(),
            dest: "/d".to_owned(),
            owner: None,
            mode: None,
            follow_symlink: true,
            dir_copy_contents: true,
            attempt_unpack: false,
            create_dest_path: true,
            allow_wildcard: true,
            allow_empty_wildcard: true,
            include_patterns: Vec::new(),
            exclude_patterns: Vec::new(),
            always_replace_existing: false,
            required_paths: Vec::new(),
            timestamp: None,
        }
    }

    fn files(base: Option<usize>, actions: Vec<FileAction>) -> Op {
        Op::File(File { base, actions })
    }

    /// A step with that many inputs, all of them folders.
    fn step(op: Op, inputs: usize) -> Step {
        let mut graph = Graph::default();
        let mut add = |name: String, op: Op, inputs: Vec<StepIndex>| {
            let origin = Origin {
                name,
                image: String::new(),
                stage: String::new(),
                position: (0, 0),
                location: None,
            };
            let platform = Platform::linux("amd64");
            graph.add(NewStep { op, inputs, platform, no_cache: false, origin })
        };
        let folder = |name: &str| {
            let (name, root) = (name.to_owned(), "/".to_owned());
            Op::Source(Source::Context(ContextSource { name, root, ignore: Vec::new() }))
        };
        let below = (0..inputs).map(|n| add(n.to_string(), folder(&n.to_string()), Vec::new()));
        let below: Vec<StepIndex> = below.collect();
        let index = add("step".to_owned(), op, below);
        graph.step(index).clone()
    }

    #[test]
    fn the_text_of_a_process_is_what_buildkit_hashes() {
        let plain = r#"{"Type":"buildkit.exec.v0","Exec":{"meta":{"args":["/bin/sh","-c","a \u0026\u0026 b \u003cc\u003e"],"env":["PATH=/bin"],"cwd":"/","removeMountStubsRecursive":true}},"OS":"linux","Arch":"amd64"}"#;
        let of = |exec: Exec| {
            let step = step(Op::Exec(exec.clone()), 2);
            json::exec(&exec, &step)
        };
        assert_eq!(of(exec(Vec::new())), plain);
        // Hosts' addresses and proxies are in no key.
        let mut quiet = exec(Vec::new());
        quiet.proxy_env = vec!["HTTP_PROXY=p".to_owned()];
        assert_eq!(of(quiet), plain);
        let mut hosts = exec(Vec::new());
        hosts.extra_hosts = vec![("h".to_owned(), "1.2.3.4".to_owned())];
        assert!(of(hosts).contains(r#""extraHosts":[{"Host":"h"}]"#));
        // Mounts, without what is selected and without names of caches that are not the default.
        let table = [
            (
                mount(Some(1), "/s", "/m", MountKind::Bind),
                r#"{"input":1,"dest":"/m","output":-1,"readonly":true}"#,
            ),
            (
                mount(None, "/", "/m", cache("//m", Sharing::Shared)),
                r#"{"input":-1,"dest":"/m","output":-1,"mountType":3,"cacheOpt":{"ID":"//m"}}"#,
            ),
            (
                mount(None, "/", "/m", cache("/x", Sharing::Locked)),
                r#"{"input":-1,"dest":"/m","output":-1,"mountType":3,"cacheOpt":{}}"#,
            ),
            (
                mount(None, "", "/m", MountKind::Tmpfs { size: 9 }),
                r#"{"input":-1,"dest":"/m","output":-1,"mountType":4,"TmpfsOpt":{"size":9}}"#,
            ),
            (
                mount(None, "", "/m", secret("s")),
                r#"{"input":-1,"dest":"/m","mountType":1,"secretOpt":{"ID":"s","mode":256,"optional":true}}"#,
            ),
        ];
        for (mount, text) in table {
            let whole = of(exec(vec![mount]));
            let expected = format!(r#""mounts":[{{"dest":"/"}},{text}]"#);
            assert!(whole.contains(&expected), "{whole}\n{expected}");
        }
    }

    #[test]
    fn what_is_read_is_a_selection_and_what_is_written_to_counts_whole() {
        type Read<'a> = (bool, &'a [&'a str]);
        let table: [(Op, &[Read<'_>]); 6] = [
            (Op::Exec(exec(Vec::new())), &[(false, &[])]),
            (
                Op::Exec(exec(vec![
                    mount(Some(1), "/s", "/m", MountKind::Bind),
                    mount(Some(1), "t", "/n", MountKind::Bind),
                ])),
                &[(false, &[]), (true, &["/s", "/t"])],
            ),
            (
                Op::Exec(exec(vec![mount(Some(0), "/s", "/m", MountKind::Bind)])),
                &[(false, &["/s"])],
            ),
            (
                Op::Exec(exec(vec![mount(Some(1), "/s", "/m", cache("/x", Sharing::Shared))])),
                &[(false, &[]), (true, &["/s"])],
            ),
            (
                files(
                    Some(0),
                    vec![FileAction::Copy(copy(1, "/a/b")), FileAction::Copy(copy(1, "/c"))],
                ),
                &[(false, &[]), (true, &["/a/b", "/c"])],
            ),
            (files(Some(0), vec![FileAction::Copy(copy(0, "/a/b"))]), &[(false, &["/a/b"])]),
        ];
        for (op, expected) in table {
            let deps = dependencies(&step(op.clone(), expected.len()));
            let got: Vec<(bool, Vec<&str>)> = deps
                .iter()
                .map(|dep| {
                    (dep.by_content, dep.selections.iter().map(|s| s.path.as_str()).collect())
                })
                .collect();
            let expected: Vec<(bool, Vec<&str>)> =
                expected.iter().map(|(by_content, paths)| (*by_content, paths.to_vec())).collect();
            assert_eq!(got, expected, "{op:?}");
        }
    }

    #[test]
    fn what_another_step_reads_from_elsewhere_has_another_key() {
        let bind = |selector: &str, dest: &str| mount(Some(1), selector, dest, MountKind::Bind);
        let run = |mounts: Vec<Mount>| Op::Exec(exec(mounts));
        let copies = |sources: &[&str]| {
            let actions = sources.iter().map(|src| FileAction::Copy(copy(1, src)));
            files(Some(0), actions.collect())
        };
        // Each pair reads the same contents, or nothing but what both have; the first of each
        // may be in caches of others or not.
        let pairs = [
            (
                run(vec![bind("/a", "/1"), bind("/b", "/2")]),
                run(vec![bind("/b", "/1"), bind("/a", "/2")]),
                true,
            ),
            (
                run(vec![bind("/", "/s"), bind("/conf/dev", "/c")]),
                run(vec![bind("/", "/s"), bind("/conf/prod", "/c")]),
                false,
            ),
            (copies(&["/", "/conf/a/set"]), copies(&["/", "/conf/b/set"]), false),
            (copies(&["/conf/a", "/data/b"]), copies(&["/data/a", "/conf/b"]), true),
            (copies(&["/a/x", "/b/x"]), copies(&["/b/x", "/a/x"]), false),
        ];
        for (one, other, shared) in pairs {
            let (one, other) = (step(one, 2), step(other, 2));
            assert_ne!(op_digest(&one), op_digest(&other), "{:?}", other.op);
            assert_eq!(is_shareable(&one), shared, "{:?}", one.op);
            assert!(!is_shareable(&other), "{:?}", other.op);
        }
        let usual = step(copies(&["/package.json", "/package-lock.json"]), 2);
        assert!(is_shareable(&usual));
        // What is not told apart by the order of paths is read in its own.
        let paths = |op: Op| {
            let deps = dependencies(&step(op, 2));
            deps[1].selections.iter().map(|one| one.path.clone()).collect::<Vec<_>>()
        };
        assert_eq!(paths(copies(&["/data/a", "/conf/b"])), ["/data/a", "/conf/b"]);
        assert_eq!(paths(copies(&["/", "/conf/a/set"])), ["/", "/conf/a/set"]);
        assert_eq!(paths(run(vec![bind("/b", "/1"), bind("/a", "/2")])), ["/b", "/a"]);
    }

    #[test]
    fn owners_by_name_read_the_files_that_name_them() {
        let name = |input| Some(Principal::Name { name: "app".to_owned(), input: Some(input) });
        let owner = Some(Owner { user: name(0), group: name(1) });
        let copied = Copy { owner, ..copy(1, "/a") };
        let deps = dependencies(&step(files(Some(0), vec![FileAction::Copy(copied)]), 2));
        let paths: Vec<&str> = deps[1].selections.iter().map(|s| s.path.as_str()).collect();
        assert_eq!(paths, ["/a", "/etc/group"]);
        assert!(!deps[0].by_content && deps[1].by_content);
    }

    #[test]
    fn parts_and_their_order_are_the_key() {
        let (op, digest) = (Digest::of("op"), Digest::of("x"));
        let content = Part::Content(digest.clone());
        let by_key = Part::Key(Key(digest.clone()), Digest::of(""));
        let selected = Part::Key(Key(digest), Digest::of("/a"));
        let all: Vec<Vec<Part>> = vec![
            Vec::new(),
            vec![content.clone()],
            vec![by_key.clone()],
            vec![selected],
            vec![content.clone(), by_key.clone()],
            vec![by_key, content.clone()],
            vec![content.clone(), content],
        ];
        let keys: std::collections::BTreeSet<Key> =
            all.iter().map(|parts| key(&op, parts)).collect();
        assert_eq!(keys.len(), all.len());
        assert_eq!(key(&op, &[]), Key(op));
    }

    #[test]
    fn paths_are_told_from_wildcards() {
        for path in ["*", "/a/*.rs", "a?", "[ab]", "\\\\*"] {
            assert!(has_wildcards(path), "{path}");
        }
        for path in ["", "/a/b", "\\*", "a\\?b", "\\["] {
            assert!(!has_wildcards(path), "{path}");
        }
    }

    #[test]
    fn every_field_of_an_op_is_in_its_digest_or_meant_not_to_be() {
        let digest = |op: &Op| op_digest(&step(op.clone(), 2));
        let base = copy(1, "/a/b");
        let of = |copy: Copy| digest(&files(Some(0), vec![FileAction::Copy(copy)]));
        let one = of(base.clone());
        // Only the last word of a source: the rest is in the selector.
        assert_eq!(of(copy(1, "/c/b")), one);
        let id = |id| Some(Principal::Id { id });
        let mode = |text: &str| Some(Mode::Symbolic { text: text.to_owned() });
        let others = [
            copy(1, "/a/c"),
            Copy { dest: "/e".to_owned(), ..base.clone() },
            Copy { owner: Some(Owner { user: id(1), group: None }), ..base.clone() },
            Copy { owner: Some(Owner { user: None, group: id(1) }), ..base.clone() },
            Copy { mode: Some(Mode::Bits { bits: 0 }), ..base.clone() },
            Copy { mode: Some(Mode::Bits { bits: 0o600 }), ..base.clone() },
            Copy { mode: mode("u=r"), ..base.clone() },
            Copy { mode: mode("u=w"), ..base.clone() },
            Copy { follow_symlink: false, ..base.clone() },
            Copy { dir_copy_contents: false, ..base.clone() },
            Copy { attempt_unpack: true, ..base.clone() },
            Copy { include_patterns: vec!["x".to_owned()], ..base.clone() },
            Copy { exclude_patterns: vec!["x".to_owned()], ..base.clone() },
            Copy { required_paths: vec!["x".to_owned()], ..base.clone() },
            Copy { timestamp: Some(0), ..base.clone() },
            Copy { input: 0, ..base.clone() },
        ];
        let mut seen = std::collections::BTreeSet::from([one]);
        for other in others {
            assert!(seen.insert(of(other.clone())), "{other:?}");
        }
        let make = |path: &str, mode| {
            let path = path.to_owned();
            FileAction::MakeDir(MakeDir {
                path,
                mode,
                make_parents: true,
                owner: None,
                timestamp: None,
            })
        };
        for actions in [vec![make("/a", 0o755)], vec![make("/b", 0o755)], vec![make("/a", 0o700)]] {
            assert!(seen.insert(digest(&files(Some(0), actions.clone()))), "{actions:?}");
        }
        assert!(seen.insert(digest(&files(None, vec![make("/a", 0o755)]))));
    }

    #[test]
    fn sources_are_known_by_what_they_give() {
        let http = |url: &str, name: &str| {
            let (url, file_name) = (url.to_owned(), name.to_owned());
            Op::Source(Source::Http(HttpSource { url, checksum: None, file_name }))
        };
        let git = |reference: Option<&str>, keep_git_dir| {
            Op::Source(Source::Git(GitSource {
                remote: "https://h/r.git".to_owned(),
                reference: reference.map(str::to_owned),
                subdir: None,
                keep_git_dir,
                submodules: true,
                commit_times: false,
                checksum: None,
            }))
        };
        let ops = [
            http("https://h/a", "a"),
            http("https://h/b", "a"),
            http("https://h/a", "b"),
            git(None, false),
            git(Some("v1"), false),
            git(None, true),
        ];
        let digests: std::collections::BTreeSet<Digest> =
            ops.iter().map(|op| op_digest(&step(op.clone(), 0))).collect();
        assert_eq!(digests.len(), ops.len());
    }

    #[test]
    fn an_image_is_also_known_by_what_its_name_points_at() {
        let manifest = "sha256:17584943d965167e0fac5e4fe93c46f7beb7f80b47ea82fe9112727506c530b5";
        let source = ImageSource {
            reference: "registry.example/busybox".parse().unwrap(),
            manifest: manifest.parse().unwrap(),
            platform: Platform::linux("amd64"),
            chain: None,
        };
        // As a buildkitd's own record of its keys has it.
        let expected = "sha256:15fc89438903ccaab20aa021dd8e8449016ed364c63e045eef596a40eb71192a";
        let expected: Digest = expected.parse().unwrap();
        let step_of = |source: &ImageSource| step(Op::Source(Source::Image(source.clone())), 0);
        assert_eq!(aliases(&step_of(&source), |_| None), std::slice::from_ref(&expected));
        let (index, manifest) = (source.manifest.clone(), Digest::of("in an index"));
        let within = ImageSource { manifest: manifest.clone(), ..source };
        let found = aliases(&step_of(&within), |of| (*of == manifest).then_some(&index));
        assert_eq!((found.len(), found.last()), (2, Some(&expected)));
    }

    #[test]
    fn values_of_variables_are_kept_only_as_digests() {
        let op = Op::Exec(Exec { env: vec!["TOKEN=secret".to_owned()], ..exec(Vec::new()) });
        let seen = variables(&op);
        assert_eq!(seen["TOKEN"].len(), 16);
        assert!(!format!("{seen:?}").contains("secret"));
    }
}
