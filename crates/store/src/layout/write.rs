//! Images out of the store.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bakehouse_model::oci::{Descriptor, Index, Manifest, Platform, Reference, media_type};
use bakehouse_model::{Digest, DigestWriter};
use serde::Serialize;
use tar::{EntryType, Header};

use super::{
    IMAGE_NAME, LayoutError, LayoutImage, MAX_DOCUMENT, REF_NAME, from_json, reach, select,
};
use crate::store::{Store, StoreError};

const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The largest size that every reader of tar understands.
const MAX_USTAR_SIZE: u64 = (8 << 30) - 1;

/// Writes the images as an archive of an OCI image layout.
pub fn write_oci_tar(
    store: &Store,
    images: &[LayoutImage],
    out: impl Write,
) -> Result<(), LayoutError> {
    let mut archive = Archive { out };
    archive.blobs(store, &blobs(store, images)?)?;
    archive.file("index.json", 0o644, &to_json(&index(images)))?;
    archive.file("oci-layout", 0o444, OCI_LAYOUT)?;
    archive.finish()
}

/// Writes the images as an archive that `docker load` reads. It is an OCI image layout too.
///
/// Of an image for several platforms, Docker gets the one for this machine.
pub fn write_docker_tar(
    store: &Store,
    images: &[LayoutImage],
    out: impl Write,
) -> Result<(), LayoutError> {
    let listed = docker_images(store, images)?;
    let mut archive = Archive { out };
    archive.blobs(store, &blobs(store, images)?)?;
    archive.file("index.json", 0o644, &to_json(&index(images)))?;
    archive.file("manifest.json", 0o644, &to_json(&listed))?;
    archive.file("oci-layout", 0o444, OCI_LAYOUT)?;
    archive.finish()
}

/// Writes the images to a folder as an OCI image layout, beside those that are there.
///
/// Blobs become hard links where that is possible. An image that had one of the names
/// before loses it.
pub fn write_oci_dir(store: &Store, images: &[LayoutImage], dir: &Path) -> Result<(), LayoutError> {
    place_all(store, &blobs(store, images)?, dir)?;
    let path = dir.join("index.json");
    let mut merged = index(images);
    let mut kept = earlier(&path)?;
    kept.retain(|old| !merged.manifests.iter().any(|new| supersedes(new, old)));
    kept.append(&mut merged.manifests);
    merged.manifests = kept;
    replace(&path, &to_json(&merged))
}

