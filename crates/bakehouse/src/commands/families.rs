//! `bakehouse families`: images that are handed their base. `convert` makes Dockerfiles take
//! one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bakehouse_model::ExitCode;
use bakehouse_plan::convert::{self, Conversion, Unconverted};
use bakehouse_plan::families::{self, Family};
use bakehouse_render::{Change, Column, Style, clean, diagnostic, diff, table};
use serde_json::json;

use crate::cli::{ConvertArgs, FamiliesArgs, FamiliesVerb, Format, Shape};
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::request::Request;

/// Runs the command.
pub fn run(args: &FamiliesArgs, cx: &mut Context) -> Result<ExitCode, Failure> {
    if let Some(FamiliesVerb::Convert(args)) = &args.verb {
        return convert(args, cx);
    }
    let request = Request::read(&args.place, &Shape::default(), &[], cx)?;
    let families = families::families(&request.fleet);
    match args.format {
        Format::Json => super::print_json(
            cx,
            &json!({
                "version": 1,
                "families": families,
                "diagnostics": families::wrong(&request.fleet),
            }),
        )?,
        Format::Text => show(&families, &request, cx)?,
    }
    request.refuse_errors().map(|()| ExitCode::Ok)
}

fn show(families: &[Family], request: &Request, cx: &mut Context) -> Result<(), Failure> {
    if families.is_empty() {
        super::print(
            cx,
            "no image is in a family: `[family.NAME]` in `bakehouse.toml` makes one\n",
        )?;
    } else {
        let columns = [
            Column::left("FAMILY"),
            Column::left("BASE").flexible(),
            Column::left("IMAGE"),
            Column::left("TAKES IT AS"),
            Column::left("DOCKERFILE").flexible(),
        ];
        let rows = families.iter().flat_map(|family| {
            family.images.iter().map(|member| {
                vec![
                    family.name.clone(),
                    family.base.clone().unwrap_or_else(|| "-".to_owned()),
                    member.image.clone(),
                    member.arg.clone().unwrap_or_else(|| "nothing".to_owned()),
                    member.dockerfile.clone(),
                ]
            })
        });
        let rows: Vec<Vec<String>> = rows.collect();
        let text = table(&columns, &rows, cx.width(), cx.style());
        super::print(cx, &text)?;
    }
    // Errors are told when they are refused.
    let wrong = families::wrong(&request.fleet);
    for wrong in wrong.iter().filter(|_| !request.fleet.has_errors()) {
        let source = wrong.location.as_ref().and_then(|place| request.text(&place.file));
        let text = format!("\n{}", diagnostic(wrong, source.as_deref(), cx.style()));
        super::print(cx, &text)?;
    }
    Ok(())
}

/// A Dockerfile with the images that are built from it.
struct Shared<'a> {
    images: Vec<&'a str>,
    target: Option<&'a str>,
}

fn convert(args: &ConvertArgs, cx: &mut Context) -> Result<ExitCode, Failure> {
    let request = Request::read(&args.place, &Shape::default(), &args.images, cx)?;
    let mut converted = Vec::new();
    let mut told = String::new();
    for (file, shared) in chosen(&request, args) {
        let images = shared.images.join(", ");
        let text = source(&request, file, cx);
        let outcome = match &text {
            Some((_, text)) => convert::convert(text, shared.target, &args.arg),
            None => Err(Unconverted::Broken),
        };
        match (outcome, text) {
            (Ok(conversion), Some((path, text))) => {
                told.push_str(&difference(file, &text, &conversion, cx.style()));
                converted.push((path, conversion));
            }
            (Err(why @ Unconverted::BadName(_)), _) => {
                return Err(Failure::from_error(Kind::Usage, &why)
                    .hint("--arg takes letters, digits and `_`, such as BASE_IMAGE"));
            }
            (Err(why), _) => told.push_str(&left(file, &images, &why)),
            (Ok(_), None) => {}
        }
    }
    if args.write {
        for (path, conversion) in &converted {
            replace(path, &request.root, &conversion.text)?;
        }
    }
    told.push_str(&summary(converted.len(), args.write));
    super::print(cx, &told)?;
    Ok(ExitCode::Ok)
}

/// The Dockerfiles of the images that are named, else of those in families, else of all.
fn chosen<'a>(request: &'a Request, args: &ConvertArgs) -> BTreeMap<&'a str, Shared<'a>> {
    let images = &request.fleet.images;
    let in_family: BTreeSet<&str> = images
        .iter()
        .filter(|image| image.family.is_some())
        .map(|image| image.name.as_str())
        .collect();
    let by_family = args.images.is_empty() && !in_family.is_empty();
    let is_meant = |name: &str| {
        if by_family { in_family.contains(name) } else { request.named.contains(name) }
    };
    let mut files: BTreeMap<&str, Shared<'_>> = BTreeMap::new();
    for image in images.iter().filter(|image| is_meant(&image.name)) {
        let shared = files
            .entry(&image.file)
            .or_insert_with(|| Shared { images: Vec::new(), target: image.target.as_deref() });
        shared.images.push(&image.name);
    }
    files
}

/// The path of a Dockerfile, and its bytes; none if it stands within a definition.
fn source(request: &Request, file: &str, cx: &Context) -> Option<(PathBuf, Vec<u8>)> {
    // A file that `--file` names is relative to the current folder, any other to the root.
    let paths = [request.root.join(file), cx.cwd.join(file)];
    paths.into_iter().find_map(|path| Some((path.clone(), crate::discovery::read(&path).ok()?)))
}

fn difference(file: &str, text: &[u8], conversion: &Conversion, style: Style) -> String {
    let changes: Vec<Change<'_>> = conversion
        .edits
        .iter()
        .map(|edit| Change { line: edit.line, removed: edit.removed, added: &edit.added })
        .collect();
    diff(file, &String::from_utf8_lossy(text), &changes, style)
}

fn left(file: &str, images: &str, why: &Unconverted) -> String {
    let (file, images, why) = (clean(file), clean(images), clean(&why.to_string()));
    format!("left {file} ({images}): {why}\n")
}

fn summary(files: usize, written: bool) -> String {
    let count = if files == 1 { "1 file".to_owned() } else { format!("{files} files") };
    match (files, written) {
        (0, _) => "nothing to convert\n".to_owned(),
        (_, true) => format!("{count} converted\n"),
        (_, false) => format!("{count} to convert: --write does it\n"),
    }
}

/// Writes a file beside its place and renames it, so that nobody finds half of one. Its mode
/// stays.
fn replace(path: &Path, root: &Path, text: &[u8]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::doing(Kind::Environment, format_args!("write `{}`", path.display()), &error)
    };
    let real = path.canonicalize().map_err(failed)?;
    if path.is_symlink() && !real.starts_with(root) {
        return Err(Failure::new(
            Kind::Input,
            format!("`{}` is a link to a file outside of the repository", path.display()),
        )
        .hint("convert the file where it is"));
    }
    let mut name = real.file_name().unwrap_or_default().to_owned();
    name.push(format!(".bakehouse-{}", std::process::id()));
    let beside = real.with_file_name(name);
    let written = write(&beside, &real, text);
    if written.is_err() {
        // What is left of it is in nobody's way, but nobody needs it either.
        drop(std::fs::remove_file(&beside));
    }
    written.map_err(failed)
}

fn write(beside: &Path, path: &Path, text: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(beside)?;
    file.write_all(text)?;
    file.set_permissions(std::fs::metadata(path)?.permissions())?;
    file.sync_all()?;
    std::fs::rename(beside, path)
}
