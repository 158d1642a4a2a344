//! Times, as RFC 3339 writes them.

use super::{Answer, text};
use crate::Surroundings;
use crate::value::Value;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A time, and how far the clock that showed it is ahead of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Time {
    /// Since 1970, in UTC.
    nanoseconds: i128,
    offset_minutes: i64,
}

/// A time as people read it.
struct Civil {
    year: i64,
    month: usize,
    day: i64,
    weekday: usize,
    hour: i64,
    minute: i64,
    second: i64,
}

/// Days since 1970 of a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that leap days come last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

impl Time {
    fn civil(self) -> Civil {
        let seconds =
            self.nanoseconds.div_euclid(1_000_000_000) + i128::from(self.offset_minutes * 60);
        let seconds = i64::try_from(seconds).unwrap_or_default();
        let (day_count, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let shifted = day_count + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = (shifted_month + 2) % 12 + 1;
        Civil {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: usize::try_from(month).unwrap_or(1),
            day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
            weekday: usize::try_from((day_count + 4).rem_euclid(7)).unwrap_or(0),
            hour: rest / 3_600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }

    fn zone(self, colon: &str) -> String {
        let (sign, ahead) = if self.offset_minutes < 0 {
            ('-', -self.offset_minutes)
        } else {
            ('+', self.offset_minutes)
        };
        format!("{sign}{:02}{colon}{:02}", ahead / 60, ahead % 60)
    }

    fn zone_or_z(self) -> String {
        if self.offset_minutes == 0 { "Z".to_owned() } else { self.zone(":") }
    }

    fn rfc3339(self) -> Value {
        let Civil { year, month, day, hour, minute, second, .. } = self.civil();
        let zone = self.zone_or_z();
        Value::string(format!(
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{zone}"
        ))
    }
}

/// Reads `2026-01-02T03:04:05Z`, perhaps with fractions of seconds or another zone.
fn parse(text: &str) -> Result<Time, String> {
    read(text).ok_or_else(|| format!("`{text}` is not a time like 2026-01-02T03:04:05Z"))
}

fn read(text: &str) -> Option<Time> {
    if !text.is_ascii() || text.len() < 20 {
        return None;
    }
    let punctuation = [(4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":")];
    if punctuation.iter().any(|(at, mark)| &text[*at..=*at] != *mark) {
        return None;
    }
    let part = |from: usize, to: usize, most: i64| {
        let digits = &text[from..to];
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<i64>().ok().filter(|value| plain && *value <= most)
    };
    let (year, month, day) = (part(0, 4, 9999)?, part(5, 7, 12)?, part(8, 10, 31)?);
    let (hour, minute, second) = (part(11, 13, 23)?, part(14, 16, 59)?, part(17, 19, 59)?);
    let (next, next_year) = if month == 12 { (1, year + 1) } else { (month + 1, year) };
    let length = days(next_year, next, 1) - days(year, month.max(1), 1);
    if month == 0 || day == 0 || day > length {
        return None;
    }
    let mut zone = &text[19..];
    let mut nanoseconds = 0;
    if let Some(rest) = zone.strip_prefix('.') {
        let end = rest.find(|letter: char| !letter.is_ascii_digit())?;
        if end == 0 || end > 18 {
            return None;
        }
        let nine: String = rest[..end].chars().chain("000000000".chars()).take(9).collect();
        nanoseconds = nine.parse::<i128>().ok()?;
        zone = &rest[end..];
    }
    let offset_minutes = offset(zone)?;
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let utc = i128::from(seconds - offset_minutes * 60) * 1_000_000_000 + nanoseconds;
    Some(Time { nanoseconds: utc, offset_minutes })
}

fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone[1..].split_once(':')?;
    let two = |text: &str, most: i64| {
        let plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i64>().ok().filter(|value| plain && *value <= most)
    };
    Some(sign * (two(hours, 23)? * 60 + two(minutes, 59)?))
}

/// Reads `1h30m`, `-2.5s` and the like.
fn duration(text: &str) -> Option<i128> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned == "0" {
        return Some(0);
    }
    let mut rest = unsigned;
    let mut total: i128 = 0;
    while !rest.is_empty() || total == 0 {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, after) = rest.split_at(digits);
        let end = after
            .find(|letter: char| letter.is_ascii_digit() || letter == '.')
            .unwrap_or(after.len());
        let (unit, more) = after.split_at(end);
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && part.is_empty()) || part.len() > 18 || whole.len() > 18 {
            return None;
        }
        let value =
            |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<i128>().ok() };
        let tens = 10i128.pow(u32::try_from(part.len()).ok()?);
        total += value(whole)? * scale + value(part)? * scale / tens;
        if total > i128::from(i64::MAX) {
            return None;
        }
        rest = more;
        if rest.is_empty() {
            break;
        }
    }
    Some(if text.starts_with('-') { -total } else { total })
}

