//! Any text as what stands behind `RUN --mount=`: read alone, and in a Dockerfile.
#![no_main]

use bakehouse_model::oci::Platform;
use bakehouse_plan::dockerfile::mount::{mount_from, parse_mount};
use bakehouse_plan::fleet::{Described, SourceFile, Surroundings, read};
use bakehouse_plan::lower::Settings;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(mount) = parse_mount(text, &mut |value| Ok(value.to_owned())) {
        assert_eq!(mount.from, mount_from(text), "a stage is found before anything is expanded");
        assert!(mount.size >= 0);
    }
    let line: String = text.chars().filter(|c| !"\r\n".contains(*c)).collect();
    let dockerfile = format!(
        "FROM scratch AS s\nFROM scratch\nARG V=v\nENV E=/e\nRUN --mount={line} --mount=type=cache,target=$V true\n"
    );
    let file = SourceFile {
        path: "a/Dockerfile".to_owned(),
        text: dockerfile.into_bytes(),
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
    let fleet = read(&[file], Described::default(), &around);
    for told in &fleet.diagnostics {
        assert!(!told.code.is_empty() && !told.message.is_empty());
    }
});
