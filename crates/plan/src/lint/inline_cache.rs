//! `mode=max` together with a cache in the image itself, which knows only `min`.

use bakehouse_model::Diagnostic;

use super::Given;
use super::cache_shared::Export;
use crate::codes::{Code, warning};
use crate::fleet::{Fleet, Image};

pub(super) const CODE: Code = warning(
    "inline-cache-max",
    "an inline cache is asked for together with `mode=max`, and has the last stage's layers only",
    "choose one: `mode=max` with a reference of its own, or an inline cache",
);

pub(super) fn find(fleet: &Fleet, _: &Given<'_>) -> Vec<Diagnostic> {
    let found = fleet.images.iter().filter_map(|image| {
        let what = asked(image)?;
        let message = format!("`{}` asks for {what} and for `mode=max`", image.name);
        Some(CODE.at(image.location(), message))
    });
    found.collect()
}

/// How an image asks for an inline cache where another one is to have everything.
fn asked(image: &Image) -> Option<&'static str> {
    let exports: Vec<Export<'_>> =
        image.options.cache_to.iter().map(|spec| Export::parse(spec)).collect();
    if exports.iter().any(|export| export.is_inline() && export.is_max()) {
        return Some("`type=inline`");
    }
    let argument = image.args.get("BUILDKIT_INLINE_CACHE");
    let inline = argument.is_some_and(|value| matches!(value.as_str(), "1" | "true"));
    (inline && exports.iter().any(Export::is_max)).then_some("`BUILDKIT_INLINE_CACHE`")
}
