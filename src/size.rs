//! Sizes as they are typed: `512M`, `2G`, `1.5G`, plain bytes; podman and systemd write them so.

use crate::Invalid;

/// Less is a mistake: nothing starts in it.
const LEAST: f64 = 1_048_576.0;

/// More is a mistake, and a number that is not exact any more.
const MOST: f64 = 9_007_199_254_740_992.0;

/// Reads a size in bytes. The units are powers of 1024.
pub fn parse(text: &str) -> Result<u64, Invalid> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let power = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return Err(format!("unknown unit {unit:?}; K, M, G and T are known").into()),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| Invalid::from("expected a number, as in 512M, 1.5G or 1073741824"))?;
    let bytes = number * 1024_f64.powi(power);
    if bytes < LEAST {
        return Err("less than 1M".into());
    }
    if bytes > MOST {
        return Err("more than any machine has".into());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it lies between the two bounds, and a part of a byte does not matter"
    )]
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_units_are_known() {
        assert_eq!(parse("512M"), Ok(512 << 20));
        assert_eq!(parse("2g"), Ok(2 << 30));
        assert_eq!(parse("1.5G"), Ok(3 << 29));
        assert_eq!(parse("2GiB"), Ok(2 << 30));
        assert_eq!(parse("1073741824"), Ok(1 << 30));
        assert_eq!(parse("1T"), Ok(1 << 40));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "M", "-1G", "1X", "0", "12", "1..5G", "9999999T"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
