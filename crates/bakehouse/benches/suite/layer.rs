//! Writing a layer of 20 MB and packing it.

use std::fs;
use std::io;
use std::path::Path;

use bakehouse_engine::snapshot::{DiffOptions, LayerWriter, Packing, write_layer};
use bakehouse_model::Compression;
use criterion::{Criterion, Throughput};

const FILES: usize = 200;
const SIZE: usize = 100_000;

/// Text and noise, half and half, the same every time: about as dense as programs are.
fn write(dir: &Path) {
    let mut state = 1_u64;
    for file in 0..FILES {
        let mut bytes = Vec::with_capacity(SIZE);
        while bytes.len() < SIZE {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes.extend_from_slice(&state.to_le_bytes());
            bytes.extend_from_slice(b"the same");
        }
        bytes.truncate(SIZE);
        let folder = dir.join(format!("usr/lib/part{}", file % 10));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("file{file}")), bytes).unwrap();
    }
}

pub(crate) fn layer(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let mut group = c.benchmark_group("layer");
    group.throughput(Throughput::Bytes((FILES * SIZE) as u64));
    for (name, compression) in [
        ("20 MB, tar", Compression::Uncompressed),
        ("20 MB, gzip", Compression::Gzip),
        ("20 MB, zstd", Compression::Zstd),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let packing = Packing::new(compression);
                let mut out = LayerWriter::new(io::sink(), packing).unwrap();
                write_layer(dir.path(), None, &mut out, DiffOptions::default()).unwrap();
                out.finish().unwrap().1
            });
        });
    }
    group.finish();
}
