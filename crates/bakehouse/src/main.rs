//! The program. See the library for what it does.

use std::process::ExitCode;

/// A fleet's plan is a great many small strings: they cost half with this one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all: the sandbox's helper is this program again, and has one thread.
    bakehouse_engine::sandbox::run_helper_if_asked();
    bakehouse::program::main()
}
