//! The tests.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bakehouse_engine::sandbox::{
    Cancel, Limits, MountSource, ProgramError, ResolvedMount, Sandbox, SandboxConfig, SandboxError,
    Spec, Step, UserError,
};
use bakehouse_model::Stream;
use bakehouse_model::op::{Network, Security, Ulimit};

use crate::world::{World, names_below, sh};

type Test = fn(&World);

macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) const ALL: &[(&str, Test)] = &[$((stringify!($name), $name)),*];
    };
}

tests![
    a_command_sees_its_environment_and_directory,
    home_comes_from_the_image_unless_it_is_given,
    the_user_and_the_groups_are_the_images,
    unknown_users_are_named,
    codes_and_signals_are_reported,
    the_command_is_process_one_and_alone,
    only_three_descriptors_are_open,
    standard_input_is_empty,
    privileges_are_dockers,
    an_ordinary_user_has_no_privileges,
    an_insecure_step_has_all_privileges,
    name_spaces_and_mounts_are_out_of_reach,
    no_mount_of_the_machine_is_left,
    devices_are_there_and_work,
    devices_that_a_step_makes_do_not_open,
    shared_memory_has_the_size_that_is_asked_for,
    sensitive_paths_are_masked,
    the_host_name_and_hosts_are_buildkits,
    without_network_there_is_loopback_only,
    limits_of_a_process_are_set,
    files_in_memory_have_their_mode_and_cannot_be_written,
    memory_is_mounted,
    binds_are_mounted_in_order,
    links_of_the_image_do_not_lead_out,
    nothing_is_left_in_the_layer,
    times_of_directories_come_back,
    the_working_directory_is_made_and_given_away,
    what_the_command_writes_is_in_the_layer,
    missing_programs_are_told_apart,
    lines_keep_their_stream,
    orphans_die_with_the_command,
    a_cancelled_step_is_killed_at_once,
    a_cancelled_switch_starts_nothing,
    steps_run_at_the_same_time,
    limits_of_a_step_are_set_where_they_can_be,
    limits_of_a_run_hold_for_all_its_steps_together,
    setuid_programs_still_work,
    a_step_dies_with_the_program_that_started_it,
    the_helper_is_out_of_reach,
    an_agents_socket_can_be_used_by_the_steps_user,
];

fn with(script: &str, change: impl FnOnce(&mut Spec)) -> Spec {
    let mut spec = sh(script);
    change(&mut spec);
    spec
}

fn file(dest: &str, text: &str, mode: u32) -> ResolvedMount {
    let bytes = text.as_bytes().to_vec();
    let source = MountSource::File { bytes, uid: 0, gid: 0, mode };
    ResolvedMount { dest: dest.to_owned(), source }
}

fn a_command_sees_its_environment_and_directory(world: &World) {
    let spec = with("echo $A; pwd; umask", |spec| {
        spec.env.push("A=b c".to_owned());
        spec.cwd = "/etc".to_owned();
    });
    assert_eq!(world.run(spec, vec![]).unwrap().stdout, "b c\n/etc\n0022\n");
}

fn home_comes_from_the_image_unless_it_is_given(world: &World) {
    assert_eq!(world.sh("echo $HOME").stdout, "/root\n");
    let given = with("echo $HOME", |spec| spec.env.push("HOME=/h".to_owned()));
    assert_eq!(world.run(given, vec![]).unwrap().stdout, "/h\n");
    if world.has_users() {
        let app = with("echo $HOME", |spec| spec.user = "app".to_owned());
        assert_eq!(world.run(app, vec![]).unwrap().stdout, "/home/app\n");
    }
}

fn the_user_and_the_groups_are_the_images(world: &World) {
    if !world.has_users() {
        return;
    }
    let cases = [
        ("", "0 0 0 10"),
        ("0:0", "0 0 0"),
        ("app", "1000 1001 1001 999"),
        ("app:docker", "1000 999 999"),
        ("4242", "4242 0 0"),
    ];
    for (user, expected) in cases {
        let spec = with("echo $(id -u) $(id -g) $(id -G)", |spec| spec.user = user.to_owned());
        let ran = world.run(spec, vec![]).unwrap();
        assert_eq!(ran.stdout.trim(), expected, "user `{user}`");
    }
}

