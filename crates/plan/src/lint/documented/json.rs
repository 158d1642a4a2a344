//! A graph as `bakehouse graph --format json` prints it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Drawing;
use super::names::Name;

/// Reads `images` and `edges`. A name's place is the first one where it stands in quotes.
pub(super) fn read(text: &str) -> Drawing {
    let mut drawing = Drawing::default();
    let Ok(value) = serde_json::from_str::<Value>(text) else { return drawing };
    let places = places(text);
    let name = |value: &Value| {
        let name = value.as_str()?;
        let (line, at) = places.get(name).copied().unwrap_or((1, 0));
        Some(Name::new(name, line, at))
    };
    let list = |key: &str| value.get(key).and_then(Value::as_array).into_iter().flatten();
    for image in list("images") {
        drawing.names.extend(name(image.get("name").unwrap_or(image)));
    }
    for edge in list("edges") {
        let ends = |key: &str| edge.get(key).and_then(name);
        if let (Some(image), Some(base)) = (ends("image"), ends("needs")) {
            drawing.edges.push((image, base));
        }
    }
    drawing
}

/// Where each short string first stands.
fn places(text: &str) -> BTreeMap<&str, (u32, usize)> {
    let mut places = BTreeMap::new();
    for (line, number) in text.lines().zip(1_u32..) {
        let mut from = 0;
        for (nth, part) in line.split('"').enumerate() {
            if nth % 2 == 1 {
                places.entry(part).or_insert((number, from));
            }
            from += part.len() + 1;
        }
    }
    places
}
