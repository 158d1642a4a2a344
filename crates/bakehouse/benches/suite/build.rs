//! The whole program: the demo's fleet, built again without a change.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use bakehouse::cli::{BuildArgs, Cli, Verb};
use bakehouse::commands;
use bakehouse::context::Context;
use bakehouse::{demo, hostbase};
use bakehouse_engine::snapshot::Overlay;
use bakehouse_model::ExitCode;
use clap::Parser as _;
use criterion::{Criterion, Throughput};

const BASE: &str = "machine-base";

#[expect(clippy::print_stderr, reason = "a benchmark that is left out is to be seen")]
fn skipped(why: &str) {
    eprintln!("build: skipped: {why}");
}

fn args(fleet: &Path, tar: &Path) -> Box<BuildArgs> {
    let folder = fleet.to_str().unwrap();
    let base = format!("{BASE}=rootfs-tar://{}", tar.display());
    let words =
        ["bakehouse", "build", "-C", folder, "--build-context", &base, "--progress", "quiet"];
    match Cli::try_parse_from(words).unwrap().verb {
        Verb::Build(args) => args,
        other => panic!("{other:?}"),
    }
}

fn once(args: &BuildArgs, home: &Path) -> ExitCode {
    let mut cx = Context::of_process(home.to_path_buf());
    cx.out = Box::new(io::sink());
    cx.env.insert("BAKEHOUSE_HOME".to_owned(), home.display().to_string());
    match commands::build::run(args, &mut cx) {
        Ok(exit) => exit,
        Err(failure) => panic!("{failure:?}"),
    }
}

pub(crate) fn build(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    if let Err(error) = Overlay::probe(dir.path()) {
        return skipped(&error.to_string());
    }
    let (fleet, tar, home) =
        (dir.path().join("fleet"), dir.path().join("base.tar"), dir.path().join("home"));
    std::fs::create_dir(&home).unwrap();
    let images = demo::write_fleet(&fleet, BASE).unwrap().images.len();
    hostbase::write_tar(BufWriter::new(File::create(&tar).unwrap())).unwrap();
    let args = args(&fleet, &tar);
    let first = once(&args, &home);
    if first != ExitCode::Ok {
        return skipped(&format!("the first build ended with {first:?}"));
    }
    let mut group = c.benchmark_group("build");
    group.throughput(Throughput::Elements(images as u64));
    group.bench_function("18 images, nothing changed", |b| {
        b.iter(|| assert_eq!(once(&args, &home), ExitCode::Ok));
    });
    group.finish();
}
