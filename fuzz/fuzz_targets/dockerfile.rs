//! Any bytes as a Dockerfile: parsed, and what it stands on found out.
#![no_main]

use bakehouse_fuzz::read_fleet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| read_fleet(&[("a/Dockerfile", text), ("b/Dockerfile", text)]));
