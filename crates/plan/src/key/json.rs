//! The JSON of ops that keys are made of: BuildKit's field names, order and omissions.
//!
//! Go's `encoding/json` escapes `<`, `>`, `&`, U+2028 and U+2029; [`escaped`] does the same.

use bakehouse_model::Digest;
use bakehouse_model::oci::Platform;
use bakehouse_model::op::{
    Exec, File, FileAction, Mode, Mount, MountKind, Network, Owner, Principal, Security, Sharing,
};
use serde_json::{Map, Value, json};

use crate::graph::Step;

/// `{"Type":"buildkit.exec.v0","Exec":…,"OS":…,"Arch":…}`.
pub(super) fn exec(exec: &Exec, step: &Step) -> String {
    let mut meta = String::from("{");
    field(&mut meta, "args", json!(exec.args));
    let env = environment(exec);
    if !env.is_empty() {
        field(&mut meta, "env", json!(env));
    }
    text(&mut meta, "cwd", &exec.cwd);
    text(&mut meta, "user", &exec.user);
    if !exec.extra_hosts.is_empty() {
        let hosts: Vec<Value> =
            exec.extra_hosts.iter().map(|(h, _)| json!({ "Host": h })).collect();
        field(&mut meta, "extraHosts", json!(hosts));
    }
    text(&mut meta, "hostname", &exec.hostname);
    if !exec.ulimits.is_empty() {
        let limits: Vec<String> = exec.ulimits.iter().map(ulimit).collect();
        raw(&mut meta, "ulimit", &format!("[{}]", limits.join(",")));
    }
    raw(&mut meta, "removeMountStubsRecursive", "true");
    meta.push('}');

    let mut body = String::from("{");
    raw(&mut body, "meta", &meta);
    let mounts = mounts(exec);
    if !mounts.is_empty() {
        raw(&mut body, "mounts", &format!("[{}]", mounts.join(",")));
    }
    match exec.network {
        Network::Default => {}
        Network::Host => raw(&mut body, "network", "1"),
        Network::None => raw(&mut body, "network", "2"),
    }
    if exec.security == Security::Insecure {
        raw(&mut body, "security", "1");
    }
    if !exec.secret_env.is_empty() {
        let envs: Vec<String> = exec.secret_env.iter().map(secret_env).collect();
        raw(&mut body, "secretenv", &format!("[{}]", envs.join(",")));
    }
    body.push('}');

    let mut out = String::from("{");
    text(&mut out, "Type", "buildkit.exec.v0");
    raw(&mut out, "Exec", &body);
    field(&mut out, "OS", json!(step.platform.os));
    field(&mut out, "Arch", json!(step.platform.architecture));
    text(&mut out, "Variant", step.platform.variant.as_deref().unwrap_or(""));
    text(&mut out, "OSVersion", step.platform.os_version.as_deref().unwrap_or(""));
    out.push('}');
    out
}

/// `buildkit.source.v0:` and the digest of `{"Digest":…,"OS":…,"Arch":…}`.
pub(super) fn named_image(digest: &Digest, platform: &Platform) -> String {
    let mut out = String::from("{");
    text(&mut out, "Digest", digest.as_str());
    field(&mut out, "OS", json!(platform.os));
    field(&mut out, "Arch", json!(platform.architecture));
    text(&mut out, "Variant", platform.variant.as_deref().unwrap_or(""));
    text(&mut out, "OSVersion", platform.os_version.as_deref().unwrap_or(""));
    out.push('}');
    format!("buildkit.source.v0:{}", Digest::of(out))
}

fn ulimit(limit: &bakehouse_model::op::Ulimit) -> String {
    let mut out = String::from("{");
    text(&mut out, "Name", &limit.name);
    number(&mut out, "Soft", limit.soft);
    number(&mut out, "Hard", limit.hard);
    out.push('}');
    out
}

fn secret_env(secret: &bakehouse_model::op::SecretEnv) -> String {
    let mut out = String::from("{");
    text(&mut out, "ID", &secret.id);
    text(&mut out, "name", &secret.name);
    if secret.optional {
        raw(&mut out, "optional", "true");
    }
    out.push('}');
    out
}

