use proptest::prelude::*;

use super::*;

fn error(text: &str) -> String {
    match Checks::default().add_words(text) {
        Err(error) => error.to_string(),
        Ok(()) => panic!("{text} was taken"),
    }
}

fn check(text: &str) -> Check {
    let mut checks = Checks::default();
    checks
        .add_words(text)
        .unwrap_or_else(|error| panic!("{error}"));
    let mut checks = checks
        .into_checks()
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(checks.len(), 1);
    checks.remove(0)
}

fn refused(text: &str) -> String {
    let mut checks = Checks::default();
    checks.add_words(text).unwrap();
    checks.into_checks().unwrap_err().to_string()
}

#[test]
fn every_kind_is_read() {
    for (text, kind, target, expected) in [
        ("unit:nginx", "unit", "nginx.service", ""),
        (
            "unit:a.socket,enabled=true,property.NAccepted=0,settle=2s",
            "unit",
            "a.socket",
            "enabled yes, property NAccepted=0, settle 2.0",
        ),
        (
            "network:tcp://localhost:5432",
            "network",
            "tcp://localhost:5432",
            "",
        ),
        (
            "http://localhost/,status=200,status=3xx,header.content-type=text/html",
            "http",
            "http://localhost/",
            "header content-type=text/html, status 200 3xx",
        ),
        ("tcp:localhost:80", "tcp", "localhost:80", ""),
        (
            "port:udp/53,unit=named",
            "port",
            "udp/53",
            "unit named.service",
        ),
        ("port:80", "port", "tcp/80", ""),
        (
            r"file:/etc/x,mode=0644,owner=0,contains=a\,b,matches=^\d",
            "file",
            "/etc/x",
            r"contains a,b, matches ^\d, mode 0644, owner 0",
        ),
        ("unix-socket:/run/x", "unix-socket", "/run/x", ""),
        (
            "process:x,user=0,count=2",
            "process",
            "x",
            "count 2, user 0",
        ),
        (
            "user:x,uid=7,groups=a,groups=b",
            "user",
            "x",
            "groups a b, uid 7",
        ),
        ("group:x,exists=false", "group", "x", "exists no"),
        ("package:x,version=1.10", "package", "x", "version 1.10"),
        (
            "mount:/x,type=tmpfs,options=ro",
            "mount",
            "/x",
            "options ro, type tmpfs",
        ),
        (
            "kernel-param:net.ipv4.ip_forward,value=0",
            "kernel-param",
            "net.ipv4.ip_forward",
            "value 0",
        ),
        (
            "dns:localhost,addresses=::1",
            "dns",
            "localhost",
            "addresses ::1",
        ),
        ("journal", "journal", "the system", ""),
        (
            "journal:x,priority=warning",
            "journal",
            "x.service",
            "priority warning",
        ),
        ("core-dump", "core-dump", "the system", ""),
        (
            "failed-units,except=x",
            "failed-units",
            "the system",
            "except x.service",
        ),
        ("verify", "verify", "the installed units", ""),
        (
            "security:x,exposure=5",
            "security",
            "x.service",
            "exposure 5.0",
        ),
        (
            "command:echo a,stdout=a,exit-code=0",
            "command",
            "echo a",
            "exit-code 0, stdout a",
        ),
    ] {
        let check = check(text);
        assert_eq!(check.kind(), kind, "{text}");
        assert_eq!(check.target(), target, "{text}");
        assert_eq!(check.expected().unwrap_or_default(), expected, "{text}");
    }
}

#[test]
fn both_ways_to_write_a_check_know_the_same_keys() {
    let text = "[[file]]\npath = '/x'\nmode = '0600'\nowner = 'root'\ncontains = ['a', 'b']\n";
    let from_file: Checks = toml::from_str(text).unwrap();
    let mut from_words = Checks::default();
    from_words
        .add_words("file:/x,mode=0600,owner=root,contains=a,contains=b")
        .unwrap();
    let shown = |checks: Checks| format!("{:?}", checks.into_checks().unwrap());
    assert_eq!(shown(from_file), shown(from_words));
}

