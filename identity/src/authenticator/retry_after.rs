//! `Retry-After`: seconds or a date, as a time to wait. Whether it is honoured, and within what bounds, is the caller's to say.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads a value at `now_ms` (wall time); a date that is past is no wait, anything else but seconds or a date is `None`.
#[must_use]
pub fn parse(value: &str, now_ms: i64) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let now = UNIX_EPOCH + Duration::from_millis(u64::try_from(now_ms).ok()?);
    Some(until.duration_since(now).unwrap_or_default())
}

/// Writes a time as the date form, for tests and for those who answer with one.
#[must_use]
pub fn date(wall_ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(wall_ms).unwrap_or_default());
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read() {
        let now = 1_800_000_000_000;
        let cases = [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("99999999999999999999999", Some(u64::MAX)),
            (&date(now + 90_000), Some(90)),
            (&date(now - 90_000), Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ];
        for (value, wanted) in cases {
            assert_eq!(
                parse(value, now),
                wanted.map(Duration::from_secs),
                "{value}"
            );
        }
    }
}
