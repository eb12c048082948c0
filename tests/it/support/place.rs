//! The two kinds of host that postroj knows, and its command line on them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::cache::Lock;
use super::nested::Nested;
use super::process::{Outcome, Running};
use super::{image, process, sweep};

pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_postroj"))
}

/// Where postroj runs in a test.
pub(crate) struct Place {
    kind: Kind,
    /// Held shared by all but those who count what is on the machine before and after.
    _machine: Lock,
    scratch: TempDir,
}

enum Kind {
    /// This machine.
    Direct,
    /// Its PID 1 is systemd.
    Systemd(Nested),
}

impl Place {
    /// On this machine, beside other tests, with the store that they share.
    pub(crate) fn direct() -> Self {
        Self::new(Kind::Direct, Lock::shared("machine"))
    }

    /// On this machine, alone: for a sweep. Tests that need it are those of `alone`.
    pub(crate) fn direct_alone() -> Self {
        Self::new(Kind::Direct, Lock::exclusive("machine"))
    }

    /// In a host of its own that runs systemd, with a store of its own that holds `images`.
    pub(crate) fn systemd(images: &[&str]) -> Self {
        let machine = Lock::shared("machine");
        let host = Nested::boot();
        image::copy_store(images, &host.state);
        Self::new(Kind::Systemd(host), machine)
    }

    fn new(kind: Kind, machine: Lock) -> Self {
        // In the cache, for the paths in it are the same on both kinds of host.
        let scratch = tempfile::Builder::new()
            .prefix("scratch-")
            .tempdir_in(super::cache::root())
            .expect("a temporary directory");
        // What package managers download is the same for all; the tests of that have a place of
        // their own for it.
        let cache = scratch.path().join("cache");
        let packages = super::cache::root().join("packages");
        fs::create_dir_all(&packages)
            .and_then(|()| fs::create_dir(&cache))
            .and_then(|()| std::os::unix::fs::symlink(packages, cache.join("packages")))
            .expect("make the cache directory");
        Self {
            kind,
            _machine: machine,
            scratch,
        }
    }

    /// The same, after its power was cut and it has booted again.
    pub(crate) fn rebooted(self) -> Self {
        let kind = match self.kind {
            Kind::Direct => panic!("this machine stays up"),
            Kind::Systemd(host) => Kind::Systemd(host.rebooted()),
        };
        Self { kind, ..self }
    }

    /// A directory for the test's own files.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    pub(crate) fn state(&self) -> PathBuf {
        match &self.kind {
            Kind::Direct => image::store(),
            Kind::Systemd(host) => host.state.clone(),
        }
    }

    pub(crate) fn nested(&self) -> Option<&Nested> {
        match &self.kind {
            Kind::Direct => None,
            Kind::Systemd(host) => Some(host),
        }
    }

    /// postroj with arguments, on this host.
    pub(crate) fn postroj<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Postroj<'_> {
        Postroj {
            place: self,
            arguments: arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned())
                .collect(),
            wrapper: Vec::new(),
            environment: vec![(
                "POSTROJ_CACHE_DIR".into(),
                self.scratch().join("cache").display().to_string(),
            )],
            stdin: None,
        }
    }

    /// A shell's line on this host; `$POSTROJ` is postroj.
    pub(crate) fn shell(&self, line: &str) -> Command {
        let words = ["sh", "-c", line];
        match &self.kind {
            Kind::Direct => {
                let mut command = Command::new(words[0]);
                command.args(&words[1..]).env("POSTROJ", binary());
                command.env("POSTROJ_STATE_DIR", self.state());
                command
            }
            Kind::Systemd(host) => {
                let environment = [("POSTROJ".to_owned(), "postroj".to_owned())];
                host.command(&environment, &words)
            }
        }
    }

    /// One of the library's examples, on this host, with its store.
    #[track_caller]
    pub(crate) fn example(&self, name: &str) -> Outcome {
        let example = binary().with_file_name("examples").join(name);
        assert!(example.exists(), "cargo build --examples makes it");
        let copy = self.scratch().join(name);
        fs::copy(example, &copy).expect("copy an example");
        let line = format!(
            "exec {} \"${{POSTROJ_STATE_DIR:-/var/lib/postroj}}\"",
            copy.display()
        );
        process::run(self.shell(&line))
    }

    /// `postroj pkgprobe --image IMAGE …`, the image being in the store already.
    pub(crate) fn pkgprobe<S: AsRef<OsStr>>(
        &self,
        name: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Postroj<'_> {
        if matches!(self.kind, Kind::Direct) && !name.contains('/') {
            image::pulled(name);
        }
        self.postroj(["pkgprobe", "--image", name]).args(arguments)
    }

    /// The processes of this host, not those of its containers, that have the argument.
    fn with_argument(&self, argument: &str) -> Vec<u32> {
        let namespace = |id: &str| fs::read_link(format!("/proc/{id}/ns/pid")).ok();
        let own = match &self.kind {
            Kind::Direct => namespace("self"),
            Kind::Systemd(host) => namespace(&host.leader().to_string()),
        };
        let mut ids = process::with_argument(argument);
        ids.retain(|id| namespace(&id.to_string()) == own);
        ids
    }

    /// Waits until this host has a process with the argument.
    #[track_caller]
    pub(crate) fn wait_for_argument(&self, argument: &str) {
        process::wait_until(|| !self.with_argument(argument).is_empty(), argument);
    }

    /// Kills the processes of this host that have the argument.
    #[track_caller]
    pub(crate) fn kill(&self, argument: &str) {
        let ids = self.with_argument(argument);
        assert!(!ids.is_empty(), "no process has the argument {argument}");
        for id in ids
            .into_iter()
            .filter_map(|id| Pid::from_raw(id.cast_signed()))
        {
            kill_process(id, Signal::KILL).ok();
        }
    }

    /// Where postroj has the containers that are up.
    pub(crate) fn runtime(&self) -> PathBuf {
        match &self.kind {
            Kind::Direct => "/run/postroj".into(),
            Kind::Systemd(host) => host.root().join("run/postroj"),
        }
    }

    /// The root directory of this host.
    pub(crate) fn root(&self) -> PathBuf {
        match &self.kind {
            Kind::Direct => "/".into(),
            Kind::Systemd(host) => host.root(),
        }
    }

    /// What is there of postroj's now.
    pub(crate) fn look(&self) -> sweep::Findings {
        match &self.kind {
            Kind::Direct => sweep::look(
                Path::new("/"),
                Path::new("/proc/self/mountinfo"),
                &self.state(),
            ),
            Kind::Systemd(host) => sweep::look(&host.root(), &host.mountinfo(), &self.state()),
        }
    }
}

