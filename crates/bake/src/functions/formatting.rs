//! `format` and `formatlist`: the part of Go's `Printf` that HCL has.

use unicode_segmentation::UnicodeSegmentation;

use super::{Answer, at_most, text, to_json};
use crate::Surroundings;
use crate::convert::convert;
use crate::number::Number;
use crate::value::{Type, Value};

/// Wider or more precise than this is refused.
const MAX_WIDTH: usize = 1 << 16;

/// `%[2]-08.3f`, taken apart.
#[derive(Debug, Default)]
struct Verb {
    raw: String,
    sharp: bool,
    zero: bool,
    minus: bool,
    plus: bool,
    space: bool,
    width: Option<usize>,
    precision: Option<usize>,
    /// The argument, from 1.
    argument: usize,
    mode: char,
}

/// Reads verbs off a format string.
struct Scanner<'f> {
    rest: &'f str,
    next: usize,
    highest: usize,
}

impl Scanner<'_> {
    fn number(&mut self) -> Result<Option<usize>, String> {
        let end =
            self.rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        if digits.is_empty() {
            return Ok(None);
        }
        let number = digits.parse().ok().filter(|number| *number <= MAX_WIDTH);
        number.map(Some).ok_or_else(|| format!("`{digits}` is too large"))
    }

    fn eats(&mut self, letter: char) -> bool {
        let rest = self.rest.strip_prefix(letter);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn index(&mut self) -> Result<(), String> {
        if self.eats('[') {
            let number = self.number()?.filter(|number| *number > 0);
            self.next = number.ok_or("`[` needs the number of an argument")?;
            if !self.eats(']') {
                return Err("`[` needs a `]`".to_owned());
            }
        }
        Ok(())
    }

    fn verb(&mut self) -> Result<Verb, String> {
        let begin = self.rest;
        let mut verb = Verb::default();
        loop {
            match self.rest.chars().next() {
                Some('#') => verb.sharp = true,
                Some('0') => verb.zero = true,
                Some('-') => verb.minus = true,
                Some('+') => verb.plus = true,
                Some(' ') => verb.space = true,
                _ => break,
            }
            self.rest = &self.rest[1..];
        }
        verb.width = self.number()?;
        if self.eats('.') {
            verb.precision = Some(self.number()?.unwrap_or(0));
        }
        self.index()?;
        verb.mode = self.rest.chars().next().ok_or("the format ends within a verb")?;
        self.rest = &self.rest[verb.mode.len_utf8()..];
        verb.raw = format!("%{}", &begin[..begin.len() - self.rest.len()]);
        verb.argument = self.next;
        self.highest = self.highest.max(self.next);
        self.next += 1;
        Ok(verb)
    }
}

fn formatted(format: &str, arguments: &[Value]) -> Result<String, String> {
    let mut scanner = Scanner { rest: format, next: 1, highest: 0 };
    let mut result = String::new();
    while let Some(at) = scanner.rest.find('%') {
        result.push_str(&scanner.rest[..at]);
        scanner.rest = &scanner.rest[at + 1..];
        if scanner.eats('%') {
            result.push('%');
            continue;
        }
        let verb = scanner.verb()?;
        let argument = arguments.get(verb.argument - 1);
        let argument =
            argument.ok_or_else(|| format!("there is no argument for `{}`", verb.raw))?;
        result.push_str(&verb.show(argument).map_err(|why| format!("`{}`: {why}", verb.raw))?);
        at_most(result.len())?;
    }
    result.push_str(scanner.rest);
    if scanner.highest < arguments.len() {
        return Err(format!("{} arguments are too many", arguments.len()));
    }
    Ok(result)
}

