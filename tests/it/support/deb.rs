//! Packages built on the spot, with `dpkg-deb`.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::process::tool;

/// What a package holds.
#[derive(Debug, Clone)]
pub(crate) struct Deb {
    name: String,
    version: String,
    architecture: String,
    /// Further fields of the control file.
    fields: Vec<(String, String)>,
    /// The maintainer's scripts, and what else is beside the control file: name, text.
    control: Vec<(String, String)>,
    conffiles: Vec<String>,
    /// Path without the leading slash, content, mode.
    files: Vec<(String, Content, u32)>,
}

#[derive(Debug, Clone)]
#[allow(
    dead_code,
    reason = "the corpus has packages of all kinds, other tests have not"
)]
enum Content {
    Text(String),
    /// A file of this machine.
    Copy(PathBuf),
    Link(String),
    /// So many bytes that do not compress.
    Bulk(usize),
}

#[allow(
    dead_code,
    reason = "the corpus has packages of all kinds, other tests have not"
)]
impl Deb {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: "1.0".to_owned(),
            architecture: "all".to_owned(),
            fields: Vec::new(),
            control: Vec::new(),
            conffiles: Vec::new(),
            files: Vec::new(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A service of the package's name that runs `command`; nothing enables or starts it.
    pub(crate) fn service(self, command: &str) -> Self {
        let unit =
            format!("[Service]\nExecStart={command}\n\n[Install]\nWantedBy=multi-user.target\n");
        let name = format!("{}.service", self.name);
        self.unit(&name, &unit)
    }

    pub(crate) fn unit(self, name: &str, text: &str) -> Self {
        self.file(&format!("usr/lib/systemd/system/{name}"), text)
    }

    pub(crate) fn file(mut self, path: &str, text: &str) -> Self {
        self.files
            .push((path.to_owned(), Content::Text(text.to_owned()), 0o644));
        self
    }

    /// A file that can be executed.
    pub(crate) fn program(mut self, path: &str, text: &str) -> Self {
        self.files
            .push((path.to_owned(), Content::Text(text.to_owned()), 0o755));
        self
    }

    /// A copy of a program of this machine.
    pub(crate) fn binary(mut self, path: &str, from: &Path) -> Self {
        self.files
            .push((path.to_owned(), Content::Copy(from.to_owned()), 0o755));
        self
    }

    pub(crate) fn link(mut self, path: &str, target: &str) -> Self {
        self.files
            .push((path.to_owned(), Content::Link(target.to_owned()), 0o777));
        self
    }

    /// A file of so many bytes that stay so many in the package.
    pub(crate) fn bulk(mut self, path: &str, bytes: usize) -> Self {
        self.files
            .push((path.to_owned(), Content::Bulk(bytes), 0o644));
        self
    }

    /// A configuration file, in dpkg's sense.
    pub(crate) fn conffile(mut self, path: &str, text: &str) -> Self {
        self.conffiles.push(format!("/{path}"));
        self.file(path, text)
    }

    /// What runs once the package is unpacked, a line or more of shell.
    pub(crate) fn postinst(self, script: &str) -> Self {
        self.script("postinst", script)
    }

    /// A maintainer's script: lines of shell, added to those that it has.
    pub(crate) fn script(mut self, name: &str, script: &str) -> Self {
        match self.control.iter_mut().find(|(known, _)| known == name) {
            Some((_, text)) => {
                text.push_str(script);
                text.push('\n');
            }
            None => self
                .control
                .push((name.to_owned(), format!("#!/bin/sh\nset -e\n{script}\n"))),
        }
        self
    }

    /// Another member of the control archive: `templates`, `triggers`.
    pub(crate) fn member(mut self, name: &str, text: &str) -> Self {
        self.control.push((name.to_owned(), text.to_owned()));
        self
    }

    pub(crate) fn depends(self, packages: &str) -> Self {
        self.field("Depends", packages)
    }

    /// A further field of the control file.
    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another version than 1.0.
    pub(crate) fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// Another architecture than `all`.
    pub(crate) fn architecture(mut self, architecture: &str) -> Self {
        architecture.clone_into(&mut self.architecture);
        self
    }

    /// The scripts by which debhelper has a package enable and start its unit, stop it before it is
    /// removed, and forget it when it is purged (`dh_installsystemd(1)`).
    pub(crate) fn autostart(self, unit: &str) -> Self {
        self.script(
            "postinst",
            &format!(
                "if [ \"$1\" = configure ]; then\n\
                 deb-systemd-helper unmask '{unit}' >/dev/null || true\n\
                 if deb-systemd-helper --quiet was-enabled '{unit}'; then\n\
                 deb-systemd-helper enable '{unit}' >/dev/null || true\n\
                 else deb-systemd-helper update-state '{unit}' >/dev/null || true; fi\n\
                 if [ -d /run/systemd/system ]; then\n\
                 systemctl --system daemon-reload >/dev/null || true\n\
                 if [ -n \"$2\" ]; then action=restart; else action=start; fi\n\
                 deb-systemd-invoke $action '{unit}' >/dev/null || true\n\
                 fi; fi"
            ),
        )
        .script(
            "prerm",
            &format!(
                "if [ -d /run/systemd/system ] && [ \"$1\" = remove ]; then\n\
                 deb-systemd-invoke stop '{unit}' >/dev/null || true; fi"
            ),
        )
        .script(
            "postrm",
            &format!(
                "if [ \"$1\" = remove ] && [ -d /run/systemd/system ]; then\n\
                 systemctl --system daemon-reload >/dev/null || true; fi\n\
                 if [ \"$1\" = purge ] && [ -x /usr/bin/deb-systemd-helper ]; then\n\
                 deb-systemd-helper purge '{unit}' >/dev/null || true; fi"
            ),
        )
    }

    /// Writes `value` wherever a text of the package has `mark`.
    pub(crate) fn set(mut self, mark: &str, value: &str) -> Self {
        let texts = self
            .files
            .iter_mut()
            .filter_map(|(_, content, _)| match content {
                Content::Text(text) => Some(text),
                Content::Copy(_) | Content::Link(_) | Content::Bulk(_) => None,
            })
            .chain(self.control.iter_mut().map(|(_, text)| text));
        for text in texts {
            *text = text.replace(mark, value);
        }
        self
    }

    /// Whether a text of the package speaks of `what`.
    pub(crate) fn holds(&self, what: &str) -> bool {
        self.files
            .iter()
            .any(|(_, content, _)| matches!(content, Content::Text(text) if text.contains(what)))
            || self.control.iter().any(|(_, text)| text.contains(what))
    }

    /// Builds it as `file`, in the directory `at`.
    pub(crate) fn build(&self, at: &Path, file: &str) -> PathBuf {
        let tree = tempfile::tempdir_in(at).expect("a temporary directory");
        fs::set_permissions(tree.path(), fs::Permissions::from_mode(0o755)).expect("set its mode");
        let put = |path: &str, content: &Content, mode: u32| {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("create a directory");
            match content {
                Content::Text(text) => fs::write(&path, text),
                Content::Copy(from) => fs::copy(from, &path).map(drop),
                Content::Link(target) => std::os::unix::fs::symlink(target, &path),
                Content::Bulk(bytes) => {
                    let random = fs::File::open("/dev/urandom").expect("open /dev/urandom");
                    let mut random = std::io::Read::take(random, *bytes as u64);
                    let mut file = fs::File::create(&path).expect("create a file");
                    std::io::copy(&mut random, &mut file).map(drop)
                }
            }
            .expect("write a file of the package");
            if !matches!(content, Content::Link(_)) {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set its mode");
            }
        };
        let mut control = format!(
            "Package: {}\nVersion: {}\nArchitecture: {}\nMaintainer: Nobody <nobody@example.org>\n",
            self.name, self.version, self.architecture
        );
        for (name, value) in &self.fields {
            writeln!(control, "{name}: {value}").expect("write to a string");
        }
        control.push_str("Description: a test\n");
        put("DEBIAN/control", &Content::Text(control), 0o644);
        for (name, text) in &self.control {
            let is_script = text.starts_with("#!");
            let mode = if is_script { 0o755 } else { 0o644 };
            put(
                &format!("DEBIAN/{name}"),
                &Content::Text(text.clone()),
                mode,
            );
        }
        if !self.conffiles.is_empty() {
            let list = self.conffiles.join("\n") + "\n";
            put("DEBIAN/conffiles", &Content::Text(list), 0o644);
        }
        for (path, content, mode) in &self.files {
            put(path, content, *mode);
        }
        let package = at.join(file);
        tool(
            "dpkg-deb",
            &[
                "--build",
                "--root-owner-group",
                "-Zgzip",
                "-z1",
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