/// Writes the images to a folder as an OCI image layout, in the place of those that are there.
///
/// At every moment the folder has either those or these. Blobs that nobody needs any more go
/// last, and only where there was a layout before.
pub fn replace_oci_dir(
    store: &Store,
    images: &[LayoutImage],
    dir: &Path,
) -> Result<(), LayoutError> {
    let wanted = blobs(store, images)?;
    let folder = place_all(store, &wanted, dir)?;
    let path = dir.join("index.json");
    let replaces = path.exists();
    replace(&path, &to_json(&index(images)))?;
    if !replaces {
        return Ok(());
    }
    let failed = |error| LayoutError::io("list", &folder)(error);
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let is_wanted = |digest: &Digest| entry.file_name() == digest.hex();
        if !wanted.keys().any(is_wanted) {
            let path = entry.path();
            fs::remove_file(&path).map_err(LayoutError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Puts blobs into a folder that is or becomes a layout; gives the folder that they are in.
fn place_all(
    store: &Store,
    blobs: &BTreeMap<Digest, u64>,
    dir: &Path,
) -> Result<PathBuf, LayoutError> {
    let folder = dir.join("blobs/sha256");
    fs::create_dir_all(&folder).map_err(LayoutError::io("create", &folder))?;
    for (digest, size) in blobs {
        place(store, digest, *size, &folder)?;
    }
    replace(&dir.join("oci-layout"), OCI_LAYOUT)?;
    Ok(folder)
}

/// All blobs of the images, each once.
fn blobs(store: &Store, images: &[LayoutImage]) -> Result<BTreeMap<Digest, u64>, LayoutError> {
    let mut all = BTreeMap::new();
    for image in images {
        all.extend(reach(&image.manifest, &mut |it| {
            Ok(store.read_blob(&it.digest, MAX_DOCUMENT)?)
        })?);
    }
    Ok(all)
}

fn index(images: &[LayoutImage]) -> Index {
    let manifests = images.iter().flat_map(|image| {
        let unnamed = image.references.is_empty().then(|| image.manifest.clone());
        unnamed.into_iter().chain(image.references.iter().map(|name| named(&image.manifest, name)))
    });
    Index {
        schema_version: 2,
        media_type: Some(media_type::INDEX.to_owned()),
        manifests: manifests.collect(),
        annotations: BTreeMap::new(),
        extra: BTreeMap::new(),
    }
}

fn named(manifest: &Descriptor, reference: &Reference) -> Descriptor {
    let mut named = manifest.clone();
    let whole = reference.to_string();
    let short = reference.tag().map_or_else(|| whole.clone(), str::to_owned);
    named.annotations.insert(REF_NAME.to_owned(), short);
    named.annotations.insert(IMAGE_NAME.to_owned(), whole);
    named
}

/// Whether `new` takes the place of `old` in an index.
fn supersedes(new: &Descriptor, old: &Descriptor) -> bool {
    let name = |it: &Descriptor| it.annotations.get(IMAGE_NAME).cloned();
    match (name(new), name(old)) {
        (Some(new), Some(old)) => new == old,
        (_, None) => new.digest == old.digest && !old.annotations.contains_key(REF_NAME),
        (None, Some(_)) => false,
    }
}

fn earlier(path: &Path) -> Result<Vec<Descriptor>, LayoutError> {
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(LayoutError::io("open", path))?,
    };
    let mut bytes = Vec::new();
    let size = file.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes);
    let size = size.map_err(LayoutError::io("read", path))? as u64;
    let name = path.display().to_string();
    if size > MAX_DOCUMENT {
        return Err(LayoutError::TooLarge { name, size });
    }
    let index: Index = from_json(&bytes, &name, "an image index")?;
    Ok(index.manifests)
}

/// Puts a blob into the folder: as a link, else as a copy.
fn place(store: &Store, digest: &Digest, size: u64, folder: &Path) -> Result<(), LayoutError> {
    check_size(store, digest, size)?;
    let target = folder.join(digest.hex());
    match fs::symlink_metadata(&target) {
        Ok(found) if found.is_file() && found.len() == size => return Ok(()),
        Ok(_) => fs::remove_file(&target).map_err(LayoutError::io("replace", &target))?,
        Err(_) => {}
    }
    let source = store.blob_path(digest);
    if fs::hard_link(&source, &target).is_ok() {
        return Ok(());
    }
    let draft = folder.join(format!(".{}.{}", digest.hex(), std::process::id()));
    let copied = File::open(&source)
        .and_then(|mut from| io::copy(&mut from, &mut fresh(&draft)?))
        .and_then(|_| fs::rename(&draft, &target));
    if copied.is_err() {
        fs::remove_file(&draft).ok();
    }
    copied.map_err(LayoutError::io("write", &target))
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), LayoutError> {
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    fresh(&draft)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&draft, path))
        .map_err(LayoutError::io("write", path))
}

/// A new file. What has its name goes: it may be a link that leads elsewhere.
fn fresh(path: &Path) -> io::Result<File> {
    drop(fs::remove_file(path));
    File::options().write(true).create_new(true).open(path)
}

fn check_size(store: &Store, digest: &Digest, size: u64) -> Result<(), LayoutError> {
    match store.blob_size(digest) {
        None => Err(StoreError::Missing { digest: digest.clone() }.into()),
        Some(found) if found != size => {
            Err(StoreError::SizeMismatch { digest: digest.clone(), expected: size, found }.into())
        }
        Some(_) => Ok(()),
    }
}

