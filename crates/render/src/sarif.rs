//! Diagnostics as SARIF 2.1.0, which code hosts and editors read.
//!
//! Paths are relative to the repository's root, as `%SRCROOT%` has it. A fingerprint does not
//! have the line in it, so a finding stays the same one when lines are added above it.

use std::collections::BTreeMap;

use bakehouse_model::{Diagnostic, Location, Severity};
use serde::Serialize;

use crate::text;

/// The specification's own schema.
const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// What paths are relative to.
const ROOT: &str = "%SRCROOT%";

/// What a code of diagnostics stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SarifRule<'a> {
    /// The code.
    pub code: &'a str,
    /// What it says.
    pub about: &'a str,
    /// What to do about it.
    pub help: &'a str,
    /// How bad it usually is.
    pub severity: Severity,
}

/// The program that found something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SarifTool<'a> {
    /// Its version.
    pub version: &'a str,
    /// Where it is described; nothing if nowhere.
    pub home: &'a str,
    /// All codes that it has.
    pub rules: &'a [SarifRule<'a>],
}

/// `diagnostics` as one run of `tool`: a document with a line feed at its end.
pub fn sarif(tool: &SarifTool<'_>, diagnostics: &[Diagnostic]) -> String {
    let mut rules: Vec<Rule> = tool.rules.iter().map(Rule::of).collect();
    let mut index: BTreeMap<String, usize> =
        rules.iter().enumerate().map(|(at, rule)| (rule.id.clone(), at)).collect();
    let mut seen = BTreeMap::new();
    let mut results = Vec::with_capacity(diagnostics.len());
    for diagnostic in diagnostics {
        let at = *index.entry(diagnostic.code.clone()).or_insert_with(|| {
            rules.push(Rule::unlisted(diagnostic));
            rules.len() - 1
        });
        results.push(Finding::of(diagnostic, at, &mut seen));
    }
    let driver = Driver {
        name: "bakehouse",
        semantic_version: tool.version,
        information_uri: Some(tool.home).filter(|home| !home.is_empty()),
        rules,
    };
    let root = Base { description: Text::new("the root of the repository") };
    let log = Log {
        schema: SCHEMA,
        version: "2.1.0",
        runs: [Run {
            tool: Tool { driver },
            original_uri_base_ids: BTreeMap::from([(ROOT, root)]),
            column_kind: "unicodeCodePoints",
            results,
        }],
    };
    let json = serde_json::to_string_pretty(&log).expect("texts and numbers are always JSON");
    json + "\n"
}

#[derive(Serialize)]
struct Log<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    tool: Tool<'a>,
    original_uri_base_ids: BTreeMap<&'static str, Base>,
    column_kind: &'static str,
    results: Vec<Finding>,
}

#[derive(Serialize)]
struct Base {
    description: Text,
}

#[derive(Serialize)]
struct Tool<'a> {
    driver: Driver<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver<'a> {
    name: &'static str,
    semantic_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    information_uri: Option<&'a str>,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
struct Text {
    text: String,
}

impl Text {
    fn new(text: &str) -> Self {
        Self { text: text::clean(text) }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: String,
    short_description: Text,
    help: Text,
    default_configuration: Configuration,
}

#[derive(Serialize)]
struct Configuration {
    level: &'static str,
}

impl Rule {
    fn of(rule: &SarifRule<'_>) -> Self {
        Self {
            id: rule.code.to_owned(),
            short_description: Text::new(rule.about),
            help: Text::new(rule.help),
            default_configuration: Configuration { level: level(rule.severity) },
        }
    }

