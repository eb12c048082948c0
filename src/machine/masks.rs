//! What of an image's system a boot leaves out, and how it comes back when the boot is over.
//!
//! A unit is masked by a link to `/dev/null` (systemd.unit(5)), and so is a generator
//! (systemd.generator(7)). If no generator is left, their directories are not where systemd looks for
//! them: for those that it finds, whatever is in them, it makes a mount namespace.

use std::io;

use super::generators;
use super::idle;
use super::profile::{self, GENERATORS, UNITS};
use super::rootfs::Rootfs;
use super::sysusers;

/// What a mask is a link to.
const TARGET: &str = "/dev/null";

/// Where generators are masked until the container ends or reboots.
const RUNTIME_GENERATORS: &str = "run/systemd/system-generators";

/// The directories that have one of generators.
const PARENTS: [&str; 3] = ["usr/lib/systemd", "usr/local/lib/systemd", "lib/systemd"];

/// The name of that.
const DIRECTORY: &str = "system-generators";

/// Its name while it is hidden.
const HIDDEN: &str = ".postroj-system-generators";

/// What is left out of a boot.
#[derive(Debug, Default)]
pub(super) struct Masks {
    units: Vec<String>,
    generators: Vec<String>,
    /// Where the directory of generators is hidden.
    hidden: Vec<&'static str>,
}

impl Masks {
    /// Leaves out what is `wanted` so, as paths below the root, and with it the generators and units
    /// that would find nothing to do. If nothing is, all is started.
    pub(super) fn put(wanted: &[String], root: &Rootfs) -> io::Result<Self> {
        if wanted.is_empty() {
            return Ok(Self::default());
        }
        let below = |directory: &str| -> Vec<String> {
            let paths = wanted.iter().filter_map(|path| path.rsplit_once('/'));
            let paths = paths.filter(|(parent, _)| *parent == directory);
            paths.map(|(_, name)| name.to_owned()).collect()
        };
        let mut masks = Self {
            units: below(UNITS),
            generators: below(GENERATORS),
            hidden: Vec::new(),
        };
        let idle = generators::idle(root).into_iter();
        masks.generators.extend(idle.map(str::to_owned));
        let idle = idle::units(root).into_iter();
        masks.units.extend(idle.map(str::to_owned));
        if sysusers::are_there(root) {
            masks.units.push(sysusers::UNIT.to_owned());
        }
        root.link_each(UNITS, &masks.units, TARGET)?;
        if !masks.hide_generators(root) {
            root.link_each(GENERATORS, &masks.generators, TARGET)?;
        }
        Ok(masks)
    }

    /// Hides the directories of generators, if nothing that is in them is to be run.
    fn hide_generators(&mut self, root: &Rootfs) -> bool {
        let is_masked = |name: &String| self.generators.contains(name);
        let directories: Vec<&str> = PARENTS
            .into_iter()
            .filter(|parent| root.has_entry(parent, DIRECTORY))
            .collect();
        let found = directories.iter();
        let mut found = found.flat_map(|parent| root.names(format!("{parent}/{DIRECTORY}")));
        if root.exists(GENERATORS) || !found.all(|name| is_masked(&name)) {
            return false;
        }
        for parent in directories {
            match root.rename(parent, DIRECTORY, HIDDEN) {
                Ok(()) => self.hidden.push(parent),
                // The same directory by another name.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::debug!(parent, %error, "generators are not hidden");
                    self.show_generators(root);
                    return false;
                }
            }
        }
        true
    }

    fn show_generators(&mut self, root: &Rootfs) {
        for parent in self.hidden.drain(..) {
            // One that the container has made since is not ours to replace.
            let _ = root.rename(parent, HIDDEN, DIRECTORY);
        }
    }

    /// Takes the masks away. A later boot has none: what is masked then, somebody in the container
    /// has masked. Gives the generators that have nothing to do in any container.
    pub(super) fn take_away(mut self, root: &Rootfs) -> Vec<String> {
        self.show_generators(root);
        // One that the container has replaced since is not ours any more.
        root.unlink_each(UNITS, &self.units, TARGET);
        root.unlink_each(GENERATORS, &self.generators, TARGET);
        self.generators
            .retain(|name| profile::is_for_no_container(name));
        self.generators
    }
}

/// Masks generators on, in the root of a container that runs, until it ends or reboots, where nothing
/// is kept: each installation makes systemd run them several times.
pub(super) fn mask_generators(root: &Rootfs, names: &[String]) {
    // It goes without.
    let _ = root.link_each(RUNTIME_GENERATORS, names, TARGET);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Vec<String> {
        vec![
            format!("{UNITS}/getty.target"),
            format!("{GENERATORS}/systemd-getty-generator"),
        ]
    }

    #[test]
    fn generators_are_hidden_and_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let root = Rootfs::open(directory.path()).unwrap();
        let generators = "usr/lib/systemd/system-generators";
        root.replace(generators, "systemd-getty-generator", b"")
            .unwrap();
        let masks = Masks::put(&wanted(), &root).unwrap();
        assert!(!root.exists(generators));
        assert!(!root.exists(GENERATORS));
        assert!(root.has_entry(UNITS, "getty.target"));
        let left = masks.take_away(&root);
        assert_eq!(left[0], "systemd-getty-generator");
        assert_eq!(root.names(generators), ["systemd-getty-generator"]);
        assert!(!root.has_entry(UNITS, "getty.target"));
    }

    #[test]
    fn a_generator_that_has_to_run_keeps_all_where_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let root = Rootfs::open(directory.path()).unwrap();
        let generators = "usr/lib/systemd/system-generators";
        root.replace(generators, "systemd-getty-generator", b"")
            .unwrap();
        root.replace(generators, "of-a-package", b"").unwrap();
        let masks = Masks::put(&wanted(), &root).unwrap();
        assert_eq!(root.names(generators).len(), 2);
        assert!(root.has_entry(GENERATORS, "systemd-getty-generator"));
        masks.take_away(&root);
        assert!(!root.has_entry(GENERATORS, "systemd-getty-generator"));
    }

    #[test]
    fn without_a_wish_nothing_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let root = Rootfs::open(directory.path()).unwrap();
        Masks::put(&[], &root).unwrap();
        assert!(!root.exists("etc"));
    }
}
