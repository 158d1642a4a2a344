//! When to ask again, and how long to wait before.
//!
//! Only what is idempotent and may pass by itself is tried again: 429, 5xx, connections
//! that break. The wait doubles, with jitter, unless the server says how long it wants;
//! a server that wants longer than the policy allows gets its way and no second request.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How patient the client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Requests in all for one answer; at least one.
    pub attempts: u32,
    /// The wait after the first failure; it doubles.
    pub base: Duration,
    /// The longest wait that the client chooses itself.
    pub longest: Duration,
    /// The longest `Retry-After` that is obeyed; beyond it the request fails at once.
    pub longest_retry_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            base: Duration::from_millis(300),
            longest: Duration::from_secs(10),
            longest_retry_after: Duration::from_secs(60),
        }
    }
}

impl RetryPolicy {
    /// The wait before attempt `made + 1`, after `made` failed ones; none to give up.
    pub(crate) fn wait(&self, made: u32, asked_for: Option<Duration>) -> Option<Duration> {
        if made >= self.attempts.max(1) {
            return None;
        }
        match asked_for {
            Some(asked) if asked > self.longest_retry_after => None,
            Some(asked) => Some(asked),
            None => {
                let doubled = self.base.saturating_mul(1 << (made - 1).min(16));
                Some(jittered(doubled.min(self.longest)))
            }
        }
    }
}

/// Between half and the whole of `wait`, so that clients that failed together do not come
/// back together.
fn jittered(wait: Duration) -> Duration {
    let random = RandomState::new().hash_one(0_u8);
    let half = wait / 2;
    let parts = u32::try_from(random % 1024).unwrap_or(0);
    half + half * parts / 1024
}

/// `Retry-After`: seconds or a date.
pub(crate) fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = http_date(header)?;
    let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(Duration::from_secs(u64::try_from(then).unwrap_or(0).saturating_sub(now)))
}

/// Seconds since 1970 of an HTTP date in its one form that may still be sent:
/// `Sun, 06 Nov 1994 08:49:37 GMT`
/// (<https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7>).
pub(crate) fn http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let parts: Vec<&str> = text.split_ascii_whitespace().collect();
    let [_, day, month, year, time, "GMT" | "UTC"] = parts.as_slice() else { return None };
    let digits = |text: &str, count: usize| -> Option<i64> {
        let plain = text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| text.parse().ok()).flatten()
    };
    let month = i64::try_from(MONTHS.iter().position(|name| name == month)?).ok()? + 1;
    let (year, day) = (digits(year, 4)?, digits(day, 2)?);
    let clock: Vec<&str> = time.split(':').collect();
    let [hour, minute, second] = clock.as_slice() else { return None };
    let (hour, minute, second) = (digits(hour, 2)?, digits(minute, 2)?, digits(second, 2)?);
    if !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days of the Gregorian calendar; years begin in March so that leap days come last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let shifted = if month > 2 { year } else { year - 1 };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_obey_the_server_and_end() {
        let policy = RetryPolicy {
            attempts: 4,
            base: Duration::from_millis(100),
            longest: Duration::from_millis(150),
            longest_retry_after: Duration::from_secs(60),
        };
        let between = |wait: Option<Duration>, low, high| {
            let wait = wait.unwrap().as_millis();
            assert!((low..=high).contains(&wait), "{wait}");
        };
        between(policy.wait(1, None), 50, 100);
        between(policy.wait(2, None), 75, 150);
        between(policy.wait(3, None), 75, 150);
        assert_eq!(policy.wait(4, None), None);
        assert_eq!(policy.wait(1, Some(Duration::from_secs(7))), Some(Duration::from_secs(7)));
        assert_eq!(policy.wait(1, Some(Duration::from_secs(61))), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let cases = [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ];
        for (header, expected) in cases {
            assert_eq!(retry_after(header, now), expected.map(Duration::from_secs), "{header}");
        }
    }

    #[test]
    fn http_dates_are_read_and_junk_is_not() {
        let cases = [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Thu, 29 Feb 2024 12:00:00 GMT", Some(1_709_208_000)),
            ("Sat, 21 Nov 2026 00:00:00 GMT", Some(1_795_219_200)),
            ("Sun, 06 Nov 1994 24:49:37 GMT", None),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(http_date(text), expected, "{text}");
        }
    }
}
