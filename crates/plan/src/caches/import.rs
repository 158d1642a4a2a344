//! A cache in which steps are looked up.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::oci::Descriptor;
use bakehouse_model::{DiffId, Digest, Key};
use thiserror::Error;

use super::document::{CacheConfig, CacheLayer, CacheRecord};
use super::{CREATED_AT, UNCOMPRESSED, of_contents, of_op};
use crate::assemble::Layer;
use crate::time::parse_ms;

/// Records that a cache may have.
const MAX_RECORDS: usize = 65_536;
/// Links that its records may have together, and results with all that they name.
const MAX_LINKS: usize = 262_144;
/// Layers that it may have, and that one result may have.
const MAX_LAYERS: (usize, usize) = (16_384, 512);

/// A cache cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CacheFault {
    /// The document is no JSON of the kind.
    #[error("the cache's document cannot be read: {why}")]
    Malformed {
        /// What the reader says.
        why: String,
    },
    /// It has more than anybody writes.
    #[error("the cache has {count} {what}, more than {limit}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
}

/// A cache, read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    name: String,
    layers: Vec<Place>,
    records: Vec<Record>,
    by_digest: BTreeMap<Digest, Vec<usize>>,
    /// The index that a manifest was found in.
    indexes: BTreeMap<Digest, Digest>,
}

/// A layer and the one below it; none for a layer that nothing is known of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    layer: Option<Layer>,
    below: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    digest: Digest,
    inputs: Vec<Vec<Link>>,
    /// The newest result of which every layer is known, and when it was made.
    result: Option<(u64, Stack)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    selector: Option<Digest>,
    record: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stack {
    Topmost(i64),
    All(Vec<i64>),
}

/// A result that a cache has for a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The key of the step that was looked up: what stands on it is keyed by this.
    pub id: Key,
    /// Position of the cache among those of the run.
    pub cache: usize,
    /// What the cache is called.
    pub from: String,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
}

/// What is known of an input when a step is looked up.
pub(crate) struct Term<'a> {
    /// Records that stand for the step which gives the input.
    pub(crate) records: Option<&'a BTreeSet<usize>>,
    /// What is read of it.
    pub(crate) selector: Option<&'a Digest>,
    /// The digest of what is read of it, where that may stand for it.
    pub(crate) contents: Option<&'a Digest>,
}

impl Cache {
    /// Reads the document of a cache whose blobs its manifest describes.
    pub fn parse(
        name: &str,
        document: &[u8],
        blobs: &BTreeMap<Digest, Descriptor>,
    ) -> Result<Self, CacheFault> {
        let config: CacheConfig = read(document)?;
        let layers = config.layers.iter().map(|layer| {
            let blob = layer.blob.parse::<Digest>().ok();
            let layer_of = |blob| layer_of(blobs.get(&blob)?);
            Place { layer: blob.and_then(layer_of), below: layer.parent }
        });
        let layers = layers.collect();
        Self::of(name, layers, &config.records)
    }

    /// Reads the document of a cache without a manifest, which describes its blobs itself.
    pub fn parse_alone(name: &str, document: &[u8]) -> Result<Self, CacheFault> {
        let config: CacheConfig = read(document)?;
        let place = |layer: &CacheLayer| Place { layer: described(layer), below: layer.parent };
        Self::of(name, config.layers.iter().map(place).collect(), &config.records)
    }

    /// Reads the records of a cache within an image that has these layers.
    pub fn inline(name: &str, records: &[u8], layers: Vec<Layer>) -> Result<Self, CacheFault> {
        let records: Vec<CacheRecord> = read(records)?;
        let place = |(at, layer)| Place { layer: Some(layer), below: position(at) - 1 };
        let layers = layers.into_iter().enumerate().map(place).collect();
        Self::of(name, layers, &records)
    }