    /// A rule for a code that is in no list: what its first finding says.
    fn unlisted(diagnostic: &Diagnostic) -> Self {
        let help = diagnostic.help.as_deref().unwrap_or(&diagnostic.message);
        Self::of(&SarifRule {
            code: &diagnostic.code,
            about: &diagnostic.code.replace('-', " "),
            help,
            severity: diagnostic.severity,
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    rule_id: String,
    rule_index: usize,
    level: &'static str,
    message: Text,
    locations: Vec<Place>,
    partial_fingerprints: BTreeMap<&'static str, String>,
}

impl Finding {
    /// `seen` counts findings that are alike but for their lines.
    fn of(diagnostic: &Diagnostic, rule_index: usize, seen: &mut BTreeMap<u64, u32>) -> Self {
        let Diagnostic { location, severity, code, message, help } = diagnostic;
        let file = location.as_ref().map_or("", |location| location.file.as_str());
        let hash = fnv(&[code, file, message]);
        let nth = seen.entry(hash).or_insert(0);
        *nth += 1;
        let told = match help {
            Some(help) => format!("{message}. Help: {help}"),
            None => message.clone(),
        };
        Self {
            rule_id: code.clone(),
            rule_index,
            level: level(*severity),
            message: Text::new(&told),
            locations: location.iter().map(Place::of).collect(),
            partial_fingerprints: BTreeMap::from([("bakehouse/v1", format!("{hash:016x}:{nth}"))]),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    physical_location: Physical,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Physical {
    artifact_location: Artifact,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri_base_id: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: u32,
    start_column: u32,
    end_line: u32,
}

impl Place {
    fn of(location: &Location) -> Self {
        // A Dockerfile within a definition is `FILE#NAME`, and its lines are not those of FILE.
        let (file, inline) = match location.file.rsplit_once('#') {
            Some((file, name)) if !file.is_empty() && !name.contains('/') => (file, true),
            _ => (location.file.as_str(), false),
        };
        let is_absolute = file.starts_with('/');
        let scheme = if is_absolute { "file://" } else { "" };
        let start_line = location.line.max(1);
        let region = Region {
            start_line,
            start_column: location.column.max(1),
            end_line: location.end_line.max(start_line),
        };
        Self {
            physical_location: Physical {
                artifact_location: Artifact {
                    uri: format!("{scheme}{}", encoded(file)),
                    uri_base_id: (!is_absolute).then_some(ROOT),
                },
                region: (!inline).then_some(region),
            },
        }
    }
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

/// A path as the path of a URI: everything but unreserved characters and slashes is encoded.
fn encoded(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.strip_prefix("./").unwrap_or(path).bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/') {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

/// The 64 bits of FNV-1a over the texts, each with an end: the same on every machine.
fn fnv(texts: &[&str]) -> u64 {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const RULES: &[SarifRule<'_>] = &[
        SarifRule { code: "a-b", about: "says a", help: "do b", severity: Severity::Warning },
        SarifRule { code: "c", about: "says c", help: "do d", severity: Severity::Note },
    ];

    fn found(code: &str, file: &str, line: u32) -> Diagnostic {
        Diagnostic {
            location: Some(Location { end_line: line + 1, ..Location::new(file, line, 3) }),
            severity: Severity::Error,
            code: code.to_owned(),
            message: "`x` is wrong".to_owned(),
            help: Some("do it".to_owned()),
        }
    }

    fn document(diagnostics: &[Diagnostic]) -> Value {
        let tool = SarifTool { version: "1.2.3", home: "https://bakehouse.example", rules: RULES };
        serde_json::from_str(&sarif(&tool, diagnostics)).unwrap()
    }

    /// What the specification demands of a log, section by section.
    fn check(log: &Value) {
        assert_eq!(log["version"], "2.1.0");
        assert!(log["$schema"].as_str().unwrap().ends_with("sarif-schema-2.1.0.json"));
        for run in log["runs"].as_array().unwrap() {
            let driver = &run["tool"]["driver"];
            assert!(!driver["name"].as_str().unwrap().is_empty());
            assert_eq!(driver["semanticVersion"].as_str().unwrap().split('.').count(), 3);
            let rules = driver["rules"].as_array().unwrap();
            let ids: std::collections::BTreeSet<&str> =
                rules.iter().map(|rule| rule["id"].as_str().unwrap()).collect();
            assert_eq!(ids.len(), rules.len(), "each rule is there once");
            for rule in rules {
                assert!(!rule["shortDescription"]["text"].as_str().unwrap().is_empty());
                assert!(!rule["help"]["text"].as_str().unwrap().is_empty());
                level_is_known(&rule["defaultConfiguration"]["level"]);
            }
            for result in run["results"].as_array().unwrap() {
                let at = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
                assert_eq!(rules[at]["id"], result["ruleId"]);
                assert!(!result["message"]["text"].as_str().unwrap().is_empty());
                level_is_known(&result["level"]);
                for location in result["locations"].as_array().unwrap() {
                    place_is_whole(&location["physicalLocation"], run);
                }
                let prints = result["partialFingerprints"].as_object().unwrap();
                assert!(prints.values().all(|print| !print.as_str().unwrap().is_empty()));
            }
        }
    }

    fn level_is_known(level: &Value) {
        assert!(["none", "note", "warning", "error"].contains(&level.as_str().unwrap()));
    }

    fn place_is_whole(place: &Value, run: &Value) {
        let artifact = &place["artifactLocation"];
        let uri = artifact["uri"].as_str().unwrap();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~/%:".contains(c);
        assert!(!uri.is_empty() && uri.chars().all(allowed), "{uri}");
        if let Some(base) = artifact.get("uriBaseId") {
            assert!(run["originalUriBaseIds"].get(base.as_str().unwrap()).is_some());
            assert!(!uri.starts_with('/') && !uri.contains("://"), "{uri}");
        }
        if let Some(region) = place.get("region") {
            let number = |name: &str| region[name].as_u64().unwrap();
            assert!(number("startLine") >= 1 && number("startColumn") >= 1);
            assert!(number("endLine") >= number("startLine"));
        }
    }

    #[test]
    fn a_log_has_all_that_the_specification_demands() {
        let odd = Diagnostic {
            location: Some(Location { line: 0, column: 0, end_line: 0, file: "x".to_owned() }),
            severity: Severity::Note,
            help: None,
            ..found("new-one", "", 0)
        };
        let nowhere = Diagnostic { location: None, ..found("c", "", 0) };
        let files = ["a/Dockerfile", "a b/ü%.x", "/abs/f", "bake.hcl#app", "C#/Dockerfile", "./x"];
        let mut all: Vec<Diagnostic> = files.iter().map(|file| found("a-b", file, 4)).collect();
        all.extend([odd, nowhere]);
        let log = document(&all);
        check(&log);
        let results = log["runs"][0]["results"].as_array().unwrap();
        let uris: Vec<&str> = results
            .iter()
            .filter_map(|result| {
                result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].as_str()
            })
            .collect();
        let expected = [
            "a/Dockerfile",
            "a%20b/%C3%BC%25.x",
            "file:///abs/f",
            "bake.hcl",
            "C%23/Dockerfile",
            "x",
            "x",
        ];
        assert_eq!(uris, expected);
        assert!(results[3]["locations"][0]["physicalLocation"].get("region").is_none());
        assert_eq!(results[6]["ruleIndex"], 2, "a code that is in no list gets a rule");
        check(&document(&[]));
    }

    #[test]
    fn a_finding_has_its_place_its_words_and_what_to_do() {
        let log = document(&[found("a-b", "app/Dockerfile", 7)]);
        let result = &log["runs"][0]["results"][0];
        assert_eq!(result["message"]["text"], "`x` is wrong. Help: do it");
        assert_eq!(result["level"], "error");
        let region = &result["locations"][0]["physicalLocation"]["region"];
        assert_eq!(*region, serde_json::json!({ "startLine": 7, "startColumn": 3, "endLine": 8 }));
    }

    #[test]
    fn a_fingerprint_stays_when_lines_move_and_tells_findings_apart() {
        let print = |log: &Value, at: usize| {
            log["runs"][0]["results"][at]["partialFingerprints"]["bakehouse/v1"].clone()
        };
        let one = document(&[found("a-b", "f", 1), found("a-b", "f", 9), found("a-b", "g", 1)]);
        let moved = document(&[found("a-b", "f", 4), found("a-b", "f", 12), found("a-b", "g", 2)]);
        for at in 0..3 {
            assert_eq!(print(&one, at), print(&moved, at));
        }
        assert_ne!(print(&one, 0), print(&one, 1));
        assert_ne!(print(&one, 0), print(&one, 2));
    }
}
