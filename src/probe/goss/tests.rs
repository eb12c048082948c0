use std::fs;

use super::*;
use crate::probe::Check;

fn read(text: &str) -> Result<Checks, GossError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("goss.yaml");
    fs::write(&path, text).unwrap();
    load(&path).map(|(checks, _)| checks)
}

/// Kind, target and what is asked, of every check.
fn checks(text: &str) -> Vec<String> {
    let checks = read(text).unwrap_or_else(|error| panic!("{error}"));
    let shown = |check: Check| {
        let expected = check.expected().unwrap_or_default().to_owned();
        format!("{} {}: {expected}", check.kind(), check.target())
    };
    let checks = checks.into_checks().unwrap();
    checks.into_iter().map(shown).collect()
}

/// What is refused, without the path of the file.
fn refused(text: &str) -> String {
    let error = read(text).unwrap_err().to_string();
    let lines = error.lines().map(|line| {
        let (_, line) = line.split_once("goss.yaml: ").expect("the file is named");
        line.to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn files_are_translated() {
    let text = "
file:
  /etc/passwd:
    title: accounts
    meta: {why: because}
    exists: true
    mode: '0644'
    owner: root
    group: root
    filetype: file
    size: {and: [{gt: 9}, {le: 100}]}
    contents: [root, '!/^toor:/', '/^root:/', '!toor', '\\!x', '']
  /etc/mtab:
    exists: true
    linked-to: ../proc/self/mounts
    filetype: symlink
  none: {path: /no, exists: false}
";
    assert_eq!(
        checks(text),
        [
            "file /etc/mtab: exists yes, follow no, target ../proc/self/mounts, type symlink",
            "file /etc/passwd: contains root x, exists yes, follow no, group root, lacks toor, \
             matches !/^toor:/ ^root:, max-size 100, min-size 10, mode 0644, owner root, type file",
            "file /no: exists no, follow no",
        ]
    );
    let file = read(text).unwrap().file;
    assert_eq!(file[1].title.as_deref(), Some("accounts"));
    assert_eq!(file[2].title.as_deref(), Some("none"));
}

#[test]
fn patterns_are_looked_for_in_each_line() {
    let text = "file: {/x: {exists: true, contents: ['/^b$/', '!/^c.*d$/']}}";
    let matches = &read(text).unwrap().file[0].matches;
    assert!(matches[0].matches("a\r\nb\r\nc\n"));
    assert!(!matches[0].matches("ab\n"));
    assert!(matches[1].matches("c\nd\n"));
    assert!(!matches[1].matches("a\ncd\n"));
}

#[test]
fn matchers_are_of_the_whole_text() {
    for (matcher, good, bad) in [
        ("abc", "abc", "abc\n"),
        ("{have-prefix: 'a.'}", "a.b", "ab."),
        ("{have-suffix: 'b.'}", "ab.", "b.a"),
        ("{match-regexp: '^b'}", "ba", "a\nb"),
        ("{not: {match-regexp: 'b'}}", "a", "ab"),
        ("{not: {contain-substring: '.'}}", "a", "a.b"),
        ("{contain-substring: '.'}", "a.b", "ab"),
        ("{or: [a, {have-prefix: b}]}", "bc", "ac"),
        ("{and: [{have-prefix: a}, {have-suffix: c}]}", "abc", "ab"),
        ("{have-patterns: ['/^b$/']}", "a\nb\nc", "ab"),
        ("{contain-element: b}", "a\nb\nc", "abc"),
        ("{contain-element: {have-prefix: b}}", "a\nbc", "ab\nc"),
        ("{contain-elements: [a, b]}", "b\na\nc", "a\nc"),
        ("{not: {contain-element: b}}", "abc\n", "a\nb\n"),
    ] {
        let text = format!("command: {{x: {{exit-status: 0, stdout: {matcher}}}}}");
        let command = &read(&text).unwrap().command[0];
        let holds = |text: &str| {
            command.stdout.iter().all(|piece| text.contains(piece))
                && !command
                    .stdout_lacks
                    .iter()
                    .any(|piece| text.contains(piece))
                && command
                    .stdout_matches
                    .iter()
                    .all(|pattern| pattern.matches(text))
        };
        assert!(holds(good), "{matcher}: {good:?}");
        assert!(!holds(bad), "{matcher}: {bad:?}");
    }
}

#[test]
fn commands_are_translated() {
    let text = "
command:
  echo a:
    exit-status: 0
    stdout: [a, '!b']
    stderr: []
  named: {exec: [/bin/ls, -l], exit-status: '2', stderr: ['/^x/'], timeout: 500}
";
    assert_eq!(
        checks(text),
        [
            "command echo a: exit-code 0, stdout a, stdout-lacks b",
            "command /bin/ls -l: exit-code 2, stderr-matches ^x",
        ]
    );
    let command = read(text).unwrap().command;
    assert_eq!(command[0].timeout.unwrap().0.as_secs(), 10);
    assert_eq!(command[1].timeout.unwrap().0.as_millis(), 500);
}

#[test]
fn the_rest_is_translated() {
    let text = "
http:
  https://localhost/a:
    status: 200
    allow-insecure: true
    no-follow-redirects: true
    timeout: 1000
    method: PUT
    request-headers: ['Accept: text/html']
    request-body: x
    headers: ['Content-Type: text/html']
    body: [hello, '!bye']
  http://localhost/b: {status: {or: [200, 204]}}
port:
  tcp:22: {listening: true, ip: [127.0.0.1, 0.0.0.0]}
  tcp6:22: {listening: false}
  udp:53: {listening: true, ip: []}
service:
  nginx: {enabled: true, running: true}
  b.timer: {enabled: false}
addr:
  tcp://localhost:80: {reachable: true, timeout: 250}
";
    assert_eq!(
        checks(text),
        [
            "unit b.timer: enabled no, start no",
            "unit nginx.service: active yes, enabled yes, start no",
            "http http://localhost/b: follow yes, status 200 204, verify-certificate yes",
            "http https://localhost/a: contains hello, follow no, header content-type=\\Atext/html, \
             lacks bye, method PUT, request-header Accept=text/html, send x, status 200, \
             verify-certificate no",
            "tcp localhost:80: ",
            "port tcp/22: ip-version 6, listening no",
            "port tcp/22: address 127.0.0.1, ip-version 4, listening yes",
            "port tcp/22: address 0.0.0.0, ip-version 4, listening yes",
            "port udp/53: ip-version 4, listening yes",
        ]
    );
}

#[test]
fn what_a_system_is_is_translated() {
    let text = "
process:
  nginx: {running: true}
  web: {comm: apache2, running: false}
user:
  www-data: {exists: true, uid: 33, gid: '33', groups: [www-data], home: /var/www, shell: /bin/sh}
  only: {exists: true, groups: {consist-of: [a, b]}}
  gone: {exists: false, uid: 5, groups: [x]}
group:
  www: {groupname: www-data, exists: true, gid: 33}
  gone: {exists: false, gid: 7}
package:
  nginx: {installed: true, versions: ['1.2+b']}
  apache2: {installed: true, versions: {contain-element: {have-prefix: '2.'}}}
  gone: {installed: false, versions: ['1']}
mount:
  /home:
    exists: true
    opts: [rw]
    vfs-opts: [size=1m]
    source: tmpfs
    filesystem: tmpfs
    usage: {lt: 95}
  gone: {mountpoint: /mnt, exists: false, source: x}
kernel-param:
  a.b: {value: '1'}
  a.c: {value: {and: [{ge: 5}, {lt: 9}]}}
  a.d: {value: {have-prefix: L}}
  a.e: {value: 0}
dns:
  localhost: {resolvable: true, addrs: [127.0.0.1], timeout: 500}
  one: {resolve: x.invalid, resolveable: false, addrs: [1.1.1.1]}
  only: {resolvable: true, addrs: {consist-of: [127.0.0.1]}}
http:
  http://x/: {status: {and: [{ge: 200}, {lt: 205}]}}
";
    assert_eq!(
        checks(text),
        [
            "http http://x/: follow yes, status 200-204, verify-certificate yes",
            "process nginx: comm nginx, running yes",
            "process apache2: comm apache2, running no",
            "user gone: exists no",
            "user only: exists yes, groups a b, other-groups no",
            "user www-data: exists yes, gid 33, groups www-data, home /var/www, shell /bin/sh, uid 33",
            "group gone: exists no",
            "group www-data: exists yes, gid 33",
            "package apache2: installed yes, version-matches \\A2\\.",
            "package gone: installed no",
            "package nginx: installed yes, version-matches \\A1\\.2\\+b\\z",
            "mount /home: fs-options size=1m, max-usage 94, mounted yes, source tmpfs, type tmpfs, \
             vfs-options rw",
            "mount /mnt: mounted no",
            "kernel-param a.b: value 1",
            "kernel-param a.c: max 8, min 5",
            "kernel-param a.d: matches \\AL",
            "kernel-param a.e: max 0",
            "dns localhost: addresses 127.0.0.1, resolves yes",
            "dns x.invalid: resolves no",
            "dns only: addresses 127.0.0.1, other-addresses no, resolves yes",
        ]
    );
    let process = read(text).unwrap().process;
    assert_eq!(process[1].title.as_deref(), Some("web"));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_is_not_supported_is_named() {
    for (text, expected) in [
        (
            "interface: {lo: {exists: true}}",
            "resource \"interface\" is not supported",
        ),
        (
            "matching: {a: {content: 1, matches: 1}}",
            "resource \"matching\" is not supported",
        ),
        (
            "http: {'https://x': {status: 200, body: {gjson: {a: b}}}}",
            "http: \"https://x\": body: matcher \"gjson\" is not supported",
        ),
        (
            "http: {'http://x': {status: {have-prefix: '2'}}}",
            "http: \"http://x\": status: matcher \"have-prefix\" is not supported",
        ),
        (
            "http: {'http://x': {status: 200, username: a, password: b}}",
            "http: \"http://x\": attribute \"password\" is not supported, \
             attribute \"username\" is not supported",
        ),
        (
            "http: {'http://x': {status: 200, headers: ['/a: b/']}}",
            "http: \"http://x\": headers: the pattern \"/a: b/\" is not supported",
        ),
        (
            "file: {/x: {exists: true, md5: abc}}",
            "file: \"/x\": attribute \"md5\" is not supported",
        ),
        ("file: {/x: {exists: true, mode: 0644}}", ""),
        (
            "file: {/x: {mode: '0644'}}",
            "file: \"/x\": \"exists\" is missing",
        ),
        (
            "file: {/x: {exists: true, mode: 644}}",
            "file: \"/x\": mode: 644 is not written as in \"0644\"",
        ),
        (
            "file: {/x: {exists: true, owner: {have-prefix: r}}}",
            "file: \"/x\": owner: matcher \"have-prefix\" is not supported",
        ),
        (
            "file: {/x: {exists: true, contents: [{have-prefix: r}]}}",
            "file: \"/x\": contents: matcher \"have-prefix\" in a list is not supported",
        ),
        (
            "file: {/x: {exists: true, contents: {semver-constraint: '>1'}}}",
            "file: \"/x\": contents: matcher \"semver-constraint\" is not supported",
        ),
        (
            "file: {/x: {exists: true, contents: ['/(/']}}",
            "file: \"/x\": contents: not a regular expression: unclosed group",
        ),
        (
            "service: {x: {enabled: true, runlevels: [3]}}",
            "service: \"x\": attribute \"runlevels\" is not supported",
        ),
        (
            "port: {'sctp:1': {listening: true}}",
            "port: \"sctp:1\": network \"sctp\" is not supported",
        ),
        (
            "addr: {'tcp://x:1': {reachable: false}}",
            "addr: \"tcp://x:1\": reachable: false is not supported",
        ),
        (
            "addr: {'tcp://x:1': {reachable: true, local-address: 1.1.1.1}}",
            "addr: \"tcp://x:1\": attribute \"local-address\" is not supported",
        ),
        (
            "command: {ls: {stdout: [a]}}",
            "command: \"ls\": \"exit-status\" is missing",
        ),
        (
            "command: {ls: {exit-status: {gt: 1}}}",
            "command: \"ls\": exit-status: matcher \"gt\" is not supported",
        ),
        (
            "file: {'{{.Vars.path}}': {exists: true}}",
            "templates ({{ … }}) are not supported",
        ),
        (
            "gossfile: {'*.yaml': {}}",
            "gossfile: \"*.yaml\": wildcards are not supported",
        ),
        ("process: {x: {}}", "process: \"x\": \"running\" is missing"),
        (
            "user: {x: {exists: true, uid: {gt: 5}}}",
            "user: \"x\": uid: matcher \"gt\" is not supported",
        ),
        (
            "user: {x: {exists: true, groups: {have-len: 1}}}",
            "user: \"x\": groups: matcher \"have-len\" is not supported",
        ),
        (
            "user: {x: {exists: true, groups: x}}",
            "user: \"x\": groups: \"x\" is not supported; write it as a list",
        ),
        (
            "group: {x: {exists: true, members: [y]}}",
            "group: \"x\": attribute \"members\" is not supported",
        ),
        (
            "package: {x: {installed: true, versions: [1.10]}}",
            "package: \"x\": versions: 1.1 is no text; write it in quotes",
        ),
        (
            "package: {x: {installed: true, versions: {semver-constraint: '>1'}}}",
            "package: \"x\": versions: matcher \"semver-constraint\" is not supported",
        ),
        (
            "package: {x: {installed: true, versions: [{have-prefix: '1'}, {have-suffix: '2'}]}}",
            "package: \"x\": versions: several elements by matchers, or the same twice, are not supported",
        ),
        (
            "mount: {/x: {exists: true, usage: {gt: 5}}}",
            "mount: \"/x\": usage: that so much is used is not supported",
        ),
        (
            "mount: {/x: {exists: true, opts: {consist-of: [rw]}}}",
            "mount: \"/x\": opts: these and no others is not supported",
        ),
        (
            "kernel-param: {x: {value: {have-len: 2}}}",
            "kernel-param: \"x\": value: matcher \"have-len\" is not supported",
        ),
        (
            "dns: {x: {resolvable: true, server: 8.8.8.8}}",
            "dns: \"x\": attribute \"server\" is not supported",
        ),
        (
            "dns: {'MX:x': {resolvable: true}}",
            "dns: \"MX:x\": records of the type MX are not supported",
        ),
        ("file: [1]", "file: it is no table of resources"),
        (
            "file: {/x: 1}",
            "file: \"/x\": it is no table of attributes",
        ),
        ("", "it is empty"),
    ] {
        if expected.is_empty() {
            read(text).unwrap();
            continue;
        }
        assert_eq!(refused(text), expected, "{text}");
    }
}

#[test]
fn all_that_is_not_supported_is_named_at_once() {
    let text =
        "interface: {a: {exists: true}}\nfile: {/x: {exists: true, md5: a}, /y: {exists: true}}\n";
    assert_eq!(
        refused(text),
        "file: \"/x\": attribute \"md5\" is not supported\nresource \"interface\" is not supported"
    );
}

#[test]
fn what_is_skipped_is_left_out() {
    let text = "file: {/x: {exists: true, skip: true}, /y: {exists: true, skip: false}}";
    assert_eq!(checks(text), ["file /y: exists yes, follow no"]);
}

#[test]
fn json_is_read() {
    let text = "{\"service\": {\"a\": {\"running\": true}}}";
    assert_eq!(checks(text), ["unit a.service: active yes, start no"]);
}

#[test]
fn files_take_in_others() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    fs::create_dir(directory.path().join("more")).unwrap();
    write(
        "goss.yaml",
        "gossfile: {more/a.yaml: {}, by-name: {file: b.json}}",
    );
    write("more/a.yaml", "gossfile: {c.yaml: {}}");
    write("more/c.yaml", "file: {/c: {exists: true}}");
    write("b.json", "{\"file\": {\"/b\": {\"exists\": true}}}");
    let (checks, _) = load(&directory.path().join("goss.yaml")).unwrap();
    let paths: Vec<&str> = checks.file.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["/b", "/c"]);

    write("goss.yaml", "gossfile: {goss.yaml: {}}");
    let error = load(&directory.path().join("goss.yaml"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("more than 10 levels"), "{error}");
    write("goss.yaml", "gossfile: {nosuch.yaml: {}}");
    let error = load(&directory.path().join("goss.yaml"))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("cannot read ") && error.contains("nosuch.yaml"),
        "{error}"
    );
}

#[test]
fn references_do_not_grow_without_bound() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = vec![format!("*a{}", level - 1); 10].join(", ");
        text += &[
            "a",
            &level.to_string(),
            ": &a",
            &level.to_string(),
            " [",
            &before,
            "]\n",
        ]
        .concat();
    }
    read(&text).unwrap_err();
}
