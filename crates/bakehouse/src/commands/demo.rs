//! `bakehouse demo`: everything by itself, on any Linux machine: a base from this machine's
//! own tools, a fleet of 18 images, built, run, built again, changed and built again.

use std::path::{Path, PathBuf};

use bakehouse_model::ExitCode;
use bakehouse_render::{bytes, duration};

use super::build;
use crate::cli::{BuildArgs, DemoArgs, Where};
use crate::context::Context;
use crate::demo;
use crate::failure::{Failure, Kind};
use crate::hostbase;
use crate::request::Request;

/// What the first base of the fleet stands on.
const BASE: &str = "machine-base";

/// Runs the command.
pub fn run(args: &DemoArgs, cx: &mut Context) -> Result<ExitCode, Failure> {
    let place = Place::make(args.directory.as_deref(), cx)?;
    let fleet_dir = place.path.join("fleet");
    cx.env.insert("BAKEHOUSE_HOME".to_owned(), place.path.join("home").display().to_string());
    let tar = write_base(&place.path, cx)?;
    let fleet = demo::write_fleet(&fleet_dir, BASE)
        .map_err(|error| Failure::doing(Kind::Environment, "write the demo's fleet", &error))?;
    say(
        cx,
        &format!(
            "2. Wrote a fleet: {} images, {} files, {}.\n",
            fleet.images.len(),
            fleet.files,
            bytes(fleet.bytes)
        ),
    )?;

    say(cx, "3. Building it, with nothing but this program and the kernel.\n\n")?;
    let exit = once(&fleet_dir, &tar, args, cx)?;
    if exit != ExitCode::Ok {
        return Ok(exit);
    }
    show_run(cx)?;
    say(cx, "\n5. Building again: nothing changed.\n\n")?;
    let exit = once(&fleet_dir, &tar, args, cx)?;
    if exit != ExitCode::Ok {
        return Ok(exit);
    }
    let change = demo::change_one(&fleet_dir)
        .map_err(|error| Failure::doing(Kind::Environment, "change the demo's fleet", &error))?;
    say(
        cx,
        &format!(
            "\n6. Changed {}: {}. Building again: {} has to be rebuilt.\n\n",
            change.path,
            change.what,
            change.affects.join(", ")
        ),
    )?;
    let exit = once(&fleet_dir, &tar, args, cx)?;
    if exit != ExitCode::Ok {
        return Ok(exit);
    }
    let kept = args.directory.is_some();
    say(cx, &closing(&place.path, kept))?;
    Ok(ExitCode::Ok)
}

fn closing(path: &Path, kept: bool) -> String {
    let next = "Next: `bakehouse build` in a repository of yours.\n";
    if !kept {
        return format!("\n{next}");
    }
    let path = path.display();
    format!(
        "\nTo build the demo's fleet yourself:\n  cd {path}/fleet && BAKEHOUSE_HOME={path}/home \\\n    \
         bakehouse build --build-context {BASE}=rootfs-tar://{path}/machine-base.tar\n{next}"
    )
}

/// The folder of the demo; one that nobody named is removed again.
struct Place {
    path: PathBuf,
    _own: Option<Cleaner>,
}

struct Cleaner(PathBuf);

impl Drop for Cleaner {
    fn drop(&mut self) {
        // What cannot be removed is left; the folder is in the temporary one.
        drop(bakehouse_store::remove_tree(&self.0));
    }
}

impl Place {
    fn make(directory: Option<&Path>, cx: &Context) -> Result<Self, Failure> {
        let path = match directory {
            Some(directory) => cx.cwd.join(directory),
            None => {
                let temporary = cx.var("TMPDIR").unwrap_or("/tmp");
                Path::new(temporary).join(format!("bakehouse-demo-{}", std::process::id()))
            }
        };
        std::fs::create_dir_all(&path).map_err(|error| {
            Failure::doing(Kind::Environment, format_args!("make `{}`", path.display()), &error)
        })?;
        let own = directory.is_none().then(|| Cleaner(path.clone()));
        Ok(Self { path, _own: own })
    }
}

fn write_base(place: &Path, cx: &mut Context) -> Result<PathBuf, Failure> {
    let path = place.join("machine-base.tar");
    let failed = |error: &dyn std::error::Error| {
        Failure::doing(Kind::Environment, "assemble a base from this machine's tools", error)
    };
    let file = std::fs::File::create(&path).map_err(|error| failed(&error))?;
    let base =
        hostbase::write_tar(std::io::BufWriter::new(file)).map_err(|error| failed(&error))?;
    let text = format!(
        "1. Assembled a base from this machine's own shell and {} tools: {} files, {}.\n",
        base.tools.len(),
        base.files,
        bytes(base.bytes)
    );
    say(cx, &text)?;
    Ok(path)
}

fn once(fleet: &Path, tar: &Path, args: &DemoArgs, cx: &mut Context) -> Result<ExitCode, Failure> {
    let args = BuildArgs {
        place: Where {
            directory: Some(fleet.to_path_buf()),
            build_context: vec![format!("{BASE}=rootfs-tar://{}", tar.display())],
            ..Where::default()
        },
        progress: args.progress,
        ..BuildArgs::default()
    };
    let started = std::time::Instant::now();
    let request = Request::read(&args.place, &args.shape, &[], cx)?;
    request.refuse_errors()?;
    let Some(done) = build::build(&request, &args, cx)? else { return Ok(ExitCode::Ok) };
    let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    build::report(&request, &args, &done, cx)?;
    say(cx, &format!("   (all of it took {})\n", duration(took)))?;
    Ok(done.exit)
}

fn show_run(cx: &mut Context) -> Result<(), Failure> {
    let store = super::open_store(cx)?;
    let name = demo::SHOWPIECE;
    let (code, output) = super::run::output_of(&store, name, &[])?;
    if code != 0 {
        return Err(Failure::new(Kind::Work, format!("`{name}` ended with exit code {code}")));
    }
    let quoted: String = output.lines().map(|line| format!("   | {line}\n")).collect();
    say(cx, &format!("\n4. Ran the built image `{name}`; it says:\n{quoted}"))
}

fn say(cx: &mut Context, text: &str) -> Result<(), Failure> {
    super::print(cx, text)
}
