//! Any bytes as YAML, and as a compose file that includes and extends itself.
#![no_main]

use bakehouse_compose::{SourceFile, Surroundings, read, yaml};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    drop(yaml::parse_all(&String::from_utf8_lossy(text), "compose.yaml"));
    let file = SourceFile { path: "compose.yaml".to_owned(), text: text.to_vec() };
    let env = |name: &str| (name == "SET").then(|| "value".to_owned());
    let load = |path: &str| (path != "missing.yaml").then(|| text.to_vec());
    let around = Surroundings { env: &env, load: &load, project: "app", profiles: None };
    drop(read(&[file], &around));
});
