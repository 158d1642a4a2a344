//! `bakehouse run IMAGE`: a built image's command, in the sandbox that builds it, on a layer
//! that is thrown away.

use bakehouse_engine::sandbox::{Cancel, Sandbox, SandboxConfig, Spec, Step};
use bakehouse_engine::snapshot::{self, MountOptions, Overlay};
use bakehouse_model::oci::{ImageConfig, Index, Manifest, Platform};
use bakehouse_model::{Digest, ExitCode, Snapshot};
use bakehouse_store::Store;
use bakehouse_store::layout::MAX_DOCUMENT;

use crate::cli::RunArgs;
use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::memory::directories;

/// Runs the command.
pub fn run(args: &RunArgs, cx: &mut Context) -> Result<ExitCode, Failure> {
    let store = super::open_store(cx)?;
    let (code, output) = output_of(&store, &args.image, &args.command)?;
    super::print(cx, &output)?;
    if code == 0 {
        return Ok(ExitCode::Ok);
    }
    Err(Failure::new(
        Kind::Work,
        format!("the command of `{}` ended with exit code {code}", args.image),
    ))
}

/// What an image's command prints, and its exit code.
pub fn output_of(store: &Store, image: &str, command: &[String]) -> Result<(i32, String), Failure> {
    let Some(digest) = store.image(image)? else {
        let known: Vec<String> = store.images()?.into_iter().map(|image| image.name).collect();
        return Err(Failure::new(Kind::Usage, format!("there is no built image `{image}`"))
            .hint(format!("built images: {}", known.join(", "))));
    };
    let manifest = own_manifest(store, &digest, image)?;
    let config: ImageConfig = document(store, &manifest.config.digest)?;
    let snapshot =
        snapshot::unpack_image(store, &manifest, &config, &mut |_, _| {}).map_err(|error| {
            Failure::doing(Kind::Environment, format_args!("unpack `{image}`"), &error)
        })?;
    execute(store, &snapshot, spec(&config, command)?)
}

/// The manifest, or of an index the one for this machine.
fn own_manifest(store: &Store, digest: &Digest, image: &str) -> Result<Manifest, Failure> {
    let index: Index = document(store, digest)?;
    if index.manifests.is_empty() {
        return document(store, digest);
    }
    let host = Platform::host();
    let Some(own) = index.select(&host) else {
        return Err(Failure::new(Kind::Usage, format!("`{image}` is not built for {host}")));
    };
    document(store, &own.digest)
}

fn document<T: serde::de::DeserializeOwned>(store: &Store, digest: &Digest) -> Result<T, Failure> {
    let bytes = store.read_blob(digest, MAX_DOCUMENT)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Failure::doing(Kind::Environment, format_args!("read the document {digest}"), &error)
    })
}

fn spec(config: &ImageConfig, command: &[String]) -> Result<Spec, Failure> {
    let own = &config.config;
    let mut args = own.entrypoint.clone().unwrap_or_default();
    match command {
        [] => args.extend(own.cmd.clone().unwrap_or_default()),
        given => args.extend(given.iter().cloned()),
    }
    if args.is_empty() {
        return Err(Failure::new(Kind::Usage, "the image has no command of its own")
            .hint("say what to run: `bakehouse run IMAGE -- sh -c 'echo hello'`"));
    }
    let cwd = if own.working_dir.is_empty() { "/" } else { &own.working_dir };
    Ok(Spec {
        args,
        env: own.env.clone(),
        cwd: cwd.to_owned(),
        user: own.user.clone(),
        ..Spec::default()
    })
}

fn execute(store: &Store, snapshot: &Snapshot, spec: Spec) -> Result<(i32, String), Failure> {
    let stage = store.stage_layer()?;
    let lowers = directories(store, snapshot)?;
    let root = Overlay::mount(&lowers, Some((&stage.fs(), &stage.work())), MountOptions::default())
        .map_err(|error| Failure::doing(Kind::Environment, "mount the image", &error))?;
    let cancel = Cancel::new()
        .map_err(|error| Failure::doing(Kind::Environment, "prepare the run", &error))?;
    let mut output = String::new();
    let mut sink = |_, line: &[u8]| {
        output.push_str(&String::from_utf8_lossy(line));
        output.push('\n');
    };
    let step = Step { root, spec, mounts: Vec::new() };
    let exit = Sandbox::new(SandboxConfig::default()).run(step, &mut sink, &cancel)?;
    Ok((exit.code, output))
}