    fn of(name: &str, layers: Vec<Place>, records: &[CacheRecord]) -> Result<Self, CacheFault> {
        within("layers", layers.len(), MAX_LAYERS.0)?;
        within("records", records.len(), MAX_RECORDS)?;
        let links = records.iter().flat_map(|record| &record.inputs).map(Vec::len).sum();
        within("links", links, MAX_LINKS)?;
        let named = |record: &CacheRecord| {
            let chained: usize = record.chains.iter().map(|chain| chain.layers.len()).sum();
            record.results.len() + record.chains.len() + chained
        };
        within("results", records.iter().map(named).sum(), MAX_LINKS)?;
        let whole = Whole::of(&layers);
        // Records keep their positions, because links go by them.
        let records: Vec<Record> =
            records.iter().map(|record| Record::of(record, &whole)).collect();
        let mut by_digest: BTreeMap<Digest, Vec<usize>> = BTreeMap::new();
        for (at, record) in records.iter().enumerate() {
            by_digest.entry(record.digest.clone()).or_default().push(at);
        }
        let (name, indexes) = (name.to_owned(), BTreeMap::new());
        Ok(Self { name, layers, records, by_digest, indexes })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets images be found also by the index that their manifest was found in.
    pub fn know_indexes(&mut self, indexes: BTreeMap<Digest, Digest>) {
        self.indexes = indexes;
    }

    /// The index that a manifest was found in.
    pub(crate) fn index_of(&self, manifest: &Digest) -> Option<&Digest> {
        self.indexes.get(manifest)
    }

    /// The records that stand for a step with this op and these inputs.
    pub(crate) fn find(&self, op: &Digest, terms: &[Term<'_>]) -> BTreeSet<usize> {
        let Some(candidates) = self.by_digest.get(&of_op(op)) else { return BTreeSet::new() };
        let contents: Vec<Option<Digest>> =
            terms.iter().map(|term| term.contents.map(of_contents)).collect();
        let fits = |at: &usize| {
            let inputs = &self.records[*at].inputs;
            inputs.len() == terms.len()
                && inputs.iter().zip(terms.iter().zip(&contents)).all(|(links, (term, digest))| {
                    links.iter().any(|link| self.leads_to(link, term, digest.as_ref()))
                })
        };
        candidates.iter().copied().filter(fits).collect()
    }

    fn leads_to(&self, link: &Link, term: &Term<'_>, contents: Option<&Digest>) -> bool {
        let by_key = link.selector.as_ref() == term.selector
            && term.records.is_some_and(|records| records.contains(&link.record));
        let by_contents = || {
            let record = self.records.get(link.record);
            record.is_some_and(|r| r.inputs.is_empty() && Some(&r.digest) == contents)
        };
        by_key || (link.selector.is_none() && contents.is_some() && by_contents())
    }

    /// The newest result among these records whose layers are all known: when it was made, and
    /// the layers.
    pub(crate) fn result(&self, records: &BTreeSet<usize>) -> Option<(u64, Vec<Layer>)> {
        let results = records.iter().filter_map(|at| self.records[*at].result.as_ref());
        // Of several that are equally old, it is always the same one.
        let (created_ms, stack) = results.rev().max_by_key(|(created_ms, _)| *created_ms)?;
        Some((*created_ms, self.stack(stack)?))
    }

    fn stack(&self, stack: &Stack) -> Option<Vec<Layer>> {
        match stack {
            Stack::All(all) => {
                all.iter().map(|at| at_of(&self.layers, *at)?.layer.clone()).collect()
            }
            Stack::Topmost(top) => {
                let mut layers: Vec<Layer> = downwards(&self.layers, *top)
                    .map(|place| place?.layer.clone())
                    .collect::<Option<_>>()?;
                layers.reverse();
                Some(layers)
            }
        }
    }
}

/// Which layers are known with all that they stand on.
struct Whole<'a> {
    layers: &'a [Place],
    whole: Vec<bool>,
}

impl<'a> Whole<'a> {
    fn of(layers: &'a [Place]) -> Self {
        let whole = |top| {
            let mut below = downwards(layers, position(top)).enumerate();
            below.all(|(depth, place)| depth < MAX_LAYERS.1 && place.is_some_and(Place::is_known))
        };
        Self { layers, whole: (0..layers.len()).map(whole).collect() }
    }

