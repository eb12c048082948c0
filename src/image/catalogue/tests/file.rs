//! What a file of the catalogue may say, and what it may not.

use super::*;

#[test]
fn the_least_that_a_file_says() {
    let entry = parsed(MINIMAL).unwrap();
    assert_eq!(entry.aliases, [""; 0]);
    assert_eq!(entry.end_of_life, None);
    assert_eq!(entry.provision, Provision::default());
    assert_eq!(
        entry.sources,
        [Source::Oci("registry.example.org/own:1".to_owned())]
    );
}

#[test]
fn all_that_a_file_says() {
    let sum = "0123456789abcdef".repeat(4);
    let entry = parsed(&format!(
        r#"
name = "own-1"
aliases = ["own-1.0"]
title = "Own 1"
family = "debian"
end_of_life = "2030-12-31"
unsupported = "it never was"
[[source]]
tarball = "https://example.org/own.tar.xz"
sha256 = "{sum}"
[[source]]
[source.bootstrap]
suite = "one"
mirror = "https://example.org/{{one|two}}"
keyring = "/usr/share/keyrings/own.gpg"
include = ["less"]
[provision]
setup = "true"
packages = ["more"]
"#
    ))
    .unwrap();
    let Source::Bootstrap(Bootstrap::Debian(bootstrap)) = &entry.sources[1] else {
        panic!("{:?}", entry.sources);
    };
    assert_eq!(bootstrap.components, ["main"]);
    assert_eq!(bootstrap.include, ["less"]);
    let mirror = bootstrap.mirror.as_deref().unwrap();
    assert!(mirror == "https://example.org/one" || mirror == "https://example.org/two");
    assert_eq!(entry.sources[0].kind(), SourceKind::Tarball);
    assert_eq!(entry.provision.packages, ["more"]);
}

#[test]
fn a_malformed_reference_of_the_users_is_named_with_its_line() {
    let text = MINIMAL.replace("registry.example.org/own:1", "own image");
    let file = Path::new("x.toml");
    let entry = parse(file, &text).unwrap();
    let error = check_references(file, &text, &entry)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("x.toml:6: "), "{error}");
    assert!(error.contains("own image"), "{error}");
}

#[test]
fn a_mistake_is_named_with_its_line() {
    let with = |from: &str, to: &str| error_of(&MINIMAL.replace(from, to));
    insta::assert_snapshot!(with("title", "titel"), @"x.toml:3: unknown field `titel`, expected one of `name`, `aliases`, `title`, `family`, `end_of_life`, `unsupported`, `source`, `provision`");
    insta::assert_snapshot!(with("\"debian\"", "\"dos\""), @"x.toml:4: unknown variant `dos`, expected one of `debian`, `redhat`, `suse`, `arch`");
    insta::assert_snapshot!(with("own-1", "Own_1"), @"x.toml:2: `Own_1` cannot be an image's name: it takes lower-case letters, digits and inner hyphens");
    insta::assert_snapshot!(with("title", "aliases = [\"-x\"]\ntitle"), @"x.toml:3: `-x` cannot be an alias: it takes lower-case letters, digits, inner hyphens and dots");
    insta::assert_snapshot!(with("title", "end_of_life = \"2030-13-01\"\ntitle"), @"x.toml:3: `2030-13-01` is no YYYY-MM-DD date");
    insta::assert_snapshot!(with("oci =", "oci = \"a\"\ntarball ="), @"x.toml:5: a source is one of oci, tarball and bootstrap");
    insta::assert_snapshot!(with("oci =", "sha256 ="), @"x.toml:5: sha256 belongs to a tarball");
    insta::assert_snapshot!(with("oci = \"registry.example.org/own:1\"", "tarball = \"ftp://x/y\""), @"x.toml:5: `ftp://x/y` is no http or https URL");
    insta::assert_snapshot!(with("oci = \"registry.example.org/own:1\"", "tarball = \"https://x/{y}\""), @"x.toml:5: `https://x/{y}` has a brace without `{x86-64|arm64}`");
    insta::assert_snapshot!(with("oci = \"registry.example.org/own:1\"", "tarball = \"https://x/y\"\nsha256 = \"1\""), @"x.toml:5: `1` is no SHA-256 sum: that is 64 lower-case hexadecimal digits");
    insta::assert_snapshot!(with("[[source]]\noci = \"registry.example.org/own:1\"", ""), @"x.toml:1: missing field `source`");
    insta::assert_snapshot!(with("[[source]]\noci = \"registry.example.org/own:1\"", "source = []"), @"x.toml:5: an image needs at least one source");
    insta::assert_snapshot!(with("name = \"own-1\"", "name = own-1"), @"x.toml:2: string values must be quoted, expected literal string");
}

