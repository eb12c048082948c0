//! Times of day in the form of RFC 3339, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serializer;

/// To the second: `2026-11-24T13:50:50Z`. A clock that was never set has its beginning.
pub(crate) fn to_seconds(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time.max(UNIX_EPOCH)).to_string()
}

/// Serializes one to the second.
pub(crate) fn seconds<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&to_seconds(*time))
}

/// Serializes one to the millisecond.
pub(crate) fn milliseconds<S: Serializer>(
    time: &SystemTime,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis((*time).max(UNIX_EPOCH)))
}

/// Serializes one to the millisecond, if there is one.
#[expect(clippy::ref_option, reason = "serde hands it over so")]
pub(crate) fn optional<S: Serializer>(
    time: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => milliseconds(time, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_as_everywhere() {
        let at = |seconds| to_seconds(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(951_868_799), "2000-02-29T23:59:59Z");
        assert_eq!(at(1_709_251_199), "2024-02-29T23:59:59Z");
        assert_eq!(at(1_709_251_200), "2024-03-01T00:00:00Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(at(1_795_528_250), "2026-11-24T13:50:50Z");
    }
}
