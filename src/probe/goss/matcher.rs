//! What goss asks of a value: the value itself, or a matcher.

use std::collections::HashSet;

use serde_json::Value;

use crate::probe::value::{Many, Pattern};

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
                ("have-patterns", list @ Value::Array(_)) => self.add(list),
                // Its elements are its lines.
                ("contain-element", one) => self.add_line(one, false),
                ("contain-elements", Value::Array(all)) => apart(all)?
                    .iter()
                    .try_for_each(|one| self.add_line(one, false)),
                ("contain-substring", Value::String(text)) => {
                    self.contains.push(text.clone());
                    Ok(())
                }
                ("not", inner) => match matcher(inner) {
                    Ok(("contain-substring", Value::String(text))) => {
                        self.lacks.push(text.clone());
                        Ok(())
                    }
                    Ok(("contain-element", one)) => self.add_line(one, true),
                    _ => self.add_expression(&expression(inner)?, true),
                },
                _ => self.add_expression(&expression(value)?, false),
            },
            value => self.add_expression(&expression(value)?, false),
        }
    }

    fn add_expression(&mut self, expression: &str, is_absent: bool) -> Result<(), String> {
        self.matches.push(Pattern::whole(expression, is_absent)?);
        Ok(())
    }

    /// Asks that some line be as a matcher has it, or none.
    fn add_line(&mut self, value: &Value, is_absent: bool) -> Result<(), String> {
        let pattern = Pattern::by_line(&expression(value)?, is_absent)?;
        self.matches.push(pattern);
        Ok(())
    }

    /// Asks for what the others ask as well.
    pub(super) fn extend(&mut self, others: Self) {
        self.contains.extend(others.contains);
        self.lacks.extend(others.lacks);
        self.matches.extend(others.matches);
    }

    /// The values of a check's keys.
    pub(super) fn into_keys(self) -> (Many<String>, Many<String>, Many<Pattern>) {
        (Many(self.contains), Many(self.lacks), Many(self.matches))
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

/// Expressions that say together what is asked of a short text.
pub(super) fn text_patterns(value: &Value) -> Result<Vec<Pattern>, String> {
    match matcher(value) {
        Ok(("and", Value::Array(all))) => {
            let all: Result<Vec<_>, String> = all.iter().map(text_patterns).collect();
            Ok(all?.into_iter().flatten().collect())
        }
        Ok(("not", inner)) => Ok(vec![Pattern::whole(&expression(inner)?, true)?]),
        _ => Ok(vec![Pattern::whole(&expression(value)?, false)?]),
    }
}

/// Elements that a list has to have.
#[derive(Debug, Default)]
pub(super) struct Elements {
    pub(super) texts: Vec<String>,
    /// Whether it must not have others.
    pub(super) are_all: bool,
}

impl Elements {
    pub(super) fn read(value: &Value) -> Result<Self, String> {
        if let Ok(("consist-of", Value::Array(all))) = matcher(value) {
            return Ok(Self {
                texts: all.iter().map(element).collect::<Result<_, _>>()?,
                are_all: true,
            });
        }
        let texts = wanted(value)?.into_iter().map(element);
        Ok(Self {
            texts: texts.collect::<Result<_, _>>()?,
            are_all: false,
        })
    }
}

fn element(value: &Value) -> Result<String, String> {
    match plain(value.clone())? {
        Value::String(text) => Ok(text),
        other => Err(format!("{other} is no text; write it in quotes")),
    }
}

/// Expressions of which each has to match some element of a list.
pub(super) fn element_patterns(value: &Value) -> Result<Vec<Pattern>, String> {
    let pattern = |value: &Value| match value {
        Value::Number(_) => Ok(Pattern::whole(&element(value)?, false)?),
        value => Ok(Pattern::whole(&expression(value)?, false)?),
    };
    wanted(value)?.into_iter().map(pattern).collect()
}

/// Wanted elements that cannot be the same: each has to be one of its own.
fn apart(all: &[Value]) -> Result<&[Value], String> {
    let are_plain = !all.iter().any(Value::is_object);
    if all.len() <= 1 || (are_plain && all.iter().collect::<HashSet<_>>().len() == all.len()) {
        Ok(all)
    } else {
        Err("several elements by matchers, or the same twice, are not supported".to_owned())
    }
}

/// What is asked of the elements of a list that has to have them.
fn wanted(value: &Value) -> Result<Vec<&Value>, String> {
    match value {
        Value::Array(all) => Ok(apart(all)?.iter().collect()),
        Value::Object(_) => match matcher(value)? {
            ("contain-element", one) => Ok(vec![one]),
            ("contain-elements", Value::Array(all)) => Ok(apart(all)?.iter().collect()),
            ("and", Value::Array(all)) => {
                let all: Result<Vec<_>, String> = all.iter().map(wanted).collect();
                Ok(all?.into_iter().flatten().collect())
            }
            (name, _) => Err(format!("matcher {name:?} is not supported")),
        },
        // Compared with one, a list has no other.
        other => Err(format!("{other} is not supported; write it as a list")),
    }
}

/// Ranges of whole numbers, of which any will do.
pub(super) fn numbers(value: &Value) -> Result<Vec<(u64, u64)>, String> {
    match matcher(value) {
        Ok(("or", Value::Array(all))) => all.iter().map(range).collect(),
        _ => Ok(vec![range(value)?]),
    }
}

/// The least and the greatest number that will do, where there are such.
pub(super) fn bounds(value: &Value) -> Result<(Option<i64>, Option<i64>), String> {
    let (least, most) = range(value)?;
    let bound = |bound: u64| i64::try_from(bound).ok();
    Ok((bound(least).filter(|least| *least > 0), bound(most)))
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