    fn has(&self, layers: &Stack) -> bool {
        let known = |at: &i64| at_of(self.layers, *at).is_some_and(Place::is_known);
        match layers {
            Stack::Topmost(top) => {
                let top = usize::try_from(*top).ok();
                top.and_then(|top| self.whole.get(top)).copied().unwrap_or(false)
            }
            Stack::All(all) => (1..=MAX_LAYERS.1).contains(&all.len()) && all.iter().all(known),
        }
    }
}

impl Place {
    fn is_known(&self) -> bool {
        self.layer.is_some()
    }
}

/// The layer at `top` and those below it; none in place of one that is not there, which is the
/// last. One layer more than there may be, where the chain goes round in circles.
fn downwards(layers: &[Place], top: i64) -> impl Iterator<Item = Option<&Place>> {
    let mut next = Some(top);
    let step = move || {
        let at = next.take()?;
        let place = at_of(layers, at);
        next = place.map(|place| place.below).filter(|below| *below != -1);
        Some(place)
    };
    std::iter::from_fn(step).take(MAX_LAYERS.1 + 1)
}

fn at_of(layers: &[Place], position: i64) -> Option<&Place> {
    layers.get(usize::try_from(position).ok()?)
}

impl Record {
    /// A record that cannot be one is kept as one that nothing leads to.
    fn of(record: &CacheRecord, whole: &Whole<'_>) -> Self {
        let nowhere = usize::MAX;
        let link = |input: &super::document::CacheInput| Link {
            selector: input.selector.parse().ok(),
            record: usize::try_from(input.link).unwrap_or(nowhere),
        };
        let readable = |input: &&super::document::CacheInput| {
            input.selector.is_empty() || input.selector.parse::<Digest>().is_ok()
        };
        let links = |inputs: &Vec<_>| inputs.iter().filter(readable).map(link).collect();
        let tops = record.results.iter().map(|r| (ms(&r.created_at), Stack::Topmost(r.layer)));
        let chains =
            record.chains.iter().map(|r| (ms(&r.created_at), Stack::All(r.layers.clone())));
        let results = tops.chain(chains).filter(|(_, stack)| whole.has(stack));
        Self {
            digest: record.digest.parse().unwrap_or_else(|_| Digest::of("no digest")),
            inputs: record.inputs.iter().map(links).collect(),
            result: results.rev().max_by_key(|(created_ms, _)| *created_ms),
        }
    }
}

/// The layer that a blob of a manifest is; none if it does not say what it unpacks to.
pub fn layer_of(blob: &Descriptor) -> Option<Layer> {
    let compression = blob.compression()?;
    let note = |name: &str| blob.annotations.get(name).map(String::as_str);
    let diff_id = match note(UNCOMPRESSED) {
        Some(text) => text.parse().ok()?,
        None if compression == bakehouse_model::Compression::Uncompressed => blob.digest.clone(),
        None => return None,
    };
    let created_ms = note(CREATED_AT).map_or(0, ms);
    let plain = Descriptor::new(&blob.media_type, blob.digest.clone(), blob.size);
    Some(Layer { diff_id: DiffId(diff_id), blob: plain, created_ms })
}

/// The layer that a document describes without a manifest.
fn described(layer: &CacheLayer) -> Option<Layer> {
    let notes = layer.annotations.as_ref()?;
    let blob = Descriptor::new(&notes.media_type, layer.blob.parse().ok()?, notes.size);
    blob.compression()?;
    let diff_id = DiffId(notes.diff_id.parse().ok()?);
    Some(Layer { diff_id, blob, created_ms: ms(&notes.created_at) })
}

fn ms(text: &str) -> u64 {
    parse_ms(text).unwrap_or(0)
}

fn read<T: serde::de::DeserializeOwned>(document: &[u8]) -> Result<T, CacheFault> {
    serde_json::from_slice(document)
        .map_err(|error| CacheFault::Malformed { why: error.to_string() })
}

fn within(what: &'static str, count: usize, limit: usize) -> Result<(), CacheFault> {
    if count > limit {
        return Err(CacheFault::TooLarge { what, count, limit });
    }
    Ok(())
}

fn position(at: usize) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use bakehouse_model::oci::media_type;

    use super::super::document::CacheResult;
    use super::*;

