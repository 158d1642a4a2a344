//! From the arguments of the process to its exit code.

use std::io::Write as _;
use std::process::ExitCode as Status;

use bakehouse_engine::userns;
use bakehouse_model::ExitCode;
use bakehouse_render::diagnostic;
use clap::Parser as _;

use crate::cli::{Cli, Verb};
use crate::commands;
use crate::context::Context;
use crate::failure::{Failure, Kind};

/// Runs the program.
pub fn main() -> Status {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    if needs_root(&cli.verb)
        && let Err(error) = userns::ensure_root()
    {
        return status(tell(&Failure::from_error(Kind::Environment, &error), None));
    }
    let cwd = match std::env::current_dir() {
        Ok(cwd) => cwd,
        Err(error) => {
            return status(tell(
                &Failure::doing(Kind::Environment, "find the current folder", &error),
                None,
            ));
        }
    };
    let mut cx = Context::of_process(cwd);
    match run(&cli.verb, &mut cx) {
        Ok(exit) => status(exit),
        Err(failure) => status(tell(&failure, Some(&cx))),
    }
}

fn run(verb: &Verb, cx: &mut Context) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Build(args) => commands::build::run(args, cx),
        Verb::Graph(args) => commands::graph::run(args, cx),
        Verb::Plan(args) => commands::plan::run(args, cx),
        Verb::Why(args) => commands::why::run(args, cx),
        Verb::Check(args) => commands::check::run(args, cx),
        Verb::Families(args) => commands::families::run(args, cx),
        Verb::Affected(args) => commands::affected::run(args, cx),
        Verb::CacheMounts(args) => commands::cache_mounts::run(&args.verb, cx),
        Verb::Demo(args) => commands::demo::run(args, cx),
        Verb::Run(args) => commands::run::run(args, cx),
        Verb::Schema => commands::schema::run(cx),
    }
}

/// Verbs that mount: an ordinary user gets a user namespace for them.
fn needs_root(verb: &Verb) -> bool {
    !matches!(
        verb,
        Verb::Graph(_) | Verb::Check(_) | Verb::Families(_) | Verb::Affected(_) | Verb::Schema
    )
}

fn status(exit: ExitCode) -> Status {
    Status::from(exit as u8)
}

/// What clap says, with our exit code for a wrong command line.
fn usage(error: &clap::Error) -> Status {
    // Nobody is left to tell if this cannot be printed.
    drop(error.print());
    if error.use_stderr() { status(ExitCode::Usage) } else { status(ExitCode::Ok) }
}

/// Prints a failure and says what to exit with.
fn tell(failure: &Failure, cx: Option<&Context>) -> ExitCode {
    let mut text = String::new();
    let style = cx.map_or(bakehouse_render::Style::PLAIN, Context::style);
    for wrong in &failure.diagnostics {
        let file = wrong
            .location
            .as_ref()
            .zip(cx)
            .and_then(|(place, cx)| crate::discovery::read(&cx.cwd.join(&place.file)).ok());
        let file = file.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        text.push_str(&diagnostic(wrong, file.as_deref(), style));
        text.push('\n');
    }
    let causes: Vec<String> = failure.causes.iter().map(|c| bakehouse_render::clean(c)).collect();
    text.push_str(&format!("error: {}\n", causes.join(": ")));
    for hint in &failure.hints {
        text.push_str(&format!("  hint: {}\n", bakehouse_render::clean(hint)));
    }
    if failure.kind == Kind::Internal {
        text.push_str(
            "  hint: this is a bug in bakehouse; please report it with the command line\n",
        );
    }
    // Nobody is left to tell if this cannot be printed.
    drop(std::io::stderr().write_all(text.as_bytes()));
    failure.kind.exit_code()
}
