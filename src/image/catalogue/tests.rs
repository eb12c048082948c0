use std::{
    collections::HashSet,
    io::Write as _,
    process::{Command, Stdio},
    str::FromStr as _,
};

use super::{entry::choose, *};

mod file;

/// The names that are promised.
const PROMISED: &[&str] = &[
    "debian-stretch",
    "debian-buster",
    "debian-bullseye",
    "debian-bookworm",
    "debian-trixie",
    "debian-sid",
    "ubuntu-focal",
    "ubuntu-jammy",
    "ubuntu-noble",
    "fedora-35",
    "fedora-36",
    "fedora-37",
    "centos-7",
    "centos-8",
    "centos-9",
    "centos-10",
    "rhel-8",
    "rhel-9",
    "rhel-10",
    "rockylinux-8",
    "rockylinux-9",
    "rockylinux-10",
    "almalinux-8",
    "almalinux-9",
    "almalinux-10",
    "oraclelinux-8",
    "oraclelinux-9",
    "amazonlinux-2022",
    "amazonlinux-2023",
    "opensuse-leap",
    "opensuse-tumbleweed",
    "sles-15",
    "sles-bci",
    "archlinux-20220501",
    "archlinux-latest",
];

/// A release that ended before this day is no longer on its distribution's mirrors.
const MOVED_BEFORE: &str = "2025-01-01";

const ARCHIVES: &[&str] = &[
    "//archive.debian.org/",
    "//old-releases.ubuntu.com/",
    "//vault.centos.org/",
    "//archives.fedoraproject.org/",
    "//archive.archlinux.org/",
];

const MINIMAL: &str = r#"
name = "own-1"
title = "Own 1"
family = "debian"
[[source]]
oci = "registry.example.org/own:1"
"#;

fn builtin() -> Catalogue {
    Catalogue::builtin().unwrap_or_else(|error| panic!("{error}"))
}

fn parsed(text: &str) -> Result<Entry, String> {
    parse(Path::new("x.toml"), text).map_err(|error| error.to_string())
}

fn error_of(text: &str) -> String {
    parsed(text).expect_err("the text is wrong")
}

fn with_files(files: &[(&str, &str)]) -> Result<Catalogue, String> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in files {
        fs::write(directory.path().join(name), text).expect("a file to write");
    }
    let shown = format!("{}/", directory.path().display());
    builtin()
        .with_directory(directory.path())
        .map_err(|error| error.to_string().replace(&shown, ""))
}

#[test]
fn the_table_is_the_directory() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
    let on_disk: HashSet<String> = fs::read_dir(directory)
        .expect("the directory images")
        .map(|item| format!("images/{}", item.unwrap().file_name().display()))
        .collect();
    let compiled: HashSet<String> = BUILTIN.iter().map(|(file, _)| (*file).to_owned()).collect();
    assert_eq!(compiled, on_disk);
    assert_eq!(compiled.len(), BUILTIN.len());
}

#[test]
fn a_file_is_named_after_its_image() {
    for (file, entry) in &builtin().entries {
        let stem = file.file_stem().and_then(|stem| stem.to_str());
        assert_eq!(stem, Some(entry.name.as_str()));
    }
}

#[test]
fn what_is_promised_is_there() {
    let catalogue = builtin();
    for name in PROMISED {
        assert!(catalogue.find(name).is_some(), "{name}");
    }
    let recent = |entry: &&Entry| entry.name.starts_with("fedora-") && *entry.name > *"fedora-37";
    assert_eq!(catalogue.iter().filter(recent).count(), 3);
}

#[test]
fn names_are_host_names_and_every_image_has_a_version_alias() {
    let mut seen = HashSet::new();
    for entry in builtin().iter() {
        assert!(entry::is_label(&entry.name), "{}", entry.name);
        assert!(!entry.aliases.is_empty(), "{}", entry.name);
        for name in entry.names() {
            assert!(entry::is_host_name(name), "{name}");
            assert!(seen.insert(name.to_owned()), "{name}");
        }
    }
}