impl Verb {
    fn show(&self, value: &Value) -> Result<String, String> {
        if self.mode != 'v' && value.is_null() {
            return Err("null cannot be formatted".to_owned());
        }
        match self.mode {
            'v' => self.as_is(value),
            't' => match convert(value, &Type::Bool)? {
                Value::Bool(yes) => Ok(yes.to_string()),
                _ => Err("a bool is required".to_owned()),
            },
            's' | 'q' => self.string(value),
            'b' | 'd' | 'o' | 'x' | 'X' | 'e' | 'E' | 'f' | 'g' | 'G' => {
                match convert(value, &Type::Number)? {
                    Value::Number(number) if "bdoxX".contains(self.mode) => self.integer(&number),
                    Value::Number(number) => Ok(self.signed(&number, &self.float(&number))),
                    _ => Err("a number is required".to_owned()),
                }
            }
            mode => Err(format!("there is no verb `{mode}`")),
        }
    }

    fn as_is(&self, value: &Value) -> Result<String, String> {
        let plain = match value {
            Value::String(text) if !self.sharp => text.to_string(),
            Value::Number(number) if !self.sharp => {
                let sign = if number.is_negative() { "-" } else { "" };
                format!("{sign}{}", general(number, None, 'g'))
            }
            _ => {
                let mut json = String::new();
                to_json(value, &mut json)?;
                json
            }
        };
        Ok(self.padded(&plain))
    }

    fn string(&self, value: &Value) -> Result<String, String> {
        let text = crate::convert::text(value)?;
        let kept: String = match self.precision {
            Some(wanted) if wanted > 0 => text.graphemes(true).take(wanted).collect(),
            _ => text.to_string(),
        };
        if self.mode == 's' {
            return Ok(self.padded(&kept));
        }
        let mut quoted = String::new();
        to_json(&Value::string(kept), &mut quoted)?;
        Ok(self.padded(&quoted))
    }

    fn padded(&self, text: &str) -> String {
        let length = text.graphemes(true).count();
        let missing = self.width.unwrap_or(0).saturating_sub(length);
        let padding = if self.zero { "0" } else { " " }.repeat(missing);
        if self.minus { format!("{text}{padding}") } else { format!("{padding}{text}") }
    }

    fn integer(&self, number: &Number) -> Result<String, String> {
        if !number.is_whole() {
            return Err("a whole number is required".to_owned());
        }
        let (radix, prefix) = match self.mode {
            'b' => (2, "0b"),
            'o' => (8, "0"),
            'x' => (16, "0x"),
            'X' => (16, "0X"),
            _ => (10, ""),
        };
        let mut digits = number.magnitude().to_integer().to_str_radix(radix);
        if self.mode == 'X' {
            digits = digits.to_uppercase();
        }
        if let Some(least) = self.precision {
            digits = format!("{digits:0>least$}");
        }
        if self.sharp {
            digits = format!("{prefix}{digits}");
        }
        Ok(self.signed(number, &digits))
    }

    /// Puts sign and padding to the digits of a number.
    fn signed(&self, number: &Number, digits: &str) -> String {
        let sign = match (number.is_negative(), self.plus, self.space) {
            (true, ..) => "-",
            (_, true, _) => "+",
            (_, _, true) => " ",
            _ => "",
        };
        let missing = self.width.unwrap_or(0).saturating_sub(sign.len() + digits.len());
        if self.minus {
            return format!("{sign}{digits}{}", " ".repeat(missing));
        }
        if self.zero && !(self.precision.is_some() && "bdoxX".contains(self.mode)) {
            return format!("{sign}{}{digits}", "0".repeat(missing));
        }
        format!("{}{sign}{digits}", " ".repeat(missing))
    }

    fn float(&self, number: &Number) -> String {
        let number = number.magnitude();
        match self.mode {
            'e' | 'E' => scientific(&number, Some(self.precision.unwrap_or(6)), self.mode),
            'f' => fixed(&number, self.precision.unwrap_or(6)),
            mode => general(&number, self.precision, mode),
        }
    }
}

/// All digits of a number without leading zeros, and where the point is among them.
fn digits(number: &Number) -> (String, i64) {
    let text = number.magnitude().to_string();
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let point = i64::try_from(whole.len()).unwrap_or(0);
    let all = format!("{whole}{part}");
    let zeros = all.len() - all.trim_start_matches('0').len();
    let kept = all.trim_matches('0').to_owned();
    if kept.is_empty() { (kept, 1) } else { (kept, point - i64::try_from(zeros).unwrap_or(0)) }
}

