//! `bakehouse cache-mounts`: what steps have kept, listed, saved and restored.
//!
//! What will be done is shown with its size before it is done. A cache that a step is using
//! is waited for, and said to be: it is taken alone, as `sharing=locked` would take it.

use std::time::{Duration, SystemTime};

use bakehouse_model::ExitCode;
use bakehouse_plan::dockerfile::glob;
use bakehouse_render::{Column, ago, bytes, clean, table};
use bakehouse_store::{CacheMount, Store, StoredCache};
use serde_json::{Value, json};

use crate::cachemounts::place::{Artifact, Place};
use crate::cachemounts::{self, CacheError, SavedCache, measure};
use crate::cli::{CacheListArgs, CacheMountsVerb, CacheRestoreArgs, CacheSaveArgs, Format};
use crate::context::{Context, now_ms};
use crate::failure::{Failure, Kind};

/// How often a cache that is in use is tried again.
const POLL: Duration = Duration::from_millis(50);

/// Runs the command.
pub fn run(verb: &CacheMountsVerb, cx: &mut Context) -> Result<ExitCode, Failure> {
    match verb {
        CacheMountsVerb::List(args) => list(args, cx)?,
        CacheMountsVerb::Save(args) => save(args, cx)?,
        CacheMountsVerb::Restore(args) => restore(args, cx)?,
    }
    Ok(ExitCode::Ok)
}

fn list(args: &CacheListArgs, cx: &mut Context) -> Result<(), Failure> {
    let store = super::open_store(cx)?;
    let known = Known::of(&store, &Ids::parse(&args.ids)?)?;
    match args.format {
        Format::Text => super::print(cx, &known_table(&known, cx)),
        Format::Json => {
            let caches: Vec<Value> = known.iter().map(Known::value).collect();
            super::print_json(cx, &json!({ "version": 1, "caches": caches }))
        }
    }
}

fn save(args: &CacheSaveArgs, cx: &mut Context) -> Result<(), Failure> {
    let place = Place::parse(&args.to, &cx.cwd)?;
    let store = super::open_store(cx)?;
    let known = Known::of(&store, &Ids::parse(&args.ids)?)?;
    tell(args.format, cx, &known_table(&known, cx))?;
    if args.dry_run {
        return Ok(());
    }
    let temporary = store.temporary()?;
    let mut saved = Vec::with_capacity(known.len());
    for Known { cache, .. } in &known {
        let own = own(&store, &cache.id)?;
        let failed = |error: CacheError| of_cache(&cache.id, "save", &error);
        saved.push(SavedCache::pack(&cache.id, &own, &temporary).map_err(failed)?);
    }
    let manifest = cachemounts::manifest(&saved, &temporary)
        .map_err(|error| Failure::from_error(Kind::Environment, &error))?;
    let client = super::client_with(&[], &temporary, cx);
    place.write(&temporary, &manifest, &client)?;
    let packed: u64 = saved.iter().map(|cache| cache.layer.size).sum();
    match args.format {
        Format::Text => {
            let many = counted(saved.len());
            super::print(cx, &format!("saved {many} to {place}: {} packed\n", bytes(packed)))
        }
        Format::Json => {
            let caches: Vec<Value> = saved.iter().map(saved_value).collect();
            let value = json!({
                "version": 1,
                "to": place.to_string(),
                "manifest": manifest.digest,
                "caches": caches,
            });
            super::print_json(cx, &value)
        }
    }
}

fn restore(args: &CacheRestoreArgs, cx: &mut Context) -> Result<(), Failure> {
    let place = Place::parse(&args.from, &cx.cwd)?;
    let ids = Ids::parse(&args.ids)?;
    let store = super::open_store(cx)?;
    let temporary = store.temporary()?;
    let client = super::client_with(&[], &temporary, cx);
    let Some(artifact) = place.open(&client)? else {
        return nothing_there(args, &place, cx);
    };
    let mut saved = saved_caches(&artifact, &place)?;
    saved.retain(|cache| ids.have(&cache.id));
    tell(args.format, cx, &saved_table(&saved, cx))?;
    if args.dry_run {
        return Ok(());
    }
    let there: Vec<String> = store.caches()?.into_iter().map(|cache| cache.id).collect();
    let keeps = |cache: &SavedCache| !args.replace && there.contains(&cache.id);
    let wanted = saved.iter().filter(|cache| !keeps(cache)).map(|cache| cache.layer.clone());
    place.fetch(&artifact, wanted.collect(), &temporary, &client)?;
    let mut results = Vec::with_capacity(saved.len());
    for cache in &saved {
        let kept = keeps(cache);
        let result = if kept { KEPT } else { put_back(cache, &temporary, &store, args.replace)? };
        results.push((cache, result));
    }
    print_restored(args.format, &place, &results, cx)
}

