//! The content key of a selection of files, as BuildKit computes it.
//!
//! A file's digest covers its header, in the words of the first version of tarsum, and
//! its data: not its name, not its times. A directory's covers its own header and the
//! names and digests of what it holds. Links on the way to the selection are followed in
//! the tree; links in it count as links.
//!
//! A wildcard or a pattern selects headers and files one by one; their digest is over
//! the list of names and digests.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bakehouse_model::{Digest, op};
use rustix::fs::FileType;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::entry::{Entry, Meta, clean, join, shown};
use super::select::{select, split_wildcards};
use super::tree::{Tree, TreeError, proc_path};
use super::xattr::{self, Xattr};
use crate::context::{PatternError, Patterns, Raw};

const READ_BUFFER: usize = 256 * 1024;
/// A file that changes under every read is taken as the last read found it.
const MAX_READS: usize = 3;
/// Fewer files than this are hashed before a thread has started.
const MIN_FILES_PER_THREAD: usize = 16;

/// Which files of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Selection {
    /// Path or wildcard, absolute.
    pub path: String,
    /// Follow a link that `path` itself names.
    pub follow: bool,
    /// `path` may have wildcards.
    pub wildcard: bool,
    /// Only what these match, relative to `path`.
    pub include: Vec<String>,
    /// Not what these match.
    pub exclude: Vec<String>,
    /// Paths of which each must be the start of something selected.
    pub required: Vec<String>,
}

impl From<&op::Copy> for Selection {
    /// What the copy reads.
    fn from(copy: &op::Copy) -> Self {
        Self {
            path: copy.src.clone(),
            follow: copy.follow_symlink,
            wildcard: copy.allow_wildcard,
            include: copy.include_patterns.clone(),
            exclude: copy.exclude_patterns.clone(),
            required: copy.required_paths.clone(),
        }
    }
}

impl Selection {
    /// Whether it is a path and all below it.
    pub(crate) fn is_plain(&self) -> bool {
        !self.has_wildcard() && self.include.is_empty() && self.exclude.is_empty()
    }

    /// The path below which all of it is.
    pub(crate) fn base(&self) -> Vec<u8> {
        let path = clean(self.path.as_bytes());
        if self.wildcard { split_wildcards(&path).0 } else { path }
    }

    /// Whether the path is to be matched, not looked up.
    pub(crate) fn has_wildcard(&self) -> bool {
        self.wildcard && !split_wildcards(self.path.as_bytes()).1.is_empty()
    }
}

/// The digest of a selection, and of each file in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentDigest {
    /// Of all.
    pub digest: Digest,
    /// Of each, by its path, a directory's ending in a slash and covering only its header.
    pub files: Vec<(String, Digest)>,
}

/// The digest of a selection could not be computed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DigestError {
    /// A path is missing, or cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A pattern is malformed.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

/// Something in a tree, in the order of a walk: a directory before what it holds.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) path: Vec<u8>,
    pub(super) entry: Entry,
    /// Where the next item begins that is not below this one.
    end: usize,
    /// Of data and header; of the header alone for a directory.
    own: Option<Raw>,
}

/// Computes the content key of `selection`.
pub fn digest(
    tree: &Tree,
    selection: &Selection,
    patterns: &dyn Patterns,
) -> Result<Arc<ContentDigest>, DigestError> {
    if let Tree::Context(context) = tree
        && let Some(known) = context.selected(selection)
    {
        return Ok(known);
    }
    let digest = Arc::new(if selection.is_plain() {
        let path = clean(selection.path.as_bytes());
        digest_path(tree, &path, selection.follow)?
    } else {
        digest_list(tree, selection, patterns)?
    });
    if let Tree::Context(context) = tree {
        context.keep(selection, &digest);
    }
    Ok(digest)
}

