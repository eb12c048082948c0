//! Whatever a container says, a document stays what it is.

use proptest::prelude::*;

use super::*;

/// Whether a text is well-formed XML, each element of which is one of a `JUnit` document.
fn assert_is_junit(xml: &str) {
    let mut reader = quick_xml::Reader::from_str(xml);
    reader.config_mut().check_end_names = true;
    let mut depth = 0;
    loop {
        match reader.read_event().expect("well-formed") {
            quick_xml::events::Event::Start(_) => depth += 1,
            quick_xml::events::Event::End(_) => depth -= 1,
            quick_xml::events::Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(depth, 0);
    // XML 1.0, section 2.2.
    let is_character = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    assert!(xml.chars().all(is_character));
    let opened = xml.matches('<').count();
    let ours = [
        "<?xml",
        "<testsuite",
        "</testsuite",
        "<propert",
        "</properties",
        "<testcase",
        "</testcase",
        "<failure",
        "</failure",
        "<error",
        "</error",
        "<system-",
        "</system-",
    ];
    assert_eq!(
        opened,
        ours.iter()
            .map(|element| xml.matches(element).count())
            .sum::<usize>()
    );
}

/// Whether a text is a TAP document with so many test points and nothing that is none of its lines.
fn assert_is_tap(tap: &str, count: usize) {
    let mut lines = tap.lines();
    assert_eq!(lines.next(), Some("TAP version 13"));
    assert_eq!(lines.next(), Some(format!("1..{count}").as_str()));
    let mut number = 0;
    for line in lines {
        if line.starts_with("  ") || line.starts_with("# ") || line == "#" {
            continue;
        }
        number += 1;
        let rest = line.strip_prefix("not ").unwrap_or(line);
        assert!(rest.starts_with(&format!("ok {number} - ")), "{line}");
        assert!(!rest.replace("\\#", "").contains('#'), "{line}");
    }
    assert_eq!(number, count);
}

/// Whether what a container says has opened nothing in a Markdown document: every `<` outside of the
/// blocks is ours.
fn assert_is_markdown(markdown: &str) {
    let mut fence: Option<&str> = None;
    for line in markdown.lines() {
        match fence {
            Some(open) if line == open => fence = None,
            Some(_) => {}
            None if line.starts_with("```") => fence = line.strip_suffix("text"),
            None => {
                let mut rest = line.to_owned();
                for ours in [
                    "<details><summary>",
                    "</summary>",
                    "</details>",
                    "<sub>",
                    "</sub>",
                    "<code>",
                    "</code>",
                    "<b>",
                    "</b>",
                ] {
                    rest = rest.replacen(ours, "", 1);
                }
                assert!(!rest.contains('<'), "{line}");
                if line.starts_with('|') {
                    assert_eq!(line.matches('|').count(), 9, "{line}");
                }
            }
        }
    }
    assert_eq!(fence, None, "{markdown}");
}

/// Whether every tag of a page is one that postroj writes, with the attributes that it writes.
fn assert_is_page(page: &str, report: &RunReport) {
    let (before, body) = page.split_once("<body>").expect("a body");
    assert_eq!(before.matches("<style>").count(), 1);
    let mut plain = report.clone();
    // The same report with nothing to be afraid of has the same tags, one for one.
    for image in &mut plain.images {
        let harmless = |text: &mut String| *text = word(text);
        harmless(&mut image.image);
        image.packages.iter_mut().for_each(harmless);
        for phase in &mut image.phases {
            harmless(&mut phase.output);
            phase.packages.iter_mut().for_each(harmless);
        }
        image.error.iter_mut().for_each(harmless);
        for check in &mut image.checks {
            harmless(&mut check.target);
            harmless(&mut check.outcome.observation);
        }
        for evidence in &mut image.evidence {
            harmless(&mut evidence.title);
            harmless(&mut evidence.text);
        }
    }
    let plain = Format::Html.render(&plain);
    let (_, plain) = plain.split_once("<body>").expect("a body");
    assert_eq!(tags(body), tags(plain));
}

/// A harmless text that is as empty as another, and as different from others.
fn word(text: &str) -> String {
    let is_harmless =
        |character: char| character.is_ascii_alphanumeric() || ".:/".contains(character);
    if text.trim().is_empty() || text.chars().all(is_harmless) {
        text.to_owned()
    } else {
        "x".to_owned()
    }
}

/// The tags of a page, without the values of their attributes.
fn tags(page: &str) -> Vec<String> {
    let tag = |after: &str| {
        let mut tag = String::new();
        let mut is_value = false;
        for character in after.chars() {
            match character {
                '"' => is_value = !is_value,
                '>' if !is_value => break,
                character if !is_value => tag.push(character),
                _ => {}
            }
        }
        tag
    };
    page.split('<').skip(1).map(tag).collect()
}

fn assert_all_hold(text: &str) {
    let report = hostile(text);
    assert_is_page(&Format::Html.render(&report), &report);
    assert_is_junit(&Format::Junit.render(&report));
    assert_is_tap(&Format::Tap.render(&report), 9);
    assert_is_markdown(&Format::Markdown.render(&report));
    serde_json::from_str::<serde_json::Value>(&Format::Json.render(&report)).expect("JSON");
}

#[test]
fn hostile_text_stays_text() {
    assert_all_hold(HOSTILE);
    for piece in HOSTILE.split(' ') {
        assert_all_hold(piece);
    }
    assert_all_hold("");
}

proptest! {
    #[test]
    fn any_text_stays_text(text in any::<String>()) {
        assert_all_hold(&text);
    }

    #[test]
    fn markup_stays_text(text in "[<>&\"'\\]\\[|`#\\\\ \n\r\t.~*_a\u{0}\u{1b}-]{0,60}") {
        assert_all_hold(&text);
    }
}
