//! Every kind of check on real systems: once where it holds, once where it does not. All of those
//! that hold are made in one run, and all that do not in another.

use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Deb, Place};

/// A daemon for HTTP on port 8088, UDP on port 8089 and a socket in /run, in the Perl that every Debian
/// system has.
const SERVER: &str = r#"use strict; use IO::Socket::INET; use IO::Socket::UNIX; use IO::Select;
$0 = 'subjectd';
my $tcp = IO::Socket::INET->new(LocalPort => 8088, Listen => 9, ReuseAddr => 1) or die $@;
my $udp = IO::Socket::INET->new(LocalPort => 8089, Proto => 'udp') or die $@;
unlink '/run/subject.sock';
my $unix = IO::Socket::UNIX->new(Local => '/run/subject.sock', Listen => 9) or die $@;
$| = 1; print "subject is ready\n";
my $select = IO::Select->new($tcp, $unix);
while (my @ready = $select->can_read) { for my $socket (@ready) {
  my $client = $socket->accept or next;
  if ($socket == $unix) { close $client; next }
  my $request = <$client>; my $length = 0;
  while (my $line = <$client>) { $length = $1 if $line =~ /^Content-Length: (\d+)/i; last if $line =~ /^\r?\n$/ }
  my $sent = ''; read $client, $sent, $length if $length;
  my ($method, $path) = split / /, $request;
  my $status = $path eq '/teapot' ? "418 I'm a teapot" : $path eq '/moved' ? '302 Found' : '200 OK';
  my $body = "hello, world\nmethod $method\nsent $sent\n";
  print $client "HTTP/1.1 $status\r\nLocation: /there\r\nX-Subject: yes\r\nContent-Length: ", length $body, "\r\nConnection: close\r\n\r\n", $body;
  close $client;
} }
"#;

/// A package with something for every kind of check to look at.
fn subject(place: &Place) -> PathBuf {
    let postinst = format!(
        r"mkdir -p /usr/lib/subject
cat >/usr/lib/subject/server.pl <<'END'
{SERVER}END
useradd --system --uid 871 --home-dir /var/lib/subject --shell /usr/sbin/nologin subject
install -d -o subject -g subject -m 0750 /var/lib/subject
echo 'answer = 42' >/etc/subject.conf
chmod 0640 /etc/subject.conf
chgrp subject /etc/subject.conf
ln -s subject.conf /etc/subject.link
ln -s nowhere /etc/subject.dangling
cat >/etc/subject.cnf <<'END'
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = localhost
[extensions]
subjectAltName = DNS:localhost
basicConstraints = critical,CA:FALSE
END
openssl req -config /etc/subject.cnf -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 \
    -keyout /etc/subject.key -out /etc/subject.pem 2>/dev/null
mkdir -p /etc/ssl/certs
cat /etc/subject.pem >>/etc/ssl/certs/ca-certificates.crt
systemctl daemon-reload
systemctl enable --now subject.service subject-tls.service run-subject.mount subject-lazy.socket"
    );
    Deb::new("subject")
        .version("1:2.5-3")
        .depends("openssl, passwd")
        .unit(
            "subject.service",
            "[Unit]\nDescription=The subject\n\n[Service]\nExecStart=/usr/bin/perl /usr/lib/subject/server.pl\nProtectHome=yes\n\n[Install]\nWantedBy=multi-user.target\n",
        )
        .unit(
            "subject-tls.service",
            "[Service]\nExecStart=/usr/bin/openssl s_server -quiet -accept 8443 -www -cert /etc/subject.pem -key /etc/subject.key\n\n[Install]\nWantedBy=multi-user.target\n",
        )
        .unit(
            "subject-lazy.socket",
            "[Socket]\nListenStream=8087\n\n[Install]\nWantedBy=sockets.target\n",
        )
        .unit(
            "subject-lazy.service",
            "[Service]\nExecStart=/bin/sleep infinity\n",
        )
        .unit(
            "run-subject.mount",
            "[Mount]\nWhat=subject\nWhere=/run/subject\nType=tmpfs\nOptions=nosuid,size=1m\n\n[Install]\nWantedBy=multi-user.target\n",
        )
        .postinst(&postinst)
        .build(place.scratch(), "subject.deb")
}

