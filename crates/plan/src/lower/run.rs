//! `RUN`.

use std::collections::BTreeSet;

use bakehouse_model::op::{
    Exec, FileAction, MakeFile, Mount, MountKind, Network, Op, SecretEnv, Security,
};

use super::copy::input_number;
use super::stages::{Command, Lowering};
use super::{LowerFailure, path, wrong, wrong_with_help};
use crate::dockerfile::Run;
use crate::dockerfile::mount::{self, MountType};
use crate::graph::StepIndex;

/// Arguments that reach every RUN without being declared and are in no key.
const PROXIES: &[&str] = &["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];
/// The mode of a secret's file.
const OWNER_ONLY: u32 = 0o400;

/// Whether a build argument is one of those.
pub(crate) fn is_proxy(name: &str) -> bool {
    PROXIES.iter().any(|proxy| name.eq_ignore_ascii_case(proxy))
}

impl Lowering<'_> {
    pub(super) fn run(
        &mut self,
        at: usize,
        command: &Command,
        run: &Run,
    ) -> Result<(), LowerFailure> {
        self.needs_linux(at, "RUN", command.instruction.span)?;
        self.check_trust(command, run)?;
        let script = run.script();
        let args = self.with_shell(at, &script.command);
        let base = self.states[at].fs;
        let mut inputs: Vec<StepIndex> = base.into_iter().collect();
        let mut exec = self.exec(at, run, args.clone());
        if let Some((name, data)) = &script.file {
            let make = MakeFile {
                path: format!("/{name}"),
                mode: 0o755,
                data: data.clone().into_bytes(),
                owner: None,
                timestamp: None,
            };
            let step = self.internal(at, command, FileAction::MakeFile(make));
            exec.mounts.push(Mount {
                input: Some(input_number(&mut inputs, step)),
                selector: "/".to_owned(),
                dest: "/dev/pipes/".to_owned(),
                readonly: true,
                kind: MountKind::Bind,
            });
        }
        for (number, csv) in run.mounts.iter().enumerate() {
            let source = command.sources.get(number).copied().flatten();
            self.mount(at, command, (csv, source), (&mut exec, &mut inputs))?;
        }
        // LLB sorts mounts by where they go; secrets and sockets come after.
        let late = |mount: &Mount| mount.kind.is_guarded();
        exec.mounts[1..].sort_by(|a, b| late(a).cmp(&late(b)).then_with(|| a.dest.cmp(&b.dest)));
        let inputs = renumber(&mut exec, &inputs);
        let step = self.step(at, command, Op::Exec(exec), inputs);
        self.states[at].fs = Some(step);
        self.history(at, format!("RUN {} # buildkit", self.run_text(at, &args)), true);
        Ok(())
    }

    fn check_trust(&self, command: &Command, run: &Run) -> Result<(), LowerFailure> {
        let place = || self.place(command.instruction.span);
        let settings = self.request.settings;
        let missing = if run.security == Security::Insecure && !settings.allow_insecure {
            Some("security.insecure")
        } else if run.network == Network::Host && !settings.allow_host_network {
            Some("network.host")
        } else {
            None
        };
        if let Some(entitlement) = missing {
            return Err(wrong_with_help(
                place(),
                "not-entitled",
                format!("{entitlement} is not allowed"),
                format!("if you trust this Dockerfile, build with `--allow {entitlement}`"),
            ));
        }
        match run.devices.iter().find(|device| device.required) {
            Some(device) => Err(wrong_with_help(
                place(),
                "no-device",
                format!("device `{}`: the embedded engine has no CDI devices", device.name),
                "build this image with BuildKit (`docker buildx build`) on a machine that has them",
            )),
            None => Ok(()),
        }
    }

    fn exec(&self, at: usize, run: &Run, args: Vec<String>) -> Exec {
        let state = &self.states[at];
        let settings = self.request.settings;
        let proxies = settings.build_args.iter().filter(|(name, _)| is_proxy(name));
        let network = match run.network {
            Network::Default => settings.network,
            asked => asked,
        };
        Exec {
            args,
            env: state.env.lines(),
            cwd: state.dir.clone(),
            user: state.user.clone(),
            hostname: settings
                .build_args
                .get("BUILDKIT_SANDBOX_HOSTNAME")
                .cloned()
                .unwrap_or_default(),
            network,
            security: run.security,
            extra_hosts: settings.extra_hosts.clone(),
            ulimits: settings.ulimits.clone(),
            shm_size: settings.shm_size,
            proxy_env: proxies
                .flat_map(|(name, value)| {
                    let lower = name.to_ascii_lowercase();
                    [format!("{}={value}", name.to_ascii_uppercase()), format!("{lower}={value}")]
                })
                .collect(),
            secret_env: Vec::new(),
            mounts: vec![Mount {
                input: state.fs.map(|_| 0),
                selector: String::new(),
                dest: "/".to_owned(),
                readonly: false,
                kind: MountKind::Root,
            }],
        }
    }

    fn mount(
        &mut self,
        at: usize,
        command: &Command,
        (csv, source): (&str, Option<usize>),
        (exec, inputs): (&mut Exec, &mut Vec<StepIndex>),
    ) -> Result<(), LowerFailure> {
        let span = command.instruction.span;
        let mut unmatched = BTreeSet::new();
        let mut expand = |word: &str| {
            let expanded = self.lexer.expand(word, &self.states[at].env)?;
            unmatched.extend(expanded.unmatched);
            Ok(expanded.text)
        };
        let parsed = mount::parse_mount(csv, &mut expand);
        self.doubt_variables(at, unmatched, span);
        let parsed =
            parsed.map_err(|error| wrong(self.place(span), "bad-mount", error.to_string()))?;
        let input = match (&parsed.from, source, parsed.kind) {
            (_, _, MountType::Secret | MountType::Ssh | MountType::Tmpfs) => None,
            (Some(from), Some(source), _) => self.stage_output(at, source, from, span)?,
            (_, _, MountType::Bind) => Some(self.main_context(span)?),
            _ => None,
        };
        let input = input.map(|step| input_number(inputs, step));
        let kind = match parsed.kind {
            MountType::Secret => return self.secret(command, &parsed, exec),
            MountType::Ssh => {
                exec.mounts.push(ssh(&parsed, exec));
                return Ok(());
            }
            MountType::Bind => MountKind::Bind,
            MountType::Tmpfs => MountKind::Tmpfs { size: u64::try_from(parsed.size).unwrap_or(0) },
            MountType::Cache => self.cache(&parsed),
        };
        let dest = self.mount_dest(at, &parsed.target);
        if dest == "/" {
            let what = format!("invalid mount target `{}`", parsed.target);
            return Err(wrong(self.place(span), "bad-mount", what));
        }
        exec.mounts.push(Mount {
            input,
            selector: path::join("/", &parsed.source),
            dest,
            readonly: parsed.readonly,
            kind,
        });
        Ok(())
    }

    fn mount_dest(&self, at: usize, target: &str) -> String {
        if path::clean(target).starts_with('/') {
            return target.to_owned();
        }
        path::clean(&format!("/{}/{target}", self.states[at].dir))
    }

    fn cache(&self, parsed: &mount::Mount) -> MountKind {
        let namespace = self.request.settings.build_args.get("BUILDKIT_CACHE_MOUNT_NS");
        let id = parsed.id.clone().unwrap_or_else(|| path::clean(&parsed.target));
        MountKind::Cache {
            id: format!("{}/{id}", namespace.map_or("", String::as_str)),
            sharing: parsed.sharing.unwrap_or_default(),
            uid: parsed.uid.unwrap_or(0),
            gid: parsed.gid.unwrap_or(0),
            mode: parsed.mode.unwrap_or(0o755),
        }
    }

    fn secret(
        &self,
        command: &Command,
        parsed: &mount::Mount,
        exec: &mut Exec,
    ) -> Result<(), LowerFailure> {
        let named = Some(parsed.source.clone()).filter(|source| !source.is_empty());
        let id = named.or_else(|| parsed.id.clone()).unwrap_or_else(|| {
            if parsed.target.is_empty() {
                String::new()
            } else {
                path::base(&parsed.target).to_owned()
            }
        });
        if id.is_empty() {
            let place = self.place(command.instruction.span);
            return Err(wrong(place, "bad-mount", "one of source, target required"));
        }
        if let Some(name) = &parsed.env {
            let name = if name.is_empty() { id.clone() } else { name.clone() };
            exec.secret_env.push(SecretEnv { id: id.clone(), name, optional: !parsed.required });
        }
        if parsed.env.is_some() && parsed.target.is_empty() {
            return Ok(());
        }
        let dest = if parsed.target.is_empty() {
            format!("/run/secrets/{}", path::base(&id))
        } else {
            parsed.target.clone()
        };
        let dest = if dest.starts_with('/') { dest } else { path::join(&exec.cwd, &dest) };
        exec.mounts.push(Mount {
            input: None,
            selector: String::new(),
            dest,
            readonly: false,
            kind: MountKind::Secret {
                id,
                uid: parsed.uid.unwrap_or(0),
                gid: parsed.gid.unwrap_or(0),
                mode: parsed.mode.unwrap_or(OWNER_ONLY),
                optional: !parsed.required,
            },
        });
        Ok(())
    }

    /// The command of a RUN as the history has it: `|1 A=b /bin/sh -c …`.
    fn run_text(&self, at: usize, args: &[String]) -> String {
        let state = &self.states[at];
        let mut seen: Vec<(&str, String)> = Vec::new();
        for (name, value) in &state.build_args {
            let value = state.env.value(name).map(str::to_owned).or_else(|| value.clone());
            let line = format!("{name}={}", value.unwrap_or_default());
            match seen.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = line,
                None => seen.push((name, line)),
            }
        }
        let mut words: Vec<String> = Vec::new();
        if !seen.is_empty() {
            words.push(format!("|{}", seen.len()));
        }
        words.extend(seen.into_iter().map(|(_, line)| line));
        words.extend(args.iter().cloned());
        words.join(" ")
    }
}

/// Puts the inputs in the order in which mounts name them, as LLB has them.
fn renumber(exec: &mut Exec, inputs: &[StepIndex]) -> Vec<StepIndex> {
    let mut ordered = Vec::with_capacity(inputs.len());
    for mount in &mut exec.mounts {
        mount.input = mount.input.map(|input| input_number(&mut ordered, inputs[input]));
    }
    ordered
}

fn ssh(parsed: &mount::Mount, exec: &Exec) -> Mount {
    let sockets = exec.mounts.iter().filter(|m| matches!(m.kind, MountKind::Ssh { .. })).count();
    let dest = if parsed.target.is_empty() {
        format!("/run/buildkit/ssh_agent.{sockets}")
    } else {
        parsed.target.clone()
    };
    let id = parsed.id.clone().or_else(|| Some(parsed.source.clone()).filter(|s| !s.is_empty()));
    Mount {
        input: None,
        selector: String::new(),
        dest,
        readonly: false,
        kind: MountKind::Ssh {
            id: id.unwrap_or_else(|| "default".to_owned()),
            uid: parsed.uid.unwrap_or(0),
            gid: parsed.gid.unwrap_or(0),
            mode: parsed.mode.unwrap_or(0o600),
            optional: !parsed.required,
        },
    }
}
