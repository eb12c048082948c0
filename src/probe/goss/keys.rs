//! A resource's attributes, taken one by one.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use toml::Table;

use super::matcher::{Elements, Texts, plain};

/// A resource's attributes, and what they have become.
#[derive(Clone)]
pub(super) struct Keys {
    pub(super) attributes: Map<String, Value>,
    table: Table,
}

impl Keys {
    pub(super) fn new(attributes: Map<String, Value>) -> Self {
        Self {
            attributes,
            table: Table::new(),
        }
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.attributes
            .remove(name)
            .filter(|value| !value.is_null())
    }

    /// Takes what may be one value only.
    pub(super) fn take_plain(&mut self, name: &str) -> Result<Option<Value>, String> {
        let value = self.take(name).map(plain).transpose();
        value.map_err(|reason| format!("{name}: {reason}"))
    }

    pub(super) fn take_text(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.take_plain(name)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(format!("{name}: {other} is no text")),
        }
    }

    pub(super) fn take_bool(&mut self, name: &str) -> Result<Option<bool>, String> {
        match self.take_plain(name)? {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(format!("{name}: {other} is neither true nor false")),
        }
    }

    pub(super) fn take_texts(&mut self, name: &str) -> Result<Texts, String> {
        match self.take(name) {
            None => Ok(Texts::default()),
            Some(value) => Texts::read(&value).map_err(|reason| format!("{name}: {reason}")),
        }
    }

    /// Takes a truth value that has to be there.
    pub(super) fn take_required(&mut self, name: &str) -> Result<bool, String> {
        let value = self.take_bool(name)?;
        value.ok_or_else(|| format!("{name:?} is missing"))
    }

    /// Takes whether the resource has to be there. If it must not, goss asks nothing else.
    pub(super) fn take_presence(&mut self, name: &str, others: &[&str]) -> Result<bool, String> {
        let is_there = self.take_required(name)?;
        if !is_there {
            for other in others {
                self.attributes.remove(*other);
            }
        }
        Ok(is_there)
    }

    /// Takes a number, which older versions took as a text.
    pub(super) fn take_number(&mut self, name: &str) -> Result<Option<i64>, String> {
        let Some(value) = self.take_plain(name)? else {
            return Ok(None);
        };
        let number = value
            .as_i64()
            .or_else(|| value.as_str().and_then(|text| text.parse().ok()));
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(format!("{name}: {value} is no number")),
        }
    }

    /// Takes elements of which each has to be there; none if nothing is said.
    pub(super) fn take_elements(&mut self, name: &str) -> Result<Elements, String> {
        match self.take(name) {
            None => Ok(Elements::default()),
            Some(value) => Elements::read(&value).map_err(|reason| format!("{name}: {reason}")),
        }
    }

    /// Takes elements beside which there may be any others.
    pub(super) fn take_strings(&mut self, name: &str) -> Result<Vec<String>, String> {
        let elements = self.take_elements(name)?;
        if elements.are_all {
            return Err(format!("{name}: these and no others is not supported"));
        }
        Ok(elements.texts)
    }

    /// Takes a time in milliseconds.
    pub(super) fn take_timeout(&mut self, default: Option<u64>) -> Result<(), String> {
        let given = match self.take_plain("timeout")? {
            None => None,
            // Nothing is said by it either.
            Some(value) if value.as_u64() == Some(0) => None,
            Some(value) => match value.as_u64() {
                Some(timeout) => Some(timeout),
                None => return Err(format!("timeout: {value} is no number of milliseconds")),
            },
        };
        if let Some(timeout) = given.or(default) {
            self.set("timeout", format!("{timeout}ms"));
        }
        Ok(())
    }

    pub(super) fn set(&mut self, name: &str, value: impl Into<toml::Value>) {
        self.table.insert(name.to_owned(), value.into());
    }

    /// Sets what is the same here, under its name there if that is another.
    pub(super) fn same(&mut self, name: &str, ours: &str) -> Result<(), String> {
        match self.take_plain(name)? {
            None => {}
            Some(Value::Bool(value)) => self.set(ours, value),
            Some(Value::String(text)) => self.set(ours, text),
            Some(other) => self.set(ours, other.to_string()),
        }
        Ok(())
    }

    /// Has the check be called so, if its author has not named it.
    pub(super) fn call(&mut self, title: &str) {
        self.table
            .entry("title")
            .or_insert_with(|| title.to_owned().into());
    }

    /// The name of what is looked at, which may be beside a resource's own.
    pub(super) fn target(&mut self, id: &str, name: &str) -> Result<String, String> {
        let Some(target) = self.take_text(name)? else {
            return Ok(id.to_owned());
        };
        self.call(id);
        Ok(target)
    }

    /// Makes the check, if nothing is left.
    pub(super) fn make<T: DeserializeOwned>(self) -> Result<T, String> {
        let left: Vec<String> = self
            .attributes
            .keys()
            .map(|name| format!("attribute {name:?} is not supported"))
            .collect();
        if !left.is_empty() {
            return Err(left.join(", "));
        }
        let made = T::deserialize(toml::Value::Table(self.table));
        made.map_err(|error| error.message().replace('\n', ", "))
    }
}
