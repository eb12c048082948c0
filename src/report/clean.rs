//! Making foreign text fit for a report.
//!
//! What comes out of a container is hostile: it may hold what commands a terminal, ends an element,
//! opens a script, or turns the direction of the text around it, and it may be of any length.

use std::borrow::Cow;

use super::printable;

/// Text of one line or more, without anything that is more than text: control characters, those that
/// XML 1.0 does not have (section 2.2), and those that change the direction of what follows.
pub(super) fn lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(line).collect();
    lines.join("\n")
}

/// The same, of one line.
pub(super) fn line(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in printable(text).chars() {
        if is_formatting(character) {
            clean.extend(character.escape_unicode());
        } else {
            clean.push(character);
        }
    }
    clean
}

/// Separators of lines and paragraphs, marks and overrides of direction, what joins and hides, and
/// what is no character.
fn is_formatting(character: char) -> bool {
    matches!(
        character,
        '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}'
    )
}

/// A text of at most about `limit` bytes: its beginning and, of what matters most, its end.
pub(super) fn bounded(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit {
        return Cow::Borrowed(text);
    }
    let mut head = limit / 4;
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    let mut tail = text.len() - (limit - limit / 4);
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    Cow::Owned(format!(
        "{}\n[… {} bytes left out …]\n{}",
        &text[..head],
        tail - head,
        &text[tail..]
    ))
}

/// Text for an element or a quoted attribute of XML and HTML.
pub(super) fn markup(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_text_is_left() {
        assert_eq!(lines("a\u{0}b\r\nc\u{fffe}"), "a\\u{0}b\nc\\u{fffe}");
        assert_eq!(line("\u{202e}gpj.exe"), "\\u{202e}gpj.exe");
        assert_eq!(line("\u{1b}[31mred\u{1b}[0m ä"), "red ä");
    }

    #[test]
    fn a_long_text_keeps_its_end() {
        let text = format!("first {} last", "ä".repeat(1000));
        let short = bounded(&text, 101);
        assert!(short.starts_with("first"), "{short}");
        assert!(short.ends_with("last"), "{short}");
        assert!(short.len() < 150, "{short}");
        assert_eq!(bounded("short", 5), "short");
    }
}
