//! Where a document is written: a file as a whole or not at all, or whatever else a path names.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use super::error::CommandError;

/// The file to which GitHub has a step add what is shown on the page of the run.
const STEP_SUMMARY: &str = "GITHUB_STEP_SUMMARY";

/// Where a document is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Standard output.
    Stdout,
    /// A file that is there once it is complete, in place of what was there before.
    File(PathBuf),
    /// What is there already and takes what is added: a pipe, a terminal, a step's summary.
    Appended(PathBuf),
}

impl Destination {
    /// The destination that a path names, `-` being standard output. It is tried whether it can be
    /// written; nothing of it stays.
    pub(crate) fn prepare(path: &Path) -> Result<Self, CommandError> {
        let destination = Self::of(path);
        let tried = match &destination {
            Self::Stdout => Ok(()),
            Self::File(path) => Temporary::beside(path).map(drop),
            Self::Appended(path) => append(path).map(drop),
        };
        tried.map_err(|error| {
            CommandError::usage(format!("{} cannot be written: {error}", path.display()))
        })?;
        Ok(destination)
    }

    fn of(path: &Path) -> Self {
        let is_summary = std::env::var_os(STEP_SUMMARY)
            .is_some_and(|summary| !summary.is_empty() && path.as_os_str() == summary);
        // A name of a descriptor is that of what it leads to, be it a file: which may be open to be
        // written by others, and is no place for another one beside it.
        let is_descriptor = path.starts_with("/dev") || path.starts_with("/proc");
        if path.as_os_str() == "-" || path == Path::new("/dev/stdout") {
            return Self::Stdout;
        }
        if is_summary || is_descriptor {
            return Self::Appended(path.to_owned());
        }
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => {
                Self::Appended(path.to_owned())
            }
            // A symbolic link stays one.
            Ok(_) => Self::File(fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())),
            Err(_) => Self::File(std::path::absolute(path).unwrap_or_else(|_| path.to_owned())),
        }
    }

    /// Writes a document there.
    pub(crate) fn write(&self, text: &str) -> Result<(), CommandError> {
        let written = match self {
            Self::Stdout => put(&mut io::stdout().lock(), text),
            Self::File(path) => replace(path, text),
            Self::Appended(path) => append(path).and_then(|mut file| put(&mut file, text)),
        };
        match written {
            // A reader that has gone, as `head` does, is no error of ours.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(CommandError::internal(format!(
                "{self} cannot be written: {error}"
            ))),
            Ok(()) => Ok(()),
        }
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdout => formatter.write_str("standard output"),
            Self::File(path) | Self::Appended(path) => path.display().fmt(formatter),
        }
    }
}

fn put(out: &mut impl io::Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut temporary = Temporary::beside(path)?;
    put(&mut temporary.file, text)?;
    if let Ok(before) = fs::metadata(path) {
        // Under sudo, a user's file stays the user's.
        let _ = fchown(&temporary.file, Some(before.uid()), Some(before.gid()));
        let mode = fs::Permissions::from_mode(before.mode() & 0o7777);
        let _ = temporary.file.set_permissions(mode);
    }
    temporary.rename(path).or_else(|error| {
        // A file that is mounted, as container engines do it, can be written and not replaced.
        if error.kind() == io::ErrorKind::ResourceBusy {
            fs::write(path, text)
        } else {
            Err(error)
        }
    })
}

/// A file that goes when it is dropped, unless it has become another.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    /// Makes one in the directory of a file that is to be made, or to be replaced.
    fn beside(path: &Path) -> io::Result<Self> {
        if path.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let Some(name) = path.file_name() else {
            return Err(io::Error::other("it names no file"));
        };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}", std::process::id()));
        let path = path.with_file_name(hidden);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(Self { path, file })
    }

    fn rename(self, to: &Path) -> io::Result<()> {
        fs::rename(&self.path, to)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Once it has been renamed, there is nothing of that name.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_stays_whose_it_was() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("report");
        let link = directory.path().join("link");
        fs::write(&file, "before").expect("write");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("set the mode");
        std::os::unix::fs::symlink("report", &link).expect("link");
        let destination = Destination::prepare(&link).expect("writable");
        assert_eq!(fs::read_to_string(&file).expect("read"), "before");
        destination.write("after").expect("write");
        assert_eq!(fs::read_to_string(&file).expect("read"), "after");
        let metadata = fs::metadata(&file).expect("stat");
        assert_eq!(metadata.mode() & 0o777, 0o640);
        assert!(link.is_symlink());
        assert_eq!(fs::read_dir(directory.path()).expect("list").count(), 2);
    }

    #[test]
    fn what_cannot_be_written_is_found_before_anything_is() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for path in [
            directory.path().to_owned(),
            directory.path().join("missing/report"),
            directory.path().join(".."),
            "/proc/nowhere".into(),
        ] {
            let error = Destination::prepare(&path).expect_err("refused");
            assert_eq!(error.code(), 2, "{}", error.message());
        }
    }

    #[test]
    fn descriptors_are_written_as_they_are() {
        assert_eq!(Destination::of(Path::new("-")), Destination::Stdout);
        assert_eq!(
            Destination::of(Path::new("/dev/stdout")),
            Destination::Stdout
        );
        let null = Path::new("/dev/null");
        assert_eq!(
            Destination::prepare(null).expect("writable"),
            Destination::Appended(null.to_owned())
        );
    }
}
