//! Images into the store.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bakehouse_model::Digest;
use bakehouse_model::oci::{Descriptor, Index, Platform, media_type};
use rustix::fs::OFlags;
use serde::Deserialize;
use tar::{EntryType, Header};

use super::{IMAGE_NAME, LayoutError, MAX_DOCUMENT, REF_NAME, from_json, reach, select};
use crate::store::Store;

/// Entries that an archive may have. An image has about as many as layers.
const MAX_ENTRIES: usize = 1 << 20;

/// The largest extended header that is read; one has a few hundred bytes.
const MAX_EXTENSION: u64 = 1 << 20;

/// An OCI image layout: a folder, or a tar archive of one.
#[derive(Debug)]
pub struct Layout {
    path: PathBuf,
    source: Source,
    index: Index,
}

#[derive(Debug)]
enum Source {
    Folder,
    Archive { file: File, blobs: BTreeMap<Digest, Region> },
}

/// Where something is in an archive.
#[derive(Debug, Clone, Copy)]
struct Region {
    start: u64,
    size: u64,
}

impl Layout {
    /// Opens the layout at `path` and reads its index.
    pub fn open(path: &Path) -> Result<Self, LayoutError> {
        let metadata = std::fs::metadata(path).map_err(LayoutError::io("read", path))?;
        let lacks = |why| LayoutError::NotALayout { path: path.to_path_buf(), why };
        let name = path.join("index.json").display().to_string();
        let (source, bytes) = if metadata.is_dir() {
            let file = match open_regular(&path.join("index.json")) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(lacks("it has no `index.json`"));
                }
                other => other.map_err(LayoutError::io("open", path))?,
            };
            let size = file.metadata().map_err(LayoutError::io("read", path))?.len();
            (Source::Folder, read_document(file, size, &name, path)?)
        } else {
            let file = open_regular(path).map_err(LayoutError::io("open", path))?;
            let (index, blobs) = scan(&file, path)?;
            let region = index.ok_or_else(|| lacks("it has no `index.json`"))?;
            let bytes = read_document(InArchive::new(&file, region), region.size, &name, path)?;
            (Source::Archive { file, blobs }, bytes)
        };
        let index = from_json(&bytes, &name, "an image index")?;
        Ok(Self { path: path.to_path_buf(), source, index })
    }

    /// The images of the index with their names: the tag, or whatever else it says.
    pub fn images(&self) -> Vec<(Option<String>, Descriptor)> {
        let name = |it: &Descriptor| {
            it.annotations.get(REF_NAME).or_else(|| it.annotations.get(IMAGE_NAME)).cloned()
        };
        self.index.manifests.iter().map(|it| (name(it), it.clone())).collect()
    }

    /// The image with this tag, whole name or digest. A digest need not be in the index.
    pub fn find(&self, name: &str) -> Result<Option<Descriptor>, LayoutError> {
        let digest: Option<Digest> = name.parse().ok();
        let is_it = |it: &&Descriptor| {
            let called = |key| it.annotations.get(key).is_some_and(|value| value == name);
            called(REF_NAME) || called(IMAGE_NAME) || digest.as_ref() == Some(&it.digest)
        };
        match (self.index.manifests.iter().find(is_it), digest) {
            (Some(found), _) => Ok(Some(found.clone())),
            (None, Some(digest)) => self.sniff(digest),
            (None, None) => Ok(None),
        }
    }

    /// Brings an image into the store: the one for `platform` if it is for several, or all.
    /// The result describes the manifest, or the index if all were asked for.
    pub fn import(
        &self,
        store: &Store,
        image: &Descriptor,
        platform: Option<&Platform>,
    ) -> Result<Descriptor, LayoutError> {
        let mut read = |it: &Descriptor| self.document(&it.digest);
        let root = match platform {
            Some(platform) => select(image, platform, &mut read)?.0,
            None => image.clone(),
        };
        // The root comes last, so that it is only there with all that it needs.
        let mut blobs = reach(&root, &mut read)?;
        let size = blobs.remove(&root.digest).unwrap_or(root.size);
        for (digest, size) in blobs.into_iter().chain([(root.digest.clone(), size)]) {
            self.import_blob(store, &digest, size)?;
        }
        Ok(root)
    }

    /// Brings these blobs into the store.
    pub fn import_blobs(&self, store: &Store, blobs: &[Descriptor]) -> Result<(), LayoutError> {
        blobs.iter().try_for_each(|it| self.import_blob(store, &it.digest, it.size))
    }

    fn import_blob(&self, store: &Store, digest: &Digest, size: u64) -> Result<(), LayoutError> {
        if store.blob_size(digest) == Some(size) {
            return Ok(());
        }
        let (blob, _) = self.blob(digest)?;
        let mut ingest = store.ingest()?;
        // One byte more than there should be, so that too many are noticed.
        copy(blob.take(size.saturating_add(1)), &mut ingest)
            .map_err(LayoutError::io("copy a blob from", &self.path))?;
        ingest.commit(Some((digest, size)))?;
        Ok(())
    }

    /// Describes a document that nothing describes.
    fn sniff(&self, digest: Digest) -> Result<Option<Descriptor>, LayoutError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Shape {
            media_type: Option<String>,
            manifests: Option<serde::de::IgnoredAny>,
        }
        let bytes = match self.document(&digest) {
            Err(LayoutError::NoBlob { .. }) => return Ok(None),
            other => other?,
        };
        let shape: Shape = from_json(&bytes, digest.as_str(), "an image manifest")?;
        let media_type = shape.media_type.unwrap_or_else(|| {
            let index = shape.manifests.is_some();
            (if index { media_type::INDEX } else { media_type::MANIFEST }).to_owned()
        });
        Ok(Some(Descriptor::new(&media_type, digest, bytes.len() as u64)))
    }

    /// A document of the layout, which is what its digest says.
    pub fn document(&self, digest: &Digest) -> Result<Vec<u8>, LayoutError> {
        let (blob, size) = self.blob(digest)?;
        let bytes = read_document(blob, size, digest.as_str(), &self.path)?;
        let found = Digest::of(&bytes);
        if found != *digest {
            let expected = digest.clone();
            return Err(crate::StoreError::DigestMismatch { expected, found }.into());
        }
        Ok(bytes)
    }

    fn blob(&self, digest: &Digest) -> Result<(Box<dyn Read + '_>, u64), LayoutError> {
        let absent = || LayoutError::NoBlob { path: self.path.clone(), digest: digest.clone() };
        match &self.source {
            Source::Archive { file, blobs } => {
                let region = *blobs.get(digest).ok_or_else(absent)?;
                Ok((Box::new(InArchive::new(file, region)), region.size))
            }
            Source::Folder => {
                let path = self.path.join("blobs/sha256").join(digest.hex());
                let file = match open_regular(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Err(absent());
                    }
                    other => other.map_err(LayoutError::io("open", &path))?,
                };
                let size = file.metadata().map_err(LayoutError::io("read", &path))?.len();
                Ok((Box::new(file), size))
            }
        }
    }
}

