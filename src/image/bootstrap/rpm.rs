//! Roots of rpm's distributions, made by the host's dnf, yum or zypper.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::{BootstrapError, Job, is_installed, need};
use crate::image::catalogue::{Address, Rpm};

/// Those that know dnf's command line, best first.
const DNF: [&str; 3] = ["dnf", "dnf5", "yum"];

/// What becomes of the database that the host's rpm has written: it is where the distribution's own
/// rpm looks for it, in that one's format.
const FINISH: &str = r#"prepare() { :; }
finish() {
    [ -x "$root/usr/bin/rpm" ] || return 0
    there=$(chroot "$root" /usr/bin/rpm --eval '%{_dbpath}')
    if [ "$there" != "$DBPATH" ] && [ -d "$root$DBPATH" ]; then
        mkdir -p "$root$there"
        cp -a "$root$DBPATH/." "$root$there/"
        rm -rf "${root:?}$DBPATH"
    fi
    chroot "$root" /usr/bin/rpm --rebuilddb
}
"#;

/// Where the newer distributions have it, and none has anything else.
const DBPATH: &str = "/usr/lib/sysimage/rpm";

pub(super) fn job(rpm: &Rpm, own: &Path) -> Result<Job, BootstrapError> {
    for (program, package) in [("tar", "tar"), ("rpm", "rpm")] {
        need(program, package)?;
    }
    let is_metalink = |address: &Address| matches!(address, Address::Metalink(_));
    let only_dnf = rpm
        .repositories
        .iter()
        .any(|repository| is_metalink(&repository.address));
    let dnf = DNF.into_iter().find(|program| is_installed(program));
    let (tool, arguments) = match dnf {
        Some(program) => (program, with_dnf(program, rpm, own)),
        None if !only_dnf && is_installed("zypper") => ("zypper", with_zypper(rpm, own)),
        None => {
            return Err(BootstrapError::Missing {
                program: if only_dnf { "dnf" } else { "dnf or zypper" },
                package: "dnf",
            });
        }
    };
    let home = own.join("home");
    let write = || {
        std::fs::create_dir(&home)?;
        // The host's own may be anywhere; Debian's is in the home directory.
        std::fs::write(home.join(".rpmmacros"), format!("%_dbpath {DBPATH}\n"))?;
        std::fs::create_dir(own.join("none"))?;
        configure(rpm, tool == "zypper", own)
    };
    write().map_err(BootstrapError::Run)?;
    Ok(Job {
        tool,
        subject: rpm.packages.join(" "),
        script: FINISH,
        arguments,
        environment: vec![("HOME", home.into()), ("DBPATH", DBPATH.into())],
    })
}

fn with_dnf(program: &str, rpm: &Rpm, own: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![
        program.into(),
        "--assumeyes".into(),
        option("--config=", &own.join("dnf.conf")),
        option("--installroot=", &own.join("root")),
    ];
    if let Some(release) = &rpm.release {
        arguments.push(format!("--releasever={release}").into());
    }
    arguments.push("install".into());
    arguments.extend(rpm.packages.iter().map(OsString::from));
    arguments
}

fn with_zypper(rpm: &Rpm, own: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![
        "zypper".into(),
        "--non-interactive".into(),
        // The keys that the catalogue names, by the repositories' own files.
        "--gpg-auto-import-keys".into(),
        option("--root=", &own.join("root")),
        option("--reposd-dir=", &own.join("repositories")),
        option("--cache-dir=", &own.join("cache")),
    ];
    if let Some(release) = &rpm.release {
        arguments.push(format!("--releasever={release}").into());
    }
    arguments.extend(["install", "--no-recommends", "--auto-agree-with-licenses"].map(Into::into));
    arguments.extend(rpm.packages.iter().map(OsString::from));
    arguments
}

fn option(name: &str, value: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(value);
    option
}

/// Writes what the tool reads instead of what the host has.
fn configure(rpm: &Rpm, is_zypper: bool, own: &Path) -> io::Result<()> {
    let check = if rpm.keys.is_empty() { "0" } else { "1" };
    let keys: Vec<String> = rpm
        .keys
        .iter()
        .map(|key| {
            if key.starts_with('/') {
                format!("file://{key}")
            } else {
                key.clone()
            }
        })
        .collect();
    let repositories = rpm.repositories.iter().map(|repository| {
        let name = &repository.name;
        let address = match &repository.address {
            Address::Base(url) => format!("baseurl={url}"),
            Address::Metalink(url) => format!("metalink={url}"),
        };
        let keys = match keys.join(" ") {
            none if none.is_empty() => none,
            keys => format!("gpgkey={keys}\n"),
        };
        let text = format!("[{name}]\nname={name}\n{address}\nenabled=1\ngpgcheck={check}\n{keys}");
        (name, text)
    });
    if is_zypper {
        let directory = own.join("repositories");
        std::fs::create_dir(&directory)?;
        for (name, text) in repositories {
            // As with dnf, it is the packages that are checked, whether the index is signed or not.
            let text = format!(
                "{text}repo_gpgcheck=0\npkg_gpgcheck={check}\nautorefresh=1\nkeeppackages=0\n"
            );
            std::fs::write(directory.join(format!("{name}.repo")), text)?;
        }
        return Ok(());
    }
    let place = |name: &str| -> PathBuf { own.join(name) };
    let mut text = format!(
        "[main]\ngpgcheck={check}\nplugins=0\ninstall_weak_deps=False\ntsflags=nodocs\n\
         reposdir={none}\nvarsdir={none}\ncachedir={cache}\nlogdir={log}\n",
        none = place("none").display(),
        cache = place("cache").display(),
        log = place("log").display(),
    );
    for (_, repository) in repositories {
        text.push('\n');
        text.push_str(&repository);
    }
    std::fs::write(place("dnf.conf"), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::catalogue::Repository;

    #[test]
    fn the_host_has_no_say() {
        let own = tempfile::tempdir().unwrap();
        let rpm = Rpm {
            packages: vec!["x".to_owned(), "@y".to_owned()],
            repositories: vec![Repository {
                name: "base".to_owned(),
                address: Address::Metalink("https://x.example/m".to_owned()),
            }],
            release: Some("43".to_owned()),
            keys: vec!["/k".to_owned(), "https://x.example/k".to_owned()],
        };
        configure(&rpm, false, own.path()).unwrap();
        let text = std::fs::read_to_string(own.path().join("dnf.conf")).unwrap();
        for line in [
            "gpgcheck=1",
            "metalink=https://x.example/m",
            "gpgkey=file:///k https://x.example/k",
            "plugins=0",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}: {text}");
        }
        assert!(text.contains(&format!("reposdir={}/none", own.path().display())));
        let arguments = with_dnf("dnf", &rpm, own.path());
        assert!(arguments.contains(&"--releasever=43".into()));
        assert_eq!(arguments.last().unwrap(), "@y");
    }
}
