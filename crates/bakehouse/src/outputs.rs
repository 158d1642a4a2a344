//! `--output`, `--load`, `--push`, `--tag`: what is to be made of the images, and where.

use std::path::PathBuf;

use bakehouse_model::Compression;
use bakehouse_model::oci::Reference;
use bakehouse_plan::assemble::MediaTypes;

use crate::cli::BuildArgs;
use crate::context::Context;
use crate::failure::{Failure, Kind};

/// Everything that is wanted of the images.
#[derive(Debug, Clone, Default)]
pub struct Outputs {
    /// How layers are packed.
    pub compression: Compression,
    /// How hard they are compressed.
    pub level: Option<u8>,
    /// Whether blobs are made anew where others exist.
    pub force_compression: bool,
    /// Names of media types.
    pub types: MediaTypes,
    /// `--tag`, and `name=` of an output.
    pub tags: Vec<Reference>,
    /// Push to registries.
    pub push: bool,
    /// Load into the Docker Engine.
    pub load: bool,
    /// Files and folders to write.
    pub files: Vec<FileOutput>,
}

/// A file or folder to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOutput {
    /// What to write.
    pub kind: OutputKind,
    /// Where; standard output if none.
    pub dest: Option<PathBuf>,
}

/// What can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// An OCI layout in a tar.
    OciTar,
    /// An OCI layout in a folder.
    OciFolder,
    /// What `docker load` reads.
    DockerTar,
    /// The file system in a tar.
    Tar,
    /// The file system in a folder.
    Local,
}

impl OutputKind {
    /// As `type=` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OciTar | Self::OciFolder => "oci",
            Self::DockerTar => "docker",
            Self::Tar => "tar",
            Self::Local => "local",
        }
    }

    /// Whether it is an image, with layers as blobs.
    pub fn is_image(self) -> bool {
        matches!(self, Self::OciTar | Self::OciFolder | Self::DockerTar)
    }
}

/// One `--output`, read.
#[derive(Default)]
struct Spec {
    kind: String,
    dest: Option<String>,
    name: Vec<String>,
    push: bool,
    tar: Option<bool>,
    oci_types: Option<bool>,
    compression: Option<Compression>,
    level: Option<u8>,
    force: bool,
}

impl Outputs {
    /// What the command line asks for.
    pub fn parse(args: &BuildArgs, cx: &Context) -> Result<Self, Failure> {
        let mut outputs = Self::sent(&args.tag, args.push, args.load)?;
        let mut compression = None;
        for text in &args.output {
            let spec = parse(text)?;
            compression = spec.compression.or(compression);
            outputs.level = spec.level.or(outputs.level);
            outputs.force_compression |= spec.force;
            outputs.push |= spec.push;
            if spec.oci_types == Some(false) {
                outputs.types = MediaTypes::Docker;
            }
            for name in &spec.name {
                let parsed = name.parse().map_err(|error| Failure::from_error(Kind::Usage, &error));
                outputs.tags.push(parsed?);
            }
            outputs.add(text, &spec, cx)?;
        }
        outputs.compression = compression.unwrap_or(outputs.default_compression());
        if outputs.compression == Compression::Zstd && outputs.types == MediaTypes::Docker {
            return Err(Failure::new(Kind::Usage, "Docker's media types know no zstd layers")
                .hint("leave out oci-mediatypes=false, or use compression=gzip"));
        }
        Ok(outputs)
    }

    /// Images that go nowhere but to registries and to the Docker Engine.
    pub fn sent(tags: &[String], push: bool, load: bool) -> Result<Self, Failure> {
        let parse = |tag: &String| {
            tag.parse().map_err(|error| {
                Failure::from_error(Kind::Usage, &error).hint("-t takes an image reference")
            })
        };
        let tags = tags.iter().map(parse).collect::<Result<_, Failure>>()?;
        Ok(Self { tags, push, load, ..Self::default() })
    }

