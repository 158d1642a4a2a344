//! The amounts of `bakehouse.toml`: sizes, time spans, estimates. One that exists is right.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use super::mistake::{Mistake, shown};
use super::reader::FromText;

/// A number of bytes, written as `512m` or `2GB`; a kilobyte has 1024 of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Size(
    #[schemars(with = "String", extend("pattern" = "^ *[0-9]+ *([kmgtKMGT]?[iI]*[bB]*) *$"))] u64,
);

impl Size {
    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromText for Size {
    fn from_text(text: &str) -> Result<Self, Mistake> {
        bakehouse_plan::lower::option::size(text).map(Self).map_err(|_| {
            Mistake::new(
                "bad-size",
                format!("`{}` is not a size", shown(text)),
                "write a whole number and a unit, such as `512m` or `2GB`",
            )
        })
    }
}

/// A number of processors, not necessarily whole.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Processors(#[schemars(range(min = 0.01, max = 10000))] f64);

impl Processors {
    /// The least that the kernel gives (1 ms of every 100 ms), and more than any machine has.
    const RANGE: std::ops::RangeInclusive<f64> = 0.01..=10_000.0;

    /// That many, if it is a number of processors.
    pub fn new(number: f64) -> Option<Self> {
        Self::RANGE.contains(&number).then_some(Self(number))
    }

    /// In thousandths of one.
    pub fn millis(self) -> u32 {
        let rounded = format!("{:.0}", self.0 * 1000.0);
        rounded.parse().expect("it is at most ten million")
    }
}

/// A time span, written as `20m`, `1h30m` or `90s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(inline)]
pub struct TimeSpan(
    #[schemars(
        with = "String",
        extend("pattern" = "^([0-9]+h([0-9]+m)?([0-9]+s)?|[0-9]+m([0-9]+s)?|[0-9]+s)$")
    )]
    Duration,
);

impl TimeSpan {
    /// The longest one: a year.
    const LONGEST: u64 = 365 * 24 * 3600;

    /// As a duration.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl Serialize for TimeSpan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}s", self.0.as_secs()))
    }
}

impl FromText for TimeSpan {
    fn from_text(text: &str) -> Result<Self, Mistake> {
        match seconds(text) {
            Some(seconds @ 1..=Self::LONGEST) => Ok(Self(Duration::from_secs(seconds))),
            Some(_) => Err(Mistake::new(
                "bad-duration",
                format!("`{}` is not between one second and a year", shown(text)),
                "leave the key out if there is no limit",
            )),
            None => Err(Mistake::new(
                "bad-duration",
                format!("`{}` is not a time span", shown(text)),
                "write hours, minutes and seconds in this order, such as `20m`, `1h30m` or `90s`",
            )),
        }
    }
}

/// Hours, minutes and seconds, each at most once and in this order.
fn seconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum = 0_u64;
    for (unit, length) in [('h', 3600), ('m', 60), ('s', 1)] {
        if let Some((digits, after)) = rest.split_once(unit) {
            let digits = Some(digits).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
            // What is too large to count is too long as well.
            let count =
                if digits.is_empty() { return None } else { digits.parse().unwrap_or(u64::MAX) };
            sum = sum.saturating_add(count.saturating_mul(length));
            rest = after;
        }
    }
    (rest.is_empty() && !text.is_empty()).then_some(sum)
}

/// How long something takes: from the least to the most, in minutes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Minutes {
    /// The least.
    pub least: f64,
    /// The most; the least again if one number is written.
    pub most: f64,
}

impl Minutes {
    /// More than this is no estimate: a year.
    const LONGEST: f64 = 365.0 * 24.0 * 60.0;

    /// An estimate, if it is one: `0 <= least <= most`, and not longer than a year.
    pub(super) fn new(least: f64, most: f64) -> Option<Self> {
        (0.0 <= least && least <= most && most <= Self::LONGEST).then_some(Self { least, most })
    }
}

impl JsonSchema for Minutes {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Minutes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let number =
            serde_json::json!({ "type": "number", "minimum": 0, "maximum": Self::LONGEST });
        schemars::json_schema!({
            "oneOf": [
                number,
                { "type": "array", "items": number, "minItems": 2, "maxItems": 2 },
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_are_hours_minutes_and_seconds_in_this_order() {
        let year = format!("{}s", TimeSpan::LONGEST);
        let table = [
            ("20m", Some(1200)),
            ("1h30m", Some(5400)),
            ("90s", Some(90)),
            ("1h0m1s", Some(3601)),
            ("008760h", Some(TimeSpan::LONGEST)),
            (&year, Some(TimeSpan::LONGEST)),
            ("8760h1s", None),
            ("99999999999999999999999h", None),
            ("0s", None),
            ("", None),
            ("20", None),
            ("m", None),
            ("1h1h", None),
            ("1m1h", None),
            ("1.5h", None),
            ("+1h", None),
            ("1h ", None),
            ("1d", None),
            ("20M", None),
        ];
        for (text, expected) in table {
            let read = TimeSpan::from_text(text).ok().map(|span| span.duration().as_secs());
            assert_eq!(read, expected, "{text}");
        }
    }

    #[test]
    fn processors_are_counted_in_thousandths() {
        for (number, millis) in [(1.0, 1000), (0.01, 10), (1.5, 1500), (10_000.0, 10_000_000)] {
            assert_eq!(Processors::new(number).map(Processors::millis), Some(millis));
        }
        for number in [0.0, -1.0, 0.009, 10_001.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Processors::new(number), None, "{number}");
        }
    }

    #[test]
    fn sizes_are_those_of_the_command_line() {
        let table = [("2GB", Some(2 << 30)), ("512m", Some(512 << 20)), ("1", Some(1)), ("", None)];
        for (text, expected) in table {
            assert_eq!(Size::from_text(text).ok().map(Size::bytes), expected, "{text}");
        }
        Size::from_text("99999999999999T").unwrap_err();
    }

    #[test]
    fn an_estimate_is_finite_and_its_most_is_not_less_than_its_least() {
        for (least, most) in [(0.0, 0.0), (3.0, 4.0), (0.5, 0.5)] {
            Minutes::new(least, most).unwrap();
        }
        let nan = f64::NAN;
        for (least, most) in [(4.0, 3.0), (-1.0, 1.0), (nan, 1.0), (1.0, nan), (1.0, 1e9)] {
            assert_eq!(Minutes::new(least, most), None, "{least} {most}");
        }
    }
}