/// What became of a cache that was to be restored.
const KEPT: &str = "kept";

/// Restores one cache, unless there is one and it is not to be replaced; says what was done.
fn put_back(
    cache: &SavedCache,
    from: &Store,
    store: &Store,
    replace: bool,
) -> Result<&'static str, Failure> {
    let own = own(store, &cache.id)?;
    // A build may have made it since the store was looked at.
    let is_new = own.is_new();
    if !is_new && !replace {
        return Ok(KEPT);
    }
    cache.unpack(from, store, &own).map_err(|error| of_cache(&cache.id, "restore", &error))?;
    Ok(if is_new { "restored" } else { "replaced" })
}

fn print_restored(
    format: Format,
    place: &Place,
    results: &[(&SavedCache, &str)],
    cx: &mut Context,
) -> Result<(), Failure> {
    let (kept, restored): (Vec<_>, Vec<_>) =
        results.iter().partition(|(_, result)| *result == KEPT);
    if format == Format::Json {
        let value = |(cache, result): &&(&SavedCache, &str)| json!({ "id": shown(&cache.id), "bytes": cache.bytes, "result": result });
        let caches: Vec<Value> = restored.iter().chain(&kept).map(value).collect();
        let value = json!({ "version": 1, "from": place.to_string(), "caches": caches });
        return super::print_json(cx, &value);
    }
    let mut text = format!("restored {} from {place}\n", counted(restored.len()));
    for (cache, _) in kept {
        let id = shown(&cache.id);
        text.push_str(&format!("kept {id} as it is; --replace replaces it\n"));
    }
    super::print(cx, &text)
}

fn nothing_there(args: &CacheRestoreArgs, place: &Place, cx: &mut Context) -> Result<(), Failure> {
    if !args.optional {
        return Err(Failure::new(Kind::Environment, format!("there is nothing at `{place}`"))
            .hint("with --optional that is no failure"));
    }
    match args.format {
        Format::Text => super::print(cx, &format!("there is nothing at {place}\n")),
        Format::Json => {
            let caches: [Value; 0] = [];
            super::print_json(
                cx,
                &json!({ "version": 1, "from": place.to_string(), "caches": caches }),
            )
        }
    }
}

fn saved_caches(artifact: &Artifact, place: &Place) -> Result<Vec<SavedCache>, Failure> {
    let wrong =
        |error: &CacheError| Failure::doing(Kind::Input, format_args!("read `{place}`"), error);
    cachemounts::caches(&artifact.manifest).map_err(|error| wrong(&error))?.ok_or_else(|| {
        let what = format!("`{place}` has no caches but something else ({})", artifact.digest);
        Failure::new(Kind::Input, what).hint("name what `bakehouse cache-mounts save` has written")
    })
}

/// Takes a cache alone; says so once if that takes a while.
fn own(store: &Store, id: &str) -> Result<CacheMount, Failure> {
    let mut said = false;
    loop {
        if let Some(cache) = store.try_own_cache(id)? {
            return Ok(cache);
        }
        if !said {
            let id = shown(id);
            let line = format!("waiting: a build is using the cache `{id}`\n");
            // Nobody is left to tell if this cannot be printed.
            drop(std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()));
            said = true;
        }
        std::thread::sleep(POLL);
    }
}

/// Which caches are meant.
struct Ids<'a>(&'a [String]);

