//! A program of another machine, made by hand: small, and without anything to link.

/// Where the program is loaded.
const ADDRESS: u64 = 0x40_0000;
/// Its header and the description of its one segment.
const HEADERS: u64 = 64 + 56;

/// `_start` on arm64 under Linux.
const CODE: [u32; 24] = [
    0xf940_03e0, // ldr x0, [sp]              the number of arguments
    0xf100_041f, // cmp x0, #1
    0x5400_01ac, // b.gt exec
    0x9280_0c60, // mov x0, #-100             openat(AT_FDCWD, "/ran", O_WRONLY…, 0644)
    0x1000_0281, // adr x1, path
    0xd280_4822, // mov x2, #0x241
    0xd280_3483, // mov x3, #0x1a4
    0xd280_0708, // mov x8, #56
    0xd400_0001, // svc #0
    0x1000_0221, // adr x1, text              write(…, "aarch64\n", 8)
    0xd280_0102, // mov x2, #8
    0xd280_0808, // mov x8, #64
    0xd400_0001, // svc #0
    0xd280_0000, // mov x0, #0
    0x1400_0008, // b exit
    0xf940_0be0, // exec: ldr x0, [sp, #16]   execve(argv[1], &argv[1], envp)
    0x9100_43e1, // add x1, sp, #16
    0xf940_03e2, // ldr x2, [sp]
    0x8b02_0c22, // add x2, x1, x2, lsl #3
    0xd280_1ba8, // mov x8, #221
    0xd400_0001, // svc #0
    0xd280_0fc0, // mov x0, #126
    0xd280_0ba8, // exit: mov x8, #93         exit(x0)
    0xd400_0001, // svc #0
];

/// A static program for `linux/arm64`. Without arguments it writes `aarch64` to the file
/// `/ran`; with some, it becomes the program that they name.
pub fn arm64_program() -> Vec<u8> {
    let mut body: Vec<u8> = CODE.iter().flat_map(|word| word.to_le_bytes()).collect();
    body.extend(b"/ran\0\0\0\0aarch64\n");
    let size = HEADERS + body.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let half = |file: &mut Vec<u8>, number: u16| file.extend(number.to_le_bytes());
    let word = |file: &mut Vec<u8>, number: u32| file.extend(number.to_le_bytes());
    let long = |file: &mut Vec<u8>, number: u64| file.extend(number.to_le_bytes());
    // A program, for machine 183, in format 1, that begins behind the headers.
    half(&mut file, 2);
    half(&mut file, 183);
    word(&mut file, 1);
    long(&mut file, ADDRESS + HEADERS);
    // The segments are told at byte 64; there are no sections.
    long(&mut file, 64);
    long(&mut file, 0);
    word(&mut file, 0);
    for number in [64, 56, 1, 0, 0, 0] {
        half(&mut file, number);
    }
    // One segment to load, readable and executable: the whole file.
    word(&mut file, 1);
    word(&mut file, 5);
    for number in [0, ADDRESS, ADDRESS, size, size, 0x1_0000] {
        long(&mut file, number);
    }
    file.extend(body);
    file
}

#[cfg(test)]
mod tests {
    use super::arm64_program;

    #[test]
    fn the_headers_say_where_the_code_is() {
        let program = arm64_program();
        assert_eq!(&program[..4], b"\x7fELF");
        assert_eq!(program[18], 183);
        assert_eq!(program[120..124], 0xf940_03e0_u32.to_le_bytes());
        assert!(program.ends_with(b"aarch64\n"));
    }
}