#[test]
fn mistakes_are_named() {
    let nearest = error("unit:nginx,enabeld=true");
    assert!(
        nearest.starts_with("check \"unit:nginx,enabeld=true\": unknown field `enabeld`"),
        "{nearest}"
    );
    assert!(nearest.ends_with("did you mean `enabled`?"), "{nearest}");
    assert!(error("untit:a").ends_with("did you mean `unit`?"));
    assert!(error("file:/x,mode=rw").contains("`mode`: \"rw\" is no mode"));
    assert!(error("port:http").contains("`port`: \"http\" is no port"));
    assert!(error("unit:a,enabled=maybe").contains("`enabled`: \"maybe\" is not true or false"));
    assert!(error("unit").contains("missing field `name`"));
    assert!(error("file:/x,type=fil").contains("unknown variant `fil`"));
    assert!(error("file:/x,size=-1").contains("`size`"));
    assert!(error("http:http://x/,property.a=b").contains("unknown field `property`"));
    assert!(error("unit:a,property=b").contains("KEY.NAME=VALUE"));
    assert!(error("command:echo a,b").contains(r"is written \,"));
    assert!(error("file:/x,matches=(").contains("not a regular expression"));
    assert!(error("failed-units:x").contains("takes no target"));
    assert!(refused("file:x").contains("no absolute path"));
    assert!(refused("file:/x,exists=false,mode=0644").contains("nothing else can be asked"));
    assert!(refused("security:x,exposure=11").contains("from 0 to 10"));
    assert!(refused("kernel-param:../x").contains("no kernel parameter"));
    assert!(refused("mount:x").contains("no absolute path"));
    assert!(error("journal,priority=severe").contains("unknown variant `severe`"));
    assert!(error("security:x").contains("missing field `exposure`"));
    assert!(refused("tcp:localhost").contains("no port"));
    assert!(refused("command:").contains("no command"));
    assert!(refused("unit:x,exists=false,result=success").contains("nothing else can be asked"));
    assert!(refused("package:lib*").contains("no package's name"));
    assert!(refused("package:x,installed=false,version=1").contains("has no version"));
    assert!(refused("user:x,exists=false,uid=1").contains("nothing else can be asked"));
    assert!(refused("group:x,exists=false,gid=1").contains("nothing else can be asked"));
    assert!(refused("mount:/x,mounted=false,type=tmpfs").contains("nothing else can be asked"));
    assert!(refused("kernel-param:x,min=2,max=1").contains("no number is at least 2"));
    assert!(refused("dns:x,other-addresses=false").contains("\"addresses\" has to say"));
    assert!(refused("process:").contains("has a name"));
    assert!(error("http://x/,status=204-200").contains("is no status"));
}

#[test]
fn checks_name_the_phases_after_which_they_are_made() {
    let usual = check("file:/x");
    assert!(usual.is_after(Phase::Install) && usual.is_after(Phase::Upgrade));
    assert!(!usual.is_after(Phase::Remove));
    let named = check("file:/x,exists=false,after=remove,after=purge");
    assert!(named.is_after(Phase::Remove) && named.is_after(Phase::Purge));
    assert!(!named.is_after(Phase::Install));
    assert!(error("file:/x,after=boot").contains("unknown variant `boot`"));
}

#[test]
fn every_kind_has_its_target_among_its_keys() {
    for (kind, target) in KINDS {
        let colon = if target.is_empty() { "" } else { ":a" };
        let message = error(&format!("{kind}{colon},no-such-key=1"));
        assert!(
            message.contains(&format!("`{target}`")) || target.is_empty(),
            "{kind}: {message}"
        );
    }
}

fn kind_name() -> impl Strategy<Value = String> {
    let kinds: Vec<String> = KINDS.iter().map(|(kind, _)| (*kind).to_owned()).collect();
    proptest::sample::select(kinds)
}

proptest! {
    #[test]
    fn whatever_is_written_is_read_or_refused(text in "\\PC{0,60}") {
        let mut checks = Checks::default();
        if checks.add_words(&text).is_ok() {
            let _ = checks.into_checks();
        }
    }

    #[test]
    fn whatever_is_written_for_a_kind_is_read_or_refused(
        kind in kind_name(),
        rest in "[a-z0-9.:/=,\\\\\\[{\"'-]{0,40}",
        key in "(name|path|status|mode|property\\.X|size|timeout|contains|matches|port|family)",
        value in "\\PC{0,12}",
    ) {
        let mut checks = Checks::default();
        if checks.add_words(&format!("{kind}:{rest},{key}={value}")).is_ok() {
            let _ = checks.into_checks();
        }
    }

    #[test]
    fn any_target_can_be_written(target in "/[^\0\n]{1,40}") {
        let mut checks = Checks::default();
        let written = target.replace(',', "\\,");
        // A backslash before a comma cannot be told from one that stands for it.
        prop_assume!(!target.contains("\\,"));
        checks.add_words(&format!("file:{written}")).unwrap();
        let check = checks.into_checks().unwrap().remove(0);
        prop_assert_eq!(check.target(), target);
    }
}
