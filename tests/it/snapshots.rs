//! The list of images, and what is said of bad input, word for word.

use insta::assert_snapshot;

use crate::support::place::shown;

#[test]
fn list_images() {
    assert_snapshot!(shown(&["list-images"]), @"
    NAME                 ALIASES               FAMILY   IN STORE  SOURCE
    debian-stretch       debian-9              debian          -  docker.io/library/debian:stretch
    debian-buster        debian-10             debian          -  docker.io/library/debian:buster
    debian-bullseye      debian-11             debian          -  docker.io/library/debian:bullseye
    debian-bookworm      debian-12             debian          -  docker.io/library/debian:bookworm
    debian-trixie        debian-13             debian          -  docker.io/library/debian:trixie
    debian-sid           debian-unstable       debian          -  docker.io/library/debian:sid
    ubuntu-focal         ubuntu-20.04          debian          -  docker.io/library/ubuntu:20.04
    ubuntu-jammy         ubuntu-22.04          debian          -  docker.io/library/ubuntu:22.04
    ubuntu-noble         ubuntu-24.04          debian          -  docker.io/library/ubuntu:24.04
    fedora-35            f35                   redhat          -  quay.io/fedora/fedora:35
    fedora-36            f36                   redhat          -  quay.io/fedora/fedora:36
    fedora-37            f37                   redhat          -  quay.io/fedora/fedora:37
    fedora-43            f43                   redhat          -  quay.io/fedora/fedora:43
    fedora-44            f44                   redhat          -  quay.io/fedora/fedora:44
    fedora-45            f45                   redhat          -  quay.io/fedora/fedora:45
    centos-7             centos-7.9            redhat          -  unsupported: its systemd is version 219; a guest needs 225 or newer
    centos-8             centos-8.5            redhat          -  quay.io/centos/centos:8
    centos-9             centos-stream-9       redhat          -  quay.io/centos/centos:stream9
    centos-10            centos-stream-10      redhat          -  quay.io/centos/centos:stream10
    rhel-8               ubi-8                 redhat          -  registry.access.redhat.com/ubi8/ubi:latest
    rhel-9               ubi-9                 redhat          -  registry.access.redhat.com/ubi9/ubi:latest
    rhel-10              ubi-10                redhat          -  registry.access.redhat.com/ubi10/ubi:latest
    rockylinux-8         rocky-8               redhat          -  docker.io/rockylinux/rockylinux:8
    rockylinux-9         rocky-9               redhat          -  docker.io/rockylinux/rockylinux:9
    rockylinux-10        rocky-10              redhat          -  docker.io/rockylinux/rockylinux:10
    almalinux-8          alma-8                redhat          -  docker.io/library/almalinux:8
    almalinux-9          alma-9                redhat          -  docker.io/library/almalinux:9
    almalinux-10         alma-10               redhat          -  docker.io/library/almalinux:10
    oraclelinux-8        oracle-8              redhat          -  docker.io/library/oraclelinux:8
    oraclelinux-9        oracle-9              redhat          -  docker.io/library/oraclelinux:9
    amazonlinux-2022     al2022                redhat          -  unsupported: a preview that was never released: Amazon Linux 2023 replaced it in March 2023
    amazonlinux-2023     al2023                redhat          -  docker.io/library/amazonlinux:2023
    opensuse-leap        opensuse-leap-16.0    suse            -  registry.opensuse.org/opensuse/leap:16.0
    opensuse-tumbleweed  tumbleweed            suse            -  registry.opensuse.org/opensuse/tumbleweed:latest
    sles-15              sles-15.7             suse            -  registry.suse.com/suse/sle15:15.7
    sles-bci             sles-16.0             suse            -  registry.suse.com/bci/bci-base:16.0
    archlinux-20220501   archlinux-2022.05.01  arch            -  docker.io/library/archlinux:base-20220501.0.54834
    archlinux-latest     archlinux             arch            -  docker.io/library/archlinux:latest
    --- stderr
    --- exit code 0
    ");
}

#[test]
fn errors() {
    assert_snapshot!(shown(&["pkgprobe", "--image", "debian-bokworm"]), @"
    --- stderr
    error: there is no image debian-bokworm in the catalogue
    hint: did you mean debian-bookworm? For an image of a registry write debian-bokworm:TAG or docker://debian-bokworm.
    --- exit code 2
    ");
    assert_snapshot!(shown(&["pull", "nginx"]), @"
    --- stderr
    error: there is no image nginx in the catalogue
    hint: `postroj list-images` lists the names. For an image of a registry write nginx:TAG or docker://nginx.
    --- exit code 2
    ");
    assert_snapshot!(shown(&["pkgprobe", "--image", "/nonexistent.tar"]), @"
    --- stderr
    error: /nonexistent.tar: No such file or directory (os error 2)
    --- exit code 2
    ");
    assert_snapshot!(shown(&["pkgprobe", "--image", "debian-bookworm", "--package", "./nowhere.deb"]), @"
    --- stderr
    error: package ./nowhere.deb: No such file or directory (os error 2)
    --- exit code 2
    ");
    assert_snapshot!(shown(&["pkgprobe", "--image", "debian-bookworm", "--check-network", "ftp://localhost/"]), @r#"
    --- stderr
    error: network address "ftp://localhost/": ftp is not supported; write tcp://HOST:PORT or http://HOST:PORT/PATH
    --- exit code 2
    "#);
    assert_snapshot!(shown(&["pkgprobe", "--image", "debian-bookworm", "--check-network", "tcp://localhost"]), @r#"
    --- stderr
    error: network address "tcp://localhost": it has no port; write tcp://HOST:PORT or http://HOST:PORT/PATH
    --- exit code 2
    "#);
    assert_snapshot!(shown(&["pkgprobe", "--image", "debian-bookworm", "--check-unit", "a b"]), @r#"
    --- stderr
    error: unit "a b": not a unit name (systemd.unit(5) has the characters)
    --- exit code 2
    "#);
    assert_snapshot!(shown(&["pkgprobe", "--image", "debian-bookworm", "--boot-timeout", "soon"]), @r#"
    --- stderr
    error: invalid value 'soon' for '--boot-timeout <TIME>': unknown unit "soon"; ms, s, m and h are known

    For more information, try '--help'.
    --- exit code 2
    "#);
    assert_snapshot!(shown(&["--config", "/nonexistent.toml", "list-images"]), @"
    --- stderr
    error: /nonexistent.toml: No such file or directory (os error 2)
    --- exit code 2
    ");
    assert_snapshot!(shown(&["stop", "postroj-nowhere"]), @"
    --- stderr
    error: no container is named postroj-nowhere
    hint: `postroj machines` lists them
    --- exit code 2
    ");
}
