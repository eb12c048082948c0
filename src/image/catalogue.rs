//! Stand-in, replaced by the real catalogue.
#![allow(missing_docs, clippy::all, clippy::pedantic)]
use serde::{Deserialize, Serialize};
use std::path::Path;
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    Debian,
    Redhat,
    Suse,
    Arch,
}
impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}
#[derive(Debug, Clone)]
pub struct Bootstrap {
    pub suite: String,
    pub mirror: Option<String>,
    pub components: Vec<String>,
    pub keyring: Option<String>,
    pub include: Vec<String>,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    Oci,
    Tarball,
    Bootstrap,
}
#[derive(Debug, Clone)]
pub enum Source {
    Oci(String),
    Tarball { url: String, sha256: Option<String> },
    Bootstrap(Bootstrap),
}
impl Source {
    pub fn kind(&self) -> SourceKind {
        match self {
            Self::Oci(_) => SourceKind::Oci,
            Self::Tarball { .. } => SourceKind::Tarball,
            Self::Bootstrap(_) => SourceKind::Bootstrap,
        }
    }
}
#[derive(Debug, Clone, Default)]
pub struct Provision {
    pub setup: Option<String>,
    pub packages: Vec<String>,
}
#[derive(Debug, Clone)]
pub struct Entry {
    pub name: String,
    pub aliases: Vec<String>,
    pub title: String,
    pub family: Family,
    pub end_of_life: Option<String>,
    pub unsupported: Option<String>,
    pub sources: Vec<Source>,
    pub provision: Provision,
}
#[derive(Debug, thiserror::Error)]
#[error("bad catalogue")]
pub struct CatalogueError;
#[derive(Debug, Clone)]
pub struct Catalogue {
    entries: Vec<Entry>,
}
impl Catalogue {
    pub fn builtin() -> Result<Self, CatalogueError> {
        let entries = ["bullseye", "bookworm", "trixie", "sid"]
            .iter()
            .map(|suite| Entry {
                name: format!("debian-{suite}"),
                aliases: vec![],
                title: String::new(),
                family: Family::Debian,
                end_of_life: None,
                unsupported: None,
                sources: vec![
                    Source::Oci(format!("docker.io/library/debian:{suite}")),
                    Source::Bootstrap(Bootstrap {
                        suite: suite.to_string(),
                        mirror: None,
                        components: vec![],
                        keyring: None,
                        include: vec![],
                    }),
                ],
                provision: Provision::default(),
            })
            .collect();
        Ok(Self { entries })
    }
    pub fn with_directory(self, _: &Path) -> Result<Self, CatalogueError> {
        Ok(self)
    }
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|e| e.name == name || e.aliases.iter().any(|a| a == name))
    }
    pub fn nearest(&self, _: &str) -> Vec<&str> {
        vec!["debian-bookworm"]
    }
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }
}
