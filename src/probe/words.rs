//! Checks as they are written on a command line: `KIND:TARGET,KEY=VALUE,…`.
//!
//! A comma in a target or a value is written `\,`. A key may be given more than once where a list is
//! wanted, and a key with a dot, `property.NRestarts=0`, is an entry of a table. What a value means is
//! asked of the key: a text is taken as it is, and anything else as TOML has it.

use std::fmt;

use serde::de::value::StringDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use toml::Value;

/// What is wrong with a value, and with which.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct WordsError(String);

impl serde::de::Error for WordsError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl WordsError {
    fn at(self, key: &str) -> Self {
        Self(format!("`{key}`: {}", self.0))
    }
}

/// The parts of a check, with the commas taken out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// The kind.
    pub(super) kind: String,
    /// The target, if there is a colon.
    pub(super) target: Option<String>,
    /// The keys, in their order.
    pub(super) keys: Vec<(String, String)>,
}

impl Parts {
    /// Takes a check apart.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = split(text).into_iter();
        let first = pieces.next().unwrap_or_default();
        let (kind, target) = match first.split_once(':') {
            // An address stands for itself.
            Some(("http" | "https", rest)) if rest.starts_with("//") => ("http", Some(&*first)),
            Some(("tcp", rest)) if rest.starts_with("//") => ("tcp", Some(&*first)),
            Some((kind, target)) => (kind, Some(target)),
            None => (&*first, None),
        };
        let keys = pieces.map(|piece| match piece.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok((key.trim().to_owned(), value.to_owned()))
            }
            _ => Err(format!(
                "`{piece}` is no KEY=VALUE; a comma in a value is written \\,"
            )),
        });
        Ok(Self {
            kind: kind.trim().to_owned(),
            target: target.map(str::to_owned),
            keys: keys.collect::<Result<_, _>>()?,
        })
    }
}

/// Splits at the commas that no backslash stands before.
fn split(text: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, characters.peek()) {
            (',', _) => pieces.push(String::new()),
            ('\\', Some(',')) => {
                characters.next();
                push(&mut pieces, ',');
            }
            (other, _) => push(&mut pieces, other),
        }
    }
    pieces
}

fn push(pieces: &mut [String], character: char) {
    if let Some(last) = pieces.last_mut() {
        last.push(character);
    }
}

/// A table of what was written.
#[derive(Debug, Default)]
pub(super) struct Words(Vec<(String, Word)>);

/// What was written for one key.
#[derive(Debug)]
enum Word {
    One(String),
    Many(Vec<String>),
    Table(Words),
}

impl Words {
    /// Adds a key. One with a dot is an entry of a table.
    pub(super) fn add(&mut self, key: &str, value: String) -> Result<(), WordsError> {
        let (name, rest) = match key.split_once('.') {
            Some((name, rest)) => (name, Some(rest)),
            None => (key, None),
        };
        let position = self.0.iter().position(|(known, _)| known == name);
        match (position, rest) {
            (None, None) => self.0.push((name.to_owned(), Word::One(value))),
            (None, Some(rest)) => {
                let entry = Self(vec![(rest.to_owned(), Word::One(value))]);
                self.0.push((name.to_owned(), Word::Table(entry)));
            }
            (Some(at), rest) => match (&mut self.0[at].1, rest) {
                (Word::Many(all), None) => all.push(value),
                (one @ Word::One(_), None) => {
                    let Word::One(first) = std::mem::replace(one, Word::Many(Vec::new())) else {
                        unreachable!("matched above");
                    };
                    *one = Word::Many(vec![first, value]);
                }
                (Word::Table(table), Some(rest)) => {
                    if table.0.iter().any(|(known, _)| known == rest) {
                        return Err(WordsError("given twice".to_owned()).at(key));
                    }
                    table.0.push((rest.to_owned(), Word::One(value)));
                }
                _ => return Err(WordsError("both a value and a table".to_owned()).at(key)),
            },
        }
        Ok(())
    }
}

