//! What a container has to see so that this program runs there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The directory where the container sees it. `/dev` is a file system of the container's own: nothing
/// is left of it in the image.
const TARGET: &str = "/dev/.postroj";

/// The name of the program there.
const PROGRAM: &str = "init";

/// The program of this process, as the container sees it.
#[derive(Debug, Clone)]
pub(in crate::machine) struct Shown {
    directory: PathBuf,
    linker: Option<String>,
}

impl Shown {
    /// Option of systemd-nspawn that shows it.
    pub(in crate::machine) fn bind(&self) -> String {
        format!("--bind-ro={}:{TARGET}", self.directory.display())
    }

    /// The command line that runs it.
    pub(in crate::machine) fn command_line(&self) -> Vec<String> {
        command_line(self.linker.as_deref())
    }
}

/// The command line that runs this program in a container to which it is shown.
pub(in crate::machine) fn shown_command_line() -> io::Result<Vec<String>> {
    let libraries = libraries(&fs::read_to_string("/proc/self/maps")?);
    Ok(command_line(linker(&libraries).as_deref()))
}

/// See ld.so(8) for running a program by its linker.
fn command_line(linker: Option<&str>) -> Vec<String> {
    let program = format!("{TARGET}/{PROGRAM}");
    let mut line = match linker {
        Some(linker) => vec![
            format!("{TARGET}/{linker}"),
            "--library-path".to_owned(),
            TARGET.to_owned(),
            program,
        ],
        None => vec![program],
    };
    line.push(super::INIT_COMMAND.to_owned());
    line
}

/// The name of the dynamic linker, which is one of a program's libraries.
fn linker(libraries: &BTreeSet<PathBuf>) -> Option<String> {
    libraries.iter().find_map(|path| {
        let name = path.file_name()?.to_str()?;
        name.starts_with("ld").then(|| name.to_owned())
    })
}

/// Puts the running program and what it is linked with together in `directory`, which is made. The
/// caller has a mount namespace of its own.
pub(in crate::machine) fn show(directory: &Path) -> io::Result<Shown> {
    fs::create_dir(directory)?;
    let program = fs::read_link("/proc/self/exe")?;
    let libraries = libraries(&fs::read_to_string("/proc/self/maps")?);
    let linker = linker(&libraries);
    if linker.is_none() && !libraries.is_empty() {
        return Err(io::Error::other("cannot tell postroj's dynamic linker"));
    }
    let named = libraries.iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?;
        Some((path.as_path(), name))
    });
    for (path, name) in named.chain([(program.as_path(), PROGRAM)]) {
        let at = directory.join(name);
        if name == PROGRAM && !path.exists() {
            // It has been replaced since it was started. What has no name cannot be mounted.
            fs::copy("/proc/self/exe", &at)?;
            continue;
        }
        File::create(&at)?;
        rustix::mount::mount_bind(path, &at).map_err(|error| {
            let error = io::Error::from(error);
            let path = path.display();
            io::Error::new(error.kind(), format!("cannot show {path}: {error}"))
        })?;
    }
    Ok(Shown {
        directory: directory.to_owned(),
        linker,
    })
}

/// The shared objects in a process's map; proc(5), `/proc/<pid>/maps`.
fn libraries(maps: &str) -> BTreeSet<PathBuf> {
    maps.lines()
        .filter_map(|line| {
            let path = line.split_ascii_whitespace().nth(5)?;
            let name = path.rsplit('/').next()?;
            (path.starts_with('/') && name.contains(".so")).then(|| PathBuf::from(path))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_tells_what_a_program_is_linked_with() {
        let maps = "\
5590e0000000-5590e0001000 r--p 00000000 fe:00 1 /usr/bin/postroj
7f0000000000-7f0000001000 r--p 00000000 fe:00 2 /usr/lib/x86_64-linux-gnu/libc.so.6
7f0000001000-7f0000002000 r-xp 00001000 fe:00 2 /usr/lib/x86_64-linux-gnu/libc.so.6
7f0000003000-7f0000004000 r--p 00000000 fe:00 3 /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]
";
        let found: Vec<_> = libraries(maps).into_iter().collect();
        assert_eq!(
            found,
            [
                PathBuf::from("/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
                PathBuf::from("/usr/lib/x86_64-linux-gnu/libc.so.6"),
            ]
        );
        assert!(libraries("00400000-00401000 r-xp 0 fe:00 1 /usr/bin/postroj\n").is_empty());
    }
}
