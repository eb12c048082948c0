//! What of postroj's is on a host: taken before and after a run, the difference is what the run has
//! left behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// One line for each thing found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Findings(BTreeSet<String>);

impl Findings {
    /// Those but for the store's: what a killed run was writing stays there until postroj is
    /// called again.
    pub(crate) fn without_store(mut self) -> Self {
        self.0.retain(|line| !line.starts_with("store "));
        self
    }

    /// Those that were not there `before`.
    pub(crate) fn since(&self, before: &Self) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }
}

/// Looks at a host through its root directory and its mounts.
pub(crate) fn look(root: &Path, mountinfo: &Path, state: &Path) -> Findings {
    let mut found = BTreeSet::new();
    mounts(mountinfo, &mut found);
    cgroups(&root.join("sys/fs/cgroup"), root, 0, &mut found);
    processes(&root.join("proc"), &mut found);
    for directory in [
        "run/postroj",
        "run/systemd/nspawn",
        "run/systemd/machines",
        "run/systemd/transient",
        "run/netns",
        "var/lib/machines",
    ] {
        // Deep enough for a directory per machine.
        files(&root.join(directory), root, 2, &|_| true, &mut found);
    }
    for directory in ["tmp", "var/tmp", "run", "dev/shm"] {
        // Others write there too.
        let ours = |path: &str| {
            ["postroj", "nspawn", "mmdebstrap", "overlay"]
                .iter()
                .any(|word| path.contains(word))
        };
        files(&root.join(directory), root, 1, &ours, &mut found);
    }
    store(state, state, &mut found);
    Findings(found)
}

fn mounts(mountinfo: &Path, found: &mut BTreeSet<String>) {
    for line in fs::read_to_string(mountinfo)
        .expect("read the mounts")
        .lines()
    {
        // Mount point and file system; the numbers differ from mount to mount.
        let fields: Vec<&str> = line.split(' ').collect();
        let source = line.split_once(" - ").map_or("", |(_, rest)| rest);
        found.insert(format!("mount {} {source}", fields[4]));
    }
}

/// Every cgroup that a container can have made, but for the tests' own.
fn cgroups(directory: &Path, root: &Path, depth: usize, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) || name == "postroj-tests" {
            continue;
        }
        let path = entry.path();
        let shown = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .display()
            .to_string();
        if ["postroj", "machine", "payload", "supervisor", "nspawn"]
            .iter()
            .any(|word| shown.contains(word))
        {
            found.insert(format!("cgroup {shown}"));
        }
        if depth < 8 {
            cgroups(&path, root, depth + 1, found);
        }
    }
}

/// postroj, systemd-nspawn, and whatever lives in a process namespace below the host's own.
fn processes(proc: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(proc).expect("read /proc").flatten() {
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else {
            continue;
        };
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_default()
                .trim()
        };
        let name = field("Name:");
        let namespaces = field("NSpid:").split_whitespace().count();
        // Unpacking and package managers under way are children with these names.
        let ours = ["postroj", "systemd-nspawn", "mmdebstrap", "pasta", "passt"]
            .iter()
            .any(|ours| name.starts_with(ours));
        if (ours || namespaces > 1) && !field("State:").starts_with('Z') {
            found.insert(format!(
                "process {} {name}",
                entry.file_name().to_string_lossy()
            ));
        }
    }
}

fn files(
    directory: &Path,
    root: &Path,
    depth: usize,
    counts: &dyn Fn(&str) -> bool,
    found: &mut BTreeSet<String>,
) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let shown = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .display()
            .to_string();
        // The scopes that the tests run in are the tests' own.
        if !shown.contains("/run-r") && counts(&shown) {
            found.insert(format!("file /{shown}"));
        }
        if depth > 1 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files(&path, root, depth - 1, counts, found);
        }
    }
}

/// The store's directories, but for what is in the images.
fn store(directory: &Path, state: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let below = path.strip_prefix(state).unwrap_or(&path);
        // Files to lock stay, for removing one would be a race.
        if below.starts_with("locks") {
            continue;
        }
        found.insert(format!("store {}", below.display()));
        if below.components().count() < 3 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            store(&path, state, found);
        }
    }
}
