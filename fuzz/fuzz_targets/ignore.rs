//! Any bytes as an ignore file, and any path against it.
#![no_main]

use bakehouse_plan::dockerfile::ignore::{Matcher, read_patterns};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    let (patterns, path) = input.split_at(end);
    let path = String::from_utf8_lossy(path.get(1..).unwrap_or_default()).into_owned();
    if path.len() > 1024 {
        // Work is the patterns' length times the path's times its depth.
        return;
    }
    if let Ok(matcher) = Matcher::new(&read_patterns(patterns)) {
        let parents = matcher.matches_or_parent_matches(&path);
        assert_eq!(parents, matcher.matches_or_parent_matches(&path));
        drop(matcher.may_descend(&path));
    }
});
