//! Texts. What people see as one letter counts as one.

use unicode_segmentation::UnicodeSegmentation;

use super::{Answer, at_most, elements, text, whole};
use crate::Surroundings;
use crate::value::Value;

pub(super) fn upper(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    Ok(Value::string(text(arguments, 0).to_uppercase()))
}

pub(super) fn lower(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    Ok(Value::string(text(arguments, 0).to_lowercase()))
}

pub(super) fn title(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let mut result = String::new();
    let mut inside = false;
    for letter in text(arguments, 0).chars() {
        if inside {
            result.push(letter);
        } else {
            result.extend(letter.to_uppercase());
        }
        inside = letter.is_alphanumeric()
            || letter == '_'
            || (!letter.is_ascii() && !letter.is_whitespace());
    }
    Ok(Value::string(result))
}

pub(super) fn chomp(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    Ok(Value::string(text(arguments, 0).trim_end_matches(['\n', '\r'])))
}

pub(super) fn indent(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let spaces = usize::try_from(whole(arguments, 0)?).map_err(|_| "it must not be negative")?;
    let text = text(arguments, 1);
    at_most(text.matches('\n').count().saturating_mul(spaces).saturating_add(text.len()))?;
    Ok(Value::string(text.replace('\n', &format!("\n{}", " ".repeat(spaces.min(super::MAX_TEXT))))))
}

pub(super) fn join(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let separator = text(arguments, 0);
    if arguments.len() < 2 {
        return Err("at least one list is required".to_owned());
    }
    let mut pieces = Vec::new();
    let mut length = 0usize;
    for at in 1..arguments.len() {
        for each in elements(arguments, at)? {
            let piece = each.as_str().ok_or("an element is null")?;
            length = length.saturating_add(piece.len() + separator.len());
            at_most(length)?;
            pieces.push(piece);
        }
    }
    Ok(Value::string(pieces.join(separator)))
}

pub(super) fn split(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let (separator, text) = (text(arguments, 0), text(arguments, 1));
    if separator.is_empty() {
        return Ok(Value::strings(text.chars().map(String::from)));
    }
    Ok(Value::strings(text.split(separator)))
}

pub(super) fn replace(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let (text, from, to) = (text(arguments, 0), text(arguments, 1), text(arguments, 2));
    let found = if from.is_empty() { text.len() + 1 } else { text.matches(from).count() };
    at_most(found.saturating_mul(to.len()).saturating_add(text.len()))?;
    Ok(Value::string(text.replace(from, to)))
}

pub(super) fn reverse(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    Ok(Value::string(text(arguments, 0).graphemes(true).rev().collect::<String>()))
}

pub(super) fn strlen(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    Ok(Value::count(text(arguments, 0).graphemes(true).count()))
}

pub(super) fn substr(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let letters: Vec<&str> = text(arguments, 0).graphemes(true).collect();
    let (offset, length) = (whole(arguments, 1)?, whole(arguments, 2)?);
    let total = i64::try_from(letters.len()).unwrap_or(i64::MAX);
    if offset >= 0 && length == 0 {
        return Ok(Value::string(""));
    }
    let start = if offset < 0 { (offset + total).max(0) } else { offset.min(total) };
    let rest = &letters[usize::try_from(start).unwrap_or(0)..];
    let wanted = match usize::try_from(length) {
        Ok(0) | Err(_) => rest.len(),
        Ok(length) => length.min(rest.len()),
    };
    Ok(Value::string(rest[..wanted].concat()))
}

pub(super) fn trim(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let cutset = text(arguments, 1);
    Ok(Value::string(text(arguments, 0).trim_matches(|letter| cutset.contains(letter))))
}

pub(super) fn trimprefix(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let text_0 = text(arguments, 0);
    Ok(Value::string(text_0.strip_prefix(text(arguments, 1)).unwrap_or(text_0)))
}

pub(super) fn trimsuffix(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let text_0 = text(arguments, 0);
    Ok(Value::string(text_0.strip_suffix(text(arguments, 1)).unwrap_or(text_0)))
}

pub(super) fn trimspace(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    Ok(Value::string(text(arguments, 0).trim()))
}

pub(super) fn sanitize(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    let text = text(arguments, 0).chars();
    Ok(Value::string(text.map(|each| if plain(each) { each } else { '_' }).collect::<String>()))
}

pub(super) fn basename(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let path = text(arguments, 0);
    let trimmed = path.trim_end_matches('/');
    let last = trimmed.rsplit('/').next().unwrap_or_default();
    Ok(Value::string(match (path, last) {
        ("", _) => ".",
        (_, "") => "/",
        (_, last) => last,
    }))
}

pub(super) fn dirname(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let path = text(arguments, 0);
    let parent = path.rfind('/').map_or("", |at| &path[..=at]);
    Ok(Value::string(crate::paths::clean(parent)))
}

pub(super) fn homedir(_: &[Value], around: &Surroundings<'_>) -> Answer {
    Ok(Value::string(around.home))
}
