//! RUN: what a process gets to see.

use bakehouse_model::op::{Mount, MountKind, Network, Sharing};

use crate::build::{Build, Done};

fn run(text: &str) -> Done {
    Build::new().lower(&format!("FROM base\n{text}"))
}

/// The one mount besides the root.
fn mount(text: &str) -> Mount {
    let done = run(text);
    let mut mounts = done.runs()[0].mounts.clone();
    assert_eq!(mounts.len(), 2, "{text}: {mounts:?}");
    mounts.remove(1)
}

#[test]
fn user_folder_and_shell_come_from_the_stage() {
    let done = run("USER app:1\nWORKDIR /w\nSHELL [\"/bin/bash\", \"-ec\"]\nRUN x");
    let exec = done.runs()[0];
    assert_eq!((exec.user.as_str(), exec.cwd.as_str()), ("app:1", "/w"));
    assert_eq!(exec.args, ["/bin/bash", "-ec", "x"]);
    assert_eq!(exec.env, ["PATH=/bin"]);
    let done = run("RUN [\"x\", \"$Y\"]");
    assert_eq!(done.runs()[0].args, ["x", "$Y"]);
    let done = run("RUN --network=none x");
    assert_eq!(done.runs()[0].network, Network::None);
}

#[test]
fn here_documents_become_scripts_or_text() {
    let args = |text: &str| run(text).runs()[0].args.clone();
    assert_eq!(args("RUN <<EOF\na $B\nEOF"), ["/bin/sh", "-c", "a $B\n"]);
    assert_eq!(args("RUN <<-EOF\n\ta\nEOF"), ["/bin/sh", "-c", "a\n"]);
    assert_eq!(args("RUN cat <<EOF\na\nEOF"), ["/bin/sh", "-c", "cat <<EOF\na\nEOF"]);
    let done = run("RUN <<EOF\n#!/bin/x\na\nEOF");
    assert_eq!(done.runs()[0].args, ["/bin/sh", "-c", "/dev/pipes/EOF"]);
    assert!(done.steps().contains(&"file /EOF \"#!/bin/x\\na\\n\"".to_owned()));
    let mount = &done.runs()[0].mounts[1];
    assert_eq!((mount.dest.as_str(), mount.readonly), ("/dev/pipes/", true));
}

#[test]
fn binds_are_read_only_and_from_where_they_say() {
    let bind = mount("RUN --mount=target=/c x");
    assert_eq!((bind.selector.as_str(), bind.dest.as_str(), bind.readonly), ("/", "/c", true));
    let bind = mount("RUN --mount=type=bind,source=a/b,target=/c,rw x");
    assert_eq!((bind.selector.as_str(), bind.readonly), ("/a/b", false));
    let done = run("WORKDIR /w\nRUN --mount=target=rel,from=tool,source=/s x");
    assert_eq!(done.steps().last().unwrap(), "run /bin/sh -c x < WORKDIR /w, FROM tool");
    assert_eq!(done.runs()[0].mounts[1].dest, "/w/rel");
}

#[test]
fn caches_are_named_by_their_target_and_namespace() {
    let cache = |id: &str, sharing, (uid, gid, mode)| MountKind::Cache {
        id: id.to_owned(),
        sharing,
        uid,
        gid,
        mode,
    };
    let table = [
        ("target=/c", cache("//c", Sharing::Shared, (0, 0, 0o755))),
        ("target=/c/../d/", cache("//d", Sharing::Shared, (0, 0, 0o755))),
        ("target=/c,id=x,sharing=locked", cache("/x", Sharing::Locked, (0, 0, 0o755))),
        (
            "target=/c,sharing=private,uid=1,gid=2,mode=0700",
            cache("//c", Sharing::Private, (1, 2, 0o700)),
        ),
    ];
    for (fields, kind) in table {
        let mount = mount(&format!("RUN --mount=type=cache,{fields} x"));
        assert_eq!(mount.kind, kind, "{fields}");
        assert_eq!((mount.input, mount.readonly), (None, false));
    }
    let build = Build::args(&[("BUILDKIT_CACHE_MOUNT_NS", "ns")]);
    let done = build.lower("FROM base\nRUN --mount=type=cache,target=/c x");
    let kind = &done.runs()[0].mounts[1].kind;
    assert_eq!(*kind, cache("ns//c", Sharing::Shared, (0, 0, 0o755)));
    let build = Build::args(&[("ID", "mine")]);
    let done = build.lower("FROM base\nARG ID\nRUN --mount=type=cache,target=/c,id=$ID x");
    assert_eq!(done.runs()[0].mounts[1].kind, cache("/mine", Sharing::Shared, (0, 0, 0o755)));
    let done = run("RUN --mount=type=cache,target=/c,from=tool,source=/s x");
    let mount = &done.runs()[0].mounts[1];
    assert_eq!((mount.input, mount.selector.as_str()), (Some(1), "/s"));
}

#[test]
fn secrets_and_sockets_have_buildkits_defaults() {
    let secret = |id: &str, mode, optional| MountKind::Secret {
        id: id.to_owned(),
        uid: 0,
        gid: 0,
        mode,
        optional,
    };
    let table = [
        ("id=tok", "/run/secrets/tok", secret("tok", 0o400, true)),
        ("id=tok,required", "/run/secrets/tok", secret("tok", 0o400, false)),
        ("id=tok,target=/t,mode=0444", "/t", secret("tok", 0o444, true)),
        ("target=/a/tok", "/a/tok", secret("tok", 0o400, true)),
        ("id=a/b", "/run/secrets/b", secret("a/b", 0o400, true)),
    ];
    for (fields, dest, kind) in table {
        let mount = mount(&format!("RUN --mount=type=secret,{fields} x"));
        assert_eq!((mount.dest.as_str(), mount.kind), (dest, kind), "{fields}");
    }
    let done = run("RUN --mount=type=secret,id=tok,env=TOKEN x");
    let exec = done.runs()[0];
    assert_eq!((exec.mounts.len(), exec.secret_env[0].name.as_str()), (1, "TOKEN"));
    assert!(!exec.env.iter().any(|line| line.contains("TOKEN")), "in no environment, so no key");

    let ssh = |id: &str, optional| MountKind::Ssh {
        id: id.to_owned(),
        uid: 0,
        gid: 0,
        mode: 0o600,
        optional,
    };
    let one = mount("RUN --mount=type=ssh x");
    assert_eq!((one.dest.as_str(), one.kind), ("/run/buildkit/ssh_agent.0", ssh("default", true)));
    let done = run("RUN --mount=type=ssh --mount=type=ssh,id=b,required x");
    let second = &done.runs()[0].mounts[2];
    assert_eq!(second.dest, "/run/buildkit/ssh_agent.1");
    assert_eq!(second.kind, ssh("b", false));
}

#[test]
fn mounts_are_ordered_by_where_they_go() {
    let done = run(
        "RUN --mount=type=secret,id=s --mount=type=tmpfs,target=/z,size=1m --mount=type=cache,target=/b --mount=target=/a x",
    );
    let dests: Vec<&str> = done.runs()[0].mounts.iter().map(|m| m.dest.as_str()).collect();
    assert_eq!(dests, ["/", "/a", "/b", "/z", "/run/secrets/s"]);
    assert_eq!(done.runs()[0].mounts[3].kind, MountKind::Tmpfs { size: 1 << 20 });
}
