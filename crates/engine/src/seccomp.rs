//! The system call filter of a sandboxed process.
//!
//! What it lets through is what Docker's default profile lets through for the fourteen
//! default capabilities; everything else fails with `EPERM`, `clone3` with `ENOSYS` so
//! that C libraries fall back to `clone`, and so does a call that is newer than the table.
//!
//! The program is a binary search over runs of numbers, not a chain of comparisons: the
//! kernel evaluates a filter once for every call there is when it is loaded, and a step
//! pays for that. Programs of the machine's 32-bit relative (`linux/386` images) are
//! filtered too, by what is refused; those of the x32 interface do not exist, as in a kernel
//! without it. `.ci/checks/isolation.sh` makes every call in this and in Docker's sandbox and
//! compares what comes of it.

mod table;

/// One instruction of classic BPF, laid out as the kernel's `sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    code: u16,
    jump_true: u8,
    jump_false: u8,
    operand: u32,
}

/// What is done about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Allow,
    Refuse(u32),
    /// Neither `AF_ALG` nor `AF_VSOCK`.
    Socket,
    /// The personalities that do not weaken anything.
    Personality,
    /// No new name spaces.
    Clone,
}

const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const RETURN_ALLOW: u32 = 0x7fff_0000;
const RETURN_ERRNO: u32 = 0x0005_0000;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

// Offsets in `struct seccomp_data`, little-endian.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
const FIRST_ARGUMENT_HIGH: u32 = 20;

/// The last call that the table knows; later ones do not exist for the process.
const NEWEST: u32 = 466;

/// Every `CLONE_NEW*` flag but `CLONE_NEWTIME`, which `clone` does not have.
const NEW_NAMESPACES: u32 = 0x7e02_0000;

/// The program for a process with the default capabilities.
pub(crate) fn default_filter() -> Vec<Instruction> {
    let native = call_tree(&ranges(&native_rules()));
    let mut program = vec![load(ARCHITECTURE)];
    let foreign: Vec<Instruction> = match table::RELATIVE {
        Some(architecture) => {
            let tree = call_tree(&ranges(&relative_rules()));
            let mut section = vec![jump(JUMP_EQUAL, architecture, 1, 0), refuse(EPERM)];
            section.extend(tree);
            section
        }
        None => vec![refuse(EPERM)],
    };
    program.push(jump(JUMP_EQUAL, table::NATIVE, 0, 1));
    program.push(jump(JUMP, length(&foreign), 0, 0));
    program.extend(foreign);
    program.extend(native);
    program
}

fn native_rules() -> Vec<(u32, Rule)> {
    let mut rules: Vec<(u32, Rule)> =
        table::allowed().into_iter().map(|number| (number, Rule::Allow)).collect();
    let call = |number: libc::c_long| u32::try_from(number).expect("a call's number is small");
    rules.push((call(libc::SYS_socket), Rule::Socket));
    rules.push((call(libc::SYS_personality), Rule::Personality));
    rules.push((call(libc::SYS_clone), Rule::Clone));
    rules.push((call(libc::SYS_clone3), Rule::Refuse(ENOSYS)));
    rules
}

fn relative_rules() -> Vec<(u32, Rule)> {
    let special = [
        (table::RELATIVE_SOCKET, Rule::Socket),
        (table::RELATIVE_PERSONALITY, Rule::Personality),
        (table::RELATIVE_CLONE, Rule::Clone),
        (table::RELATIVE_CLONE3, Rule::Refuse(ENOSYS)),
    ];
    (0..=NEWEST)
        .filter(|number| !table::RELATIVE_REFUSED.contains(number))
        .filter(|number| special.iter().all(|(other, _)| other != number))
        .map(|number| (number, Rule::Allow))
        .chain(special)
        .collect()
}

