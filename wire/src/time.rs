//! Wall time as it is stored and sent: milliseconds since 1970 UTC. Reading the clock is `runtime::Clock`'s alone.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// A point in wall time, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct WallTime(pub i64);

impl WallTime {
    /// How long before `now` this was; `None` when it lies in the future (a stored time in the future counts as never).
    #[must_use]
    pub fn age(self, now: Self) -> Option<Duration> {
        u64::try_from(now.0.saturating_sub(self.0))
            .ok()
            .map(Duration::from_millis)
    }

    /// This point in time, `by` later.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// This point in time, `by` earlier.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

impl fmt::Display for WallTime {
    /// RFC 3339 in UTC with milliseconds: `2026-11-20T12:00:00.000Z`. Years outside 0 to 9999 are cut to those.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.clamp(FIRST, LAST);
        let (days, rest) = (ms.div_euclid(DAY), ms.rem_euclid(DAY));
        let (year, month, day) = civil(days);
        let (hour, minute) = (
            rest.div_euclid(3_600_000),
            rest.div_euclid(60_000).rem_euclid(60),
        );
        let (second, milli) = (rest.div_euclid(1000).rem_euclid(60), rest.rem_euclid(1000));
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z"
        )
    }
}

/// The text is not a time in RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a time in RFC 3339, for example 2026-11-20T12:00:00.000Z")]
pub struct TimeError;

impl FromStr for WallTime {
    type Err = TimeError;
    /// Reads RFC 3339 with any offset; digits beyond milliseconds are dropped, a leap second counts as the one before.
    fn from_str(text: &str) -> Result<Self, TimeError> {
        parse(text).ok_or(TimeError)
    }
}

const DAY: i64 = 86_400_000;
/// 0000-01-01T00:00:00.000Z
const FIRST: i64 = -62_167_219_200_000;
/// 9999-12-31T23:59:59.999Z
const LAST: i64 = 253_402_300_799_999;

/// Days since 1970 to year, month and day of the proleptic Gregorian calendar, by eras of 400 years that begin in March, so
/// that the leap day is a year's last. Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
#[expect(
    clippy::arithmetic_side_effects,
    reason = "days come from FIRST..=LAST, about 3.7 million at most"
)]
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (
        year + era * 400 + i64::from(month <= 2),
        month,
        day_of_month,
    )
}

/// The inverse of [`civil`].
#[expect(
    clippy::arithmetic_side_effects,
    reason = "four digits of year, two of month and day"
)]
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let month = (month + 9).rem_euclid(12);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year * 365 + year / 4 - year / 100 + day_of_year - 719_468
}

#[expect(
    clippy::arithmetic_side_effects,
    reason = "every number is read from at most four digits"
)]
fn parse(text: &str) -> Option<WallTime> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let [year, month, day] = fields(date, '-', [4, 2, 2])?;
    let (clock, offset) = time.split_at_checked(8)?;
    let [hour, minute, second] = fields(clock, ':', [2, 2, 2])?;
    let (milli, zone) = fraction(offset)?;
    let offset = zone_minutes(zone)?;
    let whole = days(year, month, day);
    let real = (1..=12).contains(&month) && day >= 1 && civil(whole) == (year, month, day);
    if !real || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let minutes = hour * 60 + minute - offset;
    Some(WallTime(
        whole * DAY + minutes * 60_000 + second.min(59) * 1000 + milli,
    ))
}

fn fields(text: &str, separator: char, widths: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut out = [0; 3];
    for (value, width) in out.iter_mut().zip(widths) {
        *value = digits(parts.next().filter(|part| part.len() == width)?)?;
    }
    parts.next().is_none().then_some(out)
}

/// `.123` and what follows it, in milliseconds.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(rest) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .filter(|end| (1..=30).contains(end))?;
    let (written, zone) = rest.split_at_checked(end)?;
    let padded: String = written.chars().chain("00".chars()).take(3).collect();
    Some((digits(&padded)?, zone))
}

fn zone_minutes(text: &str) -> Option<i64> {
    let (sign, rest) = match text {
        "Z" | "z" => return Some(0),
        _ => (
            if text.starts_with('-') { -1_i64 } else { 1 },
            text.strip_prefix(['+', '-'])?,
        ),
    };
    let (hours, minutes) = rest
        .split_once(':')
        .filter(|(h, m)| h.len() == 2 && m.len() == 2)?;
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    (hours <= 23 && minutes <= 59)
        .then(|| sign.saturating_mul(hours.saturating_mul(60).saturating_add(minutes)))
}

