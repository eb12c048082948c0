//! The values of a check's keys, which TOML files and the command line write in the same way.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use regex::{Regex, RegexBuilder};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error as _, IntoDeserializer, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{NetworkTarget, UnitName};
use crate::Invalid;
use crate::duration;
use crate::image::Family;

/// The bytes that a compiled expression may take.
const REGEX_SIZE: usize = 1 << 20;

/// Gives a type that is written as a text its form in serde and in the schema.
macro_rules! written_as_text {
    ($name:ty, $parse:expr, $about:literal) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                $parse(&text).map_err(D::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $about })
            }
        }
    };
}

/// A number or a text, as a schema.
fn number_or_text(about: &str) -> Schema {
    json_schema!({ "type": ["string", "number"], "description": about })
}

/// A time: `"500ms"`, `"2m"`, or a number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Scalar::deserialize(deserializer)?.0;
        duration::parse(&text).map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.as_secs_f64())
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        number_or_text("a time: 5 (seconds), \"2.5\", \"500ms\", \"1m\"")
    }
}

/// A text, a number or a truth value, as a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Scalar(pub String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Scalar;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text or a number")
            }

            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.to_owned()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
        }

        // On a command line it is the text as it stands.
        deserializer.deserialize_str(Reader)
    }
}

impl JsonSchema for Scalar {
    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A regular expression that has to be found somewhere in a text.
#[derive(Debug, Clone)]
pub struct Pattern {
    regex: Regex,
    /// Whether it is looked for in each line by itself.
    is_by_line: bool,
    /// Whether it must not be found.
    is_absent: bool,
}

impl Pattern {
    /// Reads one, of a bounded size.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::whole(text, false)
    }

    /// Reads one that has to be found in a text, or must not be.
    pub(super) fn whole(text: &str, is_absent: bool) -> Result<Self, Invalid> {
        Self::of(text, false, is_absent)
    }

    /// Reads one that has to be found in some line of a text, or in none.
    pub(super) fn by_line(text: &str, is_absent: bool) -> Result<Self, Invalid> {
        Self::of(text, true, is_absent)
    }

    fn of(text: &str, is_by_line: bool, is_absent: bool) -> Result<Self, Invalid> {
        let built = RegexBuilder::new(text).size_limit(REGEX_SIZE).build();
        // The library draws the mistake over several lines, of which the last says what it is.
        let built = built.map(|regex| Self {
            regex,
            is_by_line,
            is_absent,
        });
        built.map_err(|error| {
            let drawn = error.to_string();
            let last = drawn.lines().next_back().unwrap_or_default();
            let reason = last.trim().trim_start_matches("error: ");
            format!("not a regular expression: {reason}").into()
        })
    }

    /// Whether it must not be found, so that only all of a text can tell.
    pub(super) fn is_absent(&self) -> bool {
        self.is_absent
    }

    /// Whether it is found, or is not if it must not be.
    pub fn matches(&self, text: &str) -> bool {
        let is_found = if self.is_by_line {
            text.lines().any(|line| self.regex.is_match(line))
        } else {
            self.regex.is_match(text)
        };
        is_found != self.is_absent
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.is_absent { "!" } else { "" };
        write!(formatter, "{not}/{}/", self.regex.as_str())
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_absent {
            return serializer.collect_str(self);
        }
        serializer.serialize_str(self.regex.as_str())
    }
}

written_as_text!(Pattern, Pattern::parse, "a regular expression");
written_as_text!(
    UnitName,
    UnitName::parse,
    "the name of a unit; without an ending it is a service"
);
written_as_text!(
    NetworkTarget,
    NetworkTarget::parse,
    "tcp://HOST:PORT or http(s)://HOST[:PORT]/PATH"
);

impl Serialize for NetworkTarget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The permissions of a file, written in octal: `"0644"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(pub u32);

impl Mode {
    fn parse(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        u32::from_str_radix(digits, 8)
            .ok()
            .filter(|mode| *mode <= 0o7777 && !digits.starts_with('+'))
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no mode; write it in octal, as in \"0644\""))
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04o}", self.0)
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

written_as_text!(Mode, Mode::parse, "permissions in octal: \"0644\"");

impl JsonSchema for Family {
    fn schema_name() -> Cow<'static, str> {
        "Family".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": ["debian", "redhat", "suse", "arch"] })
    }
}

/// One value, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Many<T>(pub Vec<T>);

impl<T> Default for Many<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> std::ops::Deref for Many<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Many<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a value or a list of them")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Many<T>, E> {
                let one = T::deserialize(text.to_owned().into_deserializer())?;
                Ok(Many(vec![one]))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Many<T>, E> {
                Ok(Many(vec![T::deserialize(number.into_deserializer())?]))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Many<T>, E> {
                Ok(Many(vec![T::deserialize(number.into_deserializer())?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Many<T>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Many)
            }
        }

        deserializer.deserialize_seq(Reader(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Many<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Many{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Sample {
        #[serde(default)]
        span: Option<Span>,
        #[serde(default)]
        mode: Option<Mode>,
        #[serde(default)]
        many: Many<String>,
        #[serde(default)]
        pattern: Option<Pattern>,
    }

    fn read(text: &str) -> Result<Sample, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn values_are_read() {
        let sample = read("span = 2\nmode = \"755\"\nmany = \"one\"\npattern = '^a+$'\n").unwrap();
        assert_eq!(sample.span, Some(Span(Duration::from_secs(2))));
        assert_eq!(sample.mode.unwrap().to_string(), "0755");
        assert_eq!(sample.many.0, ["one"]);
        assert!(sample.pattern.unwrap().matches("aa"));
        let sample = read("span = \"500ms\"\nmany = [\"one\", \"two\"]\n").unwrap();
        assert_eq!(sample.span, Some(Span(Duration::from_millis(500))));
        assert_eq!(sample.many.0, ["one", "two"]);
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for text in [
            "span = \"soon\"",
            "span = -1",
            "span = true",
            "mode = \"rw\"",
            "mode = \"17777\"",
            "mode = \"+644\"",
            "mode = 644",
            "many = {}",
            "many = [1]",
            "pattern = '('",
            "pattern = '(a{1000}){1000}'",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        let error = read("pattern = '('").unwrap_err();
        assert_eq!(error, "not a regular expression: unclosed group");
    }
}
