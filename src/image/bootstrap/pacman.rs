//! Roots of Arch Linux, made by the host's pacman, as pacstrap(8) does it.

use std::fmt::Write as _;
use std::path::Path;

use super::{BootstrapError, Job, need};
use crate::image::catalogue::{Address, Pacman};

/// The keyring is made for this root alone: the host's may trust others.
const SCRIPT: &str = r#"prepare() {
    mkdir -m 0755 -p "$root/var/lib/pacman" "$root/var/cache/pacman/pkg" "$own/cache"
    mkdir -m 0700 "$own/gnupg"
    [ -n "$KEYRING" ] || return 0
    pacman-key --gpgdir "$own/gnupg" --init
    pacman-key --gpgdir "$own/gnupg" --populate "$KEYRING"
}
finish() { :; }
"#;

pub(super) fn job(pacman: &Pacman, own: &Path) -> Result<Job, BootstrapError> {
    for (program, package) in [("tar", "tar"), ("pacman", "pacman-package-manager")] {
        need(program, package)?;
    }
    if pacman.keyring.is_some() {
        need("pacman-key", "pacman-package-manager")?;
    }
    let config = own.join("pacman.conf");
    std::fs::write(&config, configuration(pacman)).map_err(BootstrapError::Run)?;
    let path = |name: &str| own.join(name).into_os_string();
    let mut arguments = vec![
        "pacman".into(),
        "--noconfirm".into(),
        "--noprogressbar".into(),
        "--config".into(),
        config.into_os_string(),
        "--root".into(),
        path("root"),
        "--dbpath".into(),
        path("root/var/lib/pacman"),
        "--cachedir".into(),
        path("cache"),
        "--gpgdir".into(),
        path("gnupg"),
        "--logfile".into(),
        path("log"),
        "--sync".into(),
        "--refresh".into(),
        "--".into(),
    ];
    arguments.extend(pacman.packages.iter().map(Into::into));
    Ok(Job {
        tool: "pacman",
        subject: pacman.packages.join(" "),
        script: SCRIPT,
        arguments,
        environment: vec![("KEYRING", pacman.keyring.clone().unwrap_or_default().into())],
    })
}

fn configuration(pacman: &Pacman) -> String {
    let level = match pacman.keyring {
        Some(_) => "Required DatabaseOptional",
        None => "Never",
    };
    let mut text = format!("[options]\nArchitecture = auto\nSigLevel = {level}\n");
    for repository in &pacman.repositories {
        let (Address::Base(url) | Address::Metalink(url)) = &repository.address;
        // Writing to a string cannot fail.
        let _ = write!(text, "\n[{}]\nServer = {url}\n", repository.name);
    }
    text
}