fn unknown_users_are_named(world: &World) {
    let spec = with("true", |spec| spec.user = "nobody".to_owned());
    let error = world.run(spec, vec![]).unwrap_err();
    assert!(matches!(&error, SandboxError::User(UserError::NoUser { name }) if name == "nobody"));
    let spec = with("true", |spec| spec.user = "app:none".to_owned());
    let error = world.run(spec, vec![]).unwrap_err();
    assert!(error.to_string().contains("unable to find group `none`"), "{error}");
}

fn codes_and_signals_are_reported(world: &World) {
    assert_eq!(world.sh("exit 0").exit.code, 0);
    assert_eq!(world.sh("exit 3").exit.code, 3);
    // Process 1 cannot kill itself, so something else has to die.
    let ran = world.sh("sh -c 'kill -9 $$'; echo $?");
    assert_eq!(ran.stdout, "137\n");
    assert_eq!(ran.exit.signal, None);
}

fn the_command_is_process_one_and_alone(world: &World) {
    let ran = world.sh("echo $$; cd /proc; echo [0-9]*");
    assert_eq!(ran.stdout, "1\n1\n");
}

fn only_three_descriptors_are_open(world: &World) {
    // The fourth is the listing itself.
    let ran = world.sh("ls /proc/self/fd");
    assert_eq!(ran.stdout, "0\n1\n2\n3\n");
    let ran = world.sh("readlink /proc/1/fd/3 || echo none");
    assert_eq!(ran.stdout, "none\n");
}

fn standard_input_is_empty(world: &World) {
    assert_eq!(world.sh("cat; readlink /proc/self/fd/0").stdout, "/dev/null\n");
}

fn status(ran: &str, name: &str) -> String {
    let line = ran.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

fn privileges_are_dockers(world: &World) {
    let ran = world.sh("cat /proc/self/status").stdout;
    for (name, expected) in [
        ("CapEff", "00000000a80425fb"),
        ("CapPrm", "00000000a80425fb"),
        ("CapBnd", "00000000a80425fb"),
        ("CapInh", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "0"),
        ("Seccomp", "2"),
    ] {
        assert_eq!(status(&ran, name), expected, "{name}");
    }
}

fn an_ordinary_user_has_no_privileges(world: &World) {
    if !world.has_users() {
        return;
    }
    let script = "cat /proc/self/status; echo fine > /dev/stderr; ls /root2 2>/dev/null";
    let spec = with(script, |spec| spec.user = "app".to_owned());
    let ran = world.run(spec, vec![]).unwrap();
    assert_eq!(status(&ran.stdout, "CapEff"), "0000000000000000");
    assert_eq!(status(&ran.stdout, "CapBnd"), "00000000a80425fb");
    assert_eq!(ran.stderr, "fine\n");
}

fn an_insecure_step_has_all_privileges(world: &World) {
    let script = "cat /proc/self/status; mkdir /m; mount -t tmpfs none /m && echo mounted";
    let spec = with(script, |spec| spec.security = Security::Insecure);
    let ran = world.run(spec, vec![]).unwrap();
    assert_eq!(status(&ran.stdout, "Seccomp"), "0");
    let own = fs::read_to_string("/proc/self/status").unwrap();
    assert_eq!(status(&ran.stdout, "CapEff"), status(&own, "CapEff"));
    assert!(ran.stdout.ends_with("mounted\n"), "{ran:?}");
}

fn name_spaces_and_mounts_are_out_of_reach(world: &World) {
    let ran = world.sh("mount -t tmpfs none /etc || echo refused");
    assert_eq!(ran.stdout, "refused\n");
    let ran = world.sh("echo x > /proc/sys/kernel/hostname || echo refused");
    assert_eq!(ran.stdout, "refused\n");
    let ran = world.sh("touch /sys/x || echo refused");
    assert_eq!(ran.stdout, "refused\n");
}

/// A root that stays below or above the step's own is reached with `chroot` and `..`.
fn no_mount_of_the_machine_is_left(world: &World) {
    let ran = world.sh("cat /proc/self/mountinfo").stdout;
    let mounts: Vec<(&str, &str)> = ran
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            Some((fields.nth(1)?, fields.nth(2)?))
        })
        .collect();
    let roots = mounts.iter().filter(|(_, place)| *place == "/").count();
    assert_eq!(roots, 1, "{ran}");
    let known = ["/", "/proc", "/sys", "/dev", "/etc"];
    for (_, place) in mounts {
        let below = |top: &&str| place == *top || place.starts_with(&format!("{top}/"));
        assert!(known[1..].iter().any(below) || place == "/", "{place} in {ran}");
    }
}

