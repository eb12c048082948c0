//! What goss asks of a value: the value itself, or a matcher.

use serde_json::Value;

use crate::probe::value::Pattern;

/// What is asked of a text.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pub(super) contains: Vec<String>,
    pub(super) lacks: Vec<String>,
    pub(super) matches: Vec<Pattern>,
}

impl Texts {
    /// Reads what is asked of a text of many lines. A list is one of patterns, each of which some line
    /// has to match, or none if it begins with an exclamation mark.
    pub(super) fn read(value: &Value) -> Result<Self, String> {
        let mut texts = Self::default();
        texts.add(value)?;
        Ok(texts)
    }

    fn add(&mut self, value: &Value) -> Result<(), String> {
        match value {
            Value::Array(patterns) => patterns.iter().try_for_each(|item| self.add_pattern(item)),
            Value::Object(_) => match matcher(value)? {
                ("and", Value::Array(all)) => all.iter().try_for_each(|value| match value {
                    // Beside others a list would be one of elements, which a text does not have.
                    Value::Array(_) => Err("a list in \"and\" is not supported".to_owned()),
                    value => self.add(value),
                }),
                ("have-patterns" | "contain-elements", list @ Value::Array(_)) => self.add(list),
                ("contain-element", one) => self.add_pattern(one),
                ("contain-substring", Value::String(text)) => {
                    self.contains.push(text.clone());
                    Ok(())
                }
                ("not", inner) => {
                    if let Ok(("contain-substring", Value::String(text))) = matcher(inner) {
                        self.lacks.push(text.clone());
                        return Ok(());
                    }
                    self.add_expression(&expression(inner)?, true)
                }
                _ => self.add_expression(&expression(value)?, false),
            },
            value => self.add_expression(&expression(value)?, false),
        }
    }

    fn add_expression(&mut self, expression: &str, is_absent: bool) -> Result<(), String> {
        self.matches.push(Pattern::whole(expression, is_absent)?);
        Ok(())
    }

    fn add_pattern(&mut self, value: &Value) -> Result<(), String> {
        let pattern = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Object(_) => {
                let (name, _) = matcher(value)?;
                return Err(format!("matcher {name:?} in a list is not supported"));
            }
            other => return Err(format!("{other} is no pattern")),
        };
        if pattern.is_empty() {
            return Ok(());
        }
        if pattern.contains('\n') {
            return Err(format!(
                "{pattern:?} is of several lines, and patterns are of one"
            ));
        }
        let (is_absent, rest) = match pattern.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, pattern.as_str()),
        };
        let expression = rest
            .strip_prefix('/')
            .and_then(|rest| rest.strip_suffix('/'));
        if let Some(expression) = expression {
            self.matches.push(Pattern::by_line(expression, is_absent)?);
            return Ok(());
        }
        // A backslash is for texts that begin with a slash or an exclamation mark.
        let text = pattern.trim_start_matches(['\\', '/', '!']).to_owned();
        if text.is_empty() {
            return Err(format!("{pattern:?} is no pattern"));
        }
        if is_absent {
            self.lacks.push(text);
        } else {
            self.contains.push(text);
        }
        Ok(())
    }
}

/// The one matcher of a table.
pub(super) fn matcher(value: &Value) -> Result<(&str, &Value), String> {
    let Value::Object(table) = value else {
        return Err(format!("{value} is no matcher"));
    };
    let mut entries = table.iter();
    match (entries.next(), entries.next()) {
        (Some((name, value)), None) => Ok((name, value)),
        _ => Err("a table has to hold one matcher".to_owned()),
    }
}

/// A regular expression for a whole text that says the same.
fn expression(value: &Value) -> Result<String, String> {
    let (name, inner) = match value {
        Value::String(text) => return Ok(format!(r"\A{}\z", regex::escape(text))),
        Value::Number(number) => return Ok(format!(r"\A{number}\s*\z")),
        Value::Object(_) => matcher(value)?,
        other => return Err(format!("{other} is not supported")),
    };
    let unsupported = || format!("matcher {name:?} is not supported");
    match (name, inner) {
        ("equal", inner @ Value::String(_)) => expression(inner),
        ("have-prefix", Value::String(text)) => Ok(format!(r"\A{}", regex::escape(text))),
        ("have-suffix", Value::String(text)) => Ok(format!(r"{}\z", regex::escape(text))),
        ("contain-substring", Value::String(text)) => Ok(regex::escape(text)),
        ("match-regexp", Value::String(text)) => Ok(text.clone()),
        ("or", Value::Array(all)) if !all.is_empty() => {
            let all: Result<Vec<String>, String> = all
                .iter()
                .map(|one| Ok(format!("(?:{})", expression(one)?)))
                .collect();
            Ok(all?.join("|"))
        }
        _ => Err(unsupported()),
    }
}

/// The one value, where nothing but being it can be asked.
pub(super) fn plain(value: Value) -> Result<Value, String> {
    match value {
        Value::Object(_) => match matcher(&value)? {
            ("equal", inner @ (Value::String(_) | Value::Number(_) | Value::Bool(_))) => {
                Ok(inner.clone())
            }
            (name, _) => Err(format!("matcher {name:?} is not supported")),
        },
        Value::Array(_) => Err("a list is not supported".to_owned()),
        Value::Null => Err("it has no value".to_owned()),
        value => Ok(value),
    }
}

/// One value, or any of several.
pub(super) fn any_of(value: Value) -> Result<Vec<Value>, String> {
    if let Ok(("or", Value::Array(all))) = matcher(&value) {
        return all.iter().cloned().map(plain).collect();
    }
    Ok(vec![plain(value)?])
}

/// The one value, or all of a list's.
pub(super) fn all_of(value: Value) -> Result<Vec<Value>, String> {
    match value {
        Value::Array(all) => all.into_iter().map(plain).collect(),
        value => match matcher(&value) {
            Ok(("contain-element", one)) => Ok(vec![plain(one.clone())?]),
            Ok(("contain-elements" | "and", Value::Array(all))) => {
                let element = |one: &Value| match matcher(one) {
                    Ok(("contain-element", one)) => plain(one.clone()),
                    _ => plain(one.clone()),
                };
                all.iter().map(element).collect()
            }
            Ok(_) => plain(value).map(|value| vec![value]),
            Err(_) => Ok(vec![plain(value)?]),
        },
    }
}

/// The least and the greatest whole number that will do.
pub(super) fn range(value: &Value) -> Result<(u64, u64), String> {
    let whole = |value: &Value| {
        value
            .as_u64()
            .ok_or_else(|| format!("{value} is no whole number"))
    };
    if !value.is_object() {
        return whole(value).map(|number| (number, number));
    }
    let (least, most) = match matcher(value)? {
        ("equal", inner) => (whole(inner)?, whole(inner)?),
        ("ge", inner) => (whole(inner)?, u64::MAX),
        ("le", inner) => (0, whole(inner)?),
        ("gt", inner) => (whole(inner)?.saturating_add(1), u64::MAX),
        ("lt", inner) => match whole(inner)?.checked_sub(1) {
            Some(most) => (0, most),
            None => return Err("nothing is less than 0".to_owned()),
        },
        ("and", Value::Array(all)) => {
            let mut bounds = (0, u64::MAX);
            for one in all {
                let (least, most) = range(one)?;
                bounds = (bounds.0.max(least), bounds.1.min(most));
            }
            bounds
        }
        (name, _) => return Err(format!("matcher {name:?} is not supported")),
    };
    if least > most {
        return Err("no number is in between".to_owned());
    }
    Ok((least, most))
}
