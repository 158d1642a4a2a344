//! Any bytes as a bake file, in HCL and in JSON: read, resolved, and written out again.
#![no_main]

use bakehouse_bake::{SourceFile, Surroundings, read, to_hcl};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    for path in ["docker-bake.hcl", "docker-bake.json"] {
        let file = SourceFile { path: path.to_owned(), text: text.to_vec() };
        let env = |_: &str| None;
        let bake = read(&[file], &Surroundings::new(&env));
        let (resolved, _) = bake.resolve_all(&[]);
        drop(resolved.to_json());
        drop(to_hcl(&resolved));
    }
});
