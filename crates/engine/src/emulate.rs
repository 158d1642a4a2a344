//! Programs of other machines: which there are, what runs them, and what the kernel knows.
//!
//! The kernel hands a program to an emulator by the first bytes of the file
//! (`binfmt_misc`). [`registered`] tells whether the machine does that already, for roots that
//! do not have the emulator in them. Where it does not, a step can have a registration of its
//! own, with an emulator that somebody gave ([`crate::sandbox::Spec::foreign`]).

use std::fs;
use std::path::Path;

use bakehouse_model::oci::Platform;
use serde::{Deserialize, Serialize};

/// Where the kernel shows what is registered.
const REGISTERED: &str = "/proc/sys/fs/binfmt_misc";

/// Bytes of a program's header that tell its machine.
const HEADER: usize = 20;

/// Where a step finds the emulator: BuildKit's place, so that emulators which look for
/// themselves there find themselves.
pub const EMULATOR: &str = "/dev/.buildkit_qemu_emulator";

/// A kind of machine, as the header of its programs says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    bits: u8,
    big_endian: bool,
    number: u16,
}

/// Architecture, QEMU's name for it, bits, byte order, number.
const MACHINES: [(&str, &str, u8, bool, u16); 11] = [
    ("amd64", "x86_64", 64, false, 62),
    ("386", "i386", 32, false, 3),
    ("arm64", "aarch64", 64, false, 183),
    ("arm", "arm", 32, false, 40),
    ("riscv64", "riscv64", 64, false, 243),
    ("ppc64le", "ppc64le", 64, false, 21),
    ("s390x", "s390x", 64, true, 22),
    ("loong64", "loongarch64", 64, false, 258),
    ("mips64le", "mips64el", 64, false, 8),
    ("mips64", "mips64", 64, true, 8),
    ("ppc64", "ppc64", 64, true, 21),
];

impl Machine {
    /// The machine of a platform; none if it is not known.
    pub fn of(platform: &Platform) -> Option<Self> {
        let row = MACHINES.iter().find(|row| row.0 == platform.architecture)?;
        let (_, _, bits, big_endian, number) = *row;
        Some(Self { bits, big_endian, number })
    }

    /// The first bytes of its programs, and which of their bits count: those that say the
    /// width, the byte order, that it is a program, and for what machine.
    fn header(self) -> ([u8; HEADER], [u8; HEADER]) {
        let (mut bytes, mut mask) = ([0; HEADER], [0; HEADER]);
        bytes[..4].copy_from_slice(b"\x7fELF");
        bytes[4] = if self.bits == 64 { 2 } else { 1 };
        bytes[5] = if self.big_endian { 2 } else { 1 };
        bytes[6] = 1;
        mask[..7].fill(0xff);
        // 2 is a program at a fixed place, 3 one that can be anywhere.
        let (low, high) = if self.big_endian { (17, 16) } else { (16, 17) };
        (bytes[low], mask[low], mask[high]) = (2, 0xfe, 0xff);
        let number = self.number;
        let number = if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
        bytes[18..].copy_from_slice(&number);
        mask[18..].fill(0xff);
        (bytes, mask)
    }

    /// What tells the kernel to run its programs with [`EMULATOR`]: opened at once (`F`),
    /// with the rights of the program (`C`), and told the name by which it was called (`P`).
    pub(crate) fn registration(self) -> String {
        let (bytes, mask) = self.header();
        format!(":foreign:M::{}:{}:{EMULATOR}:PCF\n", escaped(&bytes), escaped(&mask))
    }

    /// Whether a registration with this magic is for its programs.
    fn fits(self, magic: &[u8], mask: &[u8]) -> bool {
        let (program, _) = self.header();
        let mask = |at: usize| mask.get(at).copied().unwrap_or(0xff);
        magic.len() == HEADER
            && (0..HEADER).all(|at| magic[at] & mask(at) == program[at] & mask(at))
    }
}

