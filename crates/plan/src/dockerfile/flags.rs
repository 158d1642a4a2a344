//! `--flags` of an instruction.

use super::problem::Problem;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `--x`, `--x=true`, `--x=false`.
    Bool,
    /// `--x=value`, once.
    Text,
    /// `--x=value`, as often as wanted.
    Texts,
}

/// The flags an instruction was given, checked against those it has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    used: Vec<(&'static str, String)>,
}

impl Flags {
    /// Reads `written`, each with its dashes.
    pub(crate) fn parse(
        written: &[String],
        known: &[(&'static str, Kind)],
    ) -> Result<Self, Problem> {
        let mut flags = Self::default();
        for flag in written {
            if flag == "--" {
                break;
            }
            flags.add(flag, known)?;
        }
        Ok(flags)
    }

    fn add(&mut self, flag: &str, known: &[(&'static str, Kind)]) -> Result<(), Problem> {
        let (dashed, value) = match flag.split_once('=') {
            Some((dashed, value)) => (dashed, Some(value)),
            None => (flag, None),
        };
        let name = dashed.strip_prefix("--").unwrap_or(dashed);
        let Some((name, kind)) = known.iter().find(|(known, _)| *known == name) else {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            return Err(Problem::new("unknown-flag", format!("unknown flag: `{dashed}`"))
                .suggest(name, &names, false));
        };
        if *kind != Kind::Texts && self.used.iter().any(|(used, _)| used == name) {
            let message = format!("duplicate flag specified: `{dashed}`");
            return Err(Problem::new("duplicate-flag", message));
        }
        let missing =
            || Problem::new("flag-needs-value", format!("missing a value on flag: `{dashed}`"));
        let value = match (kind, value) {
            (Kind::Bool, None) => "true".to_owned(),
            (Kind::Bool, Some("")) => return Err(missing()),
            (Kind::Bool, Some(value)) => match value.to_ascii_lowercase().as_str() {
                word @ ("true" | "false") => word.to_owned(),
                _ => {
                    let message =
                        format!("expecting boolean value for flag `{dashed}`, not: {value}");
                    return Err(Problem::new("bad-flag-value", message));
                }
            },
            (_, None) => return Err(missing()),
            (_, Some(value)) => value.to_owned(),
        };
        self.used.push((name, value));
        Ok(())
    }

    /// The value of a flag, unless it is empty.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.last(name).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    /// All values of a flag, in order.
    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        let values = self.used.iter().filter(|(used, _)| *used == name);
        values.map(|(_, value)| value.clone()).collect()
    }

    /// Whether and how a flag was given.
    pub(crate) fn bool(&self, name: &str) -> Option<bool> {
        self.last(name).map(|value| value == "true")
    }

    /// The value of a flag, even an empty one.
    pub(crate) fn last(&self, name: &str) -> Option<&str> {
        self.used.iter().rfind(|(used, _)| *used == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{Flags, Kind};

    const KNOWN: &[(&str, Kind)] =
        &[("bool", Kind::Bool), ("text", Kind::Text), ("many", Kind::Texts)];

    fn parse(written: &[&str]) -> Result<Flags, String> {
        let written: Vec<String> = written.iter().map(|flag| (*flag).to_owned()).collect();
        Flags::parse(&written, KNOWN).map_err(|problem| match problem.help {
            Some(help) => format!("{} ({help})", problem.message),
            None => problem.message,
        })
    }

    #[test]
    fn flags_are_read_as_their_kind_says() {
        let flags = parse(&["--bool", "--text=a=b", "--many=1", "--many=", "--many=3"]).unwrap();
        assert_eq!(flags.bool("bool"), Some(true));
        assert_eq!(flags.text("text").as_deref(), Some("a=b"));
        assert_eq!(flags.texts("many"), ["1", "", "3"]);
        for (value, expected) in [("TRUE", true), ("true", true), ("False", false)] {
            assert_eq!(parse(&[&format!("--bool={value}")]).unwrap().bool("bool"), Some(expected));
        }
        let none = parse(&["--", "--nonsense"]).unwrap();
        assert_eq!((none.bool("bool"), none.text("text")), (None, None));
        assert_eq!(parse(&["--text="]).unwrap().text("text"), None);
    }

    #[test]
    fn a_flag_that_is_wrong_is_named() {
        let table: [(&[&str], &str); 8] = [
            (&["--what"], "unknown flag: `--what`"),
            (&["--txt=1"], "unknown flag: `--txt` (did you mean `text`?)"),
            (&["--Bool"], "unknown flag: `--Bool` (did you mean `bool`?)"),
            (&["--text"], "missing a value on flag: `--text`"),
            (&["--many"], "missing a value on flag: `--many`"),
            (&["--bool="], "missing a value on flag: `--bool`"),
            (&["--bool=yes"], "expecting boolean value for flag `--bool`, not: yes"),
            (&["--bool", "--bool=false"], "duplicate flag specified: `--bool`"),
        ];
        for (written, expected) in table {
            assert_eq!(parse(written).unwrap_err(), expected, "{written:?}");
        }
    }
}