fn devices_are_there_and_work(world: &World) {
    let ran = world.sh(
        "cd /dev; for d in null zero full random urandom tty; do stat -c '%n %t:%T' $d; done; \
         echo x > null; dd if=zero bs=4 count=1 status=none | dd bs=4 of=null status=none; \
         echo x 2>null > full || echo full; \
         readlink ptmx fd stdin stdout stderr; stat -fc %T shm mqueue pts; stat -c %a shm .; \
         touch shm/x new && echo writable",
    );
    let expected = "null 1:3\nzero 1:5\nfull 1:7\nrandom 1:8\nurandom 1:9\ntty 5:0\nfull\n\
         pts/ptmx\n/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\n\
         tmpfs\nmqueue\ndevpts\n1777\n755\nwritable\n";
    assert_eq!(ran.stdout.replace("UNKNOWN (0x19800202)", "mqueue"), expected, "{}", ran.stderr);
}

fn devices_that_a_step_makes_do_not_open(world: &World) {
    if !world.is_root() {
        return;
    }
    for dir in ["/", "/dev", "/dev/shm"] {
        let ran = world.sh(&format!("cd {dir}; mknod x c 1 5 && echo made; cat x || echo refused"));
        assert_eq!(ran.stdout, "made\nrefused\n", "in {dir}");
    }
}

fn shared_memory_has_the_size_that_is_asked_for(world: &World) {
    let mounted = |spec: Spec| {
        let mounts = world.run(spec, vec![]).unwrap().stdout;
        let line = mounts.lines().find(|line| line.contains(" /dev/shm "));
        line.unwrap_or_else(|| panic!("{mounts}")).to_owned()
    };
    let line = mounted(sh("cat /proc/mounts"));
    assert!(line.starts_with("shm /dev/shm tmpfs rw,nosuid,nodev,noexec,"), "{line}");
    assert!(line.contains("size=65536k"), "{line}");
    let line = mounted(with("cat /proc/mounts", |spec| spec.shm_size = Some(128 << 20)));
    assert!(line.starts_with("tmpfs /dev/shm tmpfs rw,nosuid,relatime,size=131072k"), "{line}");
}

fn sensitive_paths_are_masked(world: &World) {
    let ran = world.sh(
        "cat /proc/kcore /proc/keys /proc/timer_list 2>&1; ls /sys/firmware /proc/scsi 2>/dev/null; \
         for p in /proc/bus /proc/fs /proc/irq /proc/sys; do touch $p/x 2>&1 | cat; done",
    );
    let lines: Vec<&str> = ran.stdout.lines().filter(|l| !l.starts_with('/')).collect();
    assert!(
        lines.iter().all(|l| l.is_empty() || l.contains("Read-only") || l.contains("No such file")),
        "{lines:?}"
    );
}