/// Opens a file, but nothing that could block or be a device.
fn open_regular(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("flags of `open` are an `int`");
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

fn read_document(
    from: impl Read,
    size: u64,
    name: &str,
    path: &Path,
) -> Result<Vec<u8>, LayoutError> {
    if size > MAX_DOCUMENT {
        return Err(LayoutError::TooLarge { name: name.to_owned(), size });
    }
    let mut bytes = Vec::new();
    from.take(size).read_to_end(&mut bytes).map_err(LayoutError::io("read", path))?;
    Ok(bytes)
}

fn copy(mut from: impl Read, to: &mut impl io::Write) -> io::Result<()> {
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => to.write_all(&buffer[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Finds the index and the blobs of an archive. Nothing but headers is read.
fn scan(
    file: &File,
    path: &Path,
) -> Result<(Option<Region>, BTreeMap<Digest, Region>), LayoutError> {
    let not = |why| LayoutError::NotALayout { path: path.to_path_buf(), why };
    let failed = |error| LayoutError::io("read", path)(error);
    let len = file.metadata().map_err(failed)?.len();
    let (mut index, mut blobs) = (None, BTreeMap::new());
    let (mut position, mut next_size) = (0_u64, None);
    for _ in 0..MAX_ENTRIES {
        let mut header = Header::new_old();
        if position.saturating_add(512) > len {
            return Ok((index, blobs));
        }
        file.read_exact_at(header.as_mut_bytes(), position).map_err(failed)?;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok((index, blobs));
        }
        if !is_whole(&header) {
            return Err(not("it is neither a folder nor an uncompressed tar archive"));
        }
        let size = header.entry_size().map_err(|_| not("an entry's size is no number"))?;
        let start = position + 512;
        let kind = header.entry_type();
        if kind == EntryType::XHeader {
            let extension = Region { start, size };
            next_size = extended_size(file, extension).map_err(failed)?;
            position = next_header(start, size).ok_or_else(|| not("an entry has no end"))?;
            continue;
        }
        let size = next_size.take().unwrap_or(size);
        let end = start.checked_add(size).filter(|end| *end <= len);
        end.ok_or_else(|| not("it ends in the middle of an entry"))?;
        let region = Region { start, size };
        if kind.is_file() {
            match plain_name(&header) {
                Some(Name::Index) => index = Some(region),
                Some(Name::Blob(digest)) => {
                    blobs.insert(digest, region);
                }
                None => {}
            }
        }
        position = next_header(start, size).ok_or_else(|| not("an entry has no end"))?;
    }
    Err(not("it has too many entries"))
}

fn next_header(start: u64, size: u64) -> Option<u64> {
    start.checked_add(size.checked_next_multiple_of(512)?)
}

/// Whether the header's checksum is right.
fn is_whole(header: &Header) -> bool {
    let bytes = header.as_bytes();
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let expected = sum(&bytes[..148]) + sum(&bytes[156..]) + 8 * u32::from(b' ');
    header.cksum().is_ok_and(|found| found == expected)
}

/// The size that an extended header gives to the next entry: files of 8 GiB and more.
fn extended_size(file: &File, extension: Region) -> io::Result<Option<u64>> {
    if extension.size > MAX_EXTENSION {
        return Err(io::Error::other("an extended header is too long"));
    }
    let mut bytes = Vec::new();
    InArchive::new(file, extension).read_to_end(&mut bytes)?;
    let records = tar::PaxExtensions::new(&bytes).flatten();
    let sizes = records.filter(|record| record.key_bytes() == b"size");
    Ok(sizes.filter_map(|record| record.value().ok()?.parse().ok()).last())
}

enum Name {
    Index,
    Blob(Digest),
}

/// What the entry is, if it is one of those that a layout has.
fn plain_name(header: &Header) -> Option<Name> {
    let name = header.path_bytes();
    let name = std::str::from_utf8(&name).ok()?;
    let name = name.strip_prefix("./").unwrap_or(name);
    if name == "index.json" {
        return Some(Name::Index);
    }
    let digest = format!("sha256:{}", name.strip_prefix("blobs/sha256/")?);
    digest.parse().ok().map(Name::Blob)
}

/// Reads a region of an archive.
struct InArchive<'file> {
    file: &'file File,
    position: u64,
    end: u64,
}

impl<'file> InArchive<'file> {
    fn new(file: &'file File, region: Region) -> Self {
        Self { file, position: region.start, end: region.start.saturating_add(region.size) }
    }
}

impl Read for InArchive<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let read = self.file.read_at(&mut buffer[..wanted], self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(bytes: &[u8]) -> Result<Layout, LayoutError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        Layout::open(file.path())
    }

    fn entry(name: &str, kind: EntryType, size: u64, bytes: &[u8]) -> Vec<u8> {
        let mut header = Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        let mut all = header.as_bytes().to_vec();
        all.extend_from_slice(bytes);
        all.resize(all.len().next_multiple_of(512), 0);
        all
    }

    const INDEX: &[u8] = br#"{"schemaVersion":2,"manifests":[]}"#;

    #[test]
    fn junk_is_refused_with_a_reason() {
        let cases = [
            (Vec::new(), "it has no `index.json`"),
            (vec![0x1f; 2000], "it is neither a folder nor an uncompressed tar archive"),
            (entry("index.json", EntryType::Regular, 5000, b"{"), "middle of an entry"),
            (entry("index.json", EntryType::Regular, u64::MAX / 2, b"{"), "middle of an entry"),
            (entry("x/index.json", EntryType::Regular, 0, b""), "it has no `index.json`"),
            (entry("index.json", EntryType::Symlink, 0, b""), "it has no `index.json`"),
            (entry("index.json", EntryType::Regular, 1, b"{"), "is not an image index"),
        ];
        for (bytes, why) in cases {
            let error = open(&bytes).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        let error = Layout::open(folder.path()).unwrap_err();
        assert!(matches!(error, LayoutError::NotALayout { .. }), "{error}");
        let error = Layout::open(&folder.path().join("absent")).unwrap_err();
        assert!(matches!(error, LayoutError::Io { .. }), "{error}");
    }

    #[test]
    fn names_with_a_dot_and_sizes_in_extended_headers_are_read() {
        let digest = Digest::of("content");
        let mut archive = entry("./index.json", EntryType::Regular, INDEX.len() as u64, INDEX);
        archive.extend(entry("pax", EntryType::XHeader, 10, b"10 size=7\n"));
        let name = format!("./blobs/sha256/{}", digest.hex());
        archive.extend(entry(&name, EntryType::Regular, 0, b"content"));
        archive.extend(entry("blobs/sha256/../../x", EntryType::Regular, 0, b""));
        let layout = open(&archive).unwrap();
        assert_eq!(layout.document(&digest).unwrap(), b"content");
        assert_eq!(layout.images(), []);
    }

    #[test]
    fn a_document_of_any_size_is_not_read() {
        let size = MAX_DOCUMENT + 1;
        let big = vec![b' '; usize::try_from(size).unwrap()];
        let error = open(&entry("index.json", EntryType::Regular, size, &big)).unwrap_err();
        assert!(matches!(error, LayoutError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn a_folder_whose_blob_is_a_pipe_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let digest = Digest::of("x");
        std::fs::write(folder.path().join("index.json"), INDEX).unwrap();
        std::fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        let pipe = folder.path().join("blobs/sha256").join(digest.hex());
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let layout = Layout::open(folder.path()).unwrap();
        assert!(matches!(layout.document(&digest), Err(LayoutError::Io { .. })));
    }
}
