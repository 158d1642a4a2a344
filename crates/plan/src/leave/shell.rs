//! Words of a POSIX shell.

/// `text` as one word that the shell does not look into.
pub(super) fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    // What begins with a dash or a tilde is as plain in quotes, and no more than a word.
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\0', "").replace('\'', r"'\''"))
}

/// A word that is no line of `text`, to end it with.
pub(super) fn end_word(text: &str) -> String {
    let taken = |word: &String| text.lines().any(|line| line.trim() == word);
    let numbered = (1..).map(|number: u32| format!("END{number}"));
    std::iter::once("END".to_owned())
        .chain(numbered)
        .find(|word| !taken(word))
        .expect("a text has fewer lines than there are numbers")
}

/// `text` as a comment may have it: on one line.
pub(super) fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const WORDS: &[(&str, &str)] = &[
        ("plain-word_1.2/3:4=5@6,7+8%", "plain-word_1.2/3:4=5@6,7+8%"),
        ("", "''"),
        ("two words", "'two words'"),
        ("it's", r"'it'\''s'"),
        ("'", r"''\'''"),
        (
            "$HOME `id` $(id) \\ \" ! * ? [a] {a,b} ~ # & ; | < > ( )",
            "'$HOME `id` $(id) \\ \" ! * ? [a] {a,b} ~ # & ; | < > ( )'",
        ),
        ("a\nb\t\r", "'a\nb\t\r'"),
        ("~root", "'~root'"),
        ("é 木", "'é 木'"),
    ];

    #[test]
    fn a_word_stays_one_word() {
        for (text, expected) in WORDS {
            assert_eq!(word(text), *expected, "{text:?}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the shell itself is the judge")]
    #[expect(clippy::print_stderr, reason = "whoever reads the tests' output must know")]
    fn the_shell_reads_words_as_they_were() {
        for (text, _) in WORDS {
            let script = format!("printf '%s' {}", word(text));
            let Ok(output) = Command::new("sh").arg("-c").arg(script).output() else {
                eprintln!("skipped: there is no sh");
                return;
            };
            assert_eq!(String::from_utf8_lossy(&output.stdout), *text);
        }
    }

    #[test]
    fn a_text_is_ended_by_a_word_that_it_does_not_have() {
        for (text, expected) in [("", "END"), ("END\n", "END1"), (" END\nEND1\n", "END2")] {
            assert_eq!(end_word(text), expected);
        }
    }
}
