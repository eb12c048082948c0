use super::*;
use crate::image::reference::Reference;

fn parse(text: &str) -> Result<Registries, RegistriesError> {
    Registries::parse(text, Path::new("registries.conf"))
}

fn resolved(text: &str, reference: &str) -> Vec<String> {
    parse(text)
        .unwrap()
        .resolve(&OciReference::parse(reference).unwrap())
        .unwrap()
        .into_iter()
        .map(|endpoint| {
            let insecure = if endpoint.insecure { " insecure" } else { "" };
            format!("{} {}{insecure}", endpoint.host, endpoint.repository)
        })
        .collect()
}

#[test]
fn without_configuration_the_registry_itself_is_asked() {
    assert_eq!(
        resolved("", "debian:bookworm"),
        ["registry-1.docker.io library/debian"]
    );
    assert_eq!(resolved("", "localhost:5000/x"), ["localhost:5000 x"]);
}

#[test]
fn mirrors_come_first() {
    let text = r#"
        unqualified-search-registries = ["docker.io"]
        [[registry]]
        prefix = "docker.io"
        [[registry.mirror]]
        location = "127.0.0.1:5000/hub"
        insecure = true
        [[registry.mirror]]
        location = "mirror.example.com"
    "#;
    assert_eq!(
        resolved(text, "debian:bookworm"),
        [
            "127.0.0.1:5000 hub/library/debian insecure",
            "mirror.example.com library/debian",
            "registry-1.docker.io library/debian"
        ]
    );
    assert_eq!(parse(text).unwrap().unqualified_search_registries.len(), 1);
}

#[test]
fn the_longest_prefix_wins_and_ends_at_a_slash() {
    let text = r#"
        [[registry]]
        location = "example.com"
        insecure = true
        [[registry]]
        prefix = "example.com/team"
        location = "other.example.com/group"
        [[registry]]
        prefix = "*.example.org"
        location = "wild.example.net"
    "#;
    assert_eq!(
        resolved(text, "example.com/a/b"),
        ["example.com a/b insecure"]
    );
    assert_eq!(
        resolved(text, "example.com/teams/b"),
        ["example.com teams/b insecure"]
    );
    assert_eq!(
        resolved(text, "example.com/team/b"),
        ["other.example.com group/b"]
    );
    assert_eq!(resolved(text, "a.example.org/x"), ["wild.example.net x"]);
    assert_eq!(resolved(text, "example.org/x"), ["example.org x"]);
}

#[test]
fn an_exact_prefix_beats_a_wildcard() {
    let wild = "[[registry]]\nprefix = \"*.example.com\"\nlocation = \"wild.example.net\"\n";
    let exact = "[[registry]]\nlocation = \"a.example.com\"\n";
    let longer =
        "[[registry]]\nprefix = \"a.example.com:5000/x\"\nlocation = \"long.example.net\"\n";
    for text in [
        format!("{wild}{exact}{longer}"),
        format!("{longer}{exact}{wild}"),
    ] {
        assert_eq!(resolved(&text, "a.example.com/x"), ["a.example.com x"]);
        assert_eq!(resolved(&text, "b.example.com/x"), ["wild.example.net x"]);
        assert_eq!(
            resolved(&text, "a.example.com:5000/x/y"),
            ["long.example.net y"]
        );
    }
}

#[test]
fn short_names_are_resolved_as_podman_does() {
    let meant = |conf: &str, typed: &str| {
        let Reference::Short(name) = Reference::load(typed).unwrap() else {
            panic!("{typed} is not short");
        };
        let found = parse(conf).unwrap().resolve_short(&name);
        found.map(|all| {
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            all.join(" ")
        })
    };
    let conf = r#"
        unqualified-search-registries = ["quay.io", "docker.io"]
        [aliases]
        "app" = "registry.example.com/team/app"
        "team/tool" = "localhost:5000/tool"
    "#;
    for (conf, typed, whole) in [
        ("", "debian:12", "docker.io/library/debian:12"),
        ("", "foo/bar", "docker.io/foo/bar:latest"),
        (conf, "app:1", "registry.example.com/team/app:1"),
        (conf, "team/tool", "localhost:5000/tool:latest"),
        (
            conf,
            "debian:12",
            "quay.io/debian:12 docker.io/library/debian:12",
        ),
    ] {
        assert_eq!(meant(conf, typed).unwrap(), whole, "{typed}");
    }
    let enforcing = format!("short-name-mode = \"enforcing\"\n{conf}");
    assert!(meant(&enforcing, "app:1").is_ok());
    let error = meant(&enforcing, "debian:12").unwrap_err().to_string();
    assert!(error.starts_with("debian:12 may be of quay.io or docker.io"));
    let disabled = format!("short-name-mode = \"disabled\"\n{conf}");
    assert!(
        meant(&disabled, "app:1")
            .unwrap()
            .starts_with("quay.io/app:1")
    );
    for typed in ["docker://debian", "localhost/x", "a.b/c", "[::1]:5000/x:y"] {
        assert!(
            matches!(Reference::load(typed), Ok(Reference::Oci(_))),
            "{typed}"
        );
    }
}

#[test]
fn mirrors_by_digest_serve_no_tags() {
    let text = r#"
        [[registry]]
        location = "example.com"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "m.example.com"
    "#;
    assert_eq!(resolved(text, "example.com/a:b"), ["example.com a"]);
    let pinned = format!("example.com/a@{}", super::super::digest::Digest::of("x"));
    assert_eq!(
        resolved(text, &pinned),
        ["m.example.com a", "example.com a"]
    );
}

#[test]
fn a_blocked_registry_is_an_error() {
    let blocked = parse("[[registry]]\nlocation = \"example.com\"\nblocked = true").unwrap();
    let error = blocked
        .resolve(&OciReference::parse("example.com/a").unwrap())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "registry example.com is blocked in registries.conf"
    );
}

#[test]
fn nonsense_is_named() {
    for text in [
        "[[registry]]\ninsecure = true",
        "[[registry]]\nlocation = \"https://example.com\"",
        "[[registry]]\nprefix = \"*.example.com/x\"",
        "[[registry]",
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with("registries.conf: "), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn drop_ins_override_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("registries.conf");
    assert_eq!(
        Registries::load(&path, false).unwrap(),
        Registries::default()
    );
    assert!(Registries::load(&path, true).is_err());
    std::fs::write(&path, "[[registry]]\nlocation = \"a\"\n").unwrap();
    let drop_ins = directory.path().join("registries.conf.d");
    std::fs::create_dir(&drop_ins).unwrap();
    std::fs::write(
        drop_ins.join("1.conf"),
        "[[registry]]\nlocation = \"a\"\ninsecure = true\n",
    )
    .unwrap();
    std::fs::write(drop_ins.join("2.txt"), "nonsense").unwrap();
    let registries = Registries::load(&path, true).unwrap().registries;
    assert_eq!(registries.len(), 1);
    assert!(registries[0].insecure);
}