impl<'de> Deserializer<'de> for Words {
    type Error = WordsError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WordsError> {
        visitor.visit_map(Entries {
            left: self.0.into_iter(),
            value: None,
        })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Entries {
    left: std::vec::IntoIter<(String, Word)>,
    value: Option<(String, Word)>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = WordsError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, WordsError> {
        self.value = self.left.next();
        match &self.value {
            Some((key, _)) => {
                let key: StringDeserializer<WordsError> = key.clone().into_deserializer();
                seed.deserialize(key).map(Some)
            }
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, WordsError> {
        let (key, word) = self
            .value
            .take()
            .ok_or_else(|| WordsError::custom("a value without a key"))?;
        seed.deserialize(word).map_err(|error| error.at(&key))
    }
}

impl Word {
    fn one(self) -> Result<String, WordsError> {
        match self {
            Self::One(text) => Ok(text),
            Self::Many(_) => Err(WordsError("given more than once".to_owned())),
            Self::Table(_) => Err(WordsError("is no table".to_owned())),
        }
    }

    fn read<T: std::str::FromStr>(self, what: &str) -> Result<T, WordsError> {
        let text = self.one()?;
        text.parse()
            .map_err(|_| WordsError(format!("{text:?} is not {what}")))
    }
}

/// The number types, which all read alike.
macro_rules! numbers {
    ($($method:ident $visit:ident $what:literal)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WordsError> {
            visitor.$visit(self.read($what)?)
        })*
    };
}

impl<'de> Deserializer<'de> for Word {
    type Error = WordsError;

    /// The key takes more than one type: as TOML has it, or else a text.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WordsError> {
        match self {
            Self::One(text) => match toml_value(&text) {
                // What else TOML would make of it, a date say, is more likely meant as it stands.
                Some(value @ (Value::Integer(_) | Value::Boolean(_))) => of_toml(value, visitor),
                _ => visitor.visit_string(text),
            },
            Self::Many(_) => self.deserialize_seq(visitor),
            Self::Table(table) => table.deserialize_any(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WordsError> {
        visitor.visit_string(self.one()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WordsError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WordsError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, WordsError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WordsError> {
        let all = match self {
            Self::One(text) => match toml_value(&text) {
                Some(value @ Value::Array(_)) => return of_toml(value, visitor),
                _ => vec![text],
            },
            Self::Many(all) => all,
            Self::Table(_) => return Err(WordsError("is no table".to_owned())),
        };
        visitor.visit_seq(Items(all.into_iter()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WordsError> {
        match self {
            Self::Table(table) => table.deserialize_any(visitor),
            Self::One(text) => match toml_value(&text) {
                Some(value @ Value::Table(_)) => of_toml(value, visitor),
                _ => Err(WordsError("is a table: write KEY.NAME=VALUE".to_owned())),
            },
            Self::Many(_) => Err(WordsError("is a table: write KEY.NAME=VALUE".to_owned())),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, WordsError> {
        visitor.visit_enum(Choice(self.one()?))
    }

    numbers! {
        deserialize_bool visit_bool "true or false"
        deserialize_i8 visit_i8 "a whole number that fits"
        deserialize_i16 visit_i16 "a whole number that fits"
        deserialize_i32 visit_i32 "a whole number that fits"
        deserialize_i64 visit_i64 "a whole number that fits"
        deserialize_u8 visit_u8 "a whole number that fits"
        deserialize_u16 visit_u16 "a whole number that fits"
        deserialize_u32 visit_u32 "a whole number that fits"
        deserialize_u64 visit_u64 "a whole number that fits"
        deserialize_f32 visit_f32 "a number"
        deserialize_f64 visit_f64 "a number"
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct struct identifier
        ignored_any
    }
}

/// A value in TOML's own form.
fn toml_value(text: &str) -> Option<Value> {
    let value = toml::de::ValueDeserializer::parse(text).ok()?;
    serde::Deserialize::deserialize(value).ok()
}

fn of_toml<'de, V: Visitor<'de>>(value: Value, visitor: V) -> Result<V::Value, WordsError> {
    value
        .deserialize_any(visitor)
        .map_err(|error| WordsError(error.message().to_owned()))
}

struct Items(std::vec::IntoIter<String>);

impl<'de> SeqAccess<'de> for Items {
    type Error = WordsError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, WordsError> {
        let next = self.0.next();
        next.map(|text| seed.deserialize(Word::One(text)))
            .transpose()
    }
}

/// A word out of a few.
struct Choice(String);

impl<'de> EnumAccess<'de> for Choice {
    type Error = WordsError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self), WordsError> {
        let name: StringDeserializer<WordsError> = self.0.clone().into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Choice {
    type Error = WordsError;

    fn unit_variant(self) -> Result<(), WordsError> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _: S) -> Result<S::Value, WordsError> {
        Err(WordsError("is a word and no table".to_owned()))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, WordsError> {
        Err(WordsError("is a word and no list".to_owned()))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, WordsError> {
        Err(WordsError("is a word and no table".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_taken_apart() {
        let parts = Parts::parse(r"command:echo a\,b,stdout=a\,b,exit=0").unwrap();
        assert_eq!(parts.kind, "command");
        assert_eq!(parts.target.as_deref(), Some("echo a,b"));
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(parts.keys, [pair("stdout", "a,b"), pair("exit", "0")]);
        let parts = Parts::parse(r"file:/x,matches=\d\.").unwrap();
        assert_eq!(parts.keys, [pair("matches", r"\d\.")]);
        assert_eq!(split(r"a\\,b"), [r"a\,b"]);
        let parts = Parts::parse("https://localhost:8443/x,status=200").unwrap();
        assert_eq!(parts.kind, "http");
        assert_eq!(parts.target.as_deref(), Some("https://localhost:8443/x"));
        let parts = Parts::parse("failed-units").unwrap();
        assert_eq!((parts.kind.as_str(), parts.target), ("failed-units", None));
    }
}
