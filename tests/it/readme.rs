//! The examples of the README, as they are there.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::place::binary;
use crate::support::process::{self, Outcome};
use crate::support::{Place, image, terminal};

fn readme() -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.rst");
    fs::read_to_string(readme).expect("the README")
}

/// All blocks of a language.
pub(crate) fn blocks_of(language: &str) -> Vec<String> {
    blocks_in(&readme(), language)
}

/// Those of a chapter.
fn blocks(chapter: &str, language: &str) -> Vec<String> {
    let readme = readme();
    let heading = format!("\n{chapter}\n{}\n", "=".repeat(chapter.len()));
    let (_, rest) = readme.split_once(&heading).expect("the chapter");
    let text = rest.split("\n\n\n").next().expect("its text");
    blocks_in(text, language)
}

fn blocks_in(text: &str, language: &str) -> Vec<String> {
    let directive = format!(".. code-block:: {language}\n\n");
    let blocks = text.split(&directive).skip(1);
    let indented = |line: &&str| line.is_empty() || line.starts_with("    ");
    let block = |text: &str| {
        let lines = text.lines().take_while(indented);
        let lines: Vec<&str> = lines
            .map(|line| line.get(4..).unwrap_or_default())
            .collect();
        lines.join("\n")
    };
    blocks.map(block).collect()
}

/// A `PATH` that has postroj.
fn path(place: &Place) -> String {
    let programs = place.scratch().join("bin");
    if !programs.exists() {
        fs::create_dir(&programs).expect("make a directory");
        std::os::unix::fs::symlink(binary(), programs.join("postroj")).expect("a link");
    }
    let path = std::env::var("PATH").expect("a PATH");
    format!("{}:{path}", programs.display())
}

/// Runs a block as whoever reads it would.
fn run(place: &Place, block: &str) -> Outcome {
    let mut command = Command::new("sh");
    command
        .args(["-exc", block])
        .current_dir(place.scratch())
        .env("PATH", path(place))
        .env("POSTROJ_STATE_DIR", place.state());
    process::run(command)
}

#[test]
fn of_one_command() {
    let place = Place::direct();
    image::pulled("debian-bookworm");
    let blocks = blocks("One command", "sh");
    assert_eq!(blocks.len(), 2);
    // One of them is an interactive shell.
    let file = place.scratch().join("block.sh");
    fs::write(&file, &blocks[0]).expect("write the block");
    let line = format!(
        "cd {}; PATH={} sh -ex block.sh; echo ended $?",
        place.scratch().display(),
        path(&place)
    );
    let shown = terminal::typed(&place, &line, &[(":/src# ", "exit\n")]);
    for part in [
        "VERSION_CODENAME=bookworm",
        "hello\r\n",
        ":/src# ",
        "ended 0",
    ] {
        assert!(shown.contains(part), "{part:?} is not in:\n{shown}");
    }
    run(&place, &blocks[1])
        .exits(0)
        .stdout_has("0 loaded units listed.");
}

#[test]
fn of_a_command_that_goes_on() {
    let place = Place::direct();
    image::pulled("debian-bookworm");
    let blocks = blocks("A command that goes on", "sh");
    assert_eq!(blocks.len(), 1);
    let outcome = run(&place, &blocks[0]).exits(0);
    let outcome = outcome.stdout_has("clock").stdout_has("exists: true\n");
    assert!(outcome.stdout.ends_with("\n130\n"), "{outcome}");
}

#[test]
fn of_stages_in_sequence() {
    let place = Place::direct();
    image::pulled("debian-bookworm");
    let [file] = <[String; 1]>::try_from(blocks("Stages in sequence", "yaml")).expect("one file");
    fs::write(place.scratch().join("build.yaml"), file).expect("write the file");
    let blocks = blocks("Stages in sequence", "sh");
    assert_eq!(blocks.len(), 1);
    run(&place, &blocks[0])
        .exits(0)
        .stderr_has("2 | hello everybody");
    let result = fs::read_to_string(place.scratch().join("result.json")).expect("the result");
    assert!(result.contains("\"hello world\""), "{result}");
}

/// What the jobs of CI run, but for what installs things and for sudo(8).
#[test]
fn of_jobs_in_ci() {
    let place = Place::direct();
    image::pulled("debian-bookworm");
    let file = "image = [\"debian-bookworm\"]\n[[unit]]\nname = \"systemd-journald\"\n";
    fs::write(place.scratch().join("postroj.toml"), file).expect("write a file");
    let blocks = blocks("In CI", "yaml");
    let lines = blocks.iter().flat_map(|block| block.lines());
    let commands: Vec<&str> = lines
        .filter_map(|line| {
            let line = line.trim_start().trim_start_matches("- ");
            let line = line.trim_start_matches("run: ");
            let line = line.trim_start_matches("sudo --preserve-env=GITHUB_STEP_SUMMARY ");
            line.starts_with("postroj pkgprobe").then_some(line)
        })
        .collect();
    assert_eq!(commands.len(), 2, "GitHub's and GitLab's");
    for command in &commands {
        let line = format!(
            "rm -f report.xml; export GITHUB_STEP_SUMMARY=$PWD/summary; echo before >summary; {command}"
        );
        run(&place, &line).exits(0);
        let read = |name: &str| fs::read_to_string(place.scratch().join(name)).expect("a file");
        assert!(read("report.xml").contains("systemd-journald"));
        let summary = read("summary");
        assert!(summary.starts_with("before\n"), "{summary}");
        let is_asked = command.contains("STEP_SUMMARY");
        assert_eq!(summary.contains("debian-bookworm"), is_asked, "{summary}");
    }
}
