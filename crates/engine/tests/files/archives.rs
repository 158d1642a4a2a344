//! `ADD` of archives.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;

use bakehouse_model::op::{self, FileAction, Principal};

use crate::stage::{Stage, attributes, copying, fill, listing, may_chown, owner};

fn adding(src: &str, dest: &str) -> op::Copy {
    op::Copy { attempt_unpack: true, ..copying(src, dest) }
}

/// `d/` and `d/f`, in the form of xz, which nothing here can write.
const XZ: &[&str] = &[
    "fd377a585a0000016922de36020021011c00000010cf58cce027ff00735d00320bbc1ba78c3444e1c207",
    "75e90760476eb5348b926a6970d312f349c333a6df3101b772d9fc381049b8e0704b91d8f8a2ad7b27f3",
    "17da7db71642420a54547a5e8a7f3d5db08cd7a64fa30ba2ba4330d19fb285bd6e821ae8fedaa89379ff",
    "f4a5f2ff9c0d9b74633668dd85ababe743912a000000e9ca13c800018b0180500000fd81a70b3e300d8b",
    "020000000001595a",
];

/// One entry: name, type, link, data.
type Entry<'e> = (&'e str, u8, &'e str, &'e str);

fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, kind, link, data) in entries {
        bytes.extend_from_slice(&header(name, *kind, link, data.len()));
        bytes.extend_from_slice(data.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn header(name: &str, kind: u8, link: &str, size: usize) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000750\0");
    block[108..116].copy_from_slice(b"0000012\0");
    block[116..124].copy_from_slice(b"0000013\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"00000001750\0");
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn unpacked(bytes: &[u8], root: &[&str]) -> Result<Vec<String>, String> {
    let stage = Stage::new();
    fs::write(stage.src("a"), bytes).unwrap();
    fill(&stage.root(""), root);
    stage.copy(adding("/a", "/x/"))
}

#[test]
fn an_archive_is_known_by_its_content_however_it_is_compressed() {
    let plain = archive(&[("d/", b'5', "", ""), ("d/f", b'0', "", "hello")]);
    let gzip = {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(&plain).unwrap();
        writer.finish().unwrap()
    };
    let bzip2 = {
        let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        writer.write_all(&plain).unwrap();
        writer.finish().unwrap()
    };
    let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
    let digits = XZ.concat();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    let xz: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
    let cases = [("tar", plain), ("gzip", gzip), ("bzip2", bzip2), ("zstd", zstd), ("xz", xz)];
    for (name, bytes) in cases {
        let found = unpacked(&bytes, &[]).unwrap();
        assert_eq!(found, ["x/", "x/d/", "x/d/f=hello"], "{name}");
    }
}

#[test]
fn what_is_no_archive_is_copied_as_it_is() {
    let mut damaged = archive(&[("f", b'0', "", "hello")]);
    damaged[0] = b'g';
    for bytes in [&b""[..], b"text", &[0; 4096], &damaged, b"BZh9 not really", &[0x1f, 0x8b, 8, 0]]
    {
        let stage = Stage::new();
        fs::write(stage.src("a"), bytes).unwrap();
        stage.run(vec![FileAction::Copy(adding("/a", "/x/"))], &stage.context()).unwrap();
        assert_eq!(fs::read(stage.root("x/a")).unwrap(), bytes);
    }
}

#[test]
fn names_and_links_that_lead_out_end_inside() {
    let cases: &[(&[Entry<'_>], &[&str])] = &[
        (&[("../../e", b'0', "", "1")], &["x/", "x/e=1"]),
        (&[("/e", b'0', "", "1")], &["x/", "x/e=1"]),
        (&[("l", b'2', "/../..", ""), ("l/e", b'0', "", "1")], &["x/", "x/e=1", "x/l -> /../.."]),
        (
            &[("l", b'2', "../../o", ""), ("l/e", b'0', "", "1")],
            &["x/", "x/l -> ../../o", "x/o/", "x/o/e=1"],
        ),
        (&[("f", b'0', "", "1"), ("g", b'1', "/../f", "")], &["x/", "x/f=1", "x/g=1"]),
    ];
    for (entries, expected) in cases {
        assert_eq!(&unpacked(&archive(entries), &[]).unwrap(), expected, "{entries:?}");
    }
}

#[test]
fn entries_replace_what_is_there_and_merge_directories() {
    let bytes = archive(&[("d/", b'5', "", ""), ("d/f", b'0', "", "new"), ("e", b'0', "", "new")]);
    let found = unpacked(&bytes, &["x/d/f", "x/d/g", "x/e/h"]).unwrap();
    assert_eq!(found, ["x/", "x/d/", "x/d/f=new", "x/d/g=x/d/g", "x/e=new"]);
    let over_link = unpacked(&bytes, &["o/", "x/d -> ../o"]).unwrap();
    assert_eq!(over_link, ["o/", "x/", "x/d/", "x/d/f=new", "x/e=new"]);
}

#[test]
fn entries_keep_modes_times_and_owners_unless_others_are_asked_for() {
    let bytes = archive(&[("d/", b'5', "", ""), ("d/f", b'0', "", "hello")]);
    let mut wanted = vec![(None, (10, 11))];
    wanted.push((owner(Principal::Id { id: 7 }, None), (7, 7)));
    for (owner, (uid, gid)) in wanted {
        let stage = Stage::new();
        fs::write(stage.src("a"), &bytes).unwrap();
        stage.copy(op::Copy { owner, ..adding("/a", "/x/") }).unwrap();
        for path in ["x/d", "x/d/f"] {
            let meta = fs::metadata(stage.root(path)).unwrap();
            assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0o750, 1000), "{path}");
            if may_chown() {
                assert_eq!(attributes(&stage.root(path)), (0o750, uid, gid), "{path}");
            }
        }
    }
}

#[test]
fn long_names_numbers_and_attributes_come_from_extended_headers() {
    let long = "n".repeat(150);
    let records = [
        format!("path={long}"),
        "mtime=12.5".to_owned(),
        "SCHILY.xattr.user.note=kept".to_owned(),
        "SCHILY.xattr.user.bakehouse.owner=1:1".to_owned(),
    ];
    let mut pax = String::new();
    for record in &records {
        let length = (1..).find(|n: &usize| n.to_string().len() + record.len() + 2 == *n).unwrap();
        pax.push_str(&format!("{length} {record}\n"));
    }
    let gnu = format!("g/{long}");
    let bytes = archive(&[
        ("pax", b'x', "", &pax),
        ("short", b'0', "", "1"),
        ("././@LongLink", b'L', "", &format!("{gnu}\0")),
        ("short", b'0', "", "2"),
    ]);
    let stage = Stage::new();
    fs::write(stage.src("a"), bytes).unwrap();
    stage.copy(adding("/a", "/x/")).unwrap();
    let first = stage.root(&format!("x/{long}"));
    let meta = fs::metadata(&first).unwrap();
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (12, 500_000_000));
    assert_eq!(fs::read(stage.root(&format!("x/{gnu}"))).unwrap(), b"2");
    // What the archive says of this is a lie; a user namespace may record the truth here.
    let mut value = [0; 16];
    let length = rustix::fs::getxattr(&first, "user.bakehouse.owner", &mut value[..]);
    assert_ne!(length.map(|length| &value[..length]), Ok(&b"1:1"[..]));
}

#[test]
fn damage_after_the_first_header_is_an_error_that_names_the_archive() {
    let whole = archive(&[("f", b'0', "", "hello"), ("g", b'0', "", "there")]);
    let mut unknown = archive(&[("f", b'0', "", "hello"), ("g", b'?', "", "")]);
    let cases: Vec<Vec<u8>> = vec![whole[..700].to_vec(), whole[..1100].to_vec(), {
        unknown.truncate(2048);
        unknown
    }];
    for bytes in cases {
        assert_eq!(unpacked(&bytes, &[]).unwrap_err(), "cannot unpack `/a`");
    }
    let stage = Stage::with(&["d/f"]);
    assert_eq!(stage.copy(adding("/d", "/x")).unwrap(), ["x/", "x/f=d/f"]);
    assert_eq!(listing(&stage.root("x")), ["f=d/f"]);
}
