//! Several images in one run.

use std::fs;

use insta::assert_snapshot;
use rustix::process::Signal;

use crate::support::process::Outcome;
use crate::support::{Deb, Place, image, process, tree};

fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A package whose unit stays up.
fn good(place: &Place, file: &str) {
    Deb::new("greet")
        .service("/bin/sleep infinity")
        .build(place.scratch(), file);
}

/// A package whose installation lasts until somebody ends it; what it sleeps, tells it from others.
fn endless(place: &Place, seconds: &str) -> String {
    let package = Deb::new("endless").postinst(&format!("sleep {seconds}"));
    text(&package.build(place.scratch(), "endless.deb")).to_owned()
}

fn report(outcome: &Outcome) -> serde_json::Value {
    serde_json::from_str(&outcome.stdout).expect("JSON and nothing else")
}

/// Without what differs from run to run, and without the widths of columns.
fn redacted(place: &Place, text: &str) -> String {
    let mut shown = String::new();
    for line in text.replace(text_of(place), "[scratch]").lines() {
        let words = line.split(' ').filter(|word| !word.is_empty());
        let words = words.map(|word| {
            let number = word.trim_start_matches('(');
            if number.contains('.') && number.parse::<f64>().is_ok() {
                word.replace(number, "[time]")
            } else {
                word.to_owned()
            }
        });
        // A path that was cut, at either end.
        let words = words.filter(|word| !word.contains('…'));
        shown.push_str(&words.collect::<Vec<_>>().join(" "));
        shown.push('\n');
    }
    shown
}

fn text_of(place: &Place) -> &str {
    text(place.scratch())
}

