//! How long the parts of a build take, and a build in which nothing changed.
//!
//! `cargo bench -p bakehouse` runs all of it in less than two minutes; the name of a group
//! (`parse`, `plan`, `key`, `walk`, `layer`, `build`) runs that one.
#![expect(clippy::unwrap_used, reason = "a benchmark that fails is to stop")]

mod build;
mod fleet;
mod layer;
mod walk;

use std::time::Duration;

use criterion::{Criterion, criterion_group};

fn quick() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = benches;
    config = quick();
    targets = fleet::parse, fleet::plan, fleet::key, walk::walk, layer::layer, build::build
}

fn main() {
    // The sandbox's helper is this program again, as it is for the real one.
    bakehouse_engine::sandbox::run_helper_if_asked();
    benches();
    Criterion::default().configure_from_args().final_summary();
}