    fn blob(name: &str) -> Descriptor {
        let mut blob = Descriptor::new(media_type::LAYER_GZIP, Digest::of(name), 1);
        blob.annotations
            .insert(UNCOMPRESSED.to_owned(), Digest::of(format!("{name} tar")).to_string());
        blob
    }

    fn blobs(names: &[&str]) -> BTreeMap<Digest, Descriptor> {
        names.iter().map(|name| (Digest::of(name), blob(name))).collect()
    }

    fn term<'a>(records: &'a BTreeSet<usize>, contents: Option<&'a Digest>) -> Term<'a> {
        Term { records: Some(records), selector: None, contents }
    }

    /// A cache of a step `op` on a step `base`, with these layers and that result.
    fn cache(layers: &str, result: &str) -> Cache {
        let (base, op) = (of_op(&Digest::of("base")), of_op(&Digest::of("op")));
        let text = format!(
            r#"{{"layers":[{layers}],"records":[{{"digest":"{base}"}},
            {{"digest":"{op}","inputs":[[{{"link":0}}]],{result}}}]}}"#
        );
        Cache::parse("c", text.as_bytes(), &blobs(&["a", "b"])).unwrap()
    }

    fn found(cache: &Cache) -> Option<usize> {
        let base = cache.find(&Digest::of("base"), &[]);
        let records = cache.find(&Digest::of("op"), &[term(&base, None)]);
        assert_eq!((base.len(), records.len()), (1, 1));
        cache.result(&records).map(|(_, layers)| layers.len())
    }

    #[test]
    fn a_result_has_all_of_its_layers_or_is_none() {
        let (a, b, gone) = (Digest::of("a"), Digest::of("b"), Digest::of("gone"));
        let stacked = format!(r#"{{"blob":"{a}","parent":-1}},{{"blob":"{b}"}}"#);
        let table = [
            (stacked.clone(), r#""layers":[{"layer":1}]"#, Some(2)),
            (stacked.clone(), r#""layers":[{"layer":0}]"#, Some(1)),
            (stacked.clone(), r#""chains":[{"layers":[1,0]}]"#, Some(2)),
            (stacked.clone(), r#""layers":[{"layer":7},{"layer":1}]"#, Some(2)),
            (
                format!("{stacked},{{\"blob\":\"{b}\",\"parent\":9}}"),
                r#""chains":[{"layers":[2]}]"#,
                Some(1),
            ),
            // Positions that lead nowhere, loops, blobs that the manifest does not have.
            (stacked.clone(), r#""layers":[{"layer":7}]"#, None),
            (stacked.clone(), r#""layers":[{"layer":-1}]"#, None),
            (stacked.clone(), r#""layers":[{"layer":-9223372036854775808}]"#, None),
            (stacked, r#""chains":[{"layers":[]},{"layers":[0,9]}]"#, None),
            (format!(r#"{{"blob":"{a}"}}"#), r#""layers":[{"layer":0}]"#, None),
            (format!(r#"{{"blob":"{a}","parent":5}}"#), r#""layers":[{"layer":0}]"#, None),
            (format!(r#"{{"blob":"{gone}","parent":-1}}"#), r#""layers":[{"layer":0}]"#, None),
            (r#"{"blob":"../../etc","parent":-1}"#.to_owned(), r#""layers":[{"layer":0}]"#, None),
        ];
        for (layers, result, expected) in table {
            assert_eq!(found(&cache(&layers, result)), expected, "{layers} {result}");
        }
    }

    #[test]
    fn a_step_is_found_by_what_gives_its_input_or_by_what_it_reads_and_by_nothing_else() {
        let (op, contents) = (Digest::of("op"), Digest::of("contents"));
        let (selector, other) = (Digest::of("/a"), Digest::of("/b"));
        let text = format!(
            r#"{{"records":[{{"digest":"{}"}},{{"digest":"{}"}},
            {{"digest":"{}","inputs":[[{{"selector":"{selector}","link":0}},{{"link":1}},{{"link":9}}]]}}]}}"#,
            of_op(&Digest::of("base")),
            of_contents(&contents),
            of_op(&op),
        );
        let cache = Cache::parse("c", text.as_bytes(), &BTreeMap::new()).unwrap();
        let (base, none) = (cache.find(&Digest::of("base"), &[]), BTreeSet::new());
        let find = |records, selector, contents: Option<&Digest>| {
            let term = Term { records: Some(records), selector, contents };
            !cache.find(&op, &[term]).is_empty()
        };
        assert!(find(&base, Some(&selector), None), "by the step below");
        assert!(find(&none, Some(&other), Some(&contents)), "by contents");
        assert!(!find(&base, Some(&other), None), "other paths");
        assert!(!find(&base, None, None), "all of it");
        assert!(!find(&none, Some(&selector), Some(&other)), "other contents");
        assert!(cache.find(&op, &[]).is_empty() && cache.find(&other, &[]).is_empty());
    }

    #[test]
    fn documents_that_are_none_or_too_large_are_refused() {
        for text in ["", "{\"records\":[{\"digest\":1}]}", "{\"layers\":{}}"] {
            let refused = Cache::parse("c", text.as_bytes(), &BTreeMap::new());
            assert!(matches!(refused, Err(CacheFault::Malformed { .. })), "{text}");
        }
        let many = format!("{{\"records\":[{}{{}}]}}", "{},".repeat(MAX_RECORDS));
        let refused = Cache::parse("c", many.as_bytes(), &BTreeMap::new()).unwrap_err();
        assert!(matches!(refused, CacheFault::TooLarge { what: "records", .. }), "{refused}");
        let links = format!("{}{{\"link\":0}}", "{\"link\":0},".repeat(MAX_LINKS));
        let text = format!("{{\"records\":[{{\"inputs\":[[{links}]]}}]}}");
        let refused = Cache::parse("c", text.as_bytes(), &BTreeMap::new()).unwrap_err();
        assert!(matches!(refused, CacheFault::TooLarge { what: "links", .. }), "{refused}");
        let results = format!("{}{{\"layer\":0}}", "{\"layer\":0},".repeat(MAX_LINKS));
        let positions = format!("{{\"layers\":[{}0]}}", "0,".repeat(MAX_LINKS));
        for (field, many) in [("layers", results), ("chains", positions)] {
            let text = format!("{{\"records\":[{{\"{field}\":[{many}]}}]}}");
            let refused = Cache::parse("c", text.as_bytes(), &BTreeMap::new()).unwrap_err();
            assert!(matches!(refused, CacheFault::TooLarge { what: "results", .. }), "{field}");
        }
    }

    #[test]
    fn a_document_without_a_manifest_describes_its_own_layers() {
        let layers = ["a", "b"].map(|name| layer_of(&blob(name)).unwrap()).to_vec();
        let mut config = CacheConfig::default();
        for (layer, parent) in layers.iter().zip([-1, 0]) {
            let blob = layer.blob.digest.to_string();
            config.layers.push(CacheLayer { blob, parent, annotations: None });
        }
        config.describe(&layers);
        let op = Digest::of("op");
        let result = CacheResult { layer: 1, created_at: String::new() };
        config.records.push(CacheRecord {
            digest: of_op(&op).to_string(),
            results: vec![result],
            ..CacheRecord::default()
        });
        let found = |config: &CacheConfig| {
            let text = serde_json::to_vec(config).unwrap();
            let cache = Cache::parse_alone("c", &text).unwrap();
            cache.result(&cache.find(&op, &[])).map(|(_, layers)| layers)
        };
        assert_eq!(found(&config), Some(layers));
        config.layers[0].annotations = None;
        assert_eq!(found(&config), None);
    }

    #[test]
    fn the_layers_of_an_image_stand_on_each_other_in_its_own_cache() {
        let layers = ["a", "b", "c"].map(|name| layer_of(&blob(name)).unwrap()).to_vec();
        let op = Digest::of("op");
        let text = format!(r#"[{{"digest":"{}","layers":[{{"layer":1}}]}}]"#, of_op(&op));
        let cache = Cache::inline("i", text.as_bytes(), layers.clone()).unwrap();
        let (_, found) = cache.result(&cache.find(&op, &[])).unwrap();
        assert_eq!(found, layers[..2]);
    }
}