/// The content key of `selection` alone: no file of a context is looked at again while `stat`
/// says that all of them are as they were.
pub fn digest_alone(
    tree: &Tree,
    selection: &Selection,
    patterns: &dyn Patterns,
) -> Result<Digest, DigestError> {
    let Tree::Context(context) = tree else {
        return digest(tree, selection, patterns).map(|found| found.digest.clone());
    };
    let state = context.state(selection);
    if let Some(known) = state.as_ref().and_then(|state| context.known(state)) {
        return Ok(typed(&known));
    }
    let found = digest(tree, selection, patterns)?.digest.clone();
    if let Some((state, raw)) = state.zip(raw(&found)) {
        context.know(&state, raw);
    }
    Ok(found)
}

fn raw(digest: &Digest) -> Option<Raw> {
    let mut raw = Raw::default();
    for (byte, digits) in raw.iter_mut().zip(digest.hex().as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(raw)
}

/// The digest of one path and all below it.
fn digest_path(tree: &Tree, path: &[u8], follow: bool) -> Result<ContentDigest, DigestError> {
    if matches!(tree, Tree::Empty) && path.is_empty() {
        return Ok(ContentDigest { digest: Digest::of(""), files: Vec::new() });
    }
    let resolved = tree.resolve(path, follow)?;
    let Some(entry) = resolved.entry else {
        return Err(TreeError::NotFound { path: shown(path) }.into());
    };
    let mut items = Vec::new();
    collect(tree, resolved.path, entry, &mut items)?;
    let all: Vec<usize> = (0..items.len()).collect();
    hash_items(tree, &mut items, &all)?;
    let files = items.iter().map(|item| (item.shown(), typed(&item.own()))).collect();
    Ok(ContentDigest { digest: typed(&combine(&items, 0)), files })
}

/// The digest of the list that wildcard and patterns select.
fn digest_list(
    tree: &Tree,
    selection: &Selection,
    patterns: &dyn Patterns,
) -> Result<ContentDigest, DigestError> {
    let mut selected = select(tree, selection, patterns)?;
    let wanted: Vec<usize> = selected.included.iter().map(|found| found.item).collect();
    hash_items(tree, &mut selected.items, &wanted)?;
    let mut files = Vec::with_capacity(selected.included.len());
    let mut list = Sha256::new();
    for found in &selected.included {
        let item = &selected.items[found.item];
        let digest = if found.follow && item.entry.meta.is_link() {
            digest_path(tree, &found.path, true)?.digest
        } else {
            typed(&item.own())
        };
        let below = found.path.strip_prefix(selected.prefix.as_slice()).unwrap_or(&found.path);
        update_key(&mut list, below);
        list.update(digest.as_str());
        files.push((item.entry.meta.slashed(&found.path), digest));
    }
    let digest = match files.as_slice() {
        [] => Digest::of(""),
        [(_, digest)] if base(selection.path.as_bytes()) == base(&selected.included[0].path) => {
            digest.clone()
        }
        _ => typed(&list.finalize().into()),
    };
    Ok(ContentDigest { digest, files })
}

/// A path as it stands in a list: a NUL before every name, one alone for none.
fn update_key(list: &mut Sha256, path: &[u8]) {
    let names = path.split(|&b| b == b'/').filter(|name| !name.is_empty());
    let mut any = false;
    for name in names {
        list.update([0]);
        list.update(name);
        any = true;
    }
    if !any {
        list.update([0]);
    }
}

fn base(path: &[u8]) -> &[u8] {
    path.split(|&b| b == b'/').rfind(|name| !name.is_empty()).unwrap_or_default()
}

impl Meta {
    fn slashed(&self, path: &[u8]) -> String {
        let mut text = shown(path);
        if self.is_dir() && !path.is_empty() {
            text.push('/');
        }
        text
    }
}

impl Item {
    fn shown(&self) -> String {
        self.entry.meta.slashed(&self.path)
    }

    fn own(&self) -> Raw {
        self.own.expect("every item that is asked for was hashed")
    }
}

/// Lists `entry` and all below it.
pub(super) fn collect(
    tree: &Tree,
    path: Vec<u8>,
    entry: Entry,
    items: &mut Vec<Item>,
) -> Result<(), TreeError> {
    let index = items.len();
    let below = if entry.meta.is_dir() { tree.list(&path)? } else { Vec::new() };
    items.push(Item { path: path.clone(), entry, end: 0, own: None });
    for child in below {
        collect(tree, join(&path, &child.name), child, items)?;
    }
    items[index].end = items.len();
    Ok(())
}

/// Fills in the digests of the items in `wanted`, on several threads if they are many.
fn hash_items(tree: &Tree, items: &mut [Item], wanted: &[usize]) -> Result<(), TreeError> {
    let mut unknown = Vec::new();
    for &index in wanted {
        let item = &mut items[index];
        if let Tree::Context(context) = tree {
            item.own = context.remembered(&item.path, &item.entry.meta);
        }
        if item.own.is_none() {
            unknown.push(index);
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(unknown.len() / MIN_FILES_PER_THREAD).max(1);
    let next = AtomicUsize::new(0);
    let work = |items: &[Item]| -> Result<Vec<(usize, Raw)>, TreeError> {
        let mut done = Vec::new();
        let mut buffer = vec![0; READ_BUFFER];
        while let Some(&index) = unknown.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((index, hash(tree, &items[index], &mut buffer)?));
        }
        Ok(done)
    };
    let shared = &*items;
    let done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| work(shared))).collect();
        let mut done = work(shared)?;
        for other in others {
            done.extend(other.join().expect("a hashing thread does not panic")?);
        }
        Ok::<_, TreeError>(done)
    })?;
    for (index, raw) in done {
        items[index].own = Some(raw);
    }
    Ok(())
}

