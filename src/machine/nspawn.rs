//! The host's systemd-nspawn.

use std::path::{Path, PathBuf};

use super::MachineError;

/// The oldest systemd-nspawn that will do.
pub const MINIMUM_SYSTEMD: u32 = 247;

/// A systemd-nspawn that will do.
#[derive(Debug, Clone)]
pub struct Nspawn {
    /// Its path.
    pub path: PathBuf,
    /// Its version.
    pub version: u32,
}

impl Nspawn {
    /// Finds it in `PATH` and asks its version.
    pub async fn find() -> Result<Self, MachineError> {
        let path = std::env::var_os("PATH")
            .and_then(|path| {
                std::env::split_paths(&path)
                    .map(|directory| directory.join("systemd-nspawn"))
                    .find(|candidate| candidate.is_file())
            })
            .ok_or(MachineError::NoNspawn)?;
        let found = match linked_version(&path) {
            Some(version) => version,
            None => asked_version(&path).await?,
        };
        if found < MINIMUM_SYSTEMD {
            return Err(MachineError::OldNspawn {
                found,
                minimum: MINIMUM_SYSTEMD,
            });
        }
        Ok(Self {
            path,
            version: found,
        })
    }
}

/// The version in the name of systemd's private library, which the program is linked with: to read
/// that takes a hundredth of the time that the program takes to say it. `None` for one that is
/// linked with no such library.
fn linked_version(program: &Path) -> Option<u32> {
    const LIBRARY: &[u8] = b"\0libsystemd-shared-";
    let bytes = std::fs::read(program).ok()?;
    let at = bytes
        .windows(LIBRARY.len())
        .position(|window| window == LIBRARY)?;
    let digits = bytes[at + LIBRARY.len()..].iter();
    let digits: Vec<u8> = digits.copied().take_while(u8::is_ascii_digit).collect();
    String::from_utf8(digits).ok()?.parse().ok()
}

async fn asked_version(program: &Path) -> Result<u32, MachineError> {
    let output = tokio::process::Command::new(program)
        .arg("--version")
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .map_err(|source| MachineError::Host {
            action: "run systemd-nspawn",
            source,
        })?;
    Ok(parse_version(&String::from_utf8_lossy(&output.stdout)).unwrap_or(0))
}

/// The number in `systemd 252 (252.39-1~deb12u1)`.
fn parse_version(text: &str) -> Option<u32> {
    let number = text.strip_prefix("systemd ")?;
    let end = number
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(number.len());
    number[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_tells_the_version() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("systemd-nspawn");
        std::fs::write(
            &program,
            b"\x7fELF..\0libc.so.6\0libsystemd-shared-252.so\0..",
        )
        .unwrap();
        assert_eq!(linked_version(&program), Some(252));
        std::fs::write(&program, b"#!/bin/sh\n").unwrap();
        assert_eq!(linked_version(&program), None);
    }

    #[test]
    fn the_version_is_the_first_number() {
        assert_eq!(
            parse_version("systemd 252 (252.39-1~deb12u1)\n+PAM"),
            Some(252)
        );
        assert_eq!(parse_version("systemd 259~rc1 (259~rc1)"), Some(259));
        assert_eq!(parse_version("bash 5"), None);
    }
}
