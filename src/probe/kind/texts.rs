//! What is asked of a text, and what is wrong with one.

use crate::probe::value::Pattern;

/// The longest piece of a text that an observation quotes.
const QUOTED: usize = 200;

/// What a text has to have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Texts<'a> {
    /// Texts that it has to contain.
    pub(super) contains: &'a [String],
    /// Texts that it must not contain.
    pub(super) lacks: &'a [String],
    /// Expressions that it has to match.
    pub(super) matches: &'a [Pattern],
}

impl Texts<'_> {
    /// Whether nothing is asked.
    pub(super) fn is_empty(self) -> bool {
        self.contains.is_empty() && self.lacks.is_empty() && self.matches.is_empty()
    }

    /// What is wrong with a text, which people know as `what`.
    pub(super) fn differences(self, what: &str, text: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        let missing = self.contains.iter().filter(|piece| !text.contains(*piece));
        wrong.extend(missing.map(|piece| format!("{what} lacks {piece:?}")));
        let present = self.lacks.iter().filter(|piece| text.contains(*piece));
        wrong.extend(present.map(|piece| format!("{what} has {piece:?}")));
        let unmatched = self.matches.iter().filter(|pattern| !pattern.matches(text));
        wrong.extend(unmatched.map(|pattern| format!("{what} does not match {pattern}")));
        if let Some(last) = wrong.last_mut() {
            last.push_str(": ");
            last.push_str(&quoted(text));
        }
        wrong
    }

    /// What is wrong with a text of which only a part is known; `None` if that does not tell.
    pub(super) fn differences_of_part(self, what: &str, part: &str) -> Option<Vec<String>> {
        let needs_all = !self.lacks.is_empty() || self.matches.iter().any(Pattern::is_absent);
        let wrong = self.differences(what, part);
        let has_what_it_must_not = self.lacks.iter().any(|piece| part.contains(piece))
            || self
                .matches
                .iter()
                .any(|pattern| pattern.is_absent() && !pattern.matches(part));
        (has_what_it_must_not || (wrong.is_empty() && !needs_all)).then_some(wrong)
    }
}

/// The beginning of a text in one line, in quotes.
pub(super) fn quoted(text: &str) -> String {
    let text = text.trim_end();
    let short: String = text.chars().take(QUOTED).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_quote_what_there_was() {
        let texts = Texts {
            contains: &["two".to_owned()],
            lacks: &[],
            matches: &[],
        };
        assert_eq!(
            texts.differences("it", "one\n"),
            ["it lacks \"two\": \"one\""]
        );
        assert!(quoted(&"x".repeat(300)).ends_with("\"…"));
    }

    #[test]
    fn a_part_tells_what_is_there_and_not_what_is_not() {
        let (a, b) = (["a".to_owned()], ["b".to_owned()]);
        let texts = |contains, lacks| Texts {
            contains,
            lacks,
            matches: &[],
        };
        let told = |texts: Texts<'_>| {
            texts
                .differences_of_part("it", "a")
                .map(|wrong| wrong.len())
        };
        assert_eq!(told(texts(&a, &[])), Some(0));
        assert_eq!(told(texts(&b, &[])), None);
        assert_eq!(told(texts(&[], &b)), None);
        assert_eq!(told(texts(&[], &a)), Some(1));
        let absent = [Pattern::whole("b", true).unwrap()];
        let texts = Texts {
            contains: &a,
            lacks: &[],
            matches: &absent,
        };
        assert_eq!(told(texts), None);
    }
}