pub(super) fn timestamp(_: &[Value], around: &Surroundings<'_>) -> Answer {
    // Beyond the year 9999 there is no such text.
    let now = around.now.clamp(0, 253_402_300_799);
    Ok(Time { nanoseconds: i128::from(now) * 1_000_000_000, offset_minutes: 0 }.rfc3339())
}

pub(super) fn timeadd(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let time = parse(text(arguments, 0))?;
    let written = text(arguments, 1);
    let more =
        duration(written).ok_or_else(|| format!("`{written}` is not a duration like 1h30m"))?;
    Ok(Time { nanoseconds: time.nanoseconds + more, ..time }.rfc3339())
}

pub(super) fn formatdate(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let time = parse(text(arguments, 1))?;
    let civil = time.civil();
    let mut result = String::new();
    let mut rest = text(arguments, 0);
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            rest = quoted(rest, &mut result)?;
            continue;
        }
        let end = rest.find(|letter| letter != first).unwrap_or(rest.len());
        let (token, more) = rest.split_at(end);
        if first.is_ascii_alphabetic() {
            let formatted = verb(token, first, time, &civil);
            result.push_str(&formatted.ok_or_else(|| format!("`{token}` is no part of a date"))?);
        } else {
            result.push_str(token);
        }
        rest = more;
    }
    Ok(Value::string(result))
}

/// Copies `'text'`, in which `''` is one quote, and returns what follows.
fn quoted<'t>(text: &'t str, result: &mut String) -> Result<&'t str, String> {
    if let Some(rest) = text.strip_prefix("''") {
        result.push('\'');
        return Ok(rest);
    }
    let mut rest = &text[1..];
    loop {
        let end = rest.find('\'').ok_or("a `'` without its end")?;
        result.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('\'') {
            Some(more) => {
                result.push('\'');
                rest = more;
            }
            None => return Ok(rest),
        }
    }
}

fn verb(token: &str, first: char, time: Time, civil: &Civil) -> Option<String> {
    let twelve = match civil.hour % 12 {
        0 => 12,
        hour => hour,
    };
    let number = |value: i64| match token.len() {
        1 => Some(value.to_string()),
        2 => Some(format!("{value:02}")),
        _ => None,
    };
    let name = |names: &[&str], at: usize| match token.len() {
        3 => names.get(at).map(|name| name[..3].to_owned()),
        4 => names.get(at).map(|name| (*name).to_owned()),
        _ => None,
    };
    let half = if civil.hour < 12 { "am" } else { "pm" };
    match (first, token.len()) {
        ('Y', 2) => Some(format!("{:02}", civil.year % 100)),
        ('Y', 4) => Some(format!("{:04}", civil.year)),
        ('M', 1 | 2) => number(i64::try_from(civil.month).ok()?),
        ('M', _) => name(&MONTHS, civil.month - 1),
        ('D', _) => number(civil.day),
        ('E', _) => name(&DAYS, civil.weekday),
        ('h', _) => number(civil.hour),
        ('H', _) => number(twelve),
        ('A', 2) => Some(half.to_uppercase()),
        ('a', 2) => Some(half.to_owned()),
        ('m', _) => number(civil.minute),
        ('s', _) => number(civil.second),
        ('Z', 1) => Some(time.zone_or_z()),
        ('Z', 3) if time.offset_minutes == 0 => Some("UTC".to_owned()),
        ('Z', 3 | 4) => Some(time.zone("")),
        ('Z', 5) => Some(time.zone(":")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{days, duration, parse};

    #[test]
    fn days_are_counted_from_1970() {
        let table = [
            ((1970, 1, 1), 0),
            ((1969, 12, 31), -1),
            ((2000, 3, 1), 11_017),
            ((2024, 2, 29), 19_782),
        ];
        for ((year, month, day), expected) in table {
            assert_eq!(days(year, month, day), expected, "{year}-{month}-{day}");
        }
    }

    #[test]
    fn a_time_comes_back_as_it_was_written() {
        for text in
            ["2026-01-02T03:04:05Z", "1969-12-31T23:59:59+05:30", "2024-02-29T00:00:00-11:00"]
        {
            assert_eq!(parse(text).unwrap().rfc3339().as_str(), Some(text));
        }
        for text in [
            "2023-02-29T00:00:00Z",
            "2026-01-02",
            "2026-13-01T00:00:00Z",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05+1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        let table = [
            ("1h30m", Some(5_400_000_000_000)),
            ("-1.5s", Some(-1_500_000_000)),
            ("0", Some(0)),
            ("5", None),
            ("", None),
            ("1x", None),
        ];
        for (text, expected) in table {
            assert_eq!(duration(text), expected, "{text}");
        }
    }
}