/// The variables, with the one that names the first agent's socket.
fn environment(exec: &Exec) -> Vec<String> {
    let mut env = exec.env.clone();
    let socket = exec.mounts.iter().find(|mount| matches!(mount.kind, MountKind::Ssh { .. }));
    if let Some(socket) = socket
        && !env.iter().any(|line| line.starts_with("SSH_AUTH_SOCK="))
    {
        env.push(format!("SSH_AUTH_SOCK={}", socket.dest));
    }
    env
}

/// The mounts, as `pb.Mount` has them; none when there is only the root.
fn mounts(exec: &Exec) -> Vec<String> {
    let mut all = exec.mounts.clone();
    if let Some(size) = exec.shm_size {
        let kind = MountKind::Tmpfs { size };
        let dest = "/dev/shm".to_owned();
        // Mounts are in the order of their places; secrets and sockets come after them.
        let after = |mount: &Mount| mount.kind.is_guarded() || mount.dest > dest;
        let at = all.iter().position(after).unwrap_or(all.len());
        let selector = String::new();
        all.insert(at, Mount { input: None, selector, dest, readonly: false, kind });
    }
    if all.len() == 1 {
        return Vec::new();
    }
    all.iter().map(mount).collect()
}

fn mount(mount: &Mount) -> String {
    let mut out = String::from("{");
    match mount.input {
        Some(input) => number(&mut out, "input", i64::try_from(input).unwrap_or(i64::MAX)),
        None => raw(&mut out, "input", "-1"),
    }
    text(&mut out, "dest", &mount.dest);
    if !matches!(mount.kind, MountKind::Root) && !mount.kind.is_guarded() {
        raw(&mut out, "output", "-1");
    }
    if mount.readonly {
        raw(&mut out, "readonly", "true");
    }
    match &mount.kind {
        MountKind::Root | MountKind::Bind => {}
        MountKind::Secret { id, uid, gid, mode, optional } => {
            raw(&mut out, "mountType", "1");
            raw(&mut out, "secretOpt", &guarded(id, (*uid, *gid, *mode), *optional));
        }
        MountKind::Ssh { id, uid, gid, mode, optional } => {
            raw(&mut out, "mountType", "2");
            raw(&mut out, "SSHOpt", &guarded(id, (*uid, *gid, *mode), *optional));
        }
        MountKind::Cache { id, sharing, .. } => {
            raw(&mut out, "mountType", "3");
            raw(&mut out, "cacheOpt", &cache(id, *sharing, &mount.dest));
        }
        MountKind::Tmpfs { size } => {
            raw(&mut out, "mountType", "4");
            let size = if *size == 0 { String::new() } else { format!("\"size\":{size}") };
            raw(&mut out, "TmpfsOpt", &format!("{{{size}}}"));
        }
    }
    out.push('}');
    out
}

fn guarded(id: &str, (uid, gid, mode): (u32, u32, u32), optional: bool) -> String {
    let mut out = String::from("{");
    text(&mut out, "ID", id);
    number(&mut out, "uid", i64::from(uid));
    number(&mut out, "gid", i64::from(gid));
    number(&mut out, "mode", i64::from(mode));
    if optional {
        raw(&mut out, "optional", "true");
    }
    out.push('}');
    out
}

/// The id of a cache matters only where it is the default one.
fn cache(id: &str, sharing: Sharing, dest: &str) -> String {
    let default = sharing == Sharing::Shared
        && (id == dest || id.split_once('/').is_some_and(|(_, rest)| rest == dest));
    let mut out = String::from("{");
    if default {
        text(&mut out, "ID", id);
    }
    out.push('}');
    out
}

/// `{"Type":"buildkit.file.v0","Actions":[base64 …]}`; the step has that many inputs.
pub(super) fn file(file: &File, inputs: usize) -> String {
    let actions: Vec<String> =
        file.actions.iter().map(|action| base64(action_json(action).as_bytes())).collect();
    let mut out = String::from("{");
    text(&mut out, "Type", "buildkit.file.v0");
    field(&mut out, "Actions", json!(actions));
    if let Some(indexes) = indexes(file, inputs) {
        field(&mut out, "indexes", json!(indexes));
    }
    out.push('}');
    out
}