/// The digest of one item, remembered if it can be.
fn hash(tree: &Tree, item: &Item, buffer: &mut [u8]) -> Result<Raw, TreeError> {
    let context = match tree {
        Tree::Context(_) if item.path.is_empty() => return Ok(Sha256::digest(b"").into()),
        Tree::Context(context) => Some(context),
        _ => None,
    };
    let (raw, read_as) = if item.entry.meta.is_file() {
        hash_file(tree, item, buffer)?
    } else {
        (hash_header(tree, item, &item.entry.meta)?.finalize().into(), item.entry.meta)
    };
    if let Some(context) = context.filter(|_| read_as.same_version(&item.entry.meta)) {
        context.remember(&item.path, &item.entry.meta, raw);
    }
    Ok(raw)
}

fn hash_file(tree: &Tree, item: &Item, buffer: &mut [u8]) -> Result<(Raw, Meta), TreeError> {
    let mut reads = 0;
    loop {
        let (mut file, opened) = tree.open(&item.path)?;
        let header = Meta { size: opened.size, mode: opened.mode, ..item.entry.meta };
        let mut hasher = hash_header(tree, item, &header)?;
        let mut size = 0;
        loop {
            let failed = |source| TreeError::io("read", &item.path, source);
            let length = file.read(buffer).map_err(failed)?;
            if length == 0 {
                break;
            }
            hasher.update(&buffer[..length]);
            size += length as u64;
        }
        let after = Meta::at(&file, b"").map_err(|e| TreeError::io("look at", &item.path, e))?;
        reads += 1;
        if (size == opened.size && after.same_version(&opened)) || reads == MAX_READS {
            return Ok((hasher.finalize().into(), after));
        }
    }
}

fn hash_header(tree: &Tree, item: &Item, meta: &Meta) -> Result<Sha256, TreeError> {
    let fd = tree.fd().ok_or_else(|| TreeError::NotFound { path: shown(&item.path) })?;
    let xattrs = xattr::read_all(&proc_path(fd, &item.path))
        .map_err(|errno| TreeError::io("read attributes of", &item.path, errno))?;
    let mut hasher = Sha256::new();
    hasher.update(header(meta, item.entry.link.as_deref(), &xattrs));
    Ok(hasher)
}

