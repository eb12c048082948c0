//! Signals by name; signal(7).

/// The names, by number from 1 on, as x86-64 and arm64 have them.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// What real-time signals are counted from, as the C library leaves it to programs.
const RTMIN: i32 = 34;

/// The last of them.
const RTMAX: i32 = 64;

/// The number of a signal: by its name with or without `SIG`, in any case, `RTMIN+3`, `RTMAX-1`, or by
/// its number.
pub fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(index) = NAMES.iter().position(|known| *known == name) {
        return i32::try_from(index + 1).ok();
    }
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        rest => rest.strip_prefix(sign)?.parse::<i32>().ok(),
    };
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        RTMIN + offset(rest, '+')?
    } else {
        RTMAX - offset(name.strip_prefix("RTMAX")?, '-')?
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

/// The name of a signal, with `SIG`.
pub fn signal_name(number: i32) -> String {
    let index = usize::try_from(number - 1).ok();
    if let Some(name) = index.and_then(|index| NAMES.get(index)) {
        return format!("SIG{name}");
    }
    match number - RTMIN {
        0 => "SIGRTMIN".to_owned(),
        offset => format!("SIGRTMIN+{offset}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_its_number() {
        for number in (1..=31).chain(34..=64) {
            assert_eq!(signal_number(&signal_name(number)), Some(number));
        }
    }

    #[test]
    fn signals_have_names_and_numbers() {
        assert_eq!(signal_number("SIGINT"), Some(2));
        assert_eq!(signal_number("term"), Some(15));
        assert_eq!(signal_number("9"), Some(9));
        assert_eq!(signal_number("SIGRTMIN+3"), Some(37));
        assert_eq!(signal_number("RTMAX-1"), Some(63));
        for wrong in ["", "0", "65", "SIG", "NONE", "RTMIN+99", "RTMIN3", "-1"] {
            assert_eq!(signal_number(wrong), None, "{wrong}");
        }
    }
}