#[test]
fn sources_are_well_formed_and_in_order() {
    for entry in builtin().iter() {
        let name = &entry.name;
        assert!(!entry.sources.is_empty(), "{name}");
        let kinds: Vec<_> = entry
            .sources
            .iter()
            .map(|source| source.kind() as u8)
            .collect();
        assert!(
            kinds.is_sorted(),
            "{name}: registry, then tarball, then bootstrap"
        );
        for source in &entry.sources {
            match source {
                Source::Oci(reference) => {
                    let parsed =
                        oci_spec::distribution::Reference::from_str(reference).expect(reference);
                    // Neither registry nor tag is left to a default that may change.
                    assert!(
                        parsed.tag().is_some() && parsed.digest().is_none(),
                        "{reference}"
                    );
                    assert_eq!(parsed.whole(), *reference);
                }
                Source::Tarball { url, .. } => assert_web(url),
                Source::Bootstrap(bootstrap) => assert_bootstrap(entry, bootstrap),
            }
        }
    }
}

fn assert_bootstrap(entry: &Entry, bootstrap: &Bootstrap) {
    let repositories = match bootstrap {
        Bootstrap::Debian(debian) => {
            assert_eq!(entry.family, Family::Debian, "{}", entry.name);
            if let Some(mirror) = &debian.mirror {
                let url = mirror.split(' ').find(|word| word.contains("://"));
                assert_web(url.expect(mirror));
            }
            return;
        }
        Bootstrap::Rpm(rpm) => {
            let families = [Family::Redhat, Family::Suse];
            assert!(families.contains(&entry.family), "{}", entry.name);
            assert!(!rpm.keys.is_empty(), "{}", entry.name);
            &rpm.repositories
        }
        Bootstrap::Pacman(pacman) => {
            assert_eq!(entry.family, Family::Arch, "{}", entry.name);
            assert!(pacman.keyring.is_some(), "{}", entry.name);
            &pacman.repositories
        }
    };
    for repository in repositories {
        let (Address::Base(url) | Address::Metalink(url)) = &repository.address;
        assert_web(url);
        assert!(url.starts_with("https://"), "{url}");
    }
}

fn assert_web(text: &str) {
    let url = url::Url::parse(text).expect(text);
    assert!(matches!(url.scheme(), "http" | "https"), "{text}");
    assert!(
        url.host_str().is_some_and(|host| host.contains('.')),
        "{text}"
    );
}

#[test]
fn tarballs_are_there_for_both_architectures() {
    for (file, text) in BUILTIN {
        for line in text.lines().filter(|line| line.starts_with("tarball")) {
            assert_ne!(choose(line, "x86_64"), choose(line, "aarch64"), "{file}");
        }
    }
}