fn the_host_name_and_hosts_are_buildkits(world: &World) {
    let ran = world.sh("cat /proc/sys/kernel/hostname /etc/hosts; echo x >> /etc/hosts || echo ro");
    assert_eq!(
        ran.stdout,
        "buildkitsandbox\n127.0.0.1\tlocalhost buildkitsandbox\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\nro\n"
    );
    let spec = with("cat /proc/sys/kernel/hostname /etc/hosts", |spec| {
        spec.hostname = "box".to_owned();
        spec.extra_hosts = vec![("db".to_owned(), "10.0.0.9".to_owned())];
    });
    let ran = world.run(spec, vec![]).unwrap();
    assert!(ran.stdout.starts_with("box\n127.0.0.1\tlocalhost box\n"));
    assert!(ran.stdout.ends_with("10.0.0.9\tdb\n"));
    let own = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let spec = with("cat /etc/resolv.conf", |spec| spec.network = Network::Host);
    assert_eq!(world.run(spec, vec![]).unwrap().stdout.trim(), own.trim());
}

fn without_network_there_is_loopback_only(world: &World) {
    let spec = with("ls /sys/class/net; cat /proc/net/if_inet6 /proc/net/dev", |spec| {
        spec.network = Network::None;
    });
    let ran = world.run(spec, vec![]).unwrap();
    assert!(ran.stdout.starts_with("lo\n"), "{ran:?}");
    let spec = with("cat /sys/class/net/lo/flags", |spec| spec.network = Network::None);
    assert_eq!(world.run(spec, vec![]).unwrap().stdout, "0x9\n");
}

fn limits_of_a_process_are_set(world: &World) {
    let script = "ulimit -Sn; ulimit -Sc";
    let ran = world.run(sh(script), vec![]).unwrap();
    assert!(ran.stdout.starts_with("1024\n"), "{ran:?}");
    let ulimit = |name: &str, soft, hard| Ulimit { name: name.to_owned(), soft, hard };
    let spec = with("ulimit -Sn; ulimit -Hn; ulimit -Sc", |spec| {
        spec.ulimits = vec![ulimit("nofile", 100, 200), ulimit("core", 0, 0)];
    });
    assert_eq!(world.run(spec, vec![]).unwrap().stdout, "100\n200\n0\n");
    let spec = with("true", |spec| spec.ulimits = vec![ulimit("nothing", 1, 1)]);
    let error = world.run(spec, vec![]).unwrap_err();
    assert!(error.to_string().contains("`nothing`"), "{error}");
}

fn files_in_memory_have_their_mode_and_cannot_be_written(world: &World) {
    let secret = file("/run/secrets/key", "s3cret", 0o400);
    let ran = world
        .run(
            sh("cat /run/secrets/key; echo; stat -c '%a %u %g' /run/secrets/key; \
                echo x > /run/secrets/key || echo refused"),
            vec![secret],
        )
        .unwrap();
    assert_eq!(ran.stdout, "s3cret\n400 0 0\nrefused\n");
    let script = file("/dev/pipes/EOF", "#!/bin/sh\necho from a heredoc\n", 0o755);
    let spec = Spec { args: vec!["/dev/pipes/EOF".to_owned()], ..sh("") };
    assert_eq!(world.run(spec, vec![script]).unwrap().stdout, "from a heredoc\n");
}

fn memory_is_mounted(world: &World) {
    let tmpfs = |dest: &str, size| ResolvedMount {
        dest: dest.to_owned(),
        source: MountSource::Tmpfs { size },
    };
    let overlay = world.overlay();
    let script = "stat -c %a /etc /cache; stat -fc %T /etc; \
                  dd if=/dev/zero of=/cache/x bs=1k count=65 status=none || echo full";
    let mounts = vec![tmpfs("/etc", 0), tmpfs("/cache", 64 << 10)];
    let ran = world.run_in(&overlay, sh(script), mounts).unwrap();
    assert_eq!(ran.stdout, "755\n1777\ntmpfs\nfull\n");
    assert!(!overlay.upper.join("cache").exists());
}

