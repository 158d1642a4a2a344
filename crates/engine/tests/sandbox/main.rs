//! Runs real commands in real sandboxes, as root or in a user namespace.
//!
//! There is no test harness, because this program is also the sandbox helper and must
//! be able to become one before anything else happens. It answers to a name filter, to
//! `--exact` and to `--list`. `-- bench` tells what a step costs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
#![expect(clippy::print_stderr, clippy::print_stdout, reason = "there is no harness that reports")]

mod cases;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use bakehouse_engine::{sandbox, userns};

fn main() -> ExitCode {
    sandbox::run_helper_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, socket] = &arguments[..]
        && mode == cases::ASK
    {
        cases::ask(socket);
        return ExitCode::SUCCESS;
    }
    if arguments == [cases::OVERWRITE] {
        cases::overwrite();
        return ExitCode::SUCCESS;
    }
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| match filter {
        None => true,
        Some(filter) if flag("--exact") => name == filter,
        Some(filter) => name.contains(filter.as_str()),
    };
    if flag("--list") {
        for (name, _) in cases::ALL {
            if !flag("--ignored") {
                println!("{name}: test");
            }
        }
        return ExitCode::SUCCESS;
    }
    let world = match userns::ensure_root().map_err(|e| e.to_string()).and_then(world::World::new) {
        Ok(world) => world,
        Err(why) => {
            eprintln!("skipped: {why}");
            return ExitCode::SUCCESS;
        }
    };
    println!("running as {:?}", world.privilege);
    if let [mode, dir] = &arguments[..]
        && mode == cases::HOLD
    {
        cases::hold(&world, dir);
        return ExitCode::SUCCESS;
    }
    if filter.is_some_and(|filter| filter == "bench") {
        world.bench();
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, test) in cases::ALL {
        if !wanted(name) {
            continue;
        }
        let worked = catch_unwind(AssertUnwindSafe(|| test(&world))).is_ok();
        println!("test {name} ... {}", if worked { "ok" } else { "FAILED" });
        failed += usize::from(!worked);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
