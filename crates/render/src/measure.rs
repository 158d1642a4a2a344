//! Bytes and times in the words people use.

/// Bytes in decimal units, as Docker shows them: `1.25 GB`, `184 MB`, `12 kB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut unit = 0;
    let mut scale: u128 = 1000;
    // Three digits are shown, so what rounds up to 1000 belongs to the next unit.
    while unit + 1 < UNITS.len() && u128::from(count) * 10 >= scale * 9995 {
        unit += 1;
        scale *= 1000;
    }
    let hundredths = (u128::from(count) * 100 + scale / 2) / scale;
    let text = match hundredths {
        0..=999 => format!("{}.{:02}", hundredths / 100, hundredths % 100),
        1000..=9994 => {
            let tenths = (u128::from(count) * 10 + scale / 2) / scale;
            format!("{}.{}", tenths / 10, tenths % 10)
        }
        _ => format!("{}", (u128::from(count) + scale / 2) / scale),
    };
    format!("{text} {}", UNITS[unit])
}

/// A length of time as it reads in a sentence: `0.04 s`, `12.3 s`, `2 min 05 s`.
pub fn duration(ms: u64) -> String {
    if ms < 995 {
        return format!("0.{:02} s", (ms + 5) / 10);
    }
    if ms < 59_950 {
        let tenths = (ms + 50) / 100;
        return format!("{}.{} s", tenths / 10, tenths % 10);
    }
    let seconds = ms.saturating_add(500) / 1000;
    if seconds < 3600 {
        return format!("{} min {:02} s", seconds / 60, seconds % 60);
    }
    let minutes = (seconds + 30) / 60;
    format!("{} h {:02} min", minutes / 60, minutes % 60)
}

/// A length of time where there is little room: `40s`, `3m 10s`, `2h 05m`.
pub fn short_duration(ms: u64) -> String {
    let seconds = ms.saturating_add(500) / 1000;
    if seconds < 60 {
        return format!("{seconds}s");
    }
    if seconds < 3600 {
        return format!("{}m {:02}s", seconds / 60, seconds % 60);
    }
    let minutes = (seconds + 30) / 60;
    format!("{}h {:02}m", minutes / 60, minutes % 60)
}

/// How long ago something was: `just now`, `5 min ago`, `3 days ago`.
pub fn ago(ms: u64) -> String {
    let minutes = ms / 60_000;
    let text = match minutes {
        0 => return "just now".to_owned(),
        1..=59 => format!("{minutes} min"),
        60..=2879 => format!("{} h", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    };
    format!("{text} ago")
}

/// A running clock: `0:12`, `12:34`, `1:02:03`.
pub fn clock(ms: u64) -> String {
    let seconds = ms / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        return format!("{hours}:{minutes:02}:{seconds:02}");
    }
    format!("{minutes}:{seconds:02}")
}

/// `1 image`, `2 images`.
pub(crate) fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_digits_and_a_decimal_unit() {
        for (count, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (1234, "1.23 kB"),
            (9_994, "9.99 kB"),
            (9_996, "10.0 kB"),
            (12_345, "12.3 kB"),
            (99_960, "100 kB"),
            (999_400, "999 kB"),
            (999_500, "1.00 MB"),
            (184_000_000, "184 MB"),
            (1_250_000_000, "1.25 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(count), expected, "{count}");
        }
    }

    #[test]
    fn durations_read_as_a_person_would_say_them() {
        for (ms, expected) in [
            (0, "0.00 s"),
            (40, "0.04 s"),
            (994, "0.99 s"),
            (995, "1.0 s"),
            (1_240, "1.2 s"),
            (59_949, "59.9 s"),
            (59_950, "1 min 00 s"),
            (125_000, "2 min 05 s"),
            (3_720_000, "1 h 02 min"),
            (u64::MAX, "5124095576030 h 26 min"),
        ] {
            assert_eq!(duration(ms), expected, "{ms}");
        }
        for (ms, expected) in [
            (0, "0s"),
            (59_499, "59s"),
            (59_500, "1m 00s"),
            (190_000, "3m 10s"),
            (7_500_000, "2h 05m"),
        ] {
            assert_eq!(short_duration(ms), expected, "{ms}");
        }
        for (ms, expected) in [(999, "0:00"), (72_000, "1:12"), (3_723_000, "1:02:03")] {
            assert_eq!(clock(ms), expected);
        }
    }
}
