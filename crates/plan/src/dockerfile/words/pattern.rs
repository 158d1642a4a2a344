//! The wildcards of `${v#p}`, `${v%p}` and `${v/p/r}`: `*`, `?` and backslash.
//!
//! A match is the one that Go's `regexp` finds for the same pattern: leftmost, and each `*`
//! as long or as short as asked. All threads of the search advance together, so time is
//! bounded by pattern × text.

use super::WordProblem;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// Any character but a line feed.
    Any,
    /// Any number of them.
    Star,
}

/// `${v#p}` and `${v%p}`: `value` without what `pattern` matches at its start or end.
pub(super) fn strip(
    pattern: &str,
    value: &str,
    operator: char,
    longest: bool,
) -> Result<String, WordProblem> {
    if operator == '#' {
        let text: Vec<char> = value.chars().collect();
        let tokens = parse(pattern)?;
        let end = find(&tokens, &text, 0, Search { anchored: true, longest });
        return Ok(text[end.map_or(0, |found| found.1)..].iter().collect());
    }
    // The shortest match at the end is found from the other side.
    let tokens = parse(&reverse_pattern(pattern)).map_err(|problem| match problem {
        WordProblem::InvalidPattern { escaped, .. } => {
            WordProblem::InvalidPattern { pattern: pattern.to_owned(), escaped }
        }
        other => other,
    })?;
    let text: Vec<char> = value.chars().rev().collect();
    let end = find(&tokens, &text, 0, Search { anchored: true, longest });
    Ok(text[end.map_or(0, |found| found.1)..].iter().rev().collect())
}

/// `${v/p/r}` and, if `all`, `${v//p/r}`.
pub(super) fn replace(
    pattern: &str,
    value: &str,
    replacement: &str,
    all: bool,
    max_length: usize,
) -> Result<String, WordProblem> {
    let tokens = parse(pattern)?;
    let text: Vec<char> = value.chars().collect();
    let search = Search { anchored: false, longest: true };
    if !all {
        let Some((start, end)) = find(&tokens, &text, 0, search) else {
            return Ok(value.to_owned());
        };
        let mut result: String = text[..start].iter().collect();
        result.push_str(replacement);
        result.extend(&text[end..]);
        return Ok(result);
    }
    let template = parse_template(replacement);
    let mut result = String::new();
    let (mut copied, mut position) = (0, 0);
    while position <= text.len() {
        let Some((start, end)) = find(&tokens, &text, position, search) else { break };
        result.extend(&text[copied..start]);
        // Nothing is put in right after a match for a match of nothing.
        if end > copied || start == 0 {
            for piece in &template {
                match piece {
                    Piece::Text(text) => result.push_str(text),
                    Piece::Match => result.extend(&text[start..end]),
                }
            }
        }
        if result.len() > max_length {
            return Err(WordProblem::TooLong);
        }
        copied = end;
        position = end.max(position + 1);
    }
    result.extend(&text[copied..]);
    Ok(result)
}

fn parse(pattern: &str) -> Result<Vec<Token>, WordProblem> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' if tokens.last() == Some(&Token::Star) => continue,
            '*' => Token::Star,
            '?' => Token::Any,
            // These two had to be escaped for `${}`; the escape is not part of the pattern.
            '\\' if matches!(chars.peek(), Some('}' | '/')) => continue,
            '\\' => match chars.next() {
                Some(escaped @ ('*' | '?' | '\\')) => Token::Literal(escaped),
                other => {
                    let escaped = other.unwrap_or(char::REPLACEMENT_CHARACTER);
                    return Err(WordProblem::InvalidPattern {
                        pattern: pattern.to_owned(),
                        escaped,
                    });
                }
            },
            _ => Token::Literal(c),
        });
    }
    Ok(tokens)
}

/// Turns the pattern round, but keeps each backslash before what it escapes.
fn reverse_pattern(pattern: &str) -> String {
    let chars: Vec<char> = pattern.chars().collect();
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let width = if chars[at] == '\\' && at + 1 < chars.len() { 2 } else { 1 };
        pieces.push(&chars[at..at + width]);
        at += width;
    }
    pieces.into_iter().rev().flatten().collect()
}

#[derive(Clone, Copy)]
struct Search {
    /// Only at the position given, not after it.
    anchored: bool,
    /// Whether `*` takes as much as it can.
    longest: bool,
}

const NONE: usize = usize::MAX;

/// The first match at or after `from`: where it starts and ends.
///
/// All wildcards are of one kind, so the preferred match is simply the longest (or the
/// shortest) of those that start first. Each state keeps only its earliest start.
fn find(tokens: &[Token], text: &[char], from: usize, search: Search) -> Option<(usize, usize)> {
    let accept = tokens.len();
    let mut states = vec![NONE; accept + 1];
    let mut found: Option<(usize, usize)> = None;
    for position in from..=text.len() {
        if found.is_none() && (position == from || !search.anchored) {
            states[0] = states[0].min(position);
        }
        for (at, token) in tokens.iter().enumerate() {
            if *token == Token::Star {
                states[at + 1] = states[at + 1].min(states[at]);
            }
        }
        let start = states[accept];
        if start != NONE && found.is_none_or(|(best, _)| start <= best) {
            found = Some((start, position));
            if !search.longest {
                break;
            }
        }
        let Some(c) = text.get(position) else { break };
        let worst = found.map_or(NONE - 1, |(best, _)| best);
        states = step(tokens, &states, *c, worst);
        if (search.anchored || found.is_some()) && states.iter().all(|start| *start == NONE) {
            break;
        }
    }
    found
}

/// The states after `c`, without those that started after `worst`.
fn step(tokens: &[Token], states: &[usize], c: char, worst: usize) -> Vec<usize> {
    let mut next = vec![NONE; states.len()];
    for (at, token) in tokens.iter().enumerate() {
        let start = states[at];
        if start > worst {
            continue;
        }
        let target = match token {
            Token::Literal(literal) if *literal == c => at + 1,
            Token::Any if c != '\n' => at + 1,
            Token::Star if c != '\n' => at,
            _ => continue,
        };
        next[target] = next[target].min(start);
    }
    next
}

enum Piece {
    Text(String),
    Match,
}

/// Reads the replacement as Go's `Expand` does: `$0` is the match, other `$names` are
/// nothing, `$$` is a dollar.
fn parse_template(template: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            text.push('$');
            rest = after;
            continue;
        }
        let Some((name, after)) = template_name(rest) else {
            text.push('$');
            continue;
        };
        if name == "0" {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
            pieces.push(Piece::Match);
        }
        rest = after;
    }
    text.push_str(rest);
    pieces.push(Piece::Text(text));
    pieces
}

/// `name` or `{name}`, and what follows.
fn template_name(rest: &str) -> Option<(&str, &str)> {
    let (body, braced) = match rest.strip_prefix('{') {
        Some(body) => (body, true),
        None => (rest, false),
    };
    let end = body.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(body.len());
    if end == 0 {
        return None;
    }
    let (name, after) = body.split_at(end);
    if braced { Some((name, after.strip_prefix('}')?)) } else { Some((name, after)) }
}
