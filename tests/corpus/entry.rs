//! What an entry of the corpus is: packages, the command line that tests them, and the verdict.

use crate::support::Deb;

/// The releases that every entry is run on.
pub(crate) const RELEASES: [&str; 4] = ["bullseye", "bookworm", "trixie", "sid"];

/// Where packages keep the server of the corpus.
pub(crate) const SERVER: &str = "/usr/lib/corpus/server";

/// The verdict that is known to be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    /// The package is at fault: it does not install, and what the report says of that has this text.
    NotInstalled(&'static str),
    /// The package is at fault: another phase of its life fails, and what the report says of that has
    /// this text.
    PhaseFailed(&'static str, &'static str),
    /// The package is at fault: these checks fail, and no others.
    Failed(Vec<Failing>),
    /// Something else than the package is in the way, and the report says this of it.
    Untold(&'static str),
}

/// A check that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failing {
    /// After which phase.
    pub(crate) phase: &'static str,
    /// The start of its target, or of its kind and its target.
    pub(crate) target: &'static str,
    /// What was seen last has this text.
    pub(crate) seen: &'static str,
}

/// Packages whose verdict is known.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    /// What it is good or bad at.
    pub(crate) group: &'static str,
    /// What there is to know of it, in a few words.
    pub(crate) what: &'static str,
    /// The packages that are installed, in this order.
    pub(crate) packages: Vec<Deb>,
    /// Those that they upgrade.
    pub(crate) earlier: Vec<Deb>,
    /// Files that are no packages, but given for ones: name, content.
    pub(crate) fakes: Vec<(&'static str, &'static [u8])>,
    /// Further arguments.
    pub(crate) arguments: Vec<String>,
    pub(crate) verdict: Verdict,
    /// Where another verdict is the true one, and why.
    pub(crate) differs: Vec<(&'static str, Verdict, &'static str)>,
    /// Who has to be told to have started a unit.
    pub(crate) started: Vec<(&'static str, &'static str)>,
    /// What the report has to hold as evidence.
    pub(crate) shows: Vec<&'static str>,
    /// What has to be listed as left behind.
    pub(crate) leaves: Vec<&'static str>,
    /// Seconds that it waits for, beside the work: those that wait long are begun first.
    pub(crate) waits: u32,
}

impl Entry {
    /// An entry that passes.
    pub(crate) fn new(name: &'static str, what: &'static str) -> Self {
        Self {
            name,
            group: "",
            what,
            packages: Vec::new(),
            earlier: Vec::new(),
            fakes: Vec::new(),
            arguments: Vec::new(),
            verdict: Verdict::Passed,
            differs: Vec::new(),
            started: Vec::new(),
            shows: Vec::new(),
            leaves: Vec::new(),
            waits: 0,
        }
    }

    pub(crate) fn package(mut self, package: Deb) -> Self {
        self.packages.push(package);
        self
    }

    /// A package that is upgraded.
    pub(crate) fn earlier(mut self, package: Deb) -> Self {
        self.earlier.push(package);
        self
    }

    pub(crate) fn fake(mut self, name: &'static str, content: &'static [u8]) -> Self {
        self.fakes.push((name, content));
        self
    }

    pub(crate) fn arguments<const N: usize>(mut self, arguments: [&str; N]) -> Self {
        self.arguments.extend(arguments.map(str::to_owned));
        self
    }

    /// Checks a unit.
    pub(crate) fn unit(self, unit: &str) -> Self {
        self.arguments(["--check-unit", unit])
    }

    /// Checks an address.
    pub(crate) fn network(self, url: &str) -> Self {
        self.arguments(["--check-network", url])
    }

    /// Makes a check of any kind.
    pub(crate) fn check(self, check: &str) -> Self {
        self.arguments(["--check", check])
    }

    /// Checks that there is an answer to HTTP on the port that most entries use.
    pub(crate) fn http(self) -> Self {
        self.network("http://localhost:8080/")
    }

    pub(crate) fn not_installed(mut self, text: &'static str) -> Self {
        self.verdict = Verdict::NotInstalled(text);
        self
    }

    pub(crate) fn phase_fails(mut self, phase: &'static str, text: &'static str) -> Self {
        self.verdict = Verdict::PhaseFailed(phase, text);
        self
    }

    pub(crate) fn untold(mut self, text: &'static str) -> Self {
        self.verdict = Verdict::Untold(text);
        self
    }

    /// One more check fails after the installation: the start of its target, and what is seen.
    pub(crate) fn fails(self, target: &'static str, seen: &'static str) -> Self {
        self.fails_after("install", target, seen)
    }

    /// One more check fails after a phase.
    pub(crate) fn fails_after(
        mut self,
        phase: &'static str,
        target: &'static str,
        seen: &'static str,
    ) -> Self {
        let failing = Failing {
            phase,
            target,
            seen,
        };
        match &mut self.verdict {
            Verdict::Failed(checks) => checks.push(failing),
            verdict => *verdict = Verdict::Failed(vec![failing]),
        }
        self
    }

    pub(crate) fn differs(
        mut self,
        release: &'static str,
        verdict: Verdict,
        why: &'static str,
    ) -> Self {
        self.differs.push((release, verdict, why));
        self
    }

    pub(crate) fn started_by(mut self, unit: &'static str, who: &'static str) -> Self {
        self.started.push((unit, who));
        self
    }

    pub(crate) fn shows(mut self, text: &'static str) -> Self {
        self.shows.push(text);
        self
    }

    pub(crate) fn leaves(mut self, what: &'static str) -> Self {
        self.leaves.push(what);
        self
    }

    pub(crate) fn waits(mut self, seconds: u32) -> Self {
        self.waits = seconds;
        self
    }

    /// The true verdict on a release.
    pub(crate) fn verdict_on(&self, release: &str) -> &Verdict {
        self.differs
            .iter()
            .find(|(on, _, _)| *on == release)
            .map_or(&self.verdict, |(_, verdict, _)| verdict)
    }
}

/// A package of a service that runs the server with a script of it (`server.c` has the words).
pub(crate) fn service(name: &str, script: &str) -> Deb {
    service_with(name, script, "")
}

/// The same, with further lines for its `[Service]` section.
pub(crate) fn service_with(name: &str, script: &str, lines: &str) -> Deb {
    Deb::new(name).unit(
        &format!("{name}.service"),
        &format!(
            "[Service]\nExecStart={SERVER} {script}\n{lines}\n[Install]\nWantedBy=multi-user.target\n"
        ),
    )
}
