//! What is wrong with a text.

use std::error::Error;
use std::fmt;

/// A text is not of the form that is wanted. It says what is wrong with it, or what was expected, and not where
/// it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(String);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Invalid {}

impl From<String> for Invalid {
    fn from(what: String) -> Self {
        Self(what)
    }
}

impl From<&str> for Invalid {
    fn from(what: &str) -> Self {
        Self(what.to_owned())
    }
}

impl From<Invalid> for String {
    fn from(invalid: Invalid) -> Self {
        invalid.0
    }
}