impl<'a> Ids<'a> {
    fn parse(patterns: &'a [String]) -> Result<Self, Failure> {
        match patterns.iter().find(|pattern| glob::matches(pattern, "").is_err()) {
            None => Ok(Self(patterns)),
            Some(wrong) => Err(Failure::new(Kind::Usage, format!("`{wrong}` is not a pattern"))
                .hint("write an id, or one with `*`, `?` or a class such as `[a-z]`")),
        }
    }

    /// Slashes are letters like others here: ids are often paths.
    fn have(&self, id: &str) -> bool {
        let flat = |text: &str| text.replace('/', "\u{1}");
        let id = flat(&shown(id));
        self.0.is_empty() || self.0.iter().any(|it| glob::matches(&flat(it), &id).unwrap_or(false))
    }
}

/// A cache of the store and how large it is.
struct Known {
    cache: StoredCache,
    bytes: u64,
    entries: u64,
}

impl Known {
    fn of(store: &Store, ids: &Ids<'_>) -> Result<Vec<Self>, Failure> {
        let caches = store.caches()?.into_iter().filter(|cache| ids.have(&cache.id));
        let measured = caches.map(|cache| {
            let (bytes, entries) = measure(&cache.data);
            Self { cache, bytes, entries }
        });
        Ok(measured.collect())
    }

    fn used_ms(&self) -> Option<u64> {
        let since = self.cache.used?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok()
    }

    fn value(&self) -> Value {
        json!({
            "id": shown(&self.cache.id),
            "bytes": self.bytes,
            "entries": self.entries,
            "instances": self.cache.instances,
            "changed_at_ms": self.used_ms(),
        })
    }
}

fn saved_value(cache: &SavedCache) -> Value {
    json!({ "id": shown(&cache.id), "bytes": cache.bytes, "packed": cache.layer.size })
}

/// What will be done, where people read it.
fn tell(format: Format, cx: &mut Context, text: &str) -> Result<(), Failure> {
    match format {
        Format::Text => super::print(cx, text),
        Format::Json => Ok(()),
    }
}

fn known_table(known: &[Known], cx: &Context) -> String {
    let columns = [
        Column::left("CACHE").flexible(),
        Column::right("SIZE"),
        Column::right("ENTRIES"),
        Column::left("CHANGED"),
    ];
    let rows: Vec<Vec<String>> = known
        .iter()
        .map(|known| {
            let changed = known.used_ms().map(|at_ms| ago(now_ms().saturating_sub(at_ms)));
            vec![
                shown(&known.cache.id),
                bytes(known.bytes),
                known.entries.to_string(),
                changed.unwrap_or_default(),
            ]
        })
        .collect();
    let all = bytes(known.iter().map(|known| known.bytes).sum());
    let text = table(&columns, &rows, cx.width(), cx.style());
    format!("{text}{}, {all}\n", counted(known.len()))
}

fn saved_table(saved: &[SavedCache], cx: &Context) -> String {
    let columns =
        [Column::left("CACHE").flexible(), Column::right("SIZE"), Column::right("PACKED")];
    let rows: Vec<Vec<String>> = saved
        .iter()
        .map(|cache| vec![shown(&cache.id), bytes(cache.bytes), bytes(cache.layer.size)])
        .collect();
    let packed = saved.iter().fold(0_u64, |sum, cache| sum.saturating_add(cache.layer.size));
    let text = table(&columns, &rows, cx.width(), cx.style());
    format!("{text}{}, {} packed\n", counted(saved.len()), bytes(packed))
}

/// An id as it is written in a Dockerfile. Before it stands its name space, which is empty
/// unless `BUILDKIT_CACHE_MOUNT_NS` was given, and a slash.
fn shown(id: &str) -> String {
    clean(id.strip_prefix('/').unwrap_or(id))
}

fn counted(caches: usize) -> String {
    match caches {
        1 => "1 cache".to_owned(),
        many => format!("{many} caches"),
    }
}

fn of_cache(id: &str, doing: &str, error: &CacheError) -> Failure {
    let kind = match error {
        CacheError::Tar(_)
        | CacheError::Annotation { .. }
        | CacheError::TooMuch { .. }
        | CacheError::Unpack(_) => Kind::Input,
        _ => Kind::Environment,
    };
    Failure::doing(kind, format_args!("{doing} the cache `{}`", shown(id)), error)
}
