//! Go's `filepath.Match`: the wildcards of `COPY` and `ADD`.
//!
//! `*` and `?` do not match `/`; a class such as `[^a]` does, as Go's does.

use super::ignore::PatternError;

struct Bad;

/// Whether `pattern` matches the whole of `name`.
///
/// The pattern is checked to its end whatever `name` is.
pub fn matches(pattern: &str, name: &str) -> Result<bool, PatternError> {
    matches_bytes(pattern.as_bytes(), name.as_bytes())
        .map_err(|Bad| PatternError::Syntax { pattern: pattern.to_owned() })
}

/// Whether `path` has a wildcard in it (`*`, `?`, `[`), escaped or not.
pub fn has_wildcard(path: &str) -> bool {
    let mut bytes = path.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'*' | b'?' | b'[' => return true,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
    false
}

fn matches_bytes(mut pattern: &[u8], mut name: &[u8]) -> Result<bool, Bad> {
    while !pattern.is_empty() {
        let (star, chunk, rest) = next_chunk(pattern);
        pattern = rest;
        if star && chunk.is_empty() {
            return Ok(!name.contains(&b'/'));
        }
        let last = pattern.is_empty();
        let fits = |after: &&[u8]| after.is_empty() || !last;
        let mut after = match_chunk(chunk, name)?.filter(fits);
        let mut skipped = 0;
        while star && after.is_none() && name.get(skipped).is_some_and(|b| *b != b'/') {
            skipped += 1;
            after = match_chunk(chunk, &name[skipped..])?.filter(fits);
        }
        let Some(after) = after else {
            check_rest(pattern)?;
            return Ok(false);
        };
        name = after;
    }
    Ok(name.is_empty())
}

fn check_rest(mut pattern: &[u8]) -> Result<(), Bad> {
    while !pattern.is_empty() {
        let (_, chunk, rest) = next_chunk(pattern);
        match_chunk(chunk, b"")?;
        pattern = rest;
    }
    Ok(())
}

/// Stars at the start, what follows up to the next star, and the rest.
fn next_chunk(pattern: &[u8]) -> (bool, &[u8], &[u8]) {
    let stars = pattern.iter().take_while(|b| **b == b'*').count();
    let pattern = &pattern[stars..];
    let mut in_class = false;
    let mut at = 0;
    while let Some(b) = pattern.get(at) {
        match b {
            b'\\' if at + 1 < pattern.len() => at += 1,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'*' if !in_class => break,
            _ => {}
        }
        at += 1;
    }
    (stars > 0, &pattern[..at], &pattern[at..])
}

/// What is left of `name` after `chunk`, which has no stars. A chunk that does not match is
/// read to its end all the same, to find mistakes in it.
fn match_chunk<'a>(mut chunk: &[u8], name: &'a [u8]) -> Result<Option<&'a [u8]>, Bad> {
    let mut rest = Some(name);
    while let Some(first) = chunk.first() {
        if rest.is_some_and(<[u8]>::is_empty) {
            rest = None;
        }
        match first {
            b'[' => {
                let (c, after) = match rest {
                    Some(text) => {
                        let (c, width) = decode(text);
                        (c, Some(&text[width..]))
                    }
                    None => (0, None),
                };
                let (found, more) = match_class(&chunk[1..], c)?;
                rest = after.filter(|_| found);
                chunk = more;
            }
            b'?' => {
                rest = rest.filter(|text| text[0] != b'/').map(|text| &text[decode(text).1..]);
                chunk = &chunk[1..];
            }
            _ => {
                let literal = if *first == b'\\' { &chunk[1..] } else { chunk };
                let Some((byte, more)) = literal.split_first() else { return Err(Bad) };
                rest = rest.filter(|text| text[0] == *byte).map(|text| &text[1..]);
                chunk = more;
            }
        }
    }
    Ok(rest)
}

/// Whether the class whose bracket has just been opened has `c`, and what follows it.
fn match_class(mut chunk: &[u8], c: u32) -> Result<(bool, &[u8]), Bad> {
    let negated = chunk.first() == Some(&b'^');
    if negated {
        chunk = &chunk[1..];
    }
    let mut found = false;
    let mut first = true;
    loop {
        if !first && chunk.first() == Some(&b']') {
            return Ok((found != negated, &chunk[1..]));
        }
        let (low, more) = class_member(chunk)?;
        let (high, more) = match more.strip_prefix(b"-") {
            Some(more) => class_member(more)?,
            None => (low, more),
        };
        found |= low <= c && c <= high;
        chunk = more;
        first = false;
    }
}

/// One character of a class. Something must follow it.
fn class_member(chunk: &[u8]) -> Result<(u32, &[u8]), Bad> {
    let chunk = match chunk.first() {
        None | Some(b'-' | b']') => return Err(Bad),
        Some(b'\\') => &chunk[1..],
        Some(_) => chunk,
    };
    if chunk.is_empty() {
        return Err(Bad);
    }
    let (c, width) = decode(chunk);
    let rest = &chunk[width..];
    if rest.is_empty() { Err(Bad) } else { Ok((c, rest)) }
}

/// The first character and its width; a byte that starts none is U+FFFD, one wide.
fn decode(text: &[u8]) -> (u32, usize) {
    let width = match text.first() {
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        Some(b) if *b < 0x80 => return (u32::from(*b), 1),
        _ => return (u32::from(char::REPLACEMENT_CHARACTER), 1),
    };
    let valid = text.get(..width).and_then(|bytes| std::str::from_utf8(bytes).ok());
    match valid.and_then(|valid| valid.chars().next()) {
        Some(c) => (u32::from(c), width),
        None => (u32::from(char::REPLACEMENT_CHARACTER), 1),
    }
}