/// A command line of postroj.
pub(crate) struct Postroj<'a> {
    place: &'a Place,
    arguments: Vec<OsString>,
    wrapper: Vec<OsString>,
    environment: Vec<(String, String)>,
    stdin: Option<String>,
}

impl Postroj<'_> {
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        self
    }

    /// Has another command, which measures say, run postroj.
    pub(crate) fn under<S: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Self {
        let words = wrapper.into_iter().map(|word| word.as_ref().to_owned());
        self.wrapper.extend(words);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<Path>) -> Self {
        self.environment
            .push((name.to_owned(), value.as_ref().display().to_string()));
        self
    }

    /// What it reads from standard input.
    pub(crate) fn stdin(mut self, text: &str) -> Self {
        self.stdin = Some(text.to_owned());
        self
    }

    pub(crate) fn command(&self) -> Command {
        match &self.place.kind {
            Kind::Direct => {
                let mut words = self.wrapper.clone();
                words.push(binary().into());
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]);
                command.args(&self.arguments);
                // The tests speak for a machine that nobody has configured.
                for (name, _) in std::env::vars() {
                    if name.starts_with("POSTROJ_") || name.starts_with("CONTAINERS_") {
                        command.env_remove(name);
                    }
                }
                command.env("POSTROJ_STATE_DIR", self.place.state());
                command.envs(self.environment.iter().map(|(name, value)| (name, value)));
                command
            }
            Kind::Systemd(host) => {
                let mut line = self.wrapper.clone();
                line.push("postroj".into());
                line.extend(self.arguments.iter().cloned());
                host.command(&self.environment, &line)
            }
        }
    }

    pub(crate) fn start(self) -> Started {
        Started {
            nested: self.place.nested().is_some(),
            running: Running::start_with(self.command(), self.stdin.as_deref()),
        }
    }

    #[track_caller]
    pub(crate) fn run(self) -> Outcome {
        self.start().running.wait()
    }
}

/// postroj under way.
pub(crate) struct Started {
    nested: bool,
    pub(crate) running: Running,
}

impl Started {
    /// Sends a signal to postroj itself, not to what brought it into the nested host.
    pub(crate) fn signal(&self, signal: Signal) {
        if !self.nested {
            return self.running.signal(signal);
        }
        let id = self.running.id();
        let children =
            std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        for child in children
            .split_whitespace()
            .filter_map(|child| child.parse().ok())
            .filter_map(Pid::from_raw)
        {
            kill_process(child, signal).ok();
        }
    }

    #[track_caller]
    pub(crate) fn wait(self) -> Outcome {
        self.running.wait()
    }
}

/// Standard output, standard error and the exit code, without what differs from run to run.
pub(crate) fn shown(arguments: &[&str]) -> String {
    let place = Place::direct();
    let store = place.scratch().join("store");
    let outcome = place
        .postroj(arguments)
        .env("POSTROJ_STATE_DIR", &store)
        .env("COLUMNS", "100")
        .run();
    let code = outcome.code();
    let text = format!(
        "{}--- stderr\n{}--- exit code {code}",
        outcome.stdout, outcome.stderr
    );
    text.replace(place.scratch().to_str().expect("UTF-8"), "[scratch]")
        .replace(env!("CARGO_PKG_VERSION"), "[version]")
}