/// The op of a process for people to read: what its key is made of, and what is in no key.
pub(crate) fn told_exec(exec: &Exec, step: &Step) -> Value {
    let mut told = read(&self::exec(exec, step))["Exec"].take();
    if told["mounts"].is_null() {
        told["mounts"] = json!([{ "dest": "/" }]);
    }
    for mount in told["mounts"].as_array_mut().into_iter().flatten() {
        let own = exec.mounts.iter().find(|own| mount["dest"] == own.dest.as_str());
        let Some(own) = own else { continue };
        if !matches!(own.selector.as_str(), "" | "/") {
            mount["selector"] = json!(own.selector);
        }
        let MountKind::Cache { id, sharing, .. } = &own.kind else { continue };
        mount["cacheOpt"] = match sharing {
            Sharing::Shared => json!({ "ID": id }),
            Sharing::Private => json!({ "ID": id, "sharing": 1 }),
            Sharing::Locked => json!({ "ID": id, "sharing": 2 }),
        };
    }
    told
}

/// The op of a change of files for people to read; the contents of made files are not told.
pub(crate) fn told_file(file: &File, inputs: usize) -> Value {
    let actions = file.actions.iter().zip(places(file, inputs)).map(|(action, place)| {
        let mut told = read(&action_json(action));
        let kind = match action {
            FileAction::Copy(copy) => {
                told["src"] = json!(copy.src);
                "copy"
            }
            FileAction::MakeFile(made) => {
                told.as_object_mut().and_then(|made| made.remove("data"));
                told["size"] = json!(made.data.len());
                "mkfile"
            }
            FileAction::MakeDir(_) => "mkdir",
        };
        let [input, secondary, output] = place;
        json!({
            "Action": { kind: told },
            "input": input,
            "secondaryInput": secondary,
            "output": output,
        })
    });
    json!({ "actions": actions.collect::<Vec<Value>>() })
}

fn read(own: &str) -> Value {
    serde_json::from_str(own).expect("what is written here is JSON")
}

/// `{"Type":"buildkit.merge.v0","Merge":{"inputs":[{},{"input":1} …]}}`.
pub(super) fn merge(inputs: usize) -> String {
    let input = |number: usize| match number {
        0 => json!({}),
        number => json!({ "input": number }),
    };
    let inputs: Vec<Value> = (0..inputs).map(input).collect();
    let mut out = String::from("{");
    text(&mut out, "Type", "buildkit.merge.v0");
    field(&mut out, "Merge", json!({ "inputs": inputs }));
    out.push('}');
    out
}

/// The [`places`] of the actions; none where all of them are what old versions took them for, which counts actions where it means inputs.
fn indexes(file: &File, inputs: usize) -> Option<Vec<[i64; 3]>> {
    let rows = places(file, inputs);
    let count = rows.len();
    let usual = |(at, row): (usize, &[i64; 3])| {
        let input = if at == 0 { 0 } else { index(count + at - 1) };
        row[0] == input && matches!(row[1], -1 | 1)
    };
    let default = !rows.is_empty() && rows.iter().enumerate().all(usual);
    (!default).then_some(rows)
}

