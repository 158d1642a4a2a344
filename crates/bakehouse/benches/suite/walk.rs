//! Looking at a big build context in which nothing changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bakehouse::patterns::DockerPatterns;
use bakehouse_engine::context::Contexts;
use bakehouse_engine::files::{Selection, Tree, digest};
use bakehouse_model::Digest;
use bakehouse_model::op::ContextSource;
use criterion::{Criterion, Throughput};

const FOLDERS: usize = 200;
const FILES: usize = 100;

fn write(dir: &Path) {
    for folder in 0..FOLDERS {
        let folder = dir.join(format!("part{}/folder{folder}", folder % 10));
        fs::create_dir_all(&folder).unwrap();
        for file in 0..FILES {
            fs::write(folder.join(format!("file{file}.txt")), format!("{file}\n").repeat(20))
                .unwrap();
        }
    }
}

/// Walks the folder and keys all of it; also what is to be saved for the next time.
fn look(dir: &Path, saved: &BTreeMap<String, Vec<u8>>) -> (Digest, BTreeMap<String, Vec<u8>>) {
    let known = saved.clone();
    let contexts = Contexts::new(move |name| known.get(name).cloned());
    let source = ContextSource {
        name: "context".to_owned(),
        root: dir.to_str().unwrap().to_owned(),
        ignore: vec!["**/*.log".to_owned(), "part3/tmp".to_owned()],
    };
    let tree = Tree::Context(contexts.open(&source, &DockerPatterns).unwrap());
    let all = Selection {
        path: "/".to_owned(),
        follow: false,
        wildcard: false,
        include: Vec::new(),
        exclude: Vec::new(),
        required: Vec::new(),
    };
    let found = digest(&tree, &all, &DockerPatterns).unwrap();
    let changed: BTreeMap<String, Vec<u8>> = contexts.changed_tables().into_iter().collect();
    (found.digest.clone(), if changed.is_empty() { saved.clone() } else { changed })
}

pub(crate) fn walk(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    // Files that were written just now are hashed once more the second time.
    let (_, saved) = look(dir.path(), &BTreeMap::new());
    let (before, saved) = look(dir.path(), &saved);
    let mut group = c.benchmark_group("walk");
    group.throughput(Throughput::Elements((FOLDERS * FILES) as u64));
    group.bench_function("20,000 files, all known", |b| {
        b.iter(|| {
            let (now, _) = look(dir.path(), &saved);
            assert_eq!(now, before);
        });
    });
    group.finish();
}
