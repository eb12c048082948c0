//! Durations as they are typed, and as files have them: `5`, `2.5`, `500ms`, `1m`.

use std::time::Duration;

use crate::Invalid;

/// A deadline that is further away is a mistake, and more than a clock may hold.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Reads a duration; a number without a unit is seconds.
pub fn parse(text: &str) -> Result<Duration, Invalid> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit.trim() {
        "ms" => 0.001,
        "" | "s" | "sec" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("unknown unit {unit:?}; ms, s, m and h are known").into()),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| Invalid::from("expected a number, as in 5, 2.5, 500ms or 1m"))?;
    seconds(number * factor)
}

/// So many seconds, if a deadline may be that far away.
pub(crate) fn seconds(number: f64) -> Result<Duration, Invalid> {
    if number < 0.0 {
        return Err("less than nothing".into());
    }
    Duration::try_from_secs_f64(number)
        .ok()
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| Invalid::from("longer than a year"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_units_are_known() {
        assert_eq!(parse("5"), Ok(Duration::from_secs(5)));
        assert_eq!(parse("2.5"), Ok(Duration::from_millis(2500)));
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("1m"), Ok(Duration::from_secs(60)));
        assert_eq!(parse("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse("0"), Ok(Duration::ZERO));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "s",
            "-1",
            "1d",
            "1.2.3",
            "1e3",
            "99999999999999999999",
            "nan",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