/// A package whose services fail in several ways, and are started all the same.
fn broken(place: &Place) -> PathBuf {
    Deb::new("broken")
        .depends("subject")
        .unit(
            "broken-crash.service",
            "[Service]\nExecStart=/bin/sh -c 'kill -SEGV $$$$'\n",
        )
        .unit(
            "broken-loud.service",
            "[Service]\nSyslogLevelPrefix=yes\nExecStart=/bin/sh -c 'echo \"<3>it went wrong\"; exec sleep infinity'\n",
        )
        .unit(
            "broken-typo.service",
            "[Service]\nExecStart=/bin/sleep infinity\nRestrat=always\n\n[Install]\nWantedBy=multi-user.target\n",
        )
        .unit(
            "broken-flaky.service",
            "[Service]\nExecStart=/bin/sh -c '[ -e /run/flaky ] && exec sleep infinity; touch /run/flaky; exit 1'\nRestart=always\nRestartSec=0\n",
        )
        .postinst("systemctl daemon-reload\nsystemctl start broken-crash broken-loud broken-flaky || true")
        .build(place.scratch(), "broken.deb")
}

/// The checks that hold where the first package is installed.
const GOOD: &[&str] = &[
    "unit:subject,enabled=true,autostart=true,restarts=0,result=success,sub-state=running,property.ProtectHome=yes,property.NRestarts=0",
    "unit:subject-lazy.socket,autostart=preset,sub-state=listening",
    "unit:subject-lazy.service,active=false,enabled=true",
    "unit:nosuch,exists=false",
    "network:http://localhost:8088/",
    "http://localhost:8088/,status=200,header.x-subject=^yes$,contains=hello\\, world,matches=method (GET|POST),lacks=goodbye",
    "http://localhost:8088/,method=POST,send=something,contains=method POST,contains=sent something",
    "http://localhost:8088/teapot,status=4xx,status=503",
    "http://localhost:8088/moved,status=300-303,header.location=/there",
    "http://localhost:8088/moved,follow=true,status=200",
    "https://localhost:8443/,attempt-timeout=3s",
    "https://localhost:8443/,verify-certificate=true",
    "tcp:localhost:8088",
    "port:tcp/8088,unit=subject,process=subjectd,address=0.0.0.0",
    "port:udp/8089,unit=subject",
    "port:8087,unit=subject-lazy.socket",
    "port:8087,unit=subject-lazy.service",
    "port:9999,listening=false",
    "unix-socket:/run/subject.sock",
    "unix-socket:/run/nosuch.sock,listening=false",
    "file:/etc/subject.conf,type=file,mode=0640,owner=root,group=subject,contains=answer,matches=(?m)^answer = \\d+$,lacks=43,size=12,sha256=0a775022744f64c352863f165f2e125898419999bc57c83204772036d0ef6b2e",
    "file:/var/lib/subject,type=directory,mode=0750,owner=871,group=subject",
    "file:/etc/subject.link,target=subject.conf",
    "file:/etc/subject.link,contains=42",
    "file:/run/subject.sock,type=socket",
    "file:/etc/nosuch,exists=false",
    "file:/etc/subject.dangling,exists=false,follow=true",
    "file:/etc/subject.dangling,target=nowhere",
    "command:echo out; echo err >&2; exit 3,exit-code=3,stdout=out,stderr=err,stdout-lacks=err,stderr-matches=^e",
    "command:id -un; pwd,user=subject,stdout-matches=^subject\\n",
    "process:subjectd,user=root,count=1",
    "process:perl,args=^subjectd$",
    "process:perl,comm=subjectd,user=root",
    "process:perl,comm=perl,running=false",
    "process:subjectd-of-long-name,running=false",
    "process:nosuch,running=false",
    "user:subject,uid=871,home=/var/lib/subject,shell=/usr/sbin/nologin,groups=subject",
    "user:subject,groups=subject,other-groups=false",
    "user:nobody-else,exists=false",
    "group:subject,members=subject",
    "package:subject,version=2.5",
    "package:subject,version=1:2.5-3,version-matches=^1:2",
    "package:nosuch,installed=false",
    "mount:/run/subject,type=tmpfs,options=nosuid,source=subject",
    "mount:/run/subject,vfs-options=nosuid,fs-options=size=1024k,options=rw,max-usage=50",
    "mount:/mnt,mounted=false",
    "kernel-param:kernel.ostype,value=Linux,matches=^Li",
    "kernel-param:kernel.pid_max,min=2,max=99999999",
    "dns:localhost",
    "dns:no-such-host.invalid,resolves=false",
    "journal:subject",
    "journal:subject,contains=subject is ready,timeout=10s",
    "journal:subject,lacks=panic",
    "core-dump",
    "failed-units",
    "verify:subject",
    "verify",
    "security:subject,exposure=10",
];