/// The name of QEMU's emulator for a platform, without `-static`.
pub fn emulator_name(platform: &Platform) -> Option<String> {
    let row = MACHINES.iter().find(|row| row.0 == platform.architecture)?;
    Some(format!("qemu-{}", row.1))
}

/// Whether a machine runs programs of `platform` by itself.
pub fn runs_natively(host: &Platform, platform: &Platform) -> bool {
    let (own, wanted) = (host.architecture.as_str(), platform.architecture.as_str());
    own == wanted || matches!((own, wanted), ("amd64", "386") | ("arm64", "arm"))
}

/// Whether the kernel runs programs of `machine`, whatever root they are in.
pub fn registered(machine: Machine) -> bool {
    registered_in(Path::new(REGISTERED), machine)
}

fn registered_in(folder: &Path, machine: Machine) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    texts.into_iter().any(|text| is_for(&text, machine))
}

/// Whether an entry is switched on, opened its emulator at once, and is for `machine`.
fn is_for(entry: &str, machine: Machine) -> bool {
    let field = |name: &str| entry.lines().find_map(|line| line.strip_prefix(name));
    let on = entry.lines().next() == Some("enabled");
    let opened = field("flags: ").is_some_and(|flags| flags.contains('F'));
    let bytes = |name: &str| field(name).and_then(unhex);
    on && opened
        && field("offset ") == Some("0")
        && bytes("magic ")
            .is_some_and(|magic| machine.fits(&magic, &bytes("mask ").unwrap_or_default()))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(platform: &str) -> Machine {
        Machine::of(&platform.parse().unwrap()).unwrap()
    }

    #[test]
    fn registrations_tell_the_kernel_which_programs_are_meant() {
        let ours = machine("linux/arm64").registration();
        let header =
            r"\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00";
        assert!(ours.starts_with(&format!(":foreign:M::{header}:")), "{ours}");
        assert!(ours.ends_with(":/dev/.buildkit_qemu_emulator:PCF\n"), "{ours}");
        let big = machine("linux/s390x").registration();
        assert!(big.contains(r"\x00\x02\x00\x16:"), "{big}");
    }

    #[test]
    fn what_the_kernel_knows_is_read_by_its_bytes_not_by_its_name() {
        let entry = |head: &str, flags: &str| {
            format!(
                "{head}\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: {flags}\n\
                 offset 0\nmagic 7f454c460201010000000000000000000200b700\n\
                 mask ffffffffffffff00fffffffffffffffffeffffff\n"
            )
        };
        let cases = [
            (entry("enabled", "POF"), "linux/arm64", true),
            (entry("enabled", "PO"), "linux/arm64", false),
            (entry("disabled", "POF"), "linux/arm64", false),
            (entry("enabled", "POF"), "linux/riscv64", false),
            (entry("enabled", "POF"), "linux/arm", false),
            ("enabled".to_owned(), "linux/arm64", false),
            (
                "enabled\ninterpreter /x\nflags: F\nextension .exe\n".to_owned(),
                "linux/arm64",
                false,
            ),
            ("enabled\nflags: F\noffset 0\nmagic 7fé\n".to_owned(), "linux/arm64", false),
        ];
        for (text, platform, expected) in cases {
            assert_eq!(is_for(&text, machine(platform)), expected, "{platform}: {text}");
        }
    }

    #[test]
    fn a_machine_runs_its_own_programs_and_those_of_its_smaller_self() {
        let parse = |text: &str| text.parse::<Platform>().unwrap();
        let cases = [
            ("linux/amd64", "linux/amd64", true),
            ("linux/amd64", "linux/amd64/v3", true),
            ("linux/amd64", "linux/386", true),
            ("linux/amd64", "linux/arm64", false),
            ("linux/arm64", "linux/arm/v7", true),
            ("linux/arm64", "linux/amd64", false),
        ];
        for (host, platform, expected) in cases {
            assert_eq!(runs_natively(&parse(host), &parse(platform)), expected, "{platform}");
        }
    }
}