#[test]
fn four_releases_and_an_image_that_is_none() {
    let place = Place::direct();
    let releases = ["bullseye", "bookworm", "trixie", "sid"];
    for release in releases {
        image::pulled(&format!("debian-{release}"));
        good(&place, &format!("greet-{release}.deb"));
    }
    let broken = place.scratch().join("broken.tar");
    fs::write(&broken, "no archive").expect("write");
    let package = format!("{}/greet-{{codename}}.deb", text_of(&place));
    let outcome = place
        .postroj(
            [
                "pkgprobe",
                "--image",
                "debian-bullseye,debian-bookworm",
                "--image",
                text(&broken),
                // The first two are there already.
                "--image=debian-b*ye*,debian-12,debian-trixie,debian-sid",
                "--package",
                "image=debian-*,[scratch]",
                "--package=image=*/broken.tar,greet",
                "--check-unit=greet",
                "--jobs=2",
            ]
            .map(|word| word.replace("[scratch]", &package)),
        )
        .run()
        .exits(3);

    // The blocks are whole, and in the order of the command line, whichever ended first.
    assert_snapshot!(redacted(&place, &outcome.stdout), @"
    debian-bullseye: passed in [time] s
    ok package [scratch]/greet-bullseye.deb installed with apt-get
    ok unit greet.service active (running), started by postroj

    debian-bookworm: passed in [time] s
    ok package [scratch]/greet-bookworm.deb installed with apt-get
    ok unit greet.service active (running), started by postroj

    [scratch]/broken.tar: no verdict in [time] s
    error: [scratch]/broken.tar: [scratch]/broken.tar: the archive is damaged, cut off, or none: it ends within a header

    debian-trixie: passed in [time] s
    ok package [scratch]/greet-trixie.deb installed with apt-get
    ok unit greet.service active (running), started by postroj

    debian-sid: passed in [time] s
    ok package [scratch]/greet-sid.deb installed with apt-get
    ok unit greet.service active (running), started by postroj

    IMAGE VERDICT TIME FIRST FAILURE
    debian-bullseye passed [time] s
    debian-bookworm passed [time] s
    no verdict [time] s [scratch]/broken.tar:
    debian-trixie passed [time] s
    debian-sid passed [time] s
    4 passed, 0 failed, 1 without a verdict, in [time] s
    ");
    // Each line of the progress says whose it is; those of one image come in order.
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert!(lines.iter().all(|line| line.starts_with('[')), "{outcome}");
    let of_one: Vec<&str> = lines
        .into_iter()
        .filter(|line| line.starts_with("[debian-trixie] "))
        .collect();
    let of_one = of_one.join("\n");
    assert_snapshot!(redacted(&place, &of_one), @"
    [debian-trixie] boot debian-trixie: done ([time] s)
    [debian-trixie] install [scratch]/greet-trixie.deb: done ([time] s)
    [debian-trixie] check unit greet.service: done ([time] s)
    [debian-trixie] passed in [time] s
    ");
}

#[test]
fn deb_and_rpm_in_one_run() {
    let place = Place::direct();
    image::pulled("debian-bookworm");
    let fedora = tree::foreign("fedora");
    Deb::new("greeter")
        .service("/bin/sleep infinity")
        .build(place.scratch(), "greeter_12_all.deb");
    // Two at once share half of the memory for what they write.
    let memory = fs::read_to_string("/proc/meminfo").expect("the memory");
    let memory = memory.split_whitespace().nth(1).expect("MemTotal");
    // A file system in memory is made of pages.
    let quarter = memory.parse::<u64>().expect("kilobytes") / 4 + 4;
    let size =
        format!("--check=command:sh -c 'test $(df -k --output=size / | tail -n 1) -le {quarter}'");
    let run = |deb: &str| {
        place.postroj([
            "pkgprobe",
            "--jobs=2",
            &size,
            "--image=debian-12",
            "--image",
            text(&fedora),
            "--check-unit=greeter",
            "--json",
            &format!("--package=family=debian,{}/{deb}", text_of(&place)),
            &format!(
                "--package=family=redhat,{}/srv/rpm/noarch/greeter-1.0-1.noarch.rpm",
                text(&fedora)
            ),
        ])
    };
    let outcome = run("greeter_{version}_all.deb").run().exits(0);
    let report = report(&outcome);
    let managers: Vec<_> = (0..2)
        .map(|number| report["images"][number]["phases"][0]["manager"].as_str())
        .collect();
    assert_eq!(managers, [Some("apt-get"), Some("dnf")], "{outcome}");
    assert_eq!(report["images"][0]["image"], "debian-12");

    // Nothing is started when one of them is not there.
    run("greeter_{codename}_all.deb")
        .run()
        .exits(2)
        .stderr_has("greeter_bookworm_all.deb");
}

#[test]
fn fail_fast_ends_the_others() {
    let place = Place::direct();
    for name in ["debian-bookworm", "debian-trixie", "debian-sid"] {
        image::pulled(name);
    }
    let seconds = format!("{}901", std::process::id());
    let fails = Deb::new("fails")
        .postinst("exit 4")
        .build(place.scratch(), "fails.deb");
    let outcome = place
        .postroj([
            "pkgprobe",
            "--image=debian-bookworm,debian-trixie,debian-sid",
            &format!("--package=image=debian-bookworm,{}", text(&fails)),
            &format!(
                "--package=image=debian-trixie,{}",
                endless(&place, &seconds)
            ),
            "--package=image=debian-sid,nothing",
            "--fail-fast",
            "--jobs=2",
            "--json",
        ])
        .run()
        .exits(1);
    let report = report(&outcome);
    assert_eq!(report["verdict"], "failed");
    let of = |number: usize| {
        let image = &report["images"][number];
        (image["verdict"].as_str(), image["error"].as_str())
    };
    assert_eq!(of(0), (Some("failed"), None));
    let why = |what: &str| format!("{what}: --fail-fast, and debian-bookworm failed");
    assert_eq!(of(1), (Some("error"), Some(&*why("cut short"))));
    assert_eq!(of(2), (Some("error"), Some(&*why("not run"))));
    assert!(process::with_argument(&seconds).is_empty());
}

#[test]
fn kept_on_failure_and_then_interrupted() {
    let place = Place::systemd(&["debian-bookworm", "debian-trixie"]);
    let images = "--image=debian-bookworm,debian-trixie";
    Deb::new("fails")
        .postinst("test ! -e /etc/debian_version || grep -q ^13 /etc/debian_version")
        .build(place.scratch(), "fails.deb");
    let package = format!("--package={}/fails.deb", text_of(&place));
    let outcome = place
        .postroj(["pkgprobe", images, &package, "--keep", "on-failure"])
        .run()
        .exits(1)
        .stderr_has(
            "debian-bookworm: postroj-debian-bookworm stays up; get in: postroj shell postroj-debian-bookworm",
        );
    assert!(!outcome.stderr.contains("trixie stays"), "{outcome}");
    let machines = place.postroj(["machines"]).run().exits(0);
    assert!(
        machines.stdout.contains("postroj-debian-bookworm"),
        "{machines}"
    );
    assert!(!machines.stdout.contains("trixie"), "{machines}");
    place
        .postroj(["stop", "postroj-debian-bookworm"])
        .run()
        .exits(0);

    // What a host keeps from its first container on does not count.
    let before = place.look();
    // In the middle of both, an interrupt leaves nothing of either.
    let seconds = [
        format!("{}902", std::process::id()),
        format!("{}903", std::process::id()),
    ];
    let mut line = vec![
        "pkgprobe".to_owned(),
        images.to_owned(),
        "--jobs=2".to_owned(),
    ];
    for (name, seconds) in ["debian-bookworm", "debian-trixie"].iter().zip(&seconds) {
        let package = Deb::new("endless").postinst(&format!("sleep {seconds}"));
        let package = package.build(place.scratch(), &format!("{name}.deb"));
        line.push(format!("--package=image={name},{}", text(&package)));
    }
    let started = place.postroj(line).start();
    for seconds in &seconds {
        process::wait_for_argument(seconds);
    }
    started.signal(Signal::INT);
    started.wait().exits(130);
    let left = place.look().since(&before);
    assert_eq!(left, Vec::<String>::new());
}

/// What the log says stands on lines of its own, and the rows go on below.
#[test]
fn log_beside_the_table_on_a_terminal() {
    let place = Place::direct();
    let command =
        "stty rows 24 cols 80; POSTROJ_LOG=postroj=debug $POSTROJ --color never pkgprobe --jobs 2";
    let mut words = vec![command.to_owned()];
    // That the container's bus has gone is a matter for the log.
    let package = Deb::new("without-bus").postinst("systemctl restart dbus.service");
    let package = package.build(place.scratch(), "package.deb");
    for name in ["debian-bookworm", "debian-trixie"] {
        image::pulled(name);
        words.push(format!(
            "--image {name} --package image={name},{}",
            text(&package)
        ));
    }
    let shown = crate::support::terminal::typed(&place, &words.join(" "), &[]);
    let logged: Vec<usize> = shown
        .match_indices("Z DEBUG ")
        .map(|(at, _)| at + 1)
        .collect();
    assert!(!logged.is_empty(), "{shown}");
    for at in logged {
        // The time before it begins its line: nothing of a row is left there.
        let before = &shown[..at - "2026-01-01T00:00:00.000000Z".len()];
        let is_at_start = ["\n", "\r", "\u{1b}[2K", "\u{1b}[1A"]
            .iter()
            .any(|end| before.ends_with(end));
        assert!(
            is_at_start,
            "{:?}\n{shown}",
            &before[before.len().saturating_sub(80)..]
        );
    }
}

/// A row for each image, cut to the terminal's width; `script` of util-linux makes the terminal.
#[test]
fn table_on_a_terminal() {
    let place = Place::direct();
    image::pulled("debian-bookworm");
    let long = place
        .scratch()
        .join(format!("{}\u{1b}[31mtree.tar", "long-".repeat(20)));
    fs::write(&long, "no archive").expect("write");
    let script = r#"exec script --quiet --return --command "stty rows 24 cols 60; $0 pkgprobe --image debian-bookworm --image '$1' --check-unit nosuch --jobs 1 2>&1 >'$2'" /dev/null"#;
    let stdout = place.scratch().join("stdout");
    let outcome = place
        .postroj([text(&long), text(&stdout)])
        .under(["sh", "-c", script])
        .run()
        .exits(1);
    // Between the rows, the cursor goes up and down and lines are cleared.
    let mut shown = outcome.stdout.clone();
    for command in ["\u{1b}[1A", "\u{1b}[1B", "\u{1b}[2K", "\r"] {
        shown = shown.replace(command, "\n");
    }
    // A row that fills its line needs no end of it.
    let rows: Vec<String> = shown.lines().map(postroj::report::printable).collect();
    let fills = |row: &String| row.chars().count().is_multiple_of(60);
    assert!(rows.iter().all(fills), "{outcome}");
    let rows: Vec<String> = rows
        .iter()
        .flat_map(|row| {
            row.chars()
                .collect::<Vec<_>>()
                .chunks(60)
                .map(|c| c.iter().collect())
                .collect::<Vec<String>>()
        })
        .collect();
    let has = |words: &[&str]| {
        rows.iter()
            .any(|row| words.iter().all(|word| row.contains(word)))
    };
    assert!(has(&["…", "waiting"]), "{outcome}");
    assert!(
        has(&["debian-bookworm", "boot debian-bookworm"]),
        "{outcome}"
    );
    assert!(
        has(&["debian-bookworm", "FAILED", "unit nosuch.service"]),
        "{outcome}"
    );
    assert!(has(&["tree.tar", "no verdict"]), "{outcome}");
    // The name's own escape sequence does not get through.
    assert!(!outcome.stdout.contains("\u{1b}[31mtree"), "{outcome}");
    let table = fs::read_to_string(stdout).expect("the result");
    assert!(
        table.contains("0 passed, 1 failed, 1 without a verdict"),
        "{table}"
    );
    assert!(!table.contains('\u{1b}'), "{table}");
}

#[test]
fn images_and_packages_that_cannot_be_meant() {
    let place = Place::direct();
    let refused = |arguments: &[&str]| place.postroj(["pkgprobe"]).args(arguments).run().exits(2);
    refused(&["--image", "debain-*"]).stderr_has("did you mean debian-*?");
    refused(&["--image", "nosuch-*"]).stderr_has("`postroj list-images`");
    refused(&["--image", "debian-12,"]).stderr_has("empty");
    refused(&["--image", "amazonlinux-2022*"]).stderr_has("a preview");
    refused(&["--image", "debian-12", "--jobs", "0"]).stderr_has("--jobs");
    refused(&["--image", "debian-12", "--all-images"]).stderr_has("--all-images");
    refused(&["--image", "debian-12", "--keep", "sometimes"]).stderr_has("sometimes");
    refused(&[
        "--image",
        "debian-12,fedora-43",
        "--package",
        "family=debian,x",
    ])
    .stderr_has("no package is for fedora-43");
    refused(&["--image", "debian-sid", "--package", "x-{version}"])
        .stderr_has("debian-sid has no {version}");
    refused(&["--image", "debian-12", "--package", "x-{verison}"])
        .stderr_has("{verison} is no placeholder");
    refused(&["--image", "debian-12", "--package", "family=gentoo,x"]).stderr_has("gentoo");
    refused(&["--image", "docker://x/y:1", "--package", "family=debian,x"])
        .stderr_has("name it with image=");
}

/// A directory as a user's repository has it: its run file names everything.
#[test]
fn a_run_file_says_it_all() {
    let place = Place::direct();
    image::pulled("debian-bookworm");
    image::pulled("debian-trixie");
    let repository = place.scratch().join("repository");
    fs::create_dir_all(repository.join("dist")).expect("create a directory");
    Deb::new("greet")
        .service("/bin/sleep infinity")
        .build(&repository.join("dist"), "greet_all.deb");
    let run_file = repository.join("postroj.toml");
    let lines = "image = ['debian-bookworm', 'debian-trixie']\n\
        package = ['family=debian,dist/greet_all.deb', 'family=redhat,dist/greet.rpm']\n\
        check-unit = ['greet']\n\
        report = ['json=report.json']\n\
        jobs = 2\n\
        [[unit]]\n\
        name = 'systemd-journald'\n";
    fs::write(&run_file, lines).expect("write");
    let there = ["env", "--chdir", text(&repository)];
    let run = |arguments: &[&str]| {
        let line = ["pkgprobe"].into_iter().chain(arguments.iter().copied());
        place.postroj(line).under(there).run()
    };
    let images = |path: &std::path::Path| {
        let json = fs::read_to_string(path).expect("the report");
        let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let images = report["images"].as_array().expect("images").clone();
        let checks = |image: &serde_json::Value| image["checks"].as_array().map_or(0, Vec::len);
        images
            .iter()
            .map(|image| {
                (
                    image["image"].as_str().unwrap_or_default().to_owned(),
                    checks(image),
                )
            })
            .collect::<Vec<_>>()
    };
    let pair = |name: &str, checks| (name.to_owned(), checks);

    // Nothing but the command.
    run(&[])
        .exits(0)
        .stderr_has("with the options of postroj.toml")
        .stderr_has(
            "package family=redhat,dist/greet.rpm: none of the images is one that it is for",
        )
        .stdout_has("2 passed, 0 failed, 0 without a verdict");
    let report = repository.join("report.json");
    let both = [pair("debian-bookworm", 2), pair("debian-trixie", 2)];
    assert_eq!(images(&report), both);

    // From elsewhere, its paths are those beside it; what is typed takes the place of what it says.
    fs::remove_file(&report).expect("remove the report");
    place
        .postroj([
            "pkgprobe",
            "--file",
            text(&run_file),
            "--image=debian-trixie",
        ])
        .args(["--check-unit=greet", "--check-unit=dbus"])
        .run()
        .exits(0);
    assert_eq!(images(&report), [pair("debian-trixie", 3)]);

    // A mistake in it is told before anything is done, and no run file is read by other commands.
    fs::write(&run_file, format!("\nchek-unit = 'x'\n{lines}")).expect("write");
    let outcome = run(&[]).exits(2);
    assert_snapshot!(outcome.stderr, @"
    error: postroj.toml:2: there is no option --chek-unit
    hint: did you mean check-unit?
    ");
    place.postroj(["machines"]).under(there).run().exits(0);
    fs::remove_file(&run_file).expect("remove the run file");
    let outcome = run(&[]).exits(2);
    assert_snapshot!(outcome.stderr, @"
    error: no image is named
    hint: name one with --image, or --all-images, or write a postroj.toml that does
    ");
    place
        .postroj(["pkgprobe", "--file", text(&run_file)])
        .run()
        .exits(2)
        .stderr_has("postroj.toml: No such file");
}

#[test]
fn selftest_of_the_releases_and_of_the_catalogue() {
    let place = Place::direct();
    let releases = ["bullseye", "bookworm", "trixie", "sid"].map(|name| format!("debian-{name}"));
    for name in &releases {
        image::pulled(name);
    }
    let images = format!("--image={}", releases.join(","));
    place
        .postroj(["selftest", "hostnamectl", &images])
        .run()
        .exits(0)
        .stdout_has("4 passed, 0 failed, 0 without a verdict");
    place
        .postroj(["selftest", "pkgprobe", "--image=debian-bookworm"])
        .run()
        .exits(0)
        .stdout_has("apache2.service  active (running)");

    // All of the catalogue, in a store that has none of it and may ask nobody: each has its line, also
    // those that cannot work.
    let outcome = place
        .postroj([
            "selftest",
            "hostnamectl",
            "--all",
            "--pull=never",
            "--offline",
        ])
        .env("POSTROJ_STATE_DIR", place.scratch().join("store"))
        .run()
        .exits(3)
        .stderr_has("centos-7: left out: its systemd is version 219")
        .stdout_has("0 passed, 0 failed, 36 without a verdict");
    let rows: Vec<&str> = outcome
        .stdout
        .lines()
        .filter(|line| line.contains("left out"))
        .collect();
    assert_eq!(rows.len(), 2, "{outcome}");
    place
        .postroj(["selftest", "hostnamectl", "--file=x.toml"])
        .run()
        .exits(2);
}