#[test]
fn a_shell_accepts_every_setup() {
    for entry in builtin().iter() {
        let Some(setup) = &entry.provision.setup else {
            continue;
        };
        let mut shell = Command::new("/bin/sh")
            .args(["-e", "-n"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("/bin/sh");
        let mut input = shell.stdin.take().expect("a pipe");
        input
            .write_all(setup.as_bytes())
            .expect("a shell that reads");
        drop(input);
        assert!(shell.wait().unwrap().success(), "{}:\n{setup}", entry.name);
    }
}

#[test]
fn what_has_left_the_mirrors_has_an_archive() {
    let mut moved = 0;
    for entry in builtin().iter() {
        let ended = entry
            .end_of_life
            .as_deref()
            .is_some_and(|day| day < MOVED_BEFORE);
        if !ended {
            continue;
        }
        moved += 1;
        let setup = entry.provision.setup.as_deref().unwrap_or_default();
        let archived = |text: &str| ARCHIVES.iter().any(|archive| text.contains(archive));
        assert!(archived(setup), "{}", entry.name);
        for source in &entry.sources {
            if let Source::Bootstrap(Bootstrap::Debian(debian)) = source {
                let mirror = debian.mirror.as_deref().unwrap_or_default();
                assert!(archived(&format!("{mirror}/")), "{}", entry.name);
            }
        }
    }
    assert_eq!(
        moved, 7,
        "stretch, buster, three of Fedora and two of CentOS"
    );
}

#[test]
fn a_rolling_release_of_one_day_stays_on_that_day() {
    let catalogue = builtin();
    let entry = catalogue.find("archlinux-20220501").unwrap();
    let setup = entry.provision.setup.as_deref().unwrap();
    assert!(setup.contains("https://archive.archlinux.org/repos/2022/05/01/$repo/os/$arch"));
}

/// Runs the setup scripts that rewrite package sources on a copy of what the images have there.
#[test]
fn setup_moves_the_repositories_and_changes_nothing_the_second_time() {
    let fedora = "[fedora]\n\
        #baseurl=http://download.example/pub/fedora/linux/releases/$releasever/Everything/$basearch/os/\n\
        metalink=https://mirrors.fedoraproject.org/metalink?repo=fedora-$releasever&arch=$basearch\n\
        enabled=1\nskip_if_unavailable=False\n";
    let centos_8 = "[baseos]\n\
        mirrorlist=http://mirrorlist.centos.org/?release=$releasever&arch=$basearch&repo=BaseOS&infra=$infra\n\
        #baseurl=http://mirror.centos.org/$contentdir/$releasever/BaseOS/$basearch/os/\n";
    let centos_7 = "[base]\n\
        mirrorlist=http://mirrorlist.centos.org/?release=$releasever&arch=$basearch&repo=os&infra=$infra\n\
        #baseurl=http://mirror.centos.org/centos/$releasever/os/$basearch/\n\
        [base-arm64]\n\
        #baseurl=http://mirror.centos.org/altarch/$releasever/os/$basearch/\n";
    let pacman =
        "[options]\nSigLevel    = Required DatabaseOptional\nLocalFileSigLevel = Optional\n";

    for (image, file, before, after) in [
        (
            "fedora-35",
            "etc/yum.repos.d/fedora.repo",
            fedora,
            "baseurl=https://archives.fedoraproject.org/pub/archive/fedora/linux/releases/$releasever/Everything/$basearch/os/\n\
             #metalink=https://mirrors.fedoraproject.org/metalink?repo=fedora-$releasever&arch=$basearch\n\
             enabled=1\nskip_if_unavailable=False\n",
        ),
        (
            "fedora-36",
            "etc/yum.repos.d/fedora-modular.repo",
            "skip_if_unavailable=False\nenabled=1\n",
            "skip_if_unavailable=True\nenabled=1\n",
        ),
        (
            "fedora-37",
            "etc/yum.repos.d/fedora-cisco-openh264.repo",
            "metalink=https://x/\nenabled=1\n",
            "#metalink=https://x/\nenabled=0\n",
        ),
        (
            "centos-8",
            "etc/yum.repos.d/CentOS-Linux-BaseOS.repo",
            centos_8,
            "#mirrorlist=http://mirrorlist.centos.org/?release=$releasever&arch=$basearch&repo=BaseOS&infra=$infra\n\
             baseurl=http://vault.centos.org/8.5.2111/BaseOS/$basearch/os/\n",
        ),
        (
            "centos-7",
            "etc/yum.repos.d/CentOS-Base.repo",
            centos_7,
            "baseurl=http://vault.centos.org/7.9.2009/os/$basearch/\n\
             [base-arm64]\n\
             baseurl=http://vault.centos.org/altarch/7.9.2009/os/$basearch/\n",
        ),
        (
            "archlinux-20220501",
            "etc/pacman.conf",
            pacman,
            "[options]\nSigLevel = Never\nLocalFileSigLevel = Optional\n",
        ),
        (
            "debian-buster",
            "etc/apt/sources.list",
            "deb http://mirror.example/debian buster main\n",
            "deb http://archive.debian.org/debian buster main\n\
             deb http://archive.debian.org/debian-security buster/updates main\n",
        ),
    ] {
        let root = tempfile::tempdir().unwrap();
        for directory in ["etc/apt/apt.conf.d", "etc/pacman.d", "etc/yum.repos.d"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        fs::write(root.path().join(file), before).unwrap();
        let catalogue = builtin();
        let setup = catalogue
            .find(image)
            .unwrap()
            .provision
            .setup
            .as_deref()
            .unwrap();
        // Every path that the scripts touch is below /etc.
        let setup = setup.replace("/etc/", &format!("{}/etc/", root.path().display()));
        for _ in 0..2 {
            let status = Command::new("/bin/sh").args(["-e", "-c", &setup]).status();
            assert!(status.expect("/bin/sh").success(), "{image}");
            let now = fs::read_to_string(root.path().join(file)).unwrap();
            assert!(now.ends_with(after), "{image}:\n{now}");
        }
    }
}

#[test]
fn names_and_aliases_are_found() {
    let catalogue = builtin();
    for (wanted, name) in [
        ("debian-bookworm", "debian-bookworm"),
        ("debian-12", "debian-bookworm"),
        ("ubuntu-22.04", "ubuntu-jammy"),
    ] {
        assert_eq!(
            catalogue.find(wanted).map(|entry| entry.name.as_str()),
            Some(name)
        );
    }
    assert!(catalogue.find("debian").is_none());
    assert!(catalogue.find("").is_none());
}

#[test]
fn what_is_near() {
    let near = |name: &str| builtin().nearest(name).join(" ");
    insta::assert_snapshot!(near("debian-bookwurm"), @"debian-bookworm");
    insta::assert_snapshot!(near("debian12"), @"debian-12 debian-13 debian-11");
    insta::assert_snapshot!(near("Debian"), @"debian-sid debian-trixie debian-bookworm");
    insta::assert_snapshot!(near("fedora"), @"fedora-45 fedora-44 fedora-43");
    insta::assert_snapshot!(near("ubuntu-24"), @"ubuntu-24.04");
    insta::assert_snapshot!(near("bookworm"), @"debian-bookworm");
    insta::assert_snapshot!(near("centos7"), @"centos-7 centos-9 centos-8");
    insta::assert_snapshot!(near("rocky9"), @"rocky-9 rocky-8");
    insta::assert_snapshot!(near("windows"), @"");
    insta::assert_snapshot!(near("e"), @"");
    insta::assert_snapshot!(near(""), @"");
}

#[test]
fn a_missing_directory_is_an_empty_one() {
    let catalogue = builtin()
        .with_directory(Path::new("/nonexistent/images"))
        .unwrap();
    assert_eq!(catalogue.iter().count(), BUILTIN.len());
}

#[test]
fn a_file_for_a_directory_cannot_be_read() {
    let error = builtin()
        .with_directory(Path::new("/dev/null"))
        .unwrap_err();
    assert_eq!(error.to_string(), "cannot read /dev/null");
}

#[test]
fn the_user_adds_images() {
    let catalogue = with_files(&[
        ("own.toml", MINIMAL),
        ("README", "not for us"),
        (".#own.toml", "an editor's lock"),
    ])
    .unwrap();
    assert_eq!(catalogue.iter().count(), BUILTIN.len() + 1);
    assert_eq!(catalogue.find("own-1").unwrap().title, "Own 1");
}

#[test]
fn the_user_replaces_an_image_and_its_aliases() {
    let own = MINIMAL.replace("own-1", "debian-bookworm");
    let heir = MINIMAL.replace("title", "aliases = [\"debian-12\"]\ntitle");
    let catalogue = with_files(&[("a.toml", &heir), ("b.toml", &own)]).unwrap();
    assert_eq!(catalogue.iter().count(), BUILTIN.len() + 1);
    assert_eq!(catalogue.find("debian-bookworm").unwrap().title, "Own 1");
    assert_eq!(catalogue.find("debian-12").unwrap().name, "own-1");
}

#[test]
fn two_images_cannot_share_a_name() {
    let alias = |alias: &str| MINIMAL.replace("title", &format!("aliases = [\"{alias}\"]\ntitle"));
    let error = |files: &[(&str, &str)]| with_files(files).unwrap_err();
    insta::assert_snapshot!(error(&[("a.toml", &alias("debian-12"))]), @"a.toml: the name `debian-12` is taken by images/debian-bookworm.toml");
    insta::assert_snapshot!(error(&[("a.toml", &MINIMAL.replace("own-1", "debian-12"))]), @"a.toml: the name `debian-12` is taken by images/debian-bookworm.toml");
    insta::assert_snapshot!(error(&[("a.toml", MINIMAL), ("b.toml", MINIMAL)]), @"b.toml: the name `own-1` is taken by a.toml");
    insta::assert_snapshot!(error(&[("a.toml", &alias("own-1"))]), @"a.toml: the name `own-1` is taken by a.toml");
    insta::assert_snapshot!(error(&[("a.toml", "name = 1")]), @"a.toml:1: invalid type: integer `1`, expected a string");
}
