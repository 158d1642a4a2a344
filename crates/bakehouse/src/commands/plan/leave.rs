//! `--print bake` and `--print-commands`: what the plan is about, for other tools.

use std::collections::BTreeMap;

use bakehouse_plan::leave::{self, Given, Sending};

use crate::cli::PlanArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::outputs::Wanted;
use crate::request::{self, Request};
use crate::tags::Names;

/// Prints it.
pub(super) fn run(
    args: &PlanArgs,
    (request, outputs, names): (&Request, &Wanted, &Names),
    cx: &mut Context,
) -> Result<(), Failure> {
    let contexts: BTreeMap<String, String> = args
        .place
        .build_context
        .iter()
        .filter_map(|text| text.split_once('='))
        .map(|(name, what)| (name.to_owned(), what.to_owned()))
        .collect();
    let tags = names.iter().map(|(image, own)| {
        (image.clone(), own.iter().map(|reference| reference.familiar()).collect())
    });
    let tags: BTreeMap<String, Vec<String>> = tags.collect();
    let file = request::dockerfile(&args.place).map(|file| file.to_string_lossy());
    let folder = args.place.context.as_ref().map(|folder| folder.to_string_lossy());
    let given = Given {
        settings: &request.settings,
        platforms: &request.platforms,
        contexts: &contexts,
        tags: &tags,
        secrets: &args.secret,
        ssh: &args.ssh,
        pull: request.pull,
        single: file.as_deref().map(|file| (file, folder.as_deref())),
        texts: &request.texts,
    };
    let recipes = leave::recipes(&request.fleet, &request.named, &given);
    let sending = if outputs.all.push { Sending::Push } else { Sending::Load };
    let text = match args.print {
        Some(crate::cli::Printed::Bake) => leave::bake_file(&recipes),
        None => leave::script(&recipes, sending),
    };
    super::super::print(cx, &text)
}