/// Rounds digits to `keep` of them, half to even, as they are decimal already.
fn rounded(digits: &str, point: i64, keep: usize) -> (String, i64) {
    if digits.len() <= keep {
        return (digits.to_owned(), point);
    }
    let (kept, cut) = digits.split_at(keep);
    let half = cut.as_bytes()[0];
    let exact = cut[1..].bytes().all(|digit| digit == b'0');
    let odd = kept.bytes().last().is_some_and(|digit| digit % 2 == 1);
    let up = half > b'5' || (half == b'5' && (!exact || odd));
    if !up {
        return (kept.to_owned(), point);
    }
    let value: num_bigint::BigUint = kept.parse().unwrap_or_default();
    let more = (value + 1u32).to_string();
    let more = format!("{more:0>keep$}");
    let grown = i64::from(more.len() > keep);
    (more, point + grown)
}

fn fixed(number: &Number, places: usize) -> String {
    let (all, point) = digits(number);
    let keep = point + i64::try_from(places).unwrap_or(0);
    let (kept, point) = match usize::try_from(keep) {
        Ok(keep) => rounded(&all, point, keep),
        Err(_) => (String::new(), point),
    };
    let lead = "0".repeat(usize::try_from(1 - point).unwrap_or(0));
    let text = format!("{lead}{kept}");
    let whole = usize::try_from(point.max(1)).unwrap_or(1);
    let text = format!("{text:0<width$}", width = whole + places);
    let text = &text[..whole + places];
    if places == 0 { text.to_owned() } else { format!("{}.{}", &text[..whole], &text[whole..]) }
}

fn scientific(number: &Number, places: Option<usize>, mode: char) -> String {
    let (all, point) = digits(number);
    let (kept, point) = match places {
        Some(places) => rounded(&all, point, places + 1),
        None => (all, point),
    };
    let width = places.map_or(kept.len().max(1), |places| places + 1);
    let kept = format!("{kept:0<width$}");
    let kept = &kept[..width.max(1)];
    let (first, rest) = kept.split_at(1);
    let dot = if rest.is_empty() { "" } else { "." };
    let power = point - 1;
    let letter = if mode.is_ascii_uppercase() { 'E' } else { 'e' };
    format!("{first}{dot}{rest}{letter}{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
}

/// The shorter of the two, as `%g` has it, without a sign.
fn general(number: &Number, precision: Option<usize>, mode: char) -> String {
    let (all, point) = digits(number);
    let (all, point) = match precision {
        Some(keep) => rounded(&all, point, keep.max(1)),
        None => (all, point),
    };
    let all = all.trim_end_matches('0');
    let length = i64::try_from(all.len()).unwrap_or(0);
    let limit = match precision.map(|keep| i64::try_from(keep.max(1)).unwrap_or(0)) {
        None => 6,
        Some(keep) if keep > length && length >= point => length,
        Some(keep) => keep,
    };
    if point - 1 < -4 || point > limit {
        let letter = if mode == 'G' { 'E' } else { 'e' };
        return scientific(number, Some(all.len().saturating_sub(1)), letter);
    }
    fixed(number, usize::try_from(length - point).unwrap_or(0))
}

pub(super) fn format(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    formatted(text(arguments, 0), &arguments[1..]).map(Value::string)
}

pub(super) fn formatlist(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let (format, rest) = (text(arguments, 0), &arguments[1..]);
    let mut lengths = rest.iter().filter_map(Value::elements).map(<[Value]>::len);
    let length = lengths.next().unwrap_or(1);
    if lengths.any(|each| each != length) {
        return Err("all lists must have the same length".to_owned());
    }
    let (mut lines, mut total) = (Vec::new(), 0usize);
    for at in 0..length {
        let pick =
            |each: &Value| each.elements().map_or_else(|| each.clone(), |all| all[at].clone());
        let line = formatted(format, &rest.iter().map(pick).collect::<Vec<_>>())?;
        total = total.saturating_add(line.len());
        at_most(total)?;
        lines.push(line);
    }
    Ok(Value::strings(lines))
}
