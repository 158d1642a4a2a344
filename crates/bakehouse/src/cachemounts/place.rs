//! Where saved caches go to and come from: an archive, a folder or a registry.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use bakehouse_model::Digest;
use bakehouse_model::oci::{Descriptor, Manifest, Platform, Reference};
use bakehouse_registry::{Client, ClientError};
use bakehouse_store::Store;
use bakehouse_store::layout::{self, Layout, LayoutError, LayoutImage};

use crate::failure::{Failure, Kind};
use crate::finish;

/// What a registry's references begin with on the command line.
const REGISTRY: &str = "registry://";

/// Where caches are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A tar of an OCI image layout.
    Archive(PathBuf),
    /// An OCI image layout.
    Folder(PathBuf),
    /// A repository and a tag.
    Registry(Reference),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive(path) | Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Registry(reference) => f.write_str(&reference.familiar()),
        }
    }
}

impl Place {
    /// What `--to` and `--from` say: `registry://REFERENCE`, a folder, or a file.
    pub fn parse(text: &str, cwd: &Path) -> Result<Self, Failure> {
        if let Some(reference) = text.strip_prefix(REGISTRY) {
            let reference: Reference =
                reference.parse().map_err(|error| Failure::from_error(Kind::Usage, &error))?;
            return Ok(Self::Registry(reference));
        }
        if text.is_empty() || text.contains("://") {
            return Err(Failure::new(Kind::Usage, format!("`{text}` is no place for caches"))
                .hint("name a file, a folder (with a slash at its end) or registry://REFERENCE"));
        }
        let path = cwd.join(text);
        let is_folder = text.ends_with('/') || path.is_dir();
        Ok(if is_folder { Self::Folder(path) } else { Self::Archive(path) })
    }

    /// Writes the artifact, which is in `store`.
    pub fn write(
        &self,
        store: &Store,
        manifest: &Descriptor,
        client: &Client,
    ) -> Result<(), Failure> {
        let image = LayoutImage { manifest: manifest.clone(), references: Vec::new() };
        let failed = |error: &LayoutError| {
            Failure::doing(Kind::Environment, format_args!("write `{self}`"), error)
        };
        match self {
            Self::Archive(path) => finish::write_file(path, |out| {
                layout::write_oci_tar(store, &[image], out).map_err(|error| {
                    bakehouse_run::BackendError::environment("write the caches", error)
                })
            })
            .map_err(Failure::from),
            Self::Folder(path) => {
                refuse_others(path)?;
                layout::replace_oci_dir(store, &[image], path).map_err(|error| failed(&error))
            }
            Self::Registry(reference) => {
                client.push(manifest, reference, &[], &|_, _| {})?;
                Ok(())
            }
        }
    }

    /// Reads the artifact's manifest and nothing else; none if there is nothing at the place.
    pub fn open(&self, client: &Client) -> Result<Option<Artifact>, Failure> {
        match self {
            Self::Archive(path) | Self::Folder(path) => {
                if !path.exists() || is_empty_folder(path) {
                    return Ok(None);
                }
                self.open_layout(path).map(Some)
            }
            Self::Registry(reference) => match client.resolve(reference, &Platform::host()) {
                Ok(resolved) => Ok(Some(Artifact {
                    digest: resolved.manifest.digest.clone(),
                    manifest: resolved.manifest_doc,
                    layout: None,
                })),
                Err(ClientError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            },
        }
    }

    fn open_layout(&self, path: &Path) -> Result<Artifact, Failure> {
        let failed = |error: &dyn std::error::Error| self.unreadable(error);
        let layout = Layout::open(path).map_err(|error| failed(&error))?;
        let images = layout.images();
        let [(_, only)] = images.as_slice() else {
            let what = format!("`{self}` has {} things and not one artifact", images.len());
            return Err(Failure::new(Kind::Input, what));
        };
        let bytes = layout.document(&only.digest).map_err(|error| failed(&error))?;
        let manifest = serde_json::from_slice(&bytes).map_err(|error| failed(&error))?;
        Ok(Artifact { digest: only.digest.clone(), manifest, layout: Some(layout) })
    }

    /// Brings these layers of an artifact, as far as they are not there, into `store`, which
    /// is the client's too.
    pub fn fetch(
        &self,
        artifact: &Artifact,
        layers: Vec<Descriptor>,
        store: &Store,
        client: &Client,
    ) -> Result<(), Failure> {
        if let Some(layout) = &artifact.layout {
            layout.import_blobs(store, &layers).map_err(|error| self.unreadable(&error))?;
        }
        if let Self::Registry(reference) = self {
            let manifest = Manifest { layers, ..artifact.manifest.clone() };
            client.fetch_layers(reference, &manifest, &|_, _| {})?;
        }
        Ok(())
    }

    fn unreadable(&self, error: &dyn std::error::Error) -> Failure {
        Failure::doing(Kind::Input, format_args!("read `{self}`"), error)
    }
}

/// Saved caches as a place has them.
#[derive(Debug)]
pub struct Artifact {
    /// What the manifest hashes to.
    pub digest: Digest,
    /// The manifest.
    pub manifest: Manifest,
    /// Where its blobs are, if that is no registry.
    layout: Option<Layout>,
}

/// Refuses a folder that has anything but saved caches in it.
fn refuse_others(path: &Path) -> Result<(), Failure> {
    const PARTS: [&str; 3] = ["blobs", "index.json", "oci-layout"];
    let refused = |what: String| {
        Err(Failure::new(Kind::Usage, what)
            .hint("name a folder that is empty, or that caches were saved to before"))
    };
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|error| {
            Failure::doing(Kind::Environment, format_args!("list `{}`", path.display()), &error)
        })?,
    };
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    if let Some(other) = names.iter().find(|name| !PARTS.iter().any(|part| *name == part)) {
        return refused(format!("`{}` has `{}` in it", path.display(), other.display()));
    }
    // Without an index there is no layout, but at most the beginning of one.
    if !path.join("index.json").exists() {
        return Ok(());
    }
    let artifact = Place::Folder(path.to_owned()).open_layout(path).ok();
    match artifact.as_ref().and_then(|it| super::artifact_type(&it.manifest)) {
        Some(super::ARTIFACT) => Ok(()),
        _ => refused(format!("`{}` has something else in it than saved caches", path.display())),
    }
}

fn is_empty_folder(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart_by_how_they_are_written() {
        let cwd = tempfile::tempdir().unwrap();
        fs::create_dir(cwd.path().join("there")).unwrap();
        let parse = |text| Place::parse(text, cwd.path());
        assert_eq!(parse("a.tar").unwrap(), Place::Archive(cwd.path().join("a.tar")));
        assert_eq!(parse("new/").unwrap(), Place::Folder(cwd.path().join("new/")));
        assert_eq!(parse("there").unwrap(), Place::Folder(cwd.path().join("there")));
        let registry = parse("registry://localhost:5000/caches:main").unwrap();
        assert_eq!(registry.to_string(), "localhost:5000/caches:main");
        for text in ["", "s3://bucket", "registry://a b"] {
            parse(text).unwrap_err();
        }
    }
}
