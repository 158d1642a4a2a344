//! Here-documents: which words announce one.

use super::ast::Heredoc;
use super::words::{Lexer, NoEnv, WordError};

/// What every line with a here-document has in it.
pub(crate) const MARK: &str = "<<";

/// The here-document that `word` announces (`<<EOF`, `3<<-"EOF"`), body not read yet.
pub(crate) fn parse_word(word: &str) -> Option<Heredoc> {
    try_parse_word(word).unwrap_or_default()
}

/// Like [`parse_word`], but tells why the name cannot be read.
pub(crate) fn try_parse_word(word: &str) -> Result<Option<Heredoc>, WordError> {
    let name = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &word[..word.len() - name.len()];
    let Some(name) = name.strip_prefix("<<") else { return Ok(None) };
    let (name, chomp) = match name.strip_prefix('-') {
        Some(name) => (name, true),
        None => (name, false),
    };
    let name = name.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
    if name.is_empty() || name.contains('<') {
        return Ok(None);
    }
    let lexer = Lexer::new('\\').keep_unset(true);
    let words = lexer.expand_words(name, &NoEnv)?;
    let [plain] = words.as_slice() else { return Ok(None) };
    let raw = lexer.raw_quotes(true).expand_words(name, &NoEnv)?;
    let quotes = |text: &str| text.chars().filter(|c| matches!(c, '\'' | '"')).count();
    // A quote that is gone without `raw_quotes` was one: what is quoted is not expanded.
    let expand = raw.first().is_some_and(|raw| quotes(raw) == quotes(plain));
    Ok(Some(Heredoc {
        name: plain.clone(),
        file_descriptor: digits.parse().unwrap_or_default(),
        expand,
        chomp,
        content: String::new(),
    }))
}

/// The here-documents that a line announces, in order.
pub(crate) fn in_line(line: &str) -> Result<Vec<Heredoc>, WordError> {
    let lexer = Lexer::new('\\').raw_quotes(true).raw_escapes(true).keep_unset(true);
    // A line whose quotes do not match has none; the shell will say so.
    let words = lexer.expand_words(line, &NoEnv).unwrap_or_default();
    let mut found = Vec::new();
    for word in words {
        found.extend(try_parse_word(&word)?);
    }
    Ok(found)
}
