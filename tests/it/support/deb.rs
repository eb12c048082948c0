//! Packages built on the spot, with `dpkg-deb`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::process::tool;

/// What a package holds.
#[derive(Default)]
pub(crate) struct Deb {
    name: String,
    units: Vec<(String, String)>,
    postinst: Option<String>,
    depends: Option<String>,
    version: Option<String>,
}

impl Deb {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// A service of the package's name that runs `command`; nothing enables or starts it.
    pub(crate) fn service(self, command: &str) -> Self {
        let unit =
            format!("[Service]\nExecStart={command}\n\n[Install]\nWantedBy=multi-user.target\n");
        let name = format!("{}.service", self.name);
        self.unit(&name, &unit)
    }

    pub(crate) fn unit(mut self, name: &str, text: &str) -> Self {
        self.units.push((name.to_owned(), text.to_owned()));
        self
    }

    /// What runs once the package is unpacked, a line or more of shell.
    pub(crate) fn postinst(mut self, script: &str) -> Self {
        self.postinst = Some(format!("#!/bin/sh\nset -e\n{script}\n"));
        self
    }

    pub(crate) fn depends(mut self, packages: &str) -> Self {
        self.depends = Some(packages.to_owned());
        self
    }

    /// Another version than 1.0.
    pub(crate) fn version(mut self, version: &str) -> Self {
        self.version = Some(version.to_owned());
        self
    }

    /// Builds it as `file`, in the directory `at`.
    pub(crate) fn build(&self, at: &Path, file: &str) -> PathBuf {
        let tree = tempfile::tempdir_in(at).expect("a temporary directory");
        let put = |path: &str, text: &str, mode: u32| {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("create a directory");
            fs::write(&path, text).expect("write a file of the package");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set its mode");
        };
        fs::set_permissions(tree.path(), fs::Permissions::from_mode(0o755)).expect("set its mode");
        let depends = self
            .depends
            .as_ref()
            .map(|depends| format!("Depends: {depends}\n"))
            .unwrap_or_default();
        put(
            "DEBIAN/control",
            &format!(
                "Package: {}\nVersion: {}\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\n{depends}Description: a test\n",
                self.name,
                self.version.as_deref().unwrap_or("1.0")
            ),
            0o644,
        );
        if let Some(script) = &self.postinst {
            put("DEBIAN/postinst", script, 0o755);
        }
        for (name, text) in &self.units {
            put(&format!("usr/lib/systemd/system/{name}"), text, 0o644);
        }
        let package = at.join(file);
        tool(
            "dpkg-deb",
            &[
                "--build",
                "--root-owner-group",
                "-Zgzip",
                tree.path().to_str().expect("UTF-8"),
                package.to_str().expect("UTF-8"),
            ],
        );
        package
    }
}

/// A web server for a unit's `ExecStart=`, in the Perl that every Debian system has: it answers
/// each request on `port` with `status`.
pub(crate) fn web_server(port: u16, status: &str) -> String {
    let script = format!(
        "use IO::Socket::INET; $s = IO::Socket::INET->new(LocalPort => {port}, Listen => 9, ReuseAddr => 1) or die $@; \
         while ($c = $s->accept) {{ while (($_ = <$c>) =~ /[^\\\\r\\\\n]/) {{}} \
         print $c qq(HTTP/1.1 {status}\\\\r\\\\nContent-Length: 0\\\\r\\\\nConnection: close\\\\r\\\\n\\\\r\\\\n); close $c }}"
    )
    // systemd reads `$` and `%` itself.
    .replace('%', "%%")
    .replace('$', "$$");
    format!("/usr/bin/perl -e '{script}'")
}
