//! Any text as what stands behind `RUN --mount=`: read alone, and in a Dockerfile.
#![no_main]

use bakehouse_fuzz::read_fleet;
use bakehouse_plan::dockerfile::mount::{mount_from, parse_mount};
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
    read_fleet(&[("a/Dockerfile", dockerfile.as_bytes())]);
});