/// An image as `manifest.json` of `docker save` lists it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    /// `null` if there are none, as Docker writes it.
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn docker_images(store: &Store, images: &[LayoutImage]) -> Result<Vec<DockerImage>, LayoutError> {
    let mut listed: Vec<(Digest, DockerImage)> = Vec::new();
    for image in images {
        let (descriptor, manifest) = select(&image.manifest, &Platform::host(), &mut |it| {
            Ok(store.read_blob(&it.digest, MAX_DOCUMENT)?)
        })?;
        let tagged = image.references.iter().filter(|name| name.tag().is_some());
        let tags: Vec<String> = tagged.map(|name| tag_only(name).familiar()).collect();
        let position = listed.iter().position(|(digest, _)| *digest == descriptor.digest);
        let position = position.unwrap_or_else(|| {
            listed.push((descriptor.digest, docker_image(&manifest)));
            listed.len() - 1
        });
        if !tags.is_empty() {
            listed[position].1.repo_tags.get_or_insert_default().extend(tags);
        }
    }
    Ok(listed.into_iter().map(|(_, image)| image).collect())
}

fn tag_only(name: &Reference) -> Reference {
    name.tag().map_or_else(|| name.clone(), |tag| name.with_tag(tag))
}

fn docker_image(manifest: &Manifest) -> DockerImage {
    DockerImage {
        config: blob_name(&manifest.config.digest),
        repo_tags: None,
        layers: manifest.layers.iter().map(|layer| blob_name(&layer.digest)).collect(),
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn to_json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("documents are plain data")
}

/// A tar archive that is being written. Names are short and plain, so no extension is used.
struct Archive<W> {
    out: W,
}

impl<W: Write> Archive<W> {
    fn blobs(&mut self, store: &Store, blobs: &BTreeMap<Digest, u64>) -> Result<(), LayoutError> {
        for (digest, size) in blobs {
            check_size(store, digest, *size)?;
        }
        self.header("blobs/", EntryType::Directory, 0o755, 0)?;
        self.header("blobs/sha256/", EntryType::Directory, 0o755, 0)?;
        for (digest, size) in blobs {
            self.blob(store, digest, *size)?;
        }
        Ok(())
    }

    fn blob(&mut self, store: &Store, digest: &Digest, size: u64) -> Result<(), LayoutError> {
        let file = store.open_blob(digest)?;
        self.header(&blob_name(digest), EntryType::Regular, 0o444, size)?;
        let mut writer = DigestWriter::new(&mut self.out);
        let mut rest = file.take(size);
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let read = match rest.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(LayoutError::io("read", &store.blob_path(digest))(error));
                }
            };
            writer.write_all(&buffer[..read]).map_err(|source| LayoutError::Write { source })?;
        }
        let (_, found, _) = writer.finish();
        if found != *digest {
            return Err(StoreError::DigestMismatch { expected: digest.clone(), found }.into());
        }
        self.pad(size)
    }

    fn file(&mut self, name: &str, mode: u32, bytes: &[u8]) -> Result<(), LayoutError> {
        self.header(name, EntryType::Regular, mode, bytes.len() as u64)?;
        self.bytes(bytes)?;
        self.pad(bytes.len() as u64)
    }

    fn header(
        &mut self,
        name: &str,
        kind: EntryType,
        mode: u32,
        size: u64,
    ) -> Result<(), LayoutError> {
        let mut header =
            if size > MAX_USTAR_SIZE { Header::new_gnu() } else { Header::new_ustar() };
        header.set_path(name).map_err(|source| LayoutError::Write { source })?;
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        self.bytes(header.as_bytes())
    }

    fn pad(&mut self, size: u64) -> Result<(), LayoutError> {
        let over = usize::try_from(size % 512).expect("it is less than 512");
        if over == 0 { Ok(()) } else { self.bytes(&[0; 512][over..]) }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), LayoutError> {
        self.out.write_all(bytes).map_err(|source| LayoutError::Write { source })
    }

    fn finish(mut self) -> Result<(), LayoutError> {
        self.bytes(&[0; 1024])?;
        self.out.flush().map_err(|source| LayoutError::Write { source })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Cursor;

    use super::*;
    use crate::layout::Layout;

    /// An image of one layer, in OCI's or in Docker's media types.
    fn image(store: &Store, content: &str, docker: bool) -> Descriptor {
        let put = |media_type: &str, bytes: &[u8]| {
            Descriptor::new(media_type, store.put_blob(bytes).unwrap(), bytes.len() as u64)
        };
        let types = match docker {
            false => [media_type::MANIFEST, media_type::CONFIG, media_type::LAYER_GZIP],
            true => [
                media_type::DOCKER_MANIFEST,
                media_type::DOCKER_CONFIG,
                media_type::DOCKER_LAYER_GZIP,
            ],
        };
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(types[0].to_owned()),
            config: put(types[1], format!("{{\"author\":\"{content}\"}}").as_bytes()),
            layers: vec![put(types[2], content.as_bytes()), put(types[2], b"shared")],
            annotations: BTreeMap::new(),
            extra: BTreeMap::new(),
        };
        put(types[0], &to_json(&manifest))
    }

    fn list(images: &[(&Descriptor, &[&str])]) -> Vec<LayoutImage> {
        let image = |(manifest, names): &(&Descriptor, &[&str])| LayoutImage {
            manifest: (*manifest).clone(),
            references: names.iter().map(|name| name.parse().unwrap()).collect(),
        };
        images.iter().map(image).collect()
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("home")).unwrap();
        (folder, store)
    }

    fn entries(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut archive = tar::Archive::new(Cursor::new(archive));
        let read = |entry: io::Result<tar::Entry<'_, _>>| {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 0);
            let name = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (name, bytes)
        };
        archive.entries().unwrap().map(read).collect()
    }

    #[test]
    fn a_docker_archive_is_sorted_repeatable_and_lists_its_images() {
        let (_folder, store) = store();
        let (one, two) = (image(&store, "one", false), image(&store, "two", true));
        let images = list(&[(&one, &["app", "127.0.0.1:5000/app:1"]), (&two, &[])]);
        let mut archive = Vec::new();
        write_docker_tar(&store, &images, &mut archive).unwrap();
        let mut again = Vec::new();
        write_docker_tar(&store, &images, &mut again).unwrap();
        assert_eq!(archive, again);

        let entries = entries(&archive);
        let names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 7 + 2 + 3);
        for (name, bytes) in &entries {
            if let Some(hex) = name.strip_prefix("blobs/sha256/").filter(|hex| !hex.is_empty()) {
                assert_eq!(Digest::of(bytes).hex(), hex);
            }
        }
        let listed = &entries.iter().find(|(name, _)| name == "manifest.json").unwrap().1;
        let listed: serde_json::Value = serde_json::from_slice(listed).unwrap();
        let manifest: Manifest =
            from_json(&store.read_blob(&one.digest, 9999).unwrap(), "", "").unwrap();
        assert_eq!(listed[0]["Config"], blob_name(&manifest.config.digest));
        assert_eq!(listed[0]["Layers"][1], blob_name(&Digest::of("shared")));
        let tags = serde_json::json!(["app:latest", "127.0.0.1:5000/app:1"]);
        assert_eq!((&listed[0]["RepoTags"], &listed[1]["RepoTags"]), (&tags, &().into()));
    }

    #[test]
    fn an_oci_archive_comes_back_as_it_was() {
        let (folder, store) = store();
        let one = image(&store, "one", false);
        let path = folder.path().join("image.tar");
        let out = fs::File::create(&path).unwrap();
        write_oci_tar(&store, &list(&[(&one, &["ghcr.io/org/app:1.2"])]), out).unwrap();

        let layout = Layout::open(&path).unwrap();
        let name = "ghcr.io/org/app:1.2";
        let found = layout.find("1.2").unwrap().unwrap();
        assert_eq!(found.annotations[IMAGE_NAME], name);
        assert_eq!(layout.find(name).unwrap().unwrap(), found);
        assert_eq!(layout.images()[0].0.as_deref(), Some("1.2"));
        assert_eq!(layout.find("absent").unwrap(), None);
        let other = Store::open(&folder.path().join("other")).unwrap();
        let imported = layout.import(&other, &found, Some(&Platform::host())).unwrap();
        assert_eq!(imported.digest, one.digest);
        let digests = |store: &Store| -> BTreeSet<_> {
            let blobs = fs::read_dir(store.home().join("blobs/sha256")).unwrap();
            blobs.map(|entry| entry.unwrap().file_name()).collect()
        };
        assert_eq!(digests(&other), digests(&store));
    }

    #[test]
    fn a_folder_collects_images_and_a_name_moves() {
        let (folder, store) = store();
        let dir = folder.path().join("layout");
        let (one, two) = (image(&store, "one", false), image(&store, "two", false));
        write_oci_dir(&store, &list(&[(&one, &["app:1", "app:2"])]), &dir).unwrap();
        write_oci_dir(&store, &list(&[(&two, &["app:2"])]), &dir).unwrap();
        write_oci_dir(&store, &list(&[(&two, &[])]), &dir).unwrap();
        write_oci_dir(&store, &list(&[(&two, &[])]), &dir).unwrap();
        let layout = Layout::open(&dir).unwrap();
        let images: Vec<_> =
            layout.images().into_iter().map(|(name, it)| (name, it.digest)).collect();
        let expected = [(Some("1"), &one), (Some("2"), &two), (None, &two)];
        let expected = expected.map(|(name, it)| (name.map(str::to_owned), it.digest.clone()));
        assert_eq!(images, expected);
        assert_eq!(fs::read(dir.join("oci-layout")).unwrap(), OCI_LAYOUT);
        let shared = dir.join(blob_name(&Digest::of("shared")));
        assert_eq!(fs::read(shared).unwrap(), b"shared");
    }

    #[test]
    fn an_index_gives_docker_this_platform_and_import_the_one_asked_for() {
        let (folder, store) = store();
        let (mut ours, mut other) = (image(&store, "one", false), image(&store, "two", false));
        ours.platform = Some(Platform::host());
        other.platform = Some("linux/s390x".parse().unwrap());
        let mut document = index(&[]);
        document.manifests = vec![other.clone(), ours.clone()];
        let bytes = to_json(&document);
        let digest = store.put_blob(&bytes).unwrap();
        let both = Descriptor::new(media_type::INDEX, digest, bytes.len() as u64);
        let images = list(&[(&both, &["app"])]);
        assert_eq!(docker_images(&store, &images).unwrap().len(), 1);

        let dir = folder.path().join("layout");
        write_oci_dir(&store, &images, &dir).unwrap();
        let layout = Layout::open(&dir).unwrap();
        let found = layout.find("latest").unwrap().unwrap();
        let target = Store::open(&folder.path().join("target")).unwrap();
        let s390x = layout.import(&target, &found, other.platform.as_ref()).unwrap();
        assert_eq!(s390x.digest, other.digest);
        assert_eq!(target.blob_size(&ours.digest), None);
        let arm = "linux/riscv64".parse().unwrap();
        let error = layout.import(&target, &found, Some(&arm)).unwrap_err();
        assert!(matches!(error, LayoutError::NoPlatform { .. }), "{error}");
        layout.import(&target, &found, None).unwrap();
        assert!(target.blob_size(&both.digest).is_some());
        // By digest, what is in no index is found too.
        assert_eq!(
            layout.find(ours.digest.as_str()).unwrap().unwrap().media_type,
            media_type::MANIFEST
        );
    }

    #[test]
    fn a_damaged_or_missing_blob_is_an_error_and_not_an_archive() {
        let (folder, store) = store();
        let one = image(&store, "one", false);
        let images = list(&[(&one, &["app"])]);
        let path = store.blob_path(&Digest::of("shared"));
        fs::remove_file(&path).unwrap();
        let error = write_oci_tar(&store, &images, io::sink()).unwrap_err();
        assert!(matches!(error, LayoutError::Store(StoreError::Missing { .. })), "{error}");
        fs::write(&path, "shareD").unwrap();
        let error = write_oci_tar(&store, &images, io::sink()).unwrap_err();
        assert!(matches!(error, LayoutError::Store(StoreError::DigestMismatch { .. })), "{error}");
        let layer = Descriptor::new(media_type::LAYER, Digest::of("shared"), 6);
        let error = write_oci_tar(&store, &list(&[(&layer, &[])]), io::sink()).unwrap_err();
        assert!(matches!(error, LayoutError::NotAnImage { .. }), "{error}");

        let dir = folder.path().join("layout");
        write_oci_dir(&store, &images, &dir).unwrap();
        let other = Store::open(&folder.path().join("other")).unwrap();
        let layout = Layout::open(&dir).unwrap();
        let found = layout.find("latest").unwrap().unwrap();
        let error = layout.import(&other, &found, None).unwrap_err();
        assert!(matches!(error, LayoutError::Store(StoreError::DigestMismatch { .. })), "{error}");
        assert_eq!(other.blob_size(&one.digest), None, "the manifest comes last");
    }
}
