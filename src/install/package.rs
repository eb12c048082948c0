//! What a PACKAGE argument means.

use std::io;
use std::path::{Path, PathBuf};

use url::Url;

/// A package as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Package {
    /// At an http or https address.
    Url(Url),
    /// A file on the host.
    File(PathBuf),
    /// A name that the distribution's repositories know.
    Name(String),
}

/// Why a PACKAGE argument is wrong.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The URL is none.
    #[error("package {given}: {reason}")]
    Url {
        /// What was given.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file cannot be read.
    #[error("package {}: {source}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No package manager has such names.
    #[error("package {0:?}: neither a URL, a path with a /, nor a package's name")]
    Name(String),
}

/// How the files of packages end.
const ENDINGS: [&str; 5] = [".deb", ".rpm", ".pkg.tar.zst", ".pkg.tar.xz", ".pkg.tar"];

impl Package {
    /// Reads a PACKAGE argument; nothing is looked up.
    pub fn parse(given: &str) -> Result<Self, PackageError> {
        let lower = given.to_ascii_lowercase();
        if lower.contains("://") {
            return Self::parse_url(given);
        }
        let is_path = given.contains('/') || ENDINGS.iter().any(|end| lower.ends_with(end));
        if is_path {
            return Ok(Self::File(PathBuf::from(given)));
        }
        let mut characters = given.chars();
        let begins_well = characters
            .next()
            .is_some_and(|c| c.is_ascii_alphanumeric() || c == '@');
        let goes_on = characters.all(|c| c.is_ascii_alphanumeric() || "+-._:=~()@".contains(c));
        // To apt-get, a hyphen at the end means to remove the package.
        if begins_well && goes_on && !given.ends_with('-') {
            Ok(Self::Name(given.to_owned()))
        } else {
            Err(PackageError::Name(given.to_owned()))
        }
    }

    fn parse_url(given: &str) -> Result<Self, PackageError> {
        let wrong = |reason: String| PackageError::Url {
            given: given.to_owned(),
            reason,
        };
        let url = Url::parse(given).map_err(|error| wrong(error.to_string()))?;
        match url.scheme() {
            "http" | "https" => Ok(Self::Url(url)),
            "file" => url
                .to_file_path()
                .map(Self::File)
                .map_err(|()| wrong("no path of this host".to_owned())),
            scheme => Err(wrong(format!(
                "{scheme} is not supported; http, https and file are"
            ))),
        }
    }

    /// Makes sure that a file can be read, before anything is started for it.
    pub fn check(&self) -> Result<(), PackageError> {
        let Self::File(path) = self else {
            return Ok(());
        };
        let wrong = |source| PackageError::File {
            path: path.clone(),
            source,
        };
        // A fifo would make open(2) wait.
        if !std::fs::metadata(path).map_err(wrong)?.is_file() {
            return Err(wrong(io::Error::other("not a regular file")));
        }
        std::fs::File::open(path).map(drop).map_err(wrong)
    }
}

impl std::fmt::Display for Package {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url(url) => formatter.write_str(&crate::http::shown(url)),
            Self::File(path) => path.display().fmt(formatter),
            Self::Name(name) => name.fmt(formatter),
        }
    }
}

/// A file's name, without what package managers and shells stumble over.
pub(super) fn safe_file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let safe: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "+-._~".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let safe = safe.trim_start_matches(['.', '-']);
    // The ending says what it is: keep the end of a name that is too long.
    let start = safe.len().saturating_sub(200);
    if safe.is_empty() {
        "package".to_owned()
    } else {
        safe[start..].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_told_apart() {
        let parse = |given| Package::parse(given).unwrap();
        assert!(matches!(parse("https://a.example/x.deb"), Package::Url(_)));
        assert_eq!(
            parse("./my package.deb"),
            Package::File("./my package.deb".into())
        );
        assert_eq!(parse("x.rpm"), Package::File("x.rpm".into()));
        assert_eq!(
            parse("file:///tmp/a%20b.deb"),
            Package::File("/tmp/a b.deb".into())
        );
        assert_eq!(parse("libstdc++6"), Package::Name("libstdc++6".into()));
        assert_eq!(
            parse("nginx=1.22.1-9"),
            Package::Name("nginx=1.22.1-9".into())
        );
    }

    #[test]
    fn what_is_no_package_is_refused() {
        for given in [
            "",
            "-y",
            "--force",
            "a b",
            "ftp://a/x.deb",
            "http://",
            "x;y",
            "hello-",
            "hello*",
            "a\nb",
        ] {
            assert!(Package::parse(given).is_err(), "{given:?}");
        }
    }

    #[test]
    fn file_names_become_safe_and_keep_their_ending() {
        assert_eq!(
            safe_file_name(Path::new("/a/my package.deb")),
            "my_package.deb"
        );
        assert_eq!(safe_file_name(Path::new("/a/-x.deb")), "x.deb");
        assert_eq!(safe_file_name(Path::new("/a/…")), "_");
        let long = format!("/{}.rpm", "x".repeat(250));
        assert!(safe_file_name(Path::new(&long)).ends_with("xx.rpm"));
        assert_eq!(safe_file_name(Path::new(&long)).len(), 200);
    }
}
