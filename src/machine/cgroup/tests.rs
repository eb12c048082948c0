use super::*;

#[test]
fn what_the_hosts_systemd_does_not_limit_is_limited() {
    let hierarchies = Hierarchies::parse(HYBRID);
    let unit = "postroj-x.service";
    let managed = format!("9:cpu:/machine.slice/{unit}\n4:memory:/machine.slice/{unit}\n");
    let limits = Limits::default();
    let by_us = |own| hierarchies.unmanaged("postroj-x", own, &limits);
    assert!(by_us(&managed).is_none());
    let half = format!("9:cpu:/machine.slice/{unit}\n4:memory:/\n0::/machine.slice/{unit}\n");
    let cgroups = by_us(&half).unwrap();
    assert_eq!(
        cgroups.directories,
        [PathBuf::from("/sys/fs/cgroup/memory/postroj/postroj-x")]
    );
    let is_managed = |kind: &str| cgroups.managed.iter().any(|managed| managed == kind);
    assert!(is_managed("cpu") && !is_managed("memory"));
}

#[test]
fn no_systemd_keeps_to_processors_by_version_1() {
    let cpuset = "37 30 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n";
    let hierarchies = Hierarchies::parse(&format!("{HYBRID}{cpuset}"));
    let unit = "/machine.slice/postroj-x.service";
    let own = format!("9:cpu:{unit}\n4:memory:{unit}\n3:cpuset:/\n0::{unit}\n");
    let by_us = |limits| hierarchies.unmanaged("postroj-x", &own, &limits);
    assert!(by_us(Limits::default()).is_none());
    let cgroups = by_us(Limits {
        processors: Some("0".to_owned()),
        ..Limits::default()
    });
    let expected = PathBuf::from("/sys/fs/cgroup/cpuset/postroj/postroj-x");
    assert_eq!(cgroups.unwrap().directories, [expected]);
}

const HYBRID: &str = "\
30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
34 30 0:30 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
35 30 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup rw
36 30 0:31 /x /sys/fs/cgroup/other rw,relatime - cgroup2 cgroup rw
";

#[test]
fn finds_the_hierarchies_of_a_hybrid_host() {
    let hierarchies = Hierarchies::parse(HYBRID);
    assert_eq!(hierarchies.layout(), Layout::Hybrid);
    assert_eq!(
        hierarchies.unified(),
        Some(Path::new("/sys/fs/cgroup/unified"))
    );
}

#[test]
fn a_hybrid_host_gets_one_cgroup_for_each_hierarchy_that_matters() {
    let cgroups = Hierarchies::parse(HYBRID).of_machine("postroj-x");
    let expected: Vec<PathBuf> = ["cpu", "memory", "systemd", "unified"]
        .iter()
        .map(|name| PathBuf::from(format!("/sys/fs/cgroup/{name}/postroj/postroj-x")))
        .collect();
    assert_eq!(cgroups.directories, expected);
}

#[test]
fn a_payload_is_that_of_its_machine() {
    let of = |path| payload("postroj-x", path);
    let direct = "postroj/postroj-x/payload/init.scope";
    assert_eq!(of(direct), Some(Path::new("postroj/postroj-x/payload")));
    let unit = "machine.slice/postroj-x.service/payload/system.slice/dbus.service";
    assert_eq!(
        of(unit),
        Some(Path::new("machine.slice/postroj-x.service/payload"))
    );
    assert_eq!(of("postroj/postroj-y/payload/init.scope"), None);
    assert_eq!(of("postroj/postroj-x"), None);
    assert_eq!(of("init.scope"), None);
}

#[test]
fn a_unified_host_gets_one() {
    let hierarchies = Hierarchies::parse("30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    assert_eq!(hierarchies.layout(), Layout::Unified);
    assert_eq!(
        hierarchies.of_machine("postroj-x").directories,
        [PathBuf::from("/sys/fs/cgroup/postroj/postroj-x")]
    );
}

#[test]
fn a_limit_on_swap_that_nobody_keeps_is_missed() {
    let directory = tempfile::tempdir().unwrap();
    let at = [directory.path()];
    let memory = Limits {
        memory: Some(1 << 30),
        ..Limits::default()
    };
    let both = Limits {
        memory_swap: Some(1 << 30),
        ..memory.clone()
    };
    let managed = LIMITING.map(str::to_owned);
    let missed = |limits, version, has_swap| own::missing(&[], &managed, limits, version, has_swap);
    assert_eq!(missed(&memory, 1, true), None);
    assert_eq!(missed(&both, 1, false), None);
    let of_swap = Some("memory.memsw.limit_in_bytes");
    assert_eq!(missed(&both, 1, true), of_swap);
    std::fs::write(at[0].join("memory.memsw.limit_in_bytes"), "").unwrap();
    assert_eq!(own::missing(&at, &managed, &both, 1, true), None);
    let second = own::missing(&at, &[], &both, 2, true);
    assert_eq!(second, Some("memory.max"));
}
