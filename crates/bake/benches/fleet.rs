//! How long a bake file with a thousand targets takes.

use std::fmt::Write as _;
use std::hint::black_box;

use bakehouse_bake::{SourceFile, Surroundings, read};
use criterion::{Criterion, criterion_group, criterion_main};

/// Variables, functions, a matrix of 200 targets, 800 further ones with parents, groups.
fn fleet() -> String {
    let mut text = String::from(
        "variable \"REGISTRY\" { default = \"registry.example.com\" }\n\
         variable \"TAG\" { default = \"latest\" }\n\
         function \"tag\" {\n  params = [name]\n  result = [\"${REGISTRY}/${name}:${TAG}\", \"${REGISTRY}/${name}:stable\"]\n}\n\
         target \"base\" {\n  args = { TAG = TAG, BASE = \"debian\" }\n  labels = { vendor = \"x\" }\n\
         platforms = [\"linux/amd64\", \"linux/arm64\"]\n}\n\
         target \"matrix\" {\n  name = \"matrix-${n}\"\n  matrix = { n = range(200) }\n  inherits = [\"base\"]\n  tags = tag(\"matrix-${n}\")\n}\n",
    );
    for at in 0..800 {
        let parent = if at % 10 == 0 { "base".to_owned() } else { format!("app-{}", at - 1) };
        writeln!(
            text,
            "target \"app-{at}\" {{\n  inherits = [\"{parent}\"]\n  context = \"services/app-{at}\"\n  tags = tag(\"app-{at}\")\n  \
             args = {{ NAME = upper(\"app-{at}\"), PORT = 8000 + {at} }}\n  contexts = {{ base = \"target:matrix-{}\" }}\n  \
             cache-from = [\"type=registry,ref=${{REGISTRY}}/cache:app-{at}\"]\n}}",
            at % 200
        )
        .expect("a string takes everything");
    }
    for group in 0..80 {
        let members: Vec<String> =
            (0..10).map(|at| format!("\"app-{}\"", group * 10 + at)).collect();
        writeln!(text, "group \"g{group}\" {{ targets = [{}] }}", members.join(", "))
            .expect("a string takes everything");
    }
    let groups: Vec<String> = (0..80).map(|at| format!("\"g{at}\"")).collect();
    writeln!(text, "group \"default\" {{ targets = [\"matrix\", {}] }}", groups.join(", "))
        .expect("a string takes everything");
    text
}

fn bench(criterion: &mut Criterion) {
    let files = [SourceFile { path: "docker-bake.hcl".to_owned(), text: fleet().into_bytes() }];
    let around = Surroundings::new(&|_| None);
    criterion.bench_function("read", |bencher| bencher.iter(|| read(black_box(&files), &around)));
    let bake = read(&files, &around);
    assert!(bake.diagnostics().is_empty(), "{:?}", bake.diagnostics());
    criterion.bench_function("resolve", |bencher| {
        bencher.iter(|| bake.resolve(&[], &[]).expect("the file is right").to_json());
    });
    criterion.bench_function("resolve_all", |bencher| bencher.iter(|| bake.resolve_all(&[])));
}

criterion_group!(benches, bench);
criterion_main!(benches);
