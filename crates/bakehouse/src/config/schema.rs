//! The JSON schema of `bakehouse.toml`, from the types that the file is read into.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Value, json};

use super::tables::Config;

/// The schema, in draft 2020-12.
pub fn schema() -> Schema {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(tidy));
    settings.into_generator().into_root_schema_for::<Config>()
}

/// A key of TOML that has no value is not there: `null` is nothing that could be written.
fn tidy(schema: &mut Schema) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| *choice != json!({ "type": "null" }));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            schema.remove("anyOf");
            for (key, value) in only {
                // What is said of the key is nearer than what is said of its type.
                if schema.get(&key).is_none() {
                    schema.insert(key, value);
                }
            }
        }
    }
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::{FILE_NAME, read};

    /// How each table begins, and what the schema calls it.
    const TABLES: &[(&str, &str)] = &[
        ("", ""),
        ("[images.x]\n", "/$defs/Image"),
        ("[classes.x]\n", "/$defs/Class"),
        ("[limits.step]\n", "/$defs/Limit"),
        ("[family.x]\nbase = \"y\"\n", "/$defs/Family"),
    ];

    fn properties(table: &str) -> BTreeSet<String> {
        let schema = schema().to_value();
        let properties = schema.pointer(&format!("{table}/properties")).unwrap();
        properties.as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn the_schema_has_the_keys_that_the_reader_knows_and_no_others() {
        for (begin, table) in TABLES {
            let (_, diagnostics) = read(FILE_NAME, format!("{begin}zzzzzzzz = 1\n").as_bytes());
            assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
            let help = diagnostics[0].help.as_deref().unwrap();
            let known = help.strip_prefix("the keys here are ").unwrap().split(", ");
            let known: BTreeSet<_> = known.map(|key| key.trim_matches('`').to_owned()).collect();
            assert_eq!(known, properties(table), "{table}");
        }
    }

    #[test]
    fn every_table_is_closed_and_every_key_is_explained() {
        let schema = schema().to_value();
        let tables = schema["$defs"].as_object().unwrap();
        assert_eq!(tables.len(), TABLES.len() - 1, "a table is not tested");
        for table in tables.values().chain([&schema]) {
            assert_eq!(table["additionalProperties"], json!(false));
            for (name, key) in table["properties"].as_object().unwrap() {
                assert!(key["description"].as_str().is_some_and(|d| !d.contains('\n')), "{name}");
            }
        }
        assert!(!schema.to_string().contains("null"), "nobody can write null");
    }

    #[test]
    fn the_examples_of_the_schema_are_read_without_a_complaint() {
        let schema = schema().to_value();
        let mut count = 0;
        for (begin, table) in TABLES {
            let table = schema.pointer(table).unwrap();
            for (name, key) in table["properties"].as_object().unwrap() {
                for example in key["examples"].as_array().into_iter().flatten() {
                    // Strings, numbers and lists of them are written as in JSON.
                    let text = format!("{begin}{name} = {example}\n");
                    let text = match name.as_str() {
                        "base" => text.replacen("base = \"y\"\n", "", 1),
                        _ => text,
                    };
                    let (_, diagnostics) = read(FILE_NAME, text.as_bytes());
                    assert!(diagnostics.is_empty(), "{text}: {diagnostics:?}");
                    count += 1;
                }
            }
        }
        assert!(count > 10, "only {count} examples");
    }
}
