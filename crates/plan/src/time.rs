//! Times as texts, without a clock.

/// Seconds since 1970 as RFC 3339 in UTC, such as `2026-11-21T12:00:00Z`.
pub fn rfc3339(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Milliseconds since 1970 as RFC 3339 in UTC, with a fraction where there is one.
pub fn rfc3339_ms(ms: u64) -> String {
    let whole = rfc3339(i64::try_from(ms / 1000).unwrap_or(i64::MAX / 1000));
    match ms % 1000 {
        0 => whole,
        rest => {
            let digits = format!("{rest:03}");
            format!("{}.{}Z", whole.trim_end_matches('Z'), digits.trim_end_matches('0'))
        }
    }
}

/// Milliseconds since 1970 of a time as RFC 3339 has it; none for what is none, or is before.
pub fn parse_ms(text: &str) -> Option<u64> {
    let (date, time) = text.split_at_checked(10)?;
    let (year, month, day) = (part(date, 0, 4)?, part(date, 5, 2)?, part(date, 8, 2)?);
    let time = time.strip_prefix(['T', 't', ' '])?;
    let (hour, minute, second) = (part(time, 0, 2)?, part(time, 3, 2)?, part(time, 6, 2)?);
    let rest = time.get(8..)?;
    let digits = rest
        .strip_prefix('.')
        .map_or(0, |fraction| fraction.bytes().take_while(u8::is_ascii_digit).count());
    let ms = if digits == 0 { 0 } else { part(&format!("{:0<3}", &rest[1..=digits]), 0, 3)? };
    let zone = &rest[if digits == 0 { 0 } else { digits + 1 }..];
    let days = (1..=12).contains(&month).then(|| days(year, month, day))?;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset(zone)?;
    u64::try_from(seconds.checked_mul(1000)?.checked_add(ms)?).ok()
}

/// A number at a place of a text.
fn part(text: &str, at: usize, length: usize) -> Option<i64> {
    let digits = text.get(at..at + length)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Seconds that a zone is ahead.
fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let ahead = part(zone, 1, 2)? * 3600 + part(zone, 4, 2)? * 60;
    match zone.as_bytes().first()? {
        b'+' => Some(ahead),
        b'-' => Some(-ahead),
        _ => None,
    }
}

/// The day of a date, counted from 1970-01-01.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let shifted_year = year - i64::from(month <= 2);
    let (era, year_of_era) = (shifted_year.div_euclid(400), shifted_year.rem_euclid(400));
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date of a day counted from 1970-01-01, by the 400-year cycle of the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days_are_right() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_262_400, "2026-11-21T12:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(rfc3339(seconds), expected);
        }
        assert_eq!(rfc3339_ms(1_500), "1970-01-01T00:00:01.5Z");
    }

    #[test]
    fn times_are_read_as_they_are_written_and_as_others_write_them() {
        for ms in [0, 1, 951_782_400_000, 1_795_262_400_123, 4_107_542_399_999] {
            assert_eq!(parse_ms(&rfc3339_ms(ms)), Some(ms), "{ms}");
        }
        let cases = [
            ("2026-11-21T19:09:28.356931688Z", Some(1_795_288_168_356)),
            ("2026-11-21T20:09:28+01:00", Some(1_795_288_168_000)),
            ("2026-11-21T19:09:28.5-00:00", Some(1_795_288_168_500)),
            ("0001-01-01T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-11-21", None),
            ("2026-11-21T19:09:28", None),
            ("", None),
            ("aaaa-aa-aaTaa:aa:aaZ", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_ms(text), expected, "{text}");
        }
    }
}
