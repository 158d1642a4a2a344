//! The program. See the library for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: the sandbox's helper is this program again, and has one thread.
    bakehouse_engine::sandbox::run_helper_if_asked();
    bakehouse::program::main()
}
