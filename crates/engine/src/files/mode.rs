//! Permission bits as `chmod` reads them, in octal or in letters, with no umask.

use bakehouse_model::op::Mode;
use thiserror::Error;

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const STICKY: u32 = 0o1000;

/// The text is no mode.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("mode `{text}` is neither octal nor of the form `u=rwX,go=rX`")]
pub struct ModeError {
    text: String,
}

/// What to do to permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Bits(u32),
    Steps(Vec<Step>),
}

/// One step of a symbolic mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Clear(u32),
    Set(u32),
    /// Set for directories and for what some class may execute.
    SetIfExecutable(u32),
    /// What the class at `from` bits has, for the classes in `who`.
    Copy {
        from: u32,
        op: u8,
        who: u32,
    },
}

impl Change {
    pub(crate) fn of(mode: &Mode) -> Result<Self, ModeError> {
        match mode {
            Mode::Bits { bits } => Ok(Self::Bits(bits & 0o7777)),
            Mode::Symbolic { text } => parse(text).ok_or(ModeError { text: text.clone() }),
        }
    }

    /// The bits that are given whatever the file had; none for a symbolic change.
    pub(crate) fn fixed(&self) -> Option<u32> {
        match self {
            Self::Bits(bits) => Some(*bits),
            Self::Steps(_) => None,
        }
    }

    /// What becomes of `mode`.
    pub(crate) fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let steps = match self {
            Self::Bits(bits) => return *bits,
            Self::Steps(steps) => steps,
        };
        steps.iter().fold(mode & 0o7777, |now, step| match *step {
            Step::Clear(bits) => now & !bits,
            Step::Set(bits) => now | bits,
            Step::SetIfExecutable(bits) if is_dir || mode & 0o111 != 0 => now | bits,
            Step::SetIfExecutable(_) => now,
            Step::Copy { from, op, who } => {
                let class = now >> from & 0o7;
                let bits = (class | class << 3 | class << 6) & who;
                match op {
                    b'-' => now & !bits,
                    b'=' => now & !(who & 0o777) | bits,
                    _ => now | bits,
                }
            }
        })
    }
}

fn parse(text: &str) -> Option<Change> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        let bits = u32::from_str_radix(text, 8).ok()?;
        return (bits <= 0o7777).then_some(Change::Bits(bits));
    }
    let mut steps = Vec::new();
    for clause in text.split(',') {
        parse_clause(clause.as_bytes(), &mut steps)?;
    }
    Some(Change::Steps(steps))
}

/// `[ugoa]*` and then `[+-=]` with letters, once or more.
fn parse_clause(clause: &[u8], steps: &mut Vec<Step>) -> Option<()> {
    let classes = clause.iter().take_while(|b| b"ugoa".contains(b)).count();
    let (named, mut rest) = clause.split_at(classes);
    let who = named.iter().fold(0, |who, class| {
        who | match class {
            b'u' => SET_UID | 0o700,
            b'g' => SET_GID | 0o070,
            b'o' => 0o007,
            _ => SET_UID | SET_GID | 0o777,
        }
    });
    if rest.is_empty() {
        return None;
    }
    while let Some((op, after)) = rest.split_first() {
        if !b"+-=".contains(op) {
            return None;
        }
        let length = after.iter().take_while(|b| !b"+-=".contains(b)).count();
        let (letters, next) = after.split_at(length);
        parse_letters(*op, letters, who, steps)?;
        rest = next;
    }
    Some(())
}

fn parse_letters(op: u8, letters: &[u8], named: u32, steps: &mut Vec<Step>) -> Option<()> {
    let mut who = if named == 0 { SET_UID | SET_GID | 0o777 } else { named };
    let only_others = named != 0 && named & !0o007 == 0;
    let (mut bits, mut executable, mut copies) = (0, 0, Vec::new());
    for letter in letters {
        match letter {
            b'r' => bits |= 0o444,
            b'w' => bits |= 0o222,
            b'x' => bits |= 0o111,
            b'X' if op == b'-' => bits |= 0o111,
            b'X' => executable |= 0o111,
            b's' if !only_others => bits |= SET_UID | SET_GID,
            b't' if !only_others => {
                who |= STICKY;
                bits |= STICKY;
            }
            b's' | b't' => {}
            b'u' => copies.push(6),
            b'g' => copies.push(3),
            b'o' => copies.push(0),
            _ => return None,
        }
    }
    match op {
        b'=' if bits != 0 || copies.is_empty() => {
            steps.extend([Step::Clear(who), Step::Set(bits & who)]);
        }
        b'-' => steps.push(Step::Clear(bits & who)),
        _ => steps.push(Step::Set(bits & who)),
    }
    if executable != 0 {
        steps.push(Step::SetIfExecutable(executable & who));
    }
    steps.extend(copies.into_iter().map(|from| Step::Copy { from, op, who }));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(text: &str, mode: u32, is_dir: bool) -> Option<u32> {
        let mode_op = Mode::Symbolic { text: text.to_owned() };
        Some(Change::of(&mode_op).ok()?.apply(mode, is_dir))
    }

    #[test]
    fn letters_do_what_chmod_does() {
        let cases = [
            ("u=rwX,go=rX", 0o600, false, Some(0o644)),
            ("u=rwX,go=rX", 0o700, false, Some(0o755)),
            ("u=rwX,go=rX", 0o600, true, Some(0o755)),
            ("a+x", 0o644, false, Some(0o755)),
            ("+x", 0o644, false, Some(0o755)),
            ("go-w", 0o666, false, Some(0o644)),
            ("go=", 0o777, false, Some(0o700)),
            ("go=u-w", 0o640, false, Some(0o644)),
            ("g=u", 0o640, false, Some(0o660)),
            ("u+s", 0o755, false, Some(0o4755)),
            ("u=rwx", 0o4755, false, Some(0o755)),
            ("+t", 0o777, true, Some(0o1777)),
            ("o+t", 0o777, true, Some(0o777)),
            ("a-X", 0o755, false, Some(0o644)),
            ("0640", 0o777, false, Some(0o640)),
            ("u", 0o777, false, None),
            ("u=q", 0o777, false, None),
            ("", 0o777, false, None),
            ("89", 0o777, false, None),
        ];
        for (text, mode, is_dir, expected) in cases {
            assert_eq!(apply(text, mode, is_dir), expected, "{text} on {mode:o}");
        }
    }

    #[test]
    fn octal_bits_replace_whatever_was_there() {
        let change = Change::of(&Mode::Bits { bits: 0o4711 }).unwrap();
        assert_eq!(change.apply(0o600, true), 0o4711);
        assert_eq!(change.fixed(), Some(0o4711));
    }
}
