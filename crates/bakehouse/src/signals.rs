//! Ctrl-C: once to stop, twice to leave at once.

use bakehouse_engine::sandbox;
use bakehouse_model::ExitCode;
use bakehouse_run::Cancel;

/// Stops the run when the process is told to end. The first signal starts nothing more and
/// kills what runs; a second one ends the process, and the kernel ends what it started.
pub fn watch(run: Cancel, steps: sandbox::Cancel) {
    let signals = [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM];
    let Ok(mut signals) = signal_hook::iterator::Signals::new(signals) else { return };
    std::thread::spawn(move || {
        let mut seen = 0;
        for _ in signals.forever() {
            seen += 1;
            if seen > 1 {
                std::process::exit(ExitCode::Interrupted as i32);
            }
            run.cancel();
            steps.cancel();
        }
    });
}