fn binds_are_mounted_in_order(world: &World) {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("file"), "outside").unwrap();
    fs::create_dir(source.path().join("inner")).unwrap();
    let inner = tempfile::tempdir().unwrap();
    let bind = |dest: &str, path: &std::path::Path, readonly| ResolvedMount {
        dest: dest.to_owned(),
        source: MountSource::BindPath { path: path.to_owned(), readonly },
    };
    let overlay = world.overlay();
    let mounts = vec![
        bind("/src/inner", inner.path(), false),
        bind("/src", source.path(), true),
        bind("/one", &source.path().join("file"), true),
    ];
    let script = "cat /src/file /one; echo x > /src/new || echo ro; echo in > /src/inner/new";
    let ran = world.run_in(&overlay, sh(script), mounts).unwrap();
    assert_eq!(ran.stdout, "outsideoutsidero\n");
    assert_eq!(fs::read_to_string(inner.path().join("new")).unwrap(), "in\n");
    assert!(!overlay.upper.join("src").exists());
    assert!(!overlay.upper.join("one").exists());
}

fn links_of_the_image_do_not_lead_out(world: &World) {
    let outside = tempfile::tempdir().unwrap();
    let overlay = world.overlay();
    let link = |target: &std::path::Path, name: &str| {
        std::os::unix::fs::symlink(target, overlay.upper.join(name)).unwrap();
    };
    link(outside.path(), "out");
    link(std::path::Path::new("/proc/1/root"), "magic");
    link(std::path::Path::new("/proc/self/fd/0"), "stream");
    let mounts = ["/out/x", "/magic/y"].map(|dest| file(dest, "inside", 0o444)).into();
    let ran = world.run_in(&overlay, sh("cat /out/x"), mounts);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    if let Ok(ran) = ran {
        assert_eq!(ran.stdout, "inside\n");
    }
    let overlay = world.overlay();
    std::os::unix::fs::symlink("/etc", overlay.upper.join("proc")).unwrap();
    assert!(world.run_in(&overlay, sh("true"), vec![]).is_err());
}

fn nothing_is_left_in_the_layer(world: &World) {
    let overlay = world.overlay();
    let mounts = vec![file("/run/secrets/a/b", "x", 0o400), file("/etc/late", "x", 0o400)];
    assert!(world.run_in(&overlay, sh("true"), mounts).unwrap().exit.success());
    // The kernel copies up a directory that something was made in, and nothing more. What every
    // step has its own of stays, as BuildKit leaves it.
    let expected = ["dev", "etc", "proc", "sys"].map(|name| overlay.upper.join(name));
    assert_eq!(names_below(&overlay.upper), expected);
    let overlay = world.overlay();
    let mounts = vec![file("/run/secrets/a", "x", 0o400)];
    assert!(world.run_in(&overlay, sh("echo hi > /run/kept"), mounts).unwrap().exit.success());
    let names = names_below(&overlay.upper);
    let expected =
        ["dev", "etc", "proc", "run", "run/kept", "sys"].map(|name| overlay.upper.join(name));
    assert_eq!(names, expected);
    let overlay = world.overlay();
    let mounts = vec![file("/dev/pipes/a", "x", 0o400)];
    assert!(world.run_in(&overlay, sh("true"), mounts).unwrap().exit.success());
    let expected = ["etc", "proc", "sys"].map(|name| overlay.upper.join(name));
    assert_eq!(names_below(&overlay.upper), expected);
}

fn times_of_directories_come_back(world: &World) {
    let overlay = world.overlay();
    fs::create_dir(overlay.upper.join("opt")).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let set = |name: &str| {
        fs::File::open(overlay.upper.join(name)).unwrap().set_modified(old).unwrap();
    };
    set("opt");
    set("");
    let mounts = vec![file("/opt/a", "x", 0o400), file("/new/b", "x", 0o400)];
    assert!(world.run_in(&overlay, sh("true"), mounts).unwrap().exit.success());
    let time = |name: &str| fs::metadata(overlay.upper.join(name)).unwrap().mtime();
    assert_eq!((time("opt"), time("")), (1_000_000, 1_000_000));
}