/// What stands before a file's data: its header in the order of tarsum, without a name.
fn header(meta: &Meta, link: Option<&[u8]>, xattrs: &[Xattr]) -> Vec<u8> {
    let is_device = matches!(meta.kind, FileType::CharacterDevice | FileType::BlockDevice);
    let kind = match meta.kind {
        FileType::Directory => '5',
        FileType::Symlink => '2',
        FileType::CharacterDevice => '3',
        FileType::BlockDevice => '4',
        FileType::Fifo => '6',
        // A socket becomes an empty file.
        _ => '0',
    };
    let size = if kind == '0' { meta.size } else { 0 };
    let mode = if meta.is_link() { 0o777 } else { meta.mode };
    let (major, minor) = if is_device { meta.rdev } else { (0, 0) };
    let (uid, gid) = (meta.uid, meta.gid);
    let mut header =
        format!("namemode{mode}uid{uid}gid{gid}size{size}typeflag{kind}linkname").into_bytes();
    header.extend_from_slice(link.unwrap_or_default());
    header.extend_from_slice(b"unamegname");
    header.extend_from_slice(format!("devmajor{major}devminor{minor}").as_bytes());
    for (name, value) in xattrs.iter().filter(|(name, _)| xattr::is_in_key(name)) {
        header.extend_from_slice(name);
        header.extend_from_slice(value);
    }
    header
}

/// The digest of an item with all below it.
fn combine(items: &[Item], index: usize) -> Raw {
    let item = &items[index];
    if !item.entry.meta.is_dir() {
        return item.own();
    }
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(text(&item.own()));
    let mut child = index + 1;
    while child < item.end {
        hasher.update([0]);
        hasher.update(&items[child].entry.name);
        hasher.update(text(&combine(items, child)));
        child = items[child].end;
    }
    hasher.finalize().into()
}

fn typed(raw: &Raw) -> Digest {
    let text = text(raw);
    let text = std::str::from_utf8(&text).expect("hex digits are ASCII");
    text.parse().expect("64 lower-case hex digits")
}

/// The digest as text, made without allocation: a key takes two of them for every file.
fn text(raw: &Raw) -> [u8; 71] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = *b"sha256:0000000000000000000000000000000000000000000000000000000000000000";
    for (index, byte) in raw.iter().enumerate() {
        text[7 + index * 2] = HEX[usize::from(byte >> 4)];
        text[8 + index * 2] = HEX[usize::from(byte & 15)];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::entry::Stamp;

    fn meta(kind: FileType, mode: u32, size: u64) -> Meta {
        let stamp = Stamp { secs: 1, nanos: 2 };
        let (mtime, ctime) = (stamp, stamp);
        let (uid, gid, links, ino, dev, rdev) = (0, 0, 1, 1, (0, 0), (1, 3));
        Meta { kind, mode, uid, gid, size, links, ino, dev, rdev, mtime, ctime }
    }

    #[test]
    fn headers_are_those_of_the_first_tarsum() {
        use FileType::{CharacterDevice, Directory, Fifo, RegularFile, Socket, Symlink};
        let caps = vec![
            (b"security.capability".to_vec(), b"\x01".to_vec()),
            (b"security.ima".to_vec(), b"no".to_vec()),
            (b"user.a".to_vec(), b"b".to_vec()),
        ];
        let cases = [
            (meta(RegularFile, 0o644, 5), None, "mode420uid0gid0size5typeflag0linkname", "00"),
            (meta(RegularFile, 0o4755, 5), None, "mode2541uid0gid0size5typeflag0linkname", "00"),
            (meta(Directory, 0o755, 9), None, "mode493uid0gid0size0typeflag5linkname", "00"),
            (meta(Symlink, 0o700, 1), Some("x"), "mode511uid0gid0size0typeflag2linknamex", "00"),
            (meta(Fifo, 0o600, 0), None, "mode384uid0gid0size0typeflag6linkname", "00"),
            (meta(Socket, 0o600, 0), None, "mode384uid0gid0size0typeflag0linkname", "00"),
            (meta(CharacterDevice, 0o600, 0), None, "mode384uid0gid0size0typeflag3linkname", "13"),
        ];
        for (meta, link, middle, device) in cases {
            let (major, minor) = device.split_at(1);
            let text = format!("name{middle}unamegnamedevmajor{major}devminor{minor}");
            assert_eq!(String::from_utf8_lossy(&header(&meta, link.map(str::as_bytes), &[])), text);
        }
        let with = header(&meta(RegularFile, 0o644, 5), None, &caps);
        assert!(with.ends_with(b"devminor0security.capability\x01user.ab"));
    }
}
