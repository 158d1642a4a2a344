//! Strings and lists of HCL, so that what is read is what was written.

/// `text` as a quoted string, with nothing in it that HCL would fill in.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    let mut rest = text.chars().peekable();
    let mut before = None;
    while let Some(c) = rest.next() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Doubled, it stands for itself; but a row of them would be counted otherwise.
            '$' | '%' if rest.peek() == Some(&'{') && before != Some(c) => {
                out.push(c);
                out.push(c);
            }
            '$' | '%' if matches!(rest.peek(), Some(next) if *next == c || *next == '{') => {
                out.push_str(&escaped(c));
            }
            c if c.is_control() => out.push_str(&escaped(c)),
            c => out.push(c),
        }
        before = Some(c);
    }
    out.push('"');
    out
}

fn escaped(c: char) -> String {
    match u32::from(c) {
        code @ 0..=0xffff => format!("\\u{code:04x}"),
        code => format!("\\U{code:08x}"),
    }
}

/// `text` as it reads best: lines between two words, or a quoted string where those could not
/// say the same.
pub(super) fn lines(text: &str) -> String {
    let odd = text.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
    if odd || !text.ends_with('\n') || text.contains("$${") || text.contains("%%{") {
        return quoted(text);
    }
    let end = super::shell::end_word(text);
    format!("<<{end}\n{}{end}", text.replace("${", "$${").replace("%{", "%%{"))
}

/// A list of strings.
pub(super) fn list<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| quoted(item.as_ref())).collect();
    format!("[{}]", items.join(", "))
}

/// A map of strings, a line each.
pub(super) fn map<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut out = "{\n".to_owned();
    for (name, value) in pairs {
        out.push_str(&format!("    {} = {value}\n", quoted(name)));
    }
    out.push_str("  }");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_string_is_filled_in_or_ends_it() {
        let table = [
            ("plain", r#""plain""#),
            (r#"a"b\c"#, r#""a\"b\\c""#),
            ("a\nb\tc\r", r#""a\nb\tc\r""#),
            ("${HOME}", r#""$${HOME}""#),
            ("%{if}", r#""%%{if}""#),
            ("$HOME 5% $$", r#""$HOME 5% \u0024$""#),
            ("$${x}", r#""\u0024\u0024{x}""#),
            ("%%{x}", r#""\u0025\u0025{x}""#),
            ("$%{x}", r#""$%%{x}""#),
            ("\u{0}\u{1b}[0m\u{85}", r#""\u0000\u001b[0m\u0085""#),
            ("é 木", r#""é 木""#),
        ];
        for (text, expected) in table {
            assert_eq!(quoted(text), expected, "{text:?}");
        }
    }

    #[test]
    fn lines_are_kept_as_lines_where_that_says_the_same() {
        let table = [
            ("FROM a\nRUN b\\\n c\n", "<<END\nFROM a\nRUN b\\\n c\nEND"),
            ("RUN echo ${x} %{y}\n", "<<END\nRUN echo $${x} %%{y}\nEND"),
            ("RUN <<END\nx\nEND\n", "<<END1\nRUN <<END\nx\nEND\nEND1"),
            ("no end", r#""no end""#),
            ("a\r\n", r#""a\r\n""#),
            ("$${x}\n", r#""\u0024\u0024{x}\n""#),
        ];
        for (text, expected) in table {
            assert_eq!(lines(text), expected, "{text:?}");
        }
    }
}