fn the_working_directory_is_made_and_given_away(world: &World) {
    if !world.has_users() {
        return;
    }
    let spec = with("pwd; touch x && echo mine; stat -c '%a %u:%g' .", |spec| {
        spec.cwd = "/srv/app".to_owned();
        spec.user = "app".to_owned();
    });
    assert_eq!(world.run(spec, vec![]).unwrap().stdout, "/srv/app\nmine\n755 1000:1001\n");
}

fn what_the_command_writes_is_in_the_layer(world: &World) {
    let overlay = world.overlay();
    let script = "echo new > /new; rm /etc/group; umask 077; echo x > /private";
    assert!(world.run_in(&overlay, sh(script), vec![]).unwrap().exit.success());
    assert_eq!(fs::read_to_string(overlay.upper.join("new")).unwrap(), "new\n");
    assert_eq!(fs::metadata(overlay.upper.join("private")).unwrap().mode() & 0o777, 0o600);
    // These stay where the base has none, as BuildKit leaves them.
    for name in ["proc", "sys", "dev"] {
        let left = fs::metadata(overlay.upper.join(name)).unwrap();
        assert_eq!((left.is_dir(), left.mode() & 0o7777), (true, 0o755), "{name}");
    }
}

fn missing_programs_are_told_apart(world: &World) {
    let cases = [
        (
            "nope",
            ProgramError::NotInPath,
            "exec: \"nope\": executable file not found in $PATH",
            127,
        ),
        ("/nope", ProgramError::Missing, "exec: \"/nope\": no such file or directory", 127),
        ("/etc", ProgramError::Directory, "exec: \"/etc\": is a directory", 126),
        ("/etc/passwd", ProgramError::Denied, "exec: \"/etc/passwd\": permission denied", 126),
        ("", ProgramError::NotInPath, "exec: \"\": executable file not found in $PATH", 127),
    ];
    for (program, expected, message, code) in cases {
        let spec = Spec { args: vec![program.to_owned()], ..sh("") };
        let error = world.run(spec, vec![]).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(error.exit_code(), Some(code));
        assert!(matches!(error, SandboxError::Program { why, .. } if why == expected));
    }
    let spec = Spec { args: vec!["true".to_owned()], ..sh("") };
    assert!(world.run(spec, vec![]).unwrap().exit.success(), "found in PATH");
    let spec = Spec { args: vec!["/bin/odd".to_owned()], ..sh("") };
    let odd = file("/bin/odd", "\u{1}no program", 0o755);
    let error = world.run(spec, vec![odd]).unwrap_err();
    assert_eq!(error.to_string(), "exec: \"/bin/odd\": exec format error");
}

fn lines_keep_their_stream(world: &World) {
    let ran = world.sh("echo out; echo err >&2; printf 'no end'");
    assert_eq!(ran.stdout, "out\nno end\n");
    assert_eq!(ran.stderr, "err\n");
}

fn orphans_die_with_the_command(world: &World) {
    let begin = Instant::now();
    let ran = world.sh("(sleep 1000; echo late) & sleep 2000 > /dev/null & echo done");
    assert_eq!(ran.stdout, "done\n");
    assert!(begin.elapsed() < Duration::from_secs(100));
}

fn a_cancelled_step_is_killed_at_once(world: &World) {
    let cancel = Cancel::new().unwrap();
    let (began, has_begun) = mpsc::channel();
    let begin = Instant::now();
    let overlay = world.overlay();
    thread::scope(|scope| {
        let other = cancel.clone();
        scope.spawn(move || {
            // A step that never begins drops its end.
            has_begun.recv().ok();
            other.cancel();
        });
        let step = Step {
            root: overlay.root(),
            spec: sh("trap '' TERM INT; echo begun; sleep 1000; sleep 1000"),
            mounts: vec![],
        };
        let mut sink = move |_, _: &[u8]| began.send(()).unwrap();
        let result = world.sandbox.run(step, &mut sink, &cancel);
        drop(sink);
        assert!(matches!(result, Err(SandboxError::Cancelled)), "{result:?}");
    });
    assert!(begin.elapsed() < Duration::from_secs(100));
}