/// Checks that do not hold where both packages are installed, and what is seen instead.
const BAD: &[(&str, &str)] = &[
    (
        "unit:subject,property.ProtectHome=no",
        "ProtectHome is \"yes\", not no",
    ),
    (
        "unit:subject,property.Nosuch=1",
        "it has no property Nosuch",
    ),
    (
        "unit:subject,sub-state=exited",
        "its sub-state is \"running\", not \"exited\"",
    ),
    (
        "unit:subject,autostart=false",
        "the package has started it by itself",
    ),
    (
        "unit:broken-typo,autostart=true",
        "the package has not started it",
    ),
    (
        "unit:broken-typo,autostart=preset",
        "the package has not started it, and the distribution's preset is enabled",
    ),
    ("unit:broken-flaky", "restart"),
    (
        "unit:broken-loud,enabled=false,active=false",
        "it is active",
    ),
    ("unit:subject,exists=false", "there is such a unit"),
    ("unit:nosuch,start=false", "there is no such unit"),
    (
        "unit:nosuch,start=false,sub-state=running",
        "there is no such unit",
    ),
    ("http://localhost:8088/,status=404", "status 200"),
    ("http://localhost:8088/teapot", "status 418"),
    (
        "http://localhost:8088/,header.x-subject=^no$",
        "header x-subject is \"yes\", which lacks /^no$/",
    ),
    (
        "http://localhost:8088/,header.x-nosuch=.",
        "no header x-nosuch",
    ),
    (
        "http://localhost:8088/,contains=goodbye",
        "the body lacks \"goodbye\": \"hello, world",
    ),
    (
        "http://localhost:8088/,lacks=hello",
        "the body has \"hello\"",
    ),
    ("http://localhost:8088/moved,status=200", "status 302"),
    ("http://localhost:8443/", "8443"),
    // The certificate is one of the other name.
    (
        "https://127.0.0.1:8443/,verify-certificate=true",
        "certificate",
    ),
    ("tcp:localhost:8086", "connection refused"),
    (
        "port:tcp/8088,unit=broken-loud",
        "0.0.0.0:8088 subjectd of subject.service",
    ),
    ("port:tcp/8088,address=127.0.0.1", "0.0.0.0:8088"),
    ("port:udp/8088", "nobody listens there"),
    ("port:8088,listening=false", "0.0.0.0:8088 subjectd"),
    ("unix-socket:/etc/subject.conf", "it is no socket"),
    ("unix-socket:/run/nosuch", "it is not there"),
    ("file:/etc/nosuch", "it is not there"),
    (
        "file:/etc/subject.dangling",
        "it is a symbolic link that leads nowhere",
    ),
    (
        "file:/etc/subject.dangling,exists=false",
        "it is there, a symbolic link",
    ),
    ("file:/etc/subject.conf,exists=false", "it is there, a file"),
    (
        "file:/etc/subject.conf,mode=0644,owner=subject",
        "its mode is 0640, not 0644, its owner is root (0), not subject",
    ),
    (
        "file:/etc/subject.conf,group=root",
        "its group is subject (",
    ),
    (
        "file:/etc/subject.conf,type=directory",
        "it is a file, not a directory",
    ),
    (
        "file:/etc/subject.conf,contains=43",
        "it lacks \"43\": \"answer = 42\"",
    ),
    (
        "file:/etc/subject.conf,matches=^question",
        "it does not match /^question/",
    ),
    ("file:/etc/subject.conf,max-size=5", "its size is 12"),
    (
        "file:/etc/subject.conf,sha256=0000000000000000000000000000000000000000000000000000000000000000",
        "its SHA-256 is ",
    ),
    (
        "file:/etc/subject.link,target=elsewhere",
        "it leads to \"subject.conf\"",
    ),
    (
        "file:/etc/subject.conf,type=symlink",
        "it is a file, not a symbolic link",
    ),
    (
        "command:echo why >&2; exit 3",
        "exit code 3, it wrote \"why\"",
    ),
    (
        "command:echo one,stdout=two",
        "standard output lacks \"two\": \"one\"",
    ),
    ("command:sleep 60", "it did not end"),
    ("process:subjectd,count=2", "1 process"),
    (
        "process:subjectd,user=subject",
        "of root (0), not of subject",
    ),
    ("process:perl,comm=perl", "there is no such process"),
    ("process:nosuch", "there is no such process"),
    (
        "user:subject,uid=872,groups=root",
        "its uid is 871, not 872, it is not in the group root",
    ),
    (
        "user:subject,other-groups=false",
        "it is in the group subject",
    ),
    ("user:nosuch", "there is no such user"),
    ("group:subject,members=root", "root is not in it"),
    (
        "package:subject,version=2.6",
        "its version is 1:2.5-3, not 2.6",
    ),
    ("package:nosuch", "it is not installed"),
    (
        "mount:/run/subject,type=ext4",
        "its type is tmpfs, not ext4",
    ),
    (
        "mount:/run/subject,options=noexec",
        "its options lack noexec",
    ),
    (
        "mount:/run/subject,fs-options=nosuid",
        "its fs-options lack nosuid",
    ),
    ("mount:/mnt", "nothing is mounted there"),
    (
        "kernel-param:kernel.ostype,value=Hurd",
        "it is \"Linux\", not \"Hurd\"",
    ),
    (
        "kernel-param:kernel.ostype,min=1",
        "it is \"Linux\", which is no whole number",
    ),
    ("kernel-param:kernel.pid_max,max=2", "it is "),
    ("kernel-param:kernel.nosuch", "No such file"),
    ("dns:no-such-host.invalid", "it does not resolve"),
    ("dns:localhost,addresses=192.0.2.1", "127.0.0.1"),
    (
        "dns:localhost,addresses=192.0.2.1,other-addresses=false",
        "127.0.0.1",
    ),
    ("journal:broken-loud", "it went wrong"),
    ("journal:broken-loud,lacks=went wrong", "it went wrong"),
    ("journal:broken-loud,priority=err", "it went wrong"),
    (
        "journal:subject,contains=never said",
        "no entry has \"never said\"",
    ),
    ("core-dump", "broken-crash.service"),
    ("failed-units", "failed: broken-crash.service"),
    ("verify", "Restrat"),
    (
        "security:broken-loud,exposure=1",
        "broken-loud.service has 9.",
    ),
    (
        "security:nosuch,exposure=9",
        "there is no unit nosuch.service",
    ),
];

