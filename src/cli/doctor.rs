//! `doctor`: whether this host can run containers, and what to do where it cannot.

use std::fmt::Write as _;
use std::path::Path;

use postroj::machine::{
    Hierarchies, INSTALL_PASTA, Layout, MINIMUM_SYSTEMD, Nspawn, check_private_users, find_pasta,
    is_booted_with_systemd,
};
use serde::Serialize;

use super::config::Settings;
use super::error::{CommandError, Exit};
use super::output::Output;

/// Below so much free space an image may not fit, in bytes.
const LITTLE_SPACE: u64 = 2_000_000_000;

/// Check whether this host can run containers
///
/// Each finding that is in the way names its fix; the exit code is 3 if there is one.
#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How a finding is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warning,
    Bad,
}

#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    level: Level,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self {
            what,
            level: Level::Ok,
            found: found.into(),
            fix: None,
        }
    }

    fn other(level: Level, what: &'static str, found: impl Into<String>, fix: &str) -> Self {
        Self {
            what,
            level,
            found: found.into(),
            fix: Some(fix.to_owned()),
        }
    }
}

impl Doctor {
    pub(crate) async fn run(
        &self,
        settings: &Settings,
        output: &Output,
    ) -> Result<Exit, CommandError> {
        let findings = [
            privileges(),
            nspawn().await,
            init(),
            machined(),
            cgroups(),
            overlay(),
            users(&settings.state_dir),
            bootstrap(),
            pasta(),
            space(&settings.state_dir),
        ];
        if self.json {
            output.json(&findings)?;
        } else {
            output.result(&table(&findings, output));
        }
        let is_bad = findings.iter().any(|finding| finding.level == Level::Bad);
        Ok(if is_bad {
            Exit::NoVerdict
        } else {
            Exit::Success
        })
    }
}

fn table(findings: &[Finding], output: &Output) -> String {
    let palette = output.palette();
    let mut text = String::new();
    for finding in findings {
        let (mark, word) = match finding.level {
            Level::Ok => (palette.good, "ok"),
            Level::Warning => (palette.faint, "note"),
            Level::Bad => (palette.bad, "BAD"),
        };
        let reset = palette.reset;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{mark}{word:<4}{reset}  {:<15}  {}",
            finding.what, finding.found
        );
        if let Some(fix) = &finding.fix {
            let _ = writeln!(text, "      {:<15}  → {fix}", "");
        }
    }
    text
}

fn privileges() -> Finding {
    if rustix::process::geteuid().is_root() {
        Finding::ok("privileges", "root")
    } else {
        Finding::other(Level::Bad, "privileges", "not root", "run it with sudo")
    }
}

async fn nspawn() -> Finding {
    match Nspawn::find().await {
        Ok(nspawn) => Finding::ok(
            "systemd-nspawn",
            format!("{} ({MINIMUM_SYSTEMD} or newer is needed)", nspawn.version),
        ),
        Err(error) => Finding::other(
            Level::Bad,
            "systemd-nspawn",
            error.to_string(),
            error.hint().unwrap_or("install systemd-container"),
        ),
    }
}

fn init() -> Finding {
    let found = if is_booted_with_systemd() {
        "systemd runs this host: containers are its units"
    } else {
        "systemd does not run this host: containers are children of postroj"
    };
    Finding::ok("init", found)
}

fn machined() -> Finding {
    if !is_booted_with_systemd() {
        return Finding::ok("machined", "not needed");
    }
    let paths = [
        "/usr/lib/systemd/systemd-machined",
        "/lib/systemd/systemd-machined",
    ];
    if paths.iter().any(|path| Path::new(path).exists()) {
        Finding::ok("machined", "installed")
    } else {
        Finding::other(
            Level::Bad,
            "machined",
            "not installed",
            "apt-get install systemd-container (Debian, Ubuntu), dnf install systemd-container (Fedora and its kin)",
        )
    }
}

fn cgroups() -> Finding {
    let layout = Hierarchies::load().map_or(Layout::Absent, |found| found.layout());
    match layout {
        Layout::Absent => Finding::other(
            Level::Bad,
            "cgroups",
            layout.to_string(),
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup; in a container: start it with --privileged",
        ),
        _ if !is_booted_with_systemd() && is_read_only("/sys/fs/cgroup") => Finding::other(
            Level::Bad,
            "cgroups",
            format!("{layout}, mounted read-only"),
            "start the container that this is with --privileged",
        ),
        _ => Finding::ok("cgroups", layout.to_string()),
    }
}

fn is_read_only(path: &str) -> bool {
    rustix::fs::statvfs(path)
        .is_ok_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

fn overlay() -> Finding {
    let has = || {
        std::fs::read_to_string("/proc/filesystems")
            .is_ok_and(|text| text.lines().any(|line| line.ends_with("\toverlay")))
    };
    if has() {
        Finding::ok("overlayfs", "in the kernel")
    } else {
        Finding::other(
            Level::Warning,
            "overlayfs",
            "not in the kernel as it is now; a module may be loaded on demand",
            "modprobe overlay",
        )
    }
}

fn users(state_dir: &Path) -> Finding {
    let there = state_dir.ancestors().find(|path| path.exists());
    match check_private_users(there.unwrap_or(Path::new("/"))) {
        Ok(()) => Finding::ok("users", "containers can have users of their own"),
        Err(error) => Finding::other(
            Level::Warning,
            "users",
            format!("root in a container is this host's root: {error}"),
            "Linux 5.19 or newer, user namespaces (sysctl user.max_user_namespaces), and the store on ext4, XFS or Btrfs",
        ),
    }
}

fn in_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

fn bootstrap() -> Finding {
    if in_path("mmdebstrap") {
        Finding::ok("mmdebstrap", "installed")
    } else {
        Finding::other(
            Level::Warning,
            "mmdebstrap",
            "not installed: Debian and Ubuntu come from registries only",
            "apt-get install mmdebstrap",
        )
    }
}

fn pasta() -> Finding {
    if find_pasta().is_none() {
        return Finding::other(
            Level::Warning,
            "network",
            "pasta is not installed: containers share the host's network and ports",
            INSTALL_PASTA,
        );
    }
    if !Path::new("/dev/net/tun").exists() {
        return Finding::other(
            Level::Warning,
            "network",
            "no /dev/net/tun, which pasta needs: containers share the host's network and ports",
            "modprobe tun; in a container: start it with --device /dev/net/tun",
        );
    }
    Finding::ok("network", "pasta is installed")
}

fn space(state_dir: &Path) -> Finding {
    let there = state_dir.ancestors().find(|path| path.exists());
    let Some(stat) = there.and_then(|path| rustix::fs::statvfs(path).ok()) else {
        return Finding::other(
            Level::Bad,
            "disk",
            format!("{} cannot be looked at", state_dir.display()),
            "choose another place with --state-dir",
        );
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let found = format!(
        "{} MB are free for {}",
        free / 1_000_000,
        state_dir.display()
    );
    if free < LITTLE_SPACE {
        Finding::other(
            Level::Warning,
            "disk",
            found,
            "an image takes 200 to 800 MB; choose another place with --state-dir",
        )
    } else {
        Finding::ok("disk", found)
    }
}
