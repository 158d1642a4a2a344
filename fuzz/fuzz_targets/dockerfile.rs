//! Any bytes as a Dockerfile: parsed, and what it stands on found out.
#![no_main]

use bakehouse_model::oci::Platform;
use bakehouse_plan::fleet::{Described, SourceFile, Surroundings, read};
use bakehouse_plan::lower::Settings;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let file =
        |path: &str| SourceFile { path: path.to_owned(), text: text.to_vec(), context: None };
    let settings = Settings::new(Platform::linux("amd64"));
    let around = Surroundings {
        repository: "repo",
        exists: &|_| false,
        load: &|_| None,
        settings: &settings,
        target: None,
        prefix: None,
        contexts: &[],
    };
    let fleet = read(&[file("a/Dockerfile"), file("b/Dockerfile")], Described::default(), &around);
    for told in &fleet.diagnostics {
        assert!(!told.code.is_empty() && !told.message.is_empty());
    }
    drop(fleet.stage_variants(&settings));
});
