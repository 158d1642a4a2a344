//! What the tables of a document say: each key's name, its type, and how it is written.

use bakehouse_model::Location;
use toml::de::DeTable;

use super::amounts::{Minutes, Processors};
use super::mistake::{Mistake, shown};
use super::names::{Name, RepoPath};
use super::placed::Placed;
use super::reader::{Item, Key, Reader, Table};
use super::tables::{ClassTable, Config, FamilyTable, ImageTable, LimitTable};

/// The version of the format.
const VERSION: u32 = 1;

/// Reads the file as a whole. Nobody knows what one of another version means.
pub(super) fn config(reader: &mut Reader<'_>, document: &DeTable<'_>) -> Option<Config> {
    let mut table = Table::root(document);
    let version = reader.whole(&mut table, Key("version", "version = 1"), 0);
    if let Some(other) = version.as_ref().filter(|version| version.value != VERSION) {
        let message = format!("version `{}` of this file is not known", other.value);
        let help = format!("write `version = {VERSION}`, or use a newer bakehouse");
        reader.wrong(Mistake::new("unsupported-version", message, help), other.place.clone());
        return None;
    }
    let config = Config {
        version: version.map(|version| version.value),
        exclude: reader.texts(&mut table, Key("exclude", r#"exclude = ["third_party/**"]"#)),
        registry: reader.text(&mut table, Key("registry", r#"registry = "ghcr.io/acme""#)),
        documented_graph: reader
            .text(&mut table, Key("documented-graph", r#"documented-graph = "docs/images.md""#)),
        unpinned_ok: reader.texts(&mut table, Key("unpinned-ok", r#"unpinned-ok = ["busybox"]"#)),
        images: reader.named(&mut table, Key("images", "[images.stt]"), image),
        classes: reader.named(&mut table, Key("classes", "[classes.foundation]"), class),
        limits: reader.named(&mut table, Key("limits", "[limits.step]"), |reader, _, item| {
            limit(reader, item)
        }),
        family: reader.named(&mut table, Key("family", "[family.torch]"), family),
        bases: reader.named(
            &mut table,
            Key("bases", r#""python:3.11" = "target:python-base""#),
            |reader, _, item| reader.item_text(item),
        ),
    };
    reader.finish(table);
    Some(config)
}

fn image(reader: &mut Reader<'_>, name: &RepoPath, item: Item<'_, '_>) -> Option<ImageTable> {
    let place = item.place.clone();
    let mut table = reader.table(item)?;
    let image = ImageTable {
        dockerfile: reader
            .text(&mut table, Key("dockerfile", r#"dockerfile = "services/stt/Dockerfile""#)),
        context: reader.text(&mut table, Key("context", r#"context = ".""#)),
        target: reader.text(&mut table, Key("target", r#"target = "runtime""#)),
        args: reader.named(&mut table, Key("args", r#"args = { A = "1" }"#), |reader, _, item| {
            reader.item_text(item)
        }),
        tags: reader.texts(&mut table, Key("tags", r#"tags = ["ghcr.io/acme/stt:latest"]"#)),
        platforms: reader.texts(&mut table, Key("platforms", r#"platforms = ["linux/amd64"]"#)),
        class: reader.text(&mut table, Key("class", r#"class = "services""#)),
    };
    reader.finish(table);
    if let (Some(file), false) = (&image.dockerfile, is_image_name(name.as_str())) {
        refuse_name(reader, name, file, place);
    }
    Some(image)
}

/// Whether an image can be called so: as the last part of a repository.
fn is_image_name(name: &str) -> bool {
    let whole = name.parse::<bakehouse_model::oci::Reference>();
    whole.is_ok() && !name.contains(['/', ':', '@'])
}

fn refuse_name(reader: &mut Reader<'_>, name: &RepoPath, file: &Placed<RepoPath>, place: Location) {
    let message = format!(
        "an image of `{}` cannot be called `{}`",
        shown(file.value.as_str()),
        shown(name.as_str())
    );
    let help = "use lower-case words and digits, joined by `-`, `_` or `.`; \
                a key that is a Dockerfile's path needs no `dockerfile`";
    reader.wrong(Mistake::new("bad-name", message, help), place);
}

fn class(reader: &mut Reader<'_>, _: &Name, item: Item<'_, '_>) -> Option<ClassTable> {
    let mut table = reader.table(item)?;
    let class = ClassTable {
        images: reader.texts(&mut table, Key("images", r#"images = ["python-*"]"#)),
        level: reader.whole(&mut table, Key("level", "level = 0"), 0),
        minutes: minutes(reader, &mut table),
        size: reader.text(&mut table, Key("size", r#"size = "2GB""#)),
        timeout: reader.text(&mut table, Key("timeout", r#"timeout = "20m""#)),
        step_timeout: reader.text(&mut table, Key("step-timeout", r#"step-timeout = "20m""#)),
        max_parallel: reader.whole(&mut table, Key("max-parallel", "max-parallel = 2"), 1),
        cleanup: reader.text(&mut table, Key("cleanup", r#"cleanup = "conservative""#)),
        retries: reader.whole(&mut table, Key("retries", "retries = 1"), 0),
    };
    reader.finish(table);
    Some(class)
}

fn limit(reader: &mut Reader<'_>, item: Item<'_, '_>) -> Option<LimitTable> {
    let mut table = reader.table(item)?;
    let limit = LimitTable {
        memory: reader.text(&mut table, Key("memory", r#"memory = "512m""#)),
        cpus: reader.number(&mut table, Key("cpus", "cpus = 1.5"), Processors::new),
        pids: reader.whole(&mut table, Key("pids", "pids = 100"), 1),
    };
    reader.finish(table);
    Some(limit)
}

fn minutes(reader: &mut Reader<'_>, table: &mut Table<'_, '_>) -> Option<Placed<Minutes>> {
    let Placed { value: (least, most), place } =
        reader.numbers(table, Key("minutes", "minutes = [3, 4]"))?;
    let Some(value) = Minutes::new(least, most) else {
        let message = format!("`{least}` to `{most}` minutes are no estimate");
        let help = "write the least and the most, such as `[3, 4]`, of at most a year";
        reader.wrong(Mistake::new("bad-estimate", message, help), place);
        return None;
    };
    Some(Placed { value, place })
}

fn family(reader: &mut Reader<'_>, name: &Name, item: Item<'_, '_>) -> Option<FamilyTable> {
    let place = item.place.clone();
    let mut table = reader.table(item)?;
    let has_base = table.has("base");
    let base = reader.text(&mut table, Key("base", r#"base = "family-torch""#));
    let arg = reader.text(&mut table, Key("arg", r#"arg = "BASE_IMAGE""#));
    let services =
        reader.texts(&mut table, Key("services", r#"services = ["speech-relay", "rtap"]"#));
    reader.finish(table);
    if !has_base {
        let message = format!("family `{}` has no `base`", shown(name.as_str()));
        let help = "name an image of the fleet or a reference, such as `base = \"family-torch\"`";
        reader.wrong(Mistake::new("missing-key", message, help), place);
    }
    let arg = arg.map(|arg| arg.value).unwrap_or_default();
    Some(FamilyTable { base: base?, arg, services })
}