/// Runs of numbers with the same rule, by the number each begins with; the first begins
/// with 0 and the last ends with the largest number there is.
fn ranges(rules: &[(u32, Rule)]) -> Vec<(u32, Rule)> {
    let mut rules = rules.to_vec();
    rules.sort_by_key(|(number, _)| *number);
    let mut ranges: Vec<(u32, Rule)> = Vec::new();
    let mut push = |start: u32, rule: Rule| {
        if ranges.last().is_none_or(|(_, last)| *last != rule) {
            ranges.push((start, rule));
        }
    };
    let mut next = 0;
    for (number, rule) in rules {
        if number > next {
            push(next, Rule::Refuse(EPERM));
        }
        push(number, rule);
        next = number + 1;
    }
    push(next.min(NEWEST + 1), Rule::Refuse(EPERM));
    push(next.max(NEWEST + 1), Rule::Refuse(ENOSYS));
    ranges
}

fn call_tree(ranges: &[(u32, Rule)]) -> Vec<Instruction> {
    let mut program = vec![load(NUMBER)];
    program.extend(search(ranges));
    program
}

fn search(ranges: &[(u32, Rule)]) -> Vec<Instruction> {
    if let [(_, rule)] = ranges {
        return verdict(*rule);
    }
    let (below, above) = ranges.split_at(ranges.len() / 2);
    let (start, _) = above[0];
    let (below, above) = (search(below), search(above));
    let mut program = match u8::try_from(below.len()) {
        Ok(distance) => vec![jump(JUMP_GREATER_OR_EQUAL, start, distance, 0)],
        Err(_) => vec![jump(JUMP_GREATER_OR_EQUAL, start, 0, 1), jump(JUMP, length(&below), 0, 0)],
    };
    program.extend(below);
    program.extend(above);
    program
}

fn verdict(rule: Rule) -> Vec<Instruction> {
    match rule {
        Rule::Allow => vec![allow()],
        Rule::Refuse(errno) => vec![refuse(errno)],
        Rule::Socket => vec![
            load(FIRST_ARGUMENT),
            jump(JUMP_EQUAL, 38, 2, 0),
            jump(JUMP_EQUAL, 40, 1, 0),
            allow(),
            refuse(EPERM),
        ],
        Rule::Personality => vec![
            // Unlike others of the kernel's, this argument has 64 bits on this machine.
            load(FIRST_ARGUMENT_HIGH),
            jump(JUMP_EQUAL, 0, 1, 0),
            refuse(EPERM),
            load(FIRST_ARGUMENT),
            jump(JUMP_EQUAL, 0, 5, 0),
            jump(JUMP_EQUAL, 0x0008, 4, 0),
            jump(JUMP_EQUAL, 0x0002_0000, 3, 0),
            jump(JUMP_EQUAL, 0x0002_0008, 2, 0),
            jump(JUMP_EQUAL, u32::MAX, 1, 0),
            refuse(EPERM),
            allow(),
        ],
        Rule::Clone => vec![
            load(FIRST_ARGUMENT),
            jump(JUMP_ANY_BIT, NEW_NAMESPACES, 1, 0),
            allow(),
            refuse(EPERM),
        ],
    }
}

fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD, jump_true: 0, jump_false: 0, operand: offset }
}

fn jump(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, operand }
}

fn allow() -> Instruction {
    jump(RETURN, RETURN_ALLOW, 0, 0)
}

fn refuse(errno: u32) -> Instruction {
    jump(RETURN, RETURN_ERRNO | errno, 0, 0)
}

