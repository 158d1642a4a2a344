//! What steps may use: from flags, else from `bakehouse.toml`, and whether that can be kept.

use bakehouse_engine::sandbox::{self, Limit, Sandbox};
use bakehouse_model::{Diagnostic, Severity};

use crate::cli::LimitArgs;
use crate::config::{Config, LimitScope, Processors};
use crate::failure::{Failure, Kind};
use crate::request;

/// The limits of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of each step.
    pub step: sandbox::Limits,
    /// Of all steps that go on at the same time.
    pub run: sandbox::Limits,
}

impl Limits {
    /// Those of the flags, and where there are none those of the configuration.
    pub fn of(args: &LimitArgs, config: &Config) -> Result<Self, Failure> {
        let memory = |flag: &str, text: &Option<String>| {
            text.as_deref().map(|text| request::size(flag, text)).transpose()
        };
        let step = sandbox::Limits {
            memory: memory("--memory", &args.memory)?,
            cpu_millis: cpus("--cpus", args.cpus)?,
            pids: args.pids_limit,
        };
        let run = sandbox::Limits {
            memory: memory("--total-memory", &args.total_memory)?,
            cpu_millis: cpus("--total-cpus", args.total_cpus)?,
            pids: args.total_pids_limit,
        };
        Ok(Self {
            step: or(step, configured(config, LimitScope::Step)),
            run: or(run, configured(config, LimitScope::Run)),
        })
    }

    /// Prepares the sandbox for them; returns what has to be said.
    pub fn apply_to(&self, sandbox: &mut Sandbox) -> Result<Option<Diagnostic>, Failure> {
        let unkept = sandbox.unkept(&or(self.step, self.run));
        sandbox
            .limit_run(&self.run)
            .map_err(|error| Failure::doing(Kind::Environment, "limit the run", &error))?;
        Ok((!unkept.is_empty()).then(|| notice(&unkept)))
    }
}

/// These, and for what they do not limit the others.
fn or(these: sandbox::Limits, others: sandbox::Limits) -> sandbox::Limits {
    sandbox::Limits {
        memory: these.memory.or(others.memory),
        cpu_millis: these.cpu_millis.or(others.cpu_millis),
        pids: these.pids.or(others.pids),
    }
}

fn configured(config: &Config, scope: LimitScope) -> sandbox::Limits {
    let Some(table) = config.limits.get(&scope).map(|placed| &placed.value) else {
        return sandbox::Limits::default();
    };
    sandbox::Limits {
        memory: table.memory.as_ref().map(|size| size.value.bytes()),
        cpu_millis: table.cpus.as_ref().map(|cpus| cpus.value.millis()),
        pids: table.pids.as_ref().map(|pids| pids.value),
    }
}

fn cpus(flag: &str, number: Option<f64>) -> Result<Option<u32>, Failure> {
    let Some(number) = number else { return Ok(None) };
    let wrong = || {
        Failure::new(Kind::Usage, format!("{flag} `{number}` is no number of processors"))
            .hint("write one such as 2 or 0.5")
    };
    Processors::new(number).map(|cpus| Some(cpus.millis())).ok_or_else(wrong)
}

/// Builds go on without limits that cannot be kept, and say so.
fn notice(unkept: &[Limit]) -> Diagnostic {
    let names: Vec<&str> = unkept.iter().map(|limit| limit.what()).collect();
    Diagnostic {
        location: None,
        severity: Severity::Warning,
        code: "no-limits".to_owned(),
        message: format!("limits of {} do not hold here", names.join(" and ")),
        help: Some(
            "they need cgroups that this user may change: build as root, or below a cgroup that \
             was delegated, such as `systemd-run --user --scope -p Delegate=yes`"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_goes_before_the_file_and_each_limit_by_itself() {
        let file = b"[limits.step]\nmemory = \"1g\"\ncpus = 1.5\n[limits.run]\npids = 9\n";
        let (config, mistakes) = crate::config::read("bakehouse.toml", file);
        assert_eq!(mistakes, []);
        let args = LimitArgs {
            memory: Some("2m".to_owned()),
            total_cpus: Some(0.5),
            ..LimitArgs::default()
        };
        let limits = Limits::of(&args, &config).unwrap();
        let step = sandbox::Limits { memory: Some(2 << 20), cpu_millis: Some(1500), pids: None };
        let run = sandbox::Limits { memory: None, cpu_millis: Some(500), pids: Some(9) };
        assert_eq!(limits, Limits { step, run });
    }

    #[test]
    fn what_is_no_amount_is_a_wrong_command_line() {
        for cpus in [0.0, -1.0, f64::NAN, 1e9] {
            let args = LimitArgs { cpus: Some(cpus), ..LimitArgs::default() };
            Limits::of(&args, &Config::default()).unwrap_err();
        }
        let args = LimitArgs { total_memory: Some("much".to_owned()), ..LimitArgs::default() };
        Limits::of(&args, &Config::default()).unwrap_err();
    }
}