#[test]
fn a_bootstrap_says_what_is_checked() {
    let error = |text: &str| {
        let source = format!("[source.bootstrap]\n{text}");
        error_of(&MINIMAL.replace("oci = \"registry.example.org/own:1\"", &source))
    };
    let repository = |before: &str, address: &str| {
        error(&format!(
            "packages = ['x']\n{before}\n[[source.bootstrap.repository]]\nname = 'y'\n{address}"
        ))
    };
    for (error, message) in [
        (
            error("include = []"),
            "a bootstrap has a suite, or packages and repositories",
        ),
        (error("packages = ['x']"), "names packages and repositories"),
        (
            error("suite = 'x'\nkeys = ['/y']"),
            "a bootstrap with a suite has no packages",
        ),
        (
            repository("", "baseurl = 'https://x.example/'"),
            "has keys to check them with, or says `unsigned = true`",
        ),
        (
            repository(
                "keys = ['/k']\nunsigned = true",
                "baseurl = 'https://x.example/'",
            ),
            "has keys to check them with, or says `unsigned = true`",
        ),
        (
            repository("", "server = 'https://x.example/'"),
            "has a keyring to check them with, or says `unsigned = true`",
        ),
        (
            repository("unsigned = true", ""),
            "the repository `y` has one of baseurl",
        ),
        (
            repository("unsigned = true", "baseurl = \"https://x.example/\\n[z]\""),
            "is no address",
        ),
        (
            repository(
                "unsigned = true\nrelease = '--x'",
                "baseurl = 'https://x.example/'",
            ),
            "`--x` has characters that a name cannot have",
        ),
    ] {
        assert!(
            error.starts_with("x.toml:") && error.contains(message),
            "{error}"
        );
    }
}

#[test]
fn one_checksum_cannot_fit_two_files() {
    let source = format!(
        "tarball = \"https://x/{{y|z}}\"\nsha256 = \"{}\"",
        "0".repeat(64)
    );
    let error = error_of(&MINIMAL.replace("oci = \"registry.example.org/own:1\"", &source));
    assert_eq!(
        error,
        "x.toml:5: a tarball with a choice cannot have one sha256"
    );
}

#[test]
fn a_choice_goes_by_the_architecture() {
    let text = "{|ports/}x-{amd64|arm64}.tar";
    assert_eq!(choose(text, "x86_64").unwrap(), "x-amd64.tar");
    assert_eq!(choose(text, "aarch64").unwrap(), "ports/x-arm64.tar");
    assert_eq!(choose("plain", "aarch64").unwrap(), "plain");
    for wrong in ["{", "{a", "{a}", "x{a|b"] {
        assert!(choose(wrong, "x86_64").is_err(), "{wrong}");
    }
}

#[test]
fn kinds_are_written_as_they_are_read() {
    for kind in [SourceKind::Oci, SourceKind::Tarball, SourceKind::Bootstrap] {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    let error = SourceKind::from_str("floppy").unwrap_err().to_string();
    assert_eq!(
        error,
        "`floppy` is no kind of source: it is one of oci, tarball, bootstrap"
    );
}