fn length(program: &[Instruction]) -> u32 {
    u32::try_from(program.len()).expect("a filter has at most 4096 instructions")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel does; also returns how many instructions it took.
    fn evaluate(program: &[Instruction], arch: u32, number: u32, argument: u64) -> (u32, usize) {
        let (mut at, mut word, mut steps) = (0, 0, 0);
        loop {
            let Instruction { code, jump_true, jump_false, operand } = program[at];
            at += 1;
            steps += 1;
            let branch = |yes: bool| usize::from(if yes { jump_true } else { jump_false });
            match code {
                LOAD => {
                    word = match operand {
                        NUMBER => number,
                        ARCHITECTURE => arch,
                        FIRST_ARGUMENT => argument as u32,
                        FIRST_ARGUMENT_HIGH => (argument >> 32) as u32,
                        other => panic!("nothing is at {other}"),
                    }
                }
                JUMP => at += operand as usize,
                JUMP_EQUAL => at += branch(word == operand),
                JUMP_GREATER_OR_EQUAL => at += branch(word >= operand),
                JUMP_ANY_BIT => at += branch(word & operand != 0),
                RETURN => return (operand, steps),
                other => panic!("no such instruction: {other}"),
            }
        }
    }

    fn answer(number: libc::c_long, argument: u64) -> u32 {
        evaluate(&default_filter(), table::NATIVE, number as u32, argument).0
    }

    #[test]
    fn every_call_gets_the_answer_of_its_rule() {
        let program = default_filter();
        let allowed = table::allowed();
        let special = [libc::SYS_socket, libc::SYS_personality, libc::SYS_clone, libc::SYS_clone3];
        for number in 0..=600_u32 {
            if special.contains(&libc::c_long::from(number)) {
                continue;
            }
            let expected = if allowed.contains(&number) {
                RETURN_ALLOW
            } else if number <= NEWEST {
                RETURN_ERRNO | EPERM
            } else {
                RETURN_ERRNO | ENOSYS
            };
            let (got, steps) = evaluate(&program, table::NATIVE, number, 0);
            assert_eq!(got, expected, "call {number}");
            assert!(steps < 20, "call {number} takes {steps} instructions");
        }
    }

    #[test]
    fn arguments_decide_where_the_profile_says_so() {
        let refused = RETURN_ERRNO | EPERM;
        let cases = [
            (libc::SYS_socket, 1, RETURN_ALLOW),
            (libc::SYS_socket, 38, refused),
            (libc::SYS_socket, 0x1_0000_0026, refused),
            (libc::SYS_socket, 39, RETURN_ALLOW),
            (libc::SYS_socket, 40, refused),
            (libc::SYS_socket, 41, RETURN_ALLOW),
            (libc::SYS_personality, 0, RETURN_ALLOW),
            (libc::SYS_personality, 0x0004_0000, refused),
            (libc::SYS_personality, 0xffff_ffff, RETURN_ALLOW),
            (libc::SYS_personality, u64::MAX, refused),
            (libc::SYS_personality, 0x1_0000_0000, refused),
            (libc::SYS_clone, 0x0120_0011, RETURN_ALLOW),
            (libc::SYS_clone, 0x1000_0011, refused),
            (libc::SYS_clone, 0x0002_0011, refused),
            (libc::SYS_clone3, 0, RETURN_ERRNO | ENOSYS),
            (libc::SYS_mount, 0, refused),
            (libc::SYS_ptrace, 0, RETURN_ALLOW),
            (libc::SYS_chroot, 0, RETURN_ALLOW),
            (libc::SYS_unshare, 0, refused),
            (libc::SYS_bpf, 0, refused),
            (libc::SYS_keyctl, 0, refused),
        ];
        for (number, argument, expected) in cases {
            assert_eq!(answer(number, argument), expected, "call {number} with {argument:#x}");
        }
    }

    #[test]
    fn foreign_machines_are_refused_and_relatives_filtered() {
        let program = default_filter();
        assert_eq!(evaluate(&program, 0x1234_5678, 0, 0).0, RETURN_ERRNO | EPERM);
        if let Some(relative) = table::RELATIVE {
            assert_eq!(evaluate(&program, relative, 4, 0).0, RETURN_ALLOW, "write");
            assert_eq!(evaluate(&program, relative, 21, 0).0, RETURN_ERRNO | EPERM, "mount");
            assert_eq!(evaluate(&program, relative, 310, 0).0, RETURN_ERRNO | EPERM, "unshare");
            let clone = table::RELATIVE_CLONE;
            assert_eq!(evaluate(&program, relative, clone, 0x1000_0000).0, RETURN_ERRNO | EPERM);
            assert_eq!(evaluate(&program, relative, clone, 0x11).0, RETURN_ALLOW);
        }
    }

    #[test]
    fn numbers_of_the_x32_interface_do_not_exist() {
        let x32 = 0x4000_0000 + 1;
        assert_eq!(answer(x32, 0), RETURN_ERRNO | ENOSYS);
    }
}