fn digits(text: &str) -> Option<i64> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// For `#[serde(with = "…")]`: a time as RFC 3339 text instead of a number.
pub mod rfc3339 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::WallTime;

    /// Writes `2026-11-20T12:00:00.000Z`.
    ///
    /// # Errors
    /// Those of the serialiser.
    pub fn serialize<S: Serializer>(time: &WallTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(time)
    }

    /// Reads RFC 3339.
    ///
    /// # Errors
    /// When it is not RFC 3339.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<WallTime, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }

    /// The same, for a time that may be absent.
    pub mod option {
        use serde::{Deserialize, Deserializer, Serializer, de::Error};

        use super::WallTime;

        /// Writes RFC 3339 or `null`.
        ///
        /// # Errors
        /// Those of the serialiser.
        pub fn serialize<S: Serializer>(
            time: &Option<WallTime>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => serializer.collect_str(time),
                None => serializer.serialize_none(),
            }
        }

        /// Reads RFC 3339 or `null`.
        ///
        /// # Errors
        /// When it is neither.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<WallTime>, D::Error> {
            let text = Option::<String>::deserialize(deserializer)?;
            text.map(|text| text.parse().map_err(D::Error::custom))
                .transpose()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_written_and_read_as_rfc_3339() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_795_176_000_000, "2026-11-20T12:00:00.000Z"),
            (1_767_225_599_123, "2025-12-31T23:59:59.123Z"),
            (FIRST, "0000-01-01T00:00:00.000Z"),
            (LAST, "9999-12-31T23:59:59.999Z"),
        ];
        for (ms, text) in cases {
            assert_eq!(WallTime(ms).to_string(), text);
            assert_eq!(text.parse(), Ok(WallTime(ms)), "{text}");
        }
        assert_eq!(WallTime(i64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(WallTime(i64::MIN).to_string(), "0000-01-01T00:00:00.000Z");
    }

    #[test]
    fn the_forms_of_others_are_read() {
        let noon = Ok(WallTime(1_795_176_000_000));
        for text in [
            "2026-11-20T12:00:00Z",
            "2026-11-20t12:00:00z",
            "2026-11-20 12:00:00Z",
            "2026-11-20T13:30:00+01:30",
            "2026-11-20T07:00:00.0-05:00",
            "2026-11-20T12:00:00.000000000Z",
            "2026-11-20T12:00:00.0009Z",
        ] {
            assert_eq!(text.parse::<WallTime>(), noon, "{text}");
        }
        assert_eq!(
            "2016-12-31T23:59:60Z".parse::<WallTime>(),
            "2016-12-31T23:59:59Z".parse()
        );
        for bad in [
            "",
            "2026-11-20",
            "2026-11-20T12:00:00",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-32T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:61Z",
            "26-01-01T00:00:00Z",
            "2026-1-01T00:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+0100",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:0éZ",
            "-026-01-01T00:00:00Z",
            "2026-01-01T00:00:00+",
        ] {
            assert_eq!(bad.parse::<WallTime>(), Err(TimeError), "{bad}");
        }
    }

    #[test]
    fn a_time_in_the_future_counts_as_never() {
        assert_eq!(WallTime(5).age(WallTime(4)), None);
        assert_eq!(WallTime(5).age(WallTime(7)), Some(Duration::from_millis(2)));
        assert_eq!(
            WallTime(i64::MIN).age(WallTime(i64::MAX)),
            Some(Duration::from_millis(i64::MAX as u64))
        );
        assert_eq!(WallTime(0).plus(Duration::MAX), WallTime(i64::MAX));
    }

    proptest! {
        #[test]
        fn every_time_reads_back(ms in FIRST..=LAST) {
            prop_assert_eq!(WallTime(ms).to_string().parse(), Ok(WallTime(ms)));
        }

        #[test]
        fn text_order_is_time_order(a in FIRST..=LAST, b in FIRST..=LAST) {
            prop_assert_eq!(a.cmp(&b), WallTime(a).to_string().cmp(&WallTime(b).to_string()));
        }

        #[test]
        fn whatever_arrives_is_a_time_or_refused(text in "[0-9TZ:.+ -]{0,40}|.{0,40}") {
            let _ = text.parse::<WallTime>();
        }
    }
}
