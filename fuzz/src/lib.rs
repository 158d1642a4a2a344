//! What several targets do.

use std::path::Path;

use bakehouse_engine::Root;
use bakehouse_engine::snapshot::{DiffError, DiffOptions, write_layer};
use bakehouse_model::oci::Platform;
use bakehouse_plan::fleet::{Described, SourceFile, Surroundings, read};
use bakehouse_plan::lower::Settings;

/// Reads Dockerfiles, each a path and a text, as a fleet, and finds out what it stands on.
/// Every diagnostic must say something.
pub fn read_fleet(files: &[(&str, &[u8])]) {
    let file = |(path, text): &(&str, &[u8])| SourceFile {
        path: (*path).to_owned(),
        text: text.to_vec(),
        context: None,
    };
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
    let files: Vec<SourceFile> = files.iter().map(file).collect();
    let fleet = read(&files, Described::default(), &around);
    for told in &fleet.diagnostics {
        assert!(!told.code.is_empty() && !told.message.is_empty());
    }
    drop(fleet.stage_variants(&settings));
}

/// The tar of a layer. What cannot be written, such as names of whiteouts, is an error and no
/// panic.
pub fn written(layer: &Path, below: Option<&Path>) -> Result<Vec<u8>, DiffError> {
    let below = below.map(|below| Root::open_dir(below).unwrap());
    let mut tar = Vec::new();
    write_layer(layer, below.as_ref(), &mut tar, DiffOptions::default()).map(|_| tar)
}