    fn add(&mut self, text: &str, spec: &Spec, cx: &Context) -> Result<(), Failure> {
        let file = spec.dest.as_deref().filter(|dest| *dest != "-").map(|dest| cx.cwd.join(dest));
        let kind = match spec.kind.as_str() {
            "image" => return Ok(()),
            "registry" => {
                self.push = true;
                return Ok(());
            }
            "oci" if spec.tar == Some(false) => OutputKind::OciFolder,
            "oci" => OutputKind::OciTar,
            "docker" if spec.dest.is_none() => {
                self.load = true;
                return Ok(());
            }
            "docker" => OutputKind::DockerTar,
            "tar" => OutputKind::Tar,
            "local" => OutputKind::Local,
            other => {
                return Err(Failure::new(
                    Kind::Usage,
                    format!("--output `{text}`: type `{other}` is not known"),
                )
                .hint("oci, docker, tar, local, image and registry are"));
            }
        };
        let folder = matches!(kind, OutputKind::Local | OutputKind::OciFolder);
        if folder && file.is_none() {
            return Err(Failure::new(Kind::Usage, format!("--output `{text}` needs dest=FOLDER")));
        }
        if !folder && spec.dest.is_none() && cx.is_terminal {
            return Err(Failure::new(
                Kind::Usage,
                format!("--output `{text}` would write an archive to the terminal"),
            )
            .hint("add dest=FILE, or dest=- if that is meant"));
        }
        if let Some(path) = &file
            && !folder
            && !path.parent().is_some_and(std::path::Path::is_dir)
        {
            let what = format!("there is no folder for `{}`", path.display());
            return Err(Failure::new(Kind::Usage, what).hint("make it first"));
        }
        self.files.push(FileOutput { kind, dest: file });
        Ok(())
    }

    /// What leaves the machine is packed so that everybody reads it; what stays, so that it
    /// is quick.
    fn default_compression(&self) -> Compression {
        let leaves = self.push || self.load || self.files.iter().any(|file| file.kind.is_image());
        if leaves { Compression::Gzip } else { Compression::Zstd }
    }
}

fn parse(text: &str) -> Result<Spec, Failure> {
    let mut spec = Spec::default();
    if !text.contains('=') {
        // As buildx: a bare path is a folder, `-` is a tar.
        let kind = if text == "-" { "tar" } else { "local" };
        return Ok(Spec { kind: kind.to_owned(), dest: Some(text.to_owned()), ..spec });
    }
    let fields = split_fields(text);
    for field in &fields {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        set(&mut spec, text, key.trim(), value.trim())?;
    }
    if spec.kind.is_empty() {
        return Err(Failure::new(Kind::Usage, format!("--output `{text}` has no type="))
            .hint("oci, docker, tar, local, image and registry are"));
    }
    Ok(spec)
}

fn set(spec: &mut Spec, text: &str, key: &str, value: &str) -> Result<(), Failure> {
    let wrong = |what: &str| Failure::new(Kind::Usage, format!("--output `{text}`: {what}"));
    let flag = || match value {
        "true" | "1" | "" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(wrong(&format!("`{key}` is true or false"))),
    };
    match key {
        "type" => spec.kind = value.to_owned(),
        "dest" => spec.dest = Some(value.to_owned()),
        "name" => spec.name = value.split(',').map(str::to_owned).collect(),
        "push" => spec.push = flag()?,
        "tar" => spec.tar = Some(flag()?),
        "oci-mediatypes" => spec.oci_types = Some(flag()?),
        "force-compression" => spec.force = flag()?,
        "compression" => {
            spec.compression = Some(match value {
                "gzip" => Compression::Gzip,
                "zstd" => Compression::Zstd,
                "uncompressed" => Compression::Uncompressed,
                _ => return Err(wrong("compression is gzip, zstd or uncompressed")),
            });
        }
        "compression-level" => {
            let level = value.parse().map_err(|_| wrong("compression-level is a number"))?;
            spec.level = Some(level);
        }
        _ => {
            return Err(wrong(&format!("`{key}` is not known")).hint(
                "type, dest, name, push, tar, compression, compression-level, force-compression \
                 and oci-mediatypes are",
            ));
        }
    }
    Ok(())
}

/// Comma-separated; a field in double quotes may have commas in it, as in CSV.
fn split_fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().expect("there is always one").push(c),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read_as_buildx_reads_them() {
        let oci = parse("type=oci,dest=x.tar,compression=zstd").unwrap();
        assert_eq!((oci.kind.as_str(), oci.dest.as_deref()), ("oci", Some("x.tar")));
        assert_eq!(oci.compression, Some(Compression::Zstd));
        let names = parse("type=image,\"name=a,b\",push=true").unwrap();
        assert_eq!((names.name, names.push), (vec!["a".to_owned(), "b".to_owned()], true));
        let folder = parse("out").unwrap();
        assert_eq!((folder.kind.as_str(), folder.dest.as_deref()), ("local", Some("out")));
        for text in ["type=oci,x=1", "dest=x", "type=oci,compression=lzma", "type=oci,push=maybe"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
