//! Disks that are full, and disks whose power is cut: the store stays sound.

use std::fs;
use std::path::Path;
use std::thread;

use serde_json::Value;

use crate::store::Shelf;
use crate::support::archive::{Entry, Tar};
use crate::support::disk::{Disk, Kind};
use crate::support::process::Running;
use crate::support::tiny;

/// A store on a disk.
struct OnDisk {
    shelf: Shelf,
    disk: Disk,
}

impl OnDisk {
    fn new(kind: Kind) -> Self {
        let mut shelf = Shelf::new();
        let disk = Disk::new(shelf.place.scratch(), kind);
        shelf.state = disk.path.join("state");
        Self { shelf, disk }
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        self.disk.command(self.shelf.words(arguments))
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> crate::support::process::Outcome {
        crate::support::process::run(self.command(arguments))
    }

    fn names(&self, directory: &str) -> Vec<String> {
        crate::store::names(&self.disk.reach(&self.shelf.state).join(directory))
    }

    /// Whether the image is there; if so, all of it.
    #[track_caller]
    fn holds(&self, name: &str, files: &[(&str, &[u8])]) -> bool {
        let listed = self.run(&["images", "--json"]).exits(0);
        let listed: Value = serde_json::from_str(&listed.stdout).expect("JSON");
        let listed = listed.as_array().expect("a list");
        let Some(image) = listed.iter().find(|image| image["name"] == name) else {
            return false;
        };
        assert_eq!(
            image["missing_layers"].as_array().map(Vec::len),
            Some(0),
            "layers are missing: {image}"
        );
        let inspected = self.run(&["inspect", name]).exits(0);
        let inspected: Value = serde_json::from_str(&inspected.stdout).expect("JSON");
        let roots = inspected[0]["layers"].as_array().expect("layers");
        for (path, content) in files {
            let found = roots.iter().find_map(|layer| {
                let root = Path::new(layer["path"].as_str()?);
                fs::read(self.disk.reach(&root.join(path))).ok()
            });
            assert!(found.as_deref() == Some(*content), "{path} is damaged");
        }
        true
    }
}

#[test]
fn a_full_disk() {
    for kind in [Kind::Memory(8 << 20), Kind::Ext4] {
        let here = OnDisk::new(kind);
        let small = here
            .shelf
            .serve("small", &[&tiny::archive(&[("etc/x", b"1")])]);
        here.run(&["pull", &small.reference]).exits(0);
        let one = Tar::new()
            .with(Entry::file("etc/y", vec![1; 1 << 20]))
            .bytes();
        let size = 300 << 20;
        let large = Tar::new()
            .with(Entry::file("etc/z", vec![0x55; size]))
            .bytes();
        let large = here
            .shelf
            .serve("large", &[&tiny::archive(&[]), &one, &large]);
        let outcome = here.run(&["pull", &large.reference]).exits(3);
        let outcome = outcome
            .stderr_has("No space left on device")
            .stderr_has("hint: the disk is full: free some space");
        assert_eq!(outcome.stderr.matches("error: ").count(), 1, "{outcome}");
        assert_eq!(here.names("tmp"), [""; 0], "{kind:?}");
        here.run(&["check"]).exits(0);
        assert!(here.holds(&small.reference, &[("etc/x", b"1")]));
        assert!(!here.holds(&large.reference, &[]));
        here.run(&["pull", &small.reference]).exits(0);
        here.run(&["gc"]).exits(0);
        assert_eq!(here.names("layers").len(), 1, "{kind:?}");
    }
}

#[test]
fn a_power_cut_around_the_end_of_a_pull() {
    for kind in [Kind::Ext4, Kind::Xfs] {
        power_cuts(kind);
    }
}

fn power_cuts(kind: Kind) {
    let here = OnDisk::new(kind);
    let content = [tiny::noise(1, 3_000_000), tiny::noise(2, 2_000_000)];
    let files: [(&str, &[u8]); 2] = [("etc/one", &content[0]), ("etc/two", &content[1])];
    let upper = Tar::new().with(Entry::file("etc/two", files[1].1)).bytes();
    let put = here
        .shelf
        .serve("cut", &[&tiny::archive(&files[..1]), &upper]);
    let name = put.reference.as_str();
    here.run(&["pull", name]).exits(0);
    here.run(&["rmi", name]).exits(0);
    let took = here.run(&["pull", name]).exits(0).took;
    // What nobody has synced is lost: if it were not, no power would have been cut.
    let lost = here.disk.reach(&here.disk.path).join("lost");
    fs::write(&lost, vec![1; 100_000]).expect("write");
    here.disk.cut_power();
    here.disk.restore_power();
    let lost = fs::metadata(lost).map_or(0, |found| found.len());
    assert!(lost < 100_000, "{kind:?}: the disk kept its power");
    here.run(&["check"])
        .exits(0)
        .stdout_has("2 layers: no problem");
    assert!(here.holds(name, &files), "{kind:?}: lost although done");

    let mut there = 0;
    for at in 0..8 {
        here.run(&["rmi", "--all"]).exits(0);
        let running = Running::start(here.command(&["pull", name]));
        thread::sleep(took * at / 6);
        here.disk.cut_power();
        let done = running.wait().code() == 0;
        here.disk.restore_power();
        here.run(&["check"]).exits(0);
        let holds = here.holds(name, &files);
        assert!(holds || !done, "{kind:?}, {at}: lost although done");
        there += usize::from(holds);
        // Whatever is left of it is no hindrance.
        here.run(&["pull", name]).exits(0);
        assert!(here.holds(name, &files));
        here.run(&["gc"]).exits(0);
        assert_eq!(here.names("tmp"), [""; 0]);
        assert_eq!(here.names("layers").len(), 2);
    }
    assert!(there < 8, "{kind:?}: no cut came before the end");

    // What is removed may come back, and is whole then.
    here.run(&["rmi", name]).exits(0);
    here.disk.cut_power();
    here.disk.restore_power();
    here.holds(name, &files);
    here.run(&["gc"]).exits(0);
    here.run(&["pull", name]).exits(0);
    assert!(here.holds(name, &files));
}