/// Makes checks in one run, each tried for so many seconds, and gives what was found for each.
fn made(
    place: &Place,
    image: &str,
    packages: &[PathBuf],
    checks: &[&str],
    seconds: u32,
) -> Vec<Value> {
    let mut arguments: Vec<String> = vec![
        "--json".into(),
        format!("--check-timeout={seconds}"),
        format!("--unit-timeout={seconds}"),
        format!("--network-timeout={seconds}"),
    ];
    for package in packages {
        arguments.push(format!("--package={}", package.display()));
    }
    for (number, check) in checks.iter().enumerate() {
        arguments.push(format!("--check={check},title=number {number}"));
    }
    let outcome = place.pkgprobe(image, arguments).run();
    let report: Value =
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}\n{outcome}"));
    let found = &report["images"][0]["checks"];
    let mut all: Vec<Value> = Vec::new();
    for (number, check) in checks.iter().enumerate() {
        let title = format!("number {number}");
        let one = found
            .as_array()
            .and_then(|found| found.iter().find(|one| one["title"] == title.as_str()));
        all.push(
            one.unwrap_or_else(|| panic!("no result of {check}\n{outcome}"))
                .clone(),
        );
    }
    let hold = all.iter().all(|one| one["passed"] == true);
    assert_eq!(outcome.code(), i32::from(!hold), "{outcome}");
    all
}