fn index(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Input, secondary input and output of each action, as LLB numbers them.
fn places(file: &File, inputs: usize) -> Vec<[i64; 3]> {
    let count = file.actions.len();
    file.actions
        .iter()
        .enumerate()
        .map(|(at, action)| {
            let input = match at {
                0 => file.base.map_or(-1, index),
                _ => index(inputs + at - 1),
            };
            let secondary = match action {
                FileAction::Copy(copy) => index(copy.input),
                _ => -1,
            };
            [input, secondary, if at + 1 == count { 0 } else { -1 }]
        })
        .collect()
}

fn action_json(action: &FileAction) -> String {
    let mut out = String::from("{");
    match action {
        FileAction::MakeDir(make) => {
            text(&mut out, "path", &make.path);
            number(&mut out, "mode", i64::from(make.mode));
            if make.make_parents {
                raw(&mut out, "makeParents", "true");
            }
            owner(&mut out, make.owner.as_ref());
            raw(&mut out, "timestamp", &nanos(make.timestamp));
        }
        FileAction::MakeFile(make) => {
            text(&mut out, "path", &make.path);
            number(&mut out, "mode", i64::from(make.mode));
            if !make.data.is_empty() {
                field(&mut out, "data", json!(base64(&make.data)));
            }
            owner(&mut out, make.owner.as_ref());
            raw(&mut out, "timestamp", &nanos(make.timestamp));
        }
        FileAction::Copy(copy) => copy_json(&mut out, copy),
    }
    out.push('}');
    out
}

fn copy_json(out: &mut String, copy: &bakehouse_model::op::Copy) {
    text(out, "src", base_name(&copy.src));
    text(out, "dest", &copy.dest);
    owner(out, copy.owner.as_ref());
    match &copy.mode {
        Some(Mode::Bits { bits }) => number(out, "mode", i64::from(*bits)),
        Some(Mode::Symbolic { .. }) => {}
        None => raw(out, "mode", "-1"),
    }
    let flags = [
        ("followSymlink", copy.follow_symlink),
        ("dirCopyContents", copy.dir_copy_contents),
        ("attemptUnpackDockerCompatibility", copy.attempt_unpack),
        ("createDestPath", copy.create_dest_path),
        ("allowWildcard", copy.allow_wildcard),
        ("allowEmptyWildcard", copy.allow_empty_wildcard),
    ];
    for (name, set) in flags {
        if set {
            raw(out, name, "true");
        }
    }
    raw(out, "timestamp", &nanos(copy.timestamp));
    if !copy.include_patterns.is_empty() {
        field(out, "include_patterns", json!(copy.include_patterns));
    }
    if !copy.exclude_patterns.is_empty() {
        field(out, "exclude_patterns", json!(copy.exclude_patterns));
    }
    if copy.always_replace_existing {
        raw(out, "alwaysReplaceExistingDestPaths", "true");
    }
    if let Some(Mode::Symbolic { text: mode }) = &copy.mode {
        text(out, "modeStr", mode);
    }
    if !copy.required_paths.is_empty() {
        field(out, "required_paths", json!(copy.required_paths));
    }
}

fn nanos(seconds: Option<i64>) -> String {
    seconds.map_or_else(|| "-1".to_owned(), |s| s.saturating_mul(1_000_000_000).to_string())
}

fn owner(out: &mut String, owner: Option<&Owner>) {
    let Some(owner) = owner else { return };
    let mut map = Map::new();
    for (name, principal) in [("user", &owner.user), ("group", &owner.group)] {
        if let Some(principal) = principal {
            map.insert(name.to_owned(), json!({ "User": principal_json(principal) }));
        }
    }
    // `user` must come before `group`, and a JSON map is sorted the other way round.
    let parts: Vec<String> = ["user", "group"]
        .iter()
        .filter_map(|name| Some(format!("\"{name}\":{}", escaped(map.get(*name)?))))
        .collect();
    raw(out, "owner", &format!("{{{}}}", parts.join(",")));
}

fn principal_json(principal: &Principal) -> Value {
    match principal {
        Principal::Id { id } => json!({ "byId": id }),
        Principal::Name { name, input } => {
            let mut by_name = Map::new();
            if let Some(input) = input.filter(|input| *input > 0) {
                by_name.insert("input".to_owned(), json!(input));
            }
            by_name.insert("name".to_owned(), json!(name));
            json!({ "byName": by_name })
        }
    }
}

/// Go's `path.Base`.
pub(super) fn base_name(path: &str) -> &str {
    match path.trim_end_matches('/').rsplit('/').next() {
        Some("") => "/",
        Some(name) => name,
        None => ".",
    }
}

fn text(out: &mut String, name: &str, value: &str) {
    if !value.is_empty() {
        field(out, name, Value::String(value.to_owned()));
    }
}

fn number(out: &mut String, name: &str, value: i64) {
    if value != 0 {
        raw(out, name, &value.to_string());
    }
}

fn field(out: &mut String, name: &str, value: Value) {
    raw(out, name, &escaped(&value));
}

fn raw(out: &mut String, name: &str, value: &str) {
    if !out.ends_with('{') {
        out.push(',');
    }
    out.push('"');
    out.push_str(name);
    out.push_str("\":");
    out.push_str(value);
}

/// JSON as Go writes it.
fn escaped(value: &Value) -> String {
    value
        .to_string()
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// Standard base64 with padding, as Go writes a byte slice.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let sextet = usize::try_from(word >> (18 - 6 * at) & 63).unwrap_or(0);
            out.push(if at <= chunk.len() { char::from(ALPHABET[sextet]) } else { '=' });
        }
    }
    out
}
