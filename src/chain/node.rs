//! Values of a file with the lines that they are on, whatever the file is written in.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use toml::de::{DeTable, DeValue};

use crate::yaml;

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2.
    Yaml,
    /// JSON, which is YAML as well.
    Json,
    /// TOML 1.0.
    Toml,
}

/// A value and the line that it begins on, from 1.
#[derive(Debug, PartialEq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
    /// Its bytes in a text of YAML.
    span: Option<Range<usize>>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// As it was written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) node: Node,
}

/// Why a text is not of its format: the line, and the reason.
pub(super) type Malformed = (usize, String);

impl Node {
    /// Reads a text.
    pub(super) fn read(format: Format, text: &str) -> Result<Self, Malformed> {
        match format {
            Format::Toml => Self::read_toml(text),
            Format::Yaml => Self::read_yaml(text),
            Format::Json => {
                // YAML allows more.
                serde_json::from_str::<de::IgnoredAny>(text).map_err(|error| {
                    let said = error.to_string();
                    let what = said.split(" at line ").next().unwrap_or(&said);
                    (error.line(), what.to_owned())
                })?;
                Self::read_yaml(text)
            }
        }
    }

    fn read_yaml(text: &str) -> Result<Self, Malformed> {
        let Raw { mut node } = yaml::read(text).map_err(|error| {
            let line = error.location().map_or(1, |location| location.line());
            let said = error.without_snippet().to_string();
            (
                number(line),
                said.lines().next().unwrap_or_default().to_owned(),
            )
        })?;
        node.restore(text);
        Ok(node)
    }

    /// Takes numbers as they were written: 1.10 is a version, and no 1.1.
    fn restore(&mut self, text: &str) {
        match &mut self.value {
            Value::Number(number) => {
                let written = self.span.clone().and_then(|span| text.get(span));
                if let Some(written) = written.map(str::trim).filter(|text| !text.is_empty()) {
                    written.clone_into(number);
                }
            }
            Value::List(items) => items.iter_mut().for_each(|item| item.restore(text)),
            Value::Table(entries) => entries
                .iter_mut()
                .for_each(|entry| entry.node.restore(text)),
            _ => {}
        }
    }

    fn read_toml(text: &str) -> Result<Self, Malformed> {
        let line = |at: usize| 1 + text.get(..at).unwrap_or(text).matches('\n').count();
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            (line(at), error.message().replace('\n', ", "))
        })?;
        Ok(Self {
            line: 1,
            value: Value::Table(toml_table(table.get_ref(), &line)),
            span: None,
        })
    }

    /// What it is, for an error.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

fn number(line: u64) -> usize {
    usize::try_from(line).unwrap_or(usize::MAX)
}

fn toml_table(table: &DeTable<'_>, line: &dyn Fn(usize) -> usize) -> Vec<Entry> {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            line: line(key.span().start),
            name: key.get_ref().to_string(),
            node: Node {
                line: line(value.span().start),
                value: toml_value(value.get_ref(), line),
                span: None,
            },
        })
        .collect();
    // The tables of TOML have an order of their own.
    entries.sort_by_key(|entry| entry.line);
    entries
}

fn toml_value(value: &DeValue<'_>, line: &dyn Fn(usize) -> usize) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Number(number.to_string()),
        DeValue::Float(number) => Value::Number(number.to_string()),
        DeValue::Boolean(choice) => Value::Bool(*choice),
        DeValue::Datetime(time) => Value::Text(time.to_string()),
        DeValue::Array(items) => Value::List(
            items
                .iter()
                .map(|item| Node {
                    line: line(item.span().start),
                    value: toml_value(item.get_ref(), line),
                    span: None,
                })
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(toml_table(table, line)),
    }
}

/// A node of YAML.
struct Raw {
    node: Node,
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<RawValue>::deserialize(deserializer)?;
        // Of an alias, it is that of the anchor.
        let span = spanned.defined.span();
        let span = span.byte_offset().zip(span.byte_len());
        Ok(Self {
            node: Node {
                line: number(spanned.referenced.line()),
                value: spanned.value.0,
                span: span.and_then(|(start, length)| {
                    let start = usize::try_from(start).ok()?;
                    let end = start.checked_add(usize::try_from(length).ok()?)?;
                    Some(start..end)
                }),
            },
        })
    }
}

struct RawValue(Value);

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, choice: bool) -> Result<Value, E> {
        Ok(Value::Bool(choice))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Raw { node }) = items.next_element()? {
            list.push(node);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut table = Vec::new();
        while let Some(name) = entries.next_key::<Spanned<String>>()? {
            let Raw { node } = entries.next_value()?;
            table.push(Entry {
                line: number(name.referenced.line()),
                name: name.value,
                node,
            });
        }
        Ok(Value::Table(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(format: Format, text: &str) -> Vec<(String, usize, usize)> {
        let Value::Table(entries) = Node::read(format, text).unwrap().value else {
            panic!("no table")
        };
        let each = entries.into_iter();
        each.map(|entry| (entry.name, entry.line, entry.node.line))
            .collect()
    }

    #[test]
    fn every_format_has_its_lines() {
        let is = |name: &str, line, value| (name.to_owned(), line, value);
        let expected = [is("a", 2, 2), is("b", 3, 4)];
        assert_eq!(
            lines(Format::Yaml, "# a comment\na: 1\nb:\n  - x\n"),
            expected
        );
        assert_eq!(
            lines(Format::Json, "{\n\"a\": 1,\n\"b\":\n  [true]}\n"),
            expected
        );
        let expected = [is("b", 2, 2), is("a", 3, 3)];
        assert_eq!(lines(Format::Toml, "\nb = 'x'\na = [1]\n"), expected);
    }

    #[test]
    fn a_number_is_as_it_was_written() {
        let written = |format, text| {
            let Value::Table(entries) = Node::read(format, text).unwrap().value else {
                panic!("no table")
            };
            let each = entries.into_iter().map(|entry| entry.node.value);
            each.collect::<Vec<Value>>()
        };
        let number = |text: &str| Value::Number(text.to_owned());
        let expected = [number("1.10"), number("1.10")];
        assert_eq!(written(Format::Yaml, "\u{e9}: &a 1.10\nb: *a\n"), expected);
        assert_eq!(written(Format::Toml, "a = 1.10\nb = 1.10\n"), expected);
        assert_eq!(
            written(Format::Json, "{\"a\":1.10,\n\"b\": 1.10}"),
            expected
        );
    }

    #[test]
    fn what_is_of_no_format_is_told_with_its_line() {
        let line = |format, text| Node::read(format, text).unwrap_err().0;
        assert_eq!(line(Format::Toml, "a = 1\nb = \n"), 2);
        assert_eq!(line(Format::Json, "{\"a\": 1,\n b: 2}"), 2);
        assert_eq!(line(Format::Yaml, "a: 1\nb: [\n"), 2);
        assert_eq!(line(Format::Yaml, "a: 1\na: 2\n"), 2);
    }
}