fn all_hold_on(place: &Place, image: &str) {
    let package = subject(place);
    let mut wrong = Vec::new();
    // Nothing is waited for where all of it holds, and the machine may have much else to do.
    for (check, found) in GOOD.iter().zip(made(place, image, &[package], GOOD, 30)) {
        if found["passed"] != true {
            wrong.push(format!("{check}\n  found {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_kind_where_it_holds() {
    all_hold_on(&Place::direct(), "debian-bookworm");
}

#[test]
fn every_kind_where_it_holds_on_an_old_release() {
    all_hold_on(&Place::direct(), "debian-bullseye");
}

#[test]
fn every_kind_where_it_holds_on_a_new_release() {
    all_hold_on(&Place::direct(), "debian-sid");
}

#[test]
fn every_kind_where_it_holds_on_a_host_with_systemd() {
    all_hold_on(&Place::systemd(&["debian-bookworm"]), "debian-bookworm");
}

fn none_holds(place: &Place) {
    let packages = [subject(place), broken(place)];
    let checks: Vec<&str> = BAD.iter().map(|(check, _)| *check).collect();
    // All look at the same time, on a machine that has other things to do.
    let found = made(place, "debian-bookworm", &packages, &checks, 5);
    let mut wrong = Vec::new();
    for ((check, seen), found) in BAD.iter().zip(found) {
        let observation = found["observation"].as_str().unwrap_or_default();
        if found["passed"] != false || found["error"].is_string() || !observation.contains(seen) {
            wrong.push(format!("{check}\n  expected {seen:?}\n  found {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_kind_where_it_does_not_hold() {
    none_holds(&Place::direct());
}

#[test]
fn every_kind_where_it_does_not_hold_on_a_host_with_systemd() {
    none_holds(&Place::systemd(&["debian-bookworm"]));
}

#[test]
fn what_cannot_be_told_is_no_failure() {
    let place = Place::direct();
    let package = Deb::new("starter")
        .service("/bin/sleep infinity")
        .postinst("rm /usr/bin/getent\nsystemctl daemon-reload\nsystemctl start starter")
        .build(place.scratch(), "starter.deb");
    let package = format!("--package={}", package.display());
    let probe = place.scratch().join("probe.toml");
    let text = "description = 'a test'\n\n[[unit]]\nname = 'starter'\n\n\
        [[file]]\ntitle = 'where users are'\npath = '/etc/passwd'\nmode = '0644'\n\n\
        [[file]]\npath = '/nosuch'\nfamily = 'redhat'\n";
    std::fs::write(&probe, text).expect("write");
    let probe = format!("--probe={}", probe.display());
    let untold = ["--check=dns:localhost", "--json"];
    let outcome = place
        .pkgprobe("debian-bookworm", [&*package, &*probe])
        .args(untold)
        .run()
        .exits(3)
        .stderr_has("check dns localhost: the image has no getent, which the check needs");
    let report: Value = serde_json::from_str(&outcome.stdout).expect("JSON and nothing else");
    assert_eq!(report["images"][0]["verdict"], "error", "{outcome}");
    let checks = report["images"][0]["checks"].as_array().expect("checks");
    let titles: Vec<&Value> = checks.iter().map(|check| &check["title"]).collect();
    assert_eq!(checks.len(), 3, "the other family's is left out: {outcome}");
    assert!(
        titles.contains(&&Value::from("where users are")),
        "{outcome}"
    );
    let told = checks.iter().filter(|check| check["passed"] == true);
    assert_eq!(told.count(), 2, "{outcome}");

    // One that has failed speaks against the package all the same.
    place
        .pkgprobe("debian-bookworm", [&*package, &*probe])
        .args(["--check=dns:localhost", "--expect-autostart=no"])
        .run()
        .exits(1)
        .stdout_has("the package has started it by itself")
        .stdout_has("error  dns");
}

/// What is too long to be looked at as a whole is not taken for less than it is.
#[test]
fn what_is_long() {
    let place = Place::direct();
    let package = Deb::new("long")
        .service(
            "/bin/sh -c 'seq -f \"before %%g\" 3000; echo the needle; seq -f \"after %%g\" 3000; exec sleep infinity'",
        )
        .postinst(
            "mkdir -p /var/lib/long\nhead -c 20000000 /dev/zero >/var/lib/long/searched\n\
             echo end >>/var/lib/long/searched\ntruncate -s 1T /var/lib/long/hashed\n\
             systemctl daemon-reload\nsystemctl start long",
        )
        .build(place.scratch(), "long.deb");
    let zeros = "0".repeat(64);
    let hashed = format!("file:/var/lib/long/hashed,sha256={zeros},timeout=1s");
    let checks = [
        (
            "journal:long,contains=the needle,contains=after 3000",
            true,
            "",
        ),
        ("journal:long,lacks=the needle", false, "the needle"),
        (&hashed, false, "it was not read to its end in time"),
        (
            "file:/var/lib/long/searched,lacks=end",
            false,
            "it has more than 16 MiB",
        ),
        (
            "command:seq 200000 399999,stdout=200000,stdout=399999",
            true,
            "",
        ),
        (
            "command:seq 200000 399999,stdout-lacks=300000",
            false,
            "it wrote more to standard output than can be searched",
        ),
        (
            "command:seq 200000 399999,stdout-lacks=399999",
            false,
            "standard output has \"399999\"",
        ),
    ];
    let given: Vec<&str> = checks.iter().map(|(check, ..)| *check).collect();
    let found = made(&place, "debian-bookworm", &[package], &given, 5);
    for ((check, holds, says), found) in checks.iter().zip(found) {
        assert_eq!(found["passed"], *holds, "{check}: {found}");
        let observation = found["observation"].as_str().unwrap_or_default();
        assert!(observation.contains(says), "{check}: {found}");
    }
}

#[test]
fn mistakes_are_told_before_anything_is_started() {
    let place = Place::direct();
    let file = place.scratch().join("wrong.toml");
    std::fs::write(&file, "[[unit]]\nname = 'x'\nenabeld = true\n").expect("write");
    let file = format!("--probe={}", file.display());
    for (option, said) in [
        (
            "--check=port:tcp/80,untt=nginx",
            "check \"port:tcp/80,untt=nginx\": unknown field `untt`",
        ),
        ("--check=port:tcp/80,untt=nginx", "did you mean `unit`?"),
        ("--check=prot:80", "did you mean `port`?"),
        ("--check=file:/x,mode=rw", "`mode`: \"rw\" is no mode"),
        ("--check=file:x", "check file x: \"x\" is no absolute path"),
        (&file, "wrong.toml:3: unknown field `enabeld`"),
        ("--probe=hostnamctl", "there is no built-in probe"),
        ("--probe=/nosuch.toml", "cannot read /nosuch.toml"),
        ("--expect-autostart=perhaps", "none of yes, no and preset"),
    ] {
        place
            .postroj(["pkgprobe", "--image=debian-bookworm", option])
            .env("POSTROJ_STATE_DIR", place.scratch().join("store"))
            .run()
            .exits(2)
            .stderr_has(said);
    }
}