fn a_cancelled_switch_starts_nothing(world: &World) {
    let cancel = Cancel::new().unwrap();
    cancel.cancel();
    let overlay = world.overlay();
    let step = Step { root: overlay.root(), spec: sh("true"), mounts: vec![] };
    let result = world.sandbox.run(step, &mut |_, _| (), &cancel);
    assert!(matches!(result, Err(SandboxError::Cancelled)));
}

fn steps_run_at_the_same_time(world: &World) {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                scope.spawn(move || {
                    for _ in 0..5 {
                        let ran = world.sh(&format!("echo {number}"));
                        assert_eq!(ran.stdout, format!("{number}\n"));
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

fn limits_of_a_step_are_set_where_they_can_be(world: &World) {
    let limits = Limits { memory: Some(32 << 20), cpu_millis: Some(500), pids: Some(20) };
    if !world.sandbox.unkept(&limits).is_empty() {
        eprintln!("skipped: no cgroup can be made here");
        return;
    }
    let spec = with("echo fine", |spec| spec.limits = limits);
    assert_eq!(world.run(spec, vec![]).unwrap().stdout, "fine\n");
    let hungry = "dd if=/dev/zero of=/dev/null bs=128M count=1 status=none; echo $?";
    let spec = with(hungry, |spec| spec.limits = limits);
    let ran = world.run(spec, vec![]).unwrap();
    assert_eq!(ran.stdout, "137\n");
    assert!(ran.exit.oom);
}

fn limits_of_a_run_hold_for_all_its_steps_together(world: &World) {
    let limits = Limits { memory: Some(48 << 20), pids: Some(10), ..Limits::default() };
    let mut sandbox = Sandbox::new(SandboxConfig::default());
    if !sandbox.unkept(&limits).is_empty() {
        eprintln!("skipped: no cgroup can be made here");
        return;
    }
    sandbox.limit_run(&limits).unwrap();
    let run = |script: &str, limits: Limits| {
        let overlay = world.overlay();
        let spec = with(script, |spec| spec.limits = limits);
        let step = Step { root: overlay.root(), spec, mounts: vec![] };
        let mut lines = String::new();
        let mut sink = |stream, line: &[u8]| {
            if stream == Stream::Stdout {
                lines.push_str(&String::from_utf8_lossy(line));
                lines.push('\n');
            }
        };
        let exit = sandbox.run(step, &mut sink, &Cancel::new().unwrap()).unwrap();
        (exit, lines)
    };
    let hungry = "dd if=/dev/zero of=/dev/null bs=128M count=1 status=none; echo $?";
    for own in [Limits::default(), Limits { memory: Some(1 << 30), ..Limits::default() }] {
        let (exit, lines) = run(hungry, own);
        assert_eq!((exit.oom, lines.as_str()), (true, "137\n"), "the run's limit holds");
    }
    let many = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1 & done; echo all";
    let (exit, lines) = run(many, Limits::default());
    assert!(!exit.success() && !lines.ends_with("all\n"), "{exit:?} {lines}");
    assert_eq!(run("echo fine", Limits::default()).1, "fine\n", "nothing is left of them");
    drop(sandbox);
    let left = format!("bakehouse-{}", std::process::id());
    let memory = fs::read_to_string("/proc/self/cgroup").unwrap();
    for line in memory.lines() {
        let mut fields = line.split(':').skip(1);
        let (controllers, path) = (fields.next().unwrap(), fields.next().unwrap());
        let place = format!("/sys/fs/cgroup/{controllers}{path}/{left}");
        assert!(!std::path::Path::new(&place).exists(), "{place}");
    }
}

fn setuid_programs_still_work(world: &World) {
    if !world.has_users() {
        return;
    }
    let overlay = world.overlay();
    let suid = overlay.upper.join("suid");
    fs::copy("/usr/bin/id", &suid).unwrap();
    fs::set_permissions(&suid, fs::Permissions::from_mode(0o4755)).unwrap();
    let spec = with("/suid -u", |spec| spec.user = "app".to_owned());
    assert_eq!(world.run_in(&overlay, spec, vec![]).unwrap().stdout, "0\n");
}

/// The argument that makes this program hold a step until it is killed.
pub(crate) const HOLD: &str = "hold";

/// Runs a step that does not end, and that has the pipe in `dir` open.
pub(crate) fn hold(world: &World, dir: &str) {
    let source = MountSource::BindPath { path: dir.into(), readonly: false };
    let mount = ResolvedMount { dest: "/shared".to_owned(), source };
    let script = "exec > /shared/pipe; echo begun; sleep 1000 & sleep 1000";
    world.run(sh(script), vec![mount]).unwrap();
}

fn a_step_dies_with_the_program_that_started_it(_: &World) {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
    let program = std::env::current_exe().unwrap();
    let mut program = std::process::Command::new(program)
        .args([HOLD, dir.path().to_str().unwrap()])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut pipe = fs::File::open(pipe).unwrap();
    let mut begun = [0; 6];
    pipe.read_exact(&mut begun).unwrap();
    assert_eq!(&begun, b"begun\n");
    program.kill().unwrap();
    program.wait().unwrap();
    // Nobody has the other end any more.
    assert_eq!(pipe.read_to_end(&mut Vec::new()).unwrap(), 0);
}

/// The argument that makes this program talk to a socket.
pub(crate) const ASK: &str = "ask";

/// Says something to a socket and prints the answer.
pub(crate) fn ask(socket: &str) {
    let mut socket = UnixStream::connect(socket).unwrap();
    socket.write_all(b"ping").unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    println!("{answer}");
}

fn an_agents_socket_can_be_used_by_the_steps_user(world: &World) {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("agent");
    let agent = UnixListener::bind(&target).unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
    let (user, uid) = if world.has_users() { ("app", 1000) } else { ("", 0) };
    let socket = ResolvedMount {
        dest: "/run/buildkit/ssh_agent.0".to_owned(),
        source: MountSource::Socket { target, uid, gid: 0, mode: 0o600 },
    };
    let path = std::env::current_exe().unwrap();
    let program = ResolvedMount {
        dest: "/bin/client".to_owned(),
        source: MountSource::BindPath { path, readonly: true },
    };
    let script = "stat -c '%F %a %u' /run/buildkit/ssh_agent.0; \
                  for i in 1 2; do client ask /run/buildkit/ssh_agent.0; done";
    let spec = with(script, |spec| spec.user = user.to_owned());
    let overlay = world.overlay();
    thread::spawn(move || {
        for (mut connection, number) in agent.incoming().flatten().zip(1..) {
            let mut said = String::new();
            connection.read_to_string(&mut said).unwrap();
            connection.write_all(format!("{said} {number}").as_bytes()).unwrap();
        }
    });
    let ran = world.run_in(&overlay, spec, vec![socket, program]).unwrap();
    assert_eq!(ran.stdout, format!("socket 600 {uid}\nping 1\nping 2\n"), "{}", ran.stderr);
    assert!(!overlay.upper.join("run").exists());
}

/// The argument that makes this program try to change its own file.
pub(crate) const OVERWRITE: &str = "overwrite";

/// Tries to empty the file of this program.
pub(crate) fn overwrite() {
    let file = fs::OpenOptions::new().write(true).truncate(true).open("/proc/self/exe");
    println!("{:?}", file.map(drop).map_err(|e| e.kind()));
}

fn the_helper_is_out_of_reach(world: &World) {
    let args = ["/proc/self/exe", OVERWRITE].map(str::to_owned).to_vec();
    let ran = world.run(Spec { args, ..sh("") }, vec![]).unwrap();
    assert_eq!(ran.stdout, "Err(ReadOnlyFilesystem)\n", "{}", ran.stderr);
}
