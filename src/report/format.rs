//! The forms in which a report is written for others to read.

use std::fmt;
use std::str::FromStr;

use super::{RunReport, html, junit, markdown, tap};

/// A form of a report. Each holds the whole of a run in one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A document of JSON, with everything there is.
    Json,
    /// `JUnit`'s XML.
    Junit,
    /// The Test Anything Protocol, version 13.
    Tap,
    /// A page that needs nothing else.
    Html,
    /// Markdown as GitHub has it.
    Markdown,
}

/// A word that names no form of a report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no report format {0:?}: choose json, junit, tap, html or markdown")]
pub struct UnknownFormat(String);

impl Format {
    /// Writes a report in this form.
    pub fn render(self, report: &RunReport) -> String {
        match self {
            Self::Json => {
                // A report has string keys and finite numbers only: nothing that JSON lacks.
                let mut text = serde_json::to_string_pretty(report).unwrap_or_default();
                text.push('\n');
                text
            }
            Self::Junit => junit::render(report),
            Self::Tap => tap::render(report),
            Self::Html => html::render(report),
            Self::Markdown => markdown::render(report),
        }
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Junit => "junit",
            Self::Tap => "tap",
            Self::Html => "html",
            Self::Markdown => "markdown",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [
            Self::Json,
            Self::Junit,
            Self::Tap,
            Self::Html,
            Self::Markdown,
        ]
        .into_iter()
        .find(|format| format.name() == name)
        .ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}
