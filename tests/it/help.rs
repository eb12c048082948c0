//! The help texts, word for word.

mod running;

use insta::assert_snapshot;

use crate::support::place::shown;

/// A command's help, but for the options that all of them have.
fn of(command: &str) -> String {
    of_words(&[command, "-h"])
}

fn of_words(words: &[&str]) -> String {
    let text = shown(words);
    let (own, global) = text
        .split_once("\n\nGlobal options:\n")
        .expect("the global options");
    assert!(global.contains("--- stderr\n--- exit code 0"), "{text}");
    own.to_owned()
}

#[test]
fn of_postroj() {
    assert_snapshot!(shown(&["--help"]), @r"
    Boot real Linux distributions with systemd, install a package there, and tell whether its services
    run and answer

    Usage: postroj [OPTIONS] <COMMAND>

    Commands:
      list-images  List the images that are known by name
      pull         Get images into the store, ready to boot
      images       List the images in the store, and what they take
      inspect      Print all that is known of images in the store, as JSON
      rmi          Remove images from the store
      gc           Remove what nobody needs: layers without an image, and what killed runs have left
      check        Compare what the store holds with what was verified when it was taken
      export       Write an image of the store to a file or a directory
      import       Take local files into the store, as an image that is ready to boot
      login        Keep a user and a password for a registry
      logout       Forget the user and the password for a registry
      pkgprobe     Boot an image, install packages there, and check that their services run and answer
      selftest     Run a built-in probe on every image of the catalogue, or on those that are named
      run          Run one command in a container of its own
      task         Look after commands that run in containers of their own and outlive postroj
      chain        Run commands in containers, one after the other
      machines     List the containers that are up
      stop         End containers
      shell        Open a login shell in a container that was kept with --keep
      doctor       Check whether this host can run containers
      completions  Print shell completions
      man          Print the manual page, or write one for each command into a directory
      schema       Print the JSON schema of a kind of file

    Options:
      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Global options:
      -v, --verbose...
              Tell more; twice for debugging

      -q, --quiet
              Tell results and errors only

          --color <WHEN>
              When to use colours

              Possible values:
              - auto:   On a terminal, unless `NO_COLOR` is set
              - always: In any case
              - never:  In no case
              
              [default: auto]

          --config <FILE>
              Read this configuration file only

          --state-dir <DIR>
              Where the images are kept [default: /var/lib/postroj]

          --cache-dir <DIR>
              Where downloads are kept [default: /var/cache/postroj]

          --registries-conf <FILE>
              Which registries and mirrors to use [default: /etc/containers/registries.conf and its
              drop-ins]

    Exit codes: 0 all checks hold; 1 the package is at fault; 2 the command line or a file given to it
    is wrong; 3 no verdict: the image, the host, the network or the boot failed; 130, 143 interrupted.

    Example:
      postroj pkgprobe --image debian-bookworm --package ./my_1.0_amd64.deb \
          --check-unit my --check-network http://localhost:8080
    --- stderr
    --- exit code 0
    ");
    assert_snapshot!(shown(&["--version"]), @"
    postroj [version]
    --- stderr
    --- exit code 0
    ");
}

#[test]
#[expect(clippy::too_many_lines, reason = "they are the lines of one text")]
fn of_pkgprobe() {
    assert_snapshot!(of("pkgprobe"), @r"
    Boot an image, install packages there, and check that their services run and answer

    Usage: postroj pkgprobe [OPTIONS]

    Options:
          --file <FILE>                Take the options that are not given from FILE [default:
                                       postroj.toml, if it is there]
          --image <IMAGE>              The image: a name of `postroj list-images`, a pattern for those
                                       (debian-*), a registry's NAME:TAG or `docker://NAME`, the URL or
                                       the path (with a /) of a root-filesystem tarball, or a directory;
                                       may be repeated, or be a list with commas
      -j, --jobs <N>                   How many images are tested at once [default: one for each
                                       processor, but no more than one for each 2 GiB of memory]
          --fail-fast                  Stop when the package is at fault on one image: the others are
                                       reported as not run
          --all-images                 Test on every image of the catalogue that can work
          --pull <WHEN>                When to ask the image's source: always takes what the store has
                                       only if there is nothing newer, missing (the default) whenever
                                       the store has the image, never in any case
          --locked <FILE>              Take the images that FILE has, by their digests, and no others;
                                       `postroj pull --lock FILE` writes it. What has no digest to ask
                                       for (a bootstrap, and the layer that makes an image bootable) has
                                       to be in the store or to come out the same
          --offline                    Leave the network alone: take what the store and the caches have,
                                       and say what is missing
          --platform <PLATFORM>        Take the image for OS/ARCH[/VARIANT] of those that a registry has
                                       [default: this machine's]
          --authfile <FILE>            The credentials for registries, which `postroj login` and `podman
                                       login` write [default: those of podman, else those of docker]
          --cert-dir <DIR>             A directory with certificates for registries: authorities to
                                       trust (*.crt), and who we are (*.cert and *.key) [default:
                                       /etc/containers/certs.d/HOST:PORT, /etc/docker/certs.d/HOST:PORT]
          --tls-verify[=<BOOL>]        Insist on https and on valid certificates, or with
                                       --tls-verify=false do without [default: as registries.conf has it
                                       for the registry, else true]
      -p, --package <PACKAGE>          A package to install: an http(s) URL, a file, or a name that the
                                       distribution's repositories know; may be repeated
          --check-unit <UNIT>          A unit that has to be up and stay up; without an ending it is a
                                       .service; may be repeated
          --check-network <URL>        An address that has to answer, tcp://HOST:PORT or
                                       http(s)://HOST:PORT/PATH (status below 400); localhost is the
                                       container; may be repeated
          --check <CHECK>              Anything else that has to hold, as KIND:TARGET,KEY=VALUE,…
                                       (`file:/etc/x,mode=0644`, `port:tcp/80,unit=nginx`); a comma in a
                                       value is written \,; README.rst has the kinds and their keys; may
                                       be repeated
          --probe <FILE|NAME>          A TOML file of checks, a goss file (.yaml, .yml or .json), or the
                                       name of built-in checks (hostnamectl, pkgprobe); may be repeated
          --expect-autostart[=<WHEN>]  Hold packages to starting their units by themselves (yes) or to
                                       leaving them alone (no); without a word, to what the
                                       distribution's presets say
          --unit-timeout <TIME>        How long a unit may take to become active [default: 30]
          --settle <TIME>              How long a unit that was started in this run has to stay up
                                       [default: 1]
          --network-timeout <TIME>     How long an address may take to answer [default: 5]
          --check-timeout <TIME>       How long anything else is tried [default: 5]
          --boot-timeout <TIME>        How long the boot may take [default: 60]
          --install-timeout <TIME>     How long the installation may take [default: 15m]
          --timeout <TIME>             How long all of it may take [default: no limit]
          --lifecycle <PHASES>         What the packages go through, a list of install, reboot, upgrade,
                                       remove and purge, with the checks after each. The installation
                                       comes first, removals last; a reboot and an upgrade come in the
                                       order given [default: install]
          --upgrade-from <FROM>        What is installed at first, for --package to upgrade it: a
                                       version that the distribution's repositories have, a URL or a
                                       file; may be repeated, and be for some images only, as --package
                                       [implies --lifecycle install,upgrade]
          --before-upgrade <LINE>      A shell command that is run in the container before the upgrade,
                                       to change the configuration as an administrator does: the lines
                                       that it adds to files in /etc have to outlive the upgrade
          --strict-purge               Fail when a purge leaves something behind
          --purge-ignore <GLOB>        What a purge may leave behind: a path (with all below it), a
                                       user, group or unit, in which * is any text; may be repeated
          --network <NETWORK>          The container's network: nat is one of its own, from which pasta
                                       leads out and nothing leads in; host is the host's; none is a
                                       loopback device and nothing else, as with --offline [default: nat
                                       where pasta is installed, else host]
          --private-users <yes|no>     Whether the container's users are others than the host's of the
                                       same numbers: root in it is nobody outside [default: yes, where
                                       the host can do it]
          --memory <SIZE>              The memory of the container's processes and of what is written in
                                       memory, as 512M or 2G; who wants more is killed [default: no
                                       limit]
          --cpus <NUMBER>              How many processors' time the container gets, as 2 or 0.5
                                       [default: no limit]
          --pids <NUMBER>              How many processes and threads the container has at a time
                                       [default: 16384]
          --disk <SIZE>                How much the container may write: memory:SIZE keeps it in memory,
                                       disk:SIZE puts it on the disk, and SIZE does either, as it is up
                                       to half of the memory or more [default: half of the memory, in
                                       memory]
          --boot <PROFILE>             How much of the image's system is started [default: trimmed]
                                       [possible values: trimmed, full]
          --keep [<WHEN>]              Leave the container up, and say how to get in and how to end it:
                                       always, if nothing else is said, or on-failure, when not all is
                                       well
          --report <FORMAT=FILE>       Write a report to a file, as json, junit, tap, html or markdown;
                                       `-` is standard output; may be repeated
          --artifacts <DIR>            Keep what can be had of each container, below DIR/IMAGE: its
                                       journal, units, sockets, packages, a plot of its boot
          --json                       Print the report as JSON: --report json=-
      -h, --help                       Print help (see more with '--help')
    ");
}

#[test]
fn of_more_commands() {
    assert_snapshot!(of("pull"), @"
    Get images into the store, ready to boot

    Usage: postroj pull [OPTIONS] [IMAGE]...

    Arguments:
      [IMAGE]...  The images; see `postroj pkgprobe --help` for what they can be

    Options:
          --all                  Pull every image of the catalogue that can work
          --force                Get it anew, and make it bootable anew, even if it is up to date
          --lock <FILE>          Note in FILE, for --locked, which images the names stand for now; what
                                 it says of other images stays
          --locked <FILE>        Take the images that FILE has, by their digests, and no others;
                                 `postroj pull --lock FILE` writes it. What has no digest to ask for (a
                                 bootstrap, and the layer that makes an image bootable) has to be in the
                                 store or to come out the same
          --offline              Leave the network alone: take what the store and the caches have, and
                                 say what is missing
          --platform <PLATFORM>  Take the image for OS/ARCH[/VARIANT] of those that a registry has
                                 [default: this machine's]
          --authfile <FILE>      The credentials for registries, which `postroj login` and `podman
                                 login` write [default: those of podman, else those of docker]
          --cert-dir <DIR>       A directory with certificates for registries: authorities to trust
                                 (*.crt), and who we are (*.cert and *.key) [default:
                                 /etc/containers/certs.d/HOST:PORT, /etc/docker/certs.d/HOST:PORT]
          --tls-verify[=<BOOL>]  Insist on https and on valid certificates, or with --tls-verify=false
                                 do without [default: as registries.conf has it for the registry, else
                                 true]
          --timeout <TIME>       How long each image may take [default: no limit]
          --source <KIND>        Take it from this kind of source only [possible values: oci, tarball,
                                 bootstrap]
      -h, --help                 Print help (see more with '--help')
    ");
    assert_snapshot!(of("list-images"), @"
    List the images that are known by name

    Usage: postroj list-images [OPTIONS]

    Options:
          --json  Print JSON
      -h, --help  Print help (see more with '--help')
    ");
    assert_snapshot!(of("doctor"), @"
    Check whether this host can run containers

    Usage: postroj doctor [OPTIONS]

    Options:
          --json  Print JSON
      -h, --help  Print help (see more with '--help')
    ");
    assert_snapshot!(of("completions"), @"
    Print shell completions

    Usage: postroj completions [OPTIONS] <SHELL>

    Arguments:
      <SHELL>  The shell [possible values: bash, elvish, fish, powershell, zsh]

    Options:
      -h, --help  Print help (see more with '--help')
    ");
    assert_snapshot!(of("schema"), @"
    Print the JSON schema of a kind of file

    Usage: postroj schema [OPTIONS] [KIND]

    Arguments:
      [KIND]  What the files are: probe, as --probe takes them, or chain, as `postroj chain run` does

    Options:
      -h, --help  Print help (see more with '--help')
    ");
    assert_snapshot!(of("man"), @"
    Print the manual page, or write one for each command into a directory

    Usage: postroj man [OPTIONS] [DIRECTORY]

    Arguments:
      [DIRECTORY]  The directory, such as /usr/local/share/man/man1

    Options:
      -h, --help  Print help (see more with '--help')
    ");
}

#[test]
fn of_commands_for_containers() {
    assert_snapshot!(of("machines"), @"
    List the containers that are up

    Usage: postroj machines [OPTIONS]

    Options:
          --json  Print JSON
      -h, --help  Print help (see more with '--help')
    ");
    assert_snapshot!(of("stop"), @"
    End containers

    Usage: postroj stop [OPTIONS] [MACHINE]...

    Arguments:
      [MACHINE]...  Their names, as `postroj machines` lists them

    Options:
          --all   End every container that was kept
      -h, --help  Print help (see more with '--help')
    ");
    assert_snapshot!(of("shell"), @"
    Open a login shell in a container that was kept with --keep

    Usage: postroj shell [OPTIONS] <MACHINE>

    Arguments:
      <MACHINE>  The container's name, as `postroj machines` lists it

    Options:
      -h, --help  Print help (see more with '--help')
    ");
}

#[test]
fn of_commands_for_the_store() {
    assert_snapshot!(of("check"), @"
    Compare what the store holds with what was verified when it was taken

    Usage: postroj check [OPTIONS] [IMAGE]...

    Arguments:
      [IMAGE]...  The images, as `postroj images` lists them [default: all, and layers without an image]

    Options:
          --repair  Get what is broken again from where it came from; a layer that cannot be had again
                    is gone
      -h, --help    Print help (see more with '--help')
    ");
    assert_snapshot!(of("import"), @"
    Take local files into the store, as an image that is ready to boot

    Usage: postroj import [OPTIONS] <FILE|DIR>

    Arguments:
      <FILE|DIR>  The file or directory

    Options:
          --name <NAME>  What the image is called, such as localhost/NAME:TAG [default: the name that it
                         has in FILE or DIR]
          --offline      Leave the network alone: fail if the image needs packages to be bootable
      -h, --help         Print help (see more with '--help')
    ");
    assert_snapshot!(of("export"), @"
    Write an image of the store to a file or a directory

    Usage: postroj export [OPTIONS] <IMAGE> <FILE|DIR>

    Arguments:
      <IMAGE>     The image, as `postroj images` lists it
      <FILE|DIR>  Where to: FILE.tar, .tar.gz, .tar.xz or .tar.zst, or a directory (with a / at its end
                  if it is not there yet)

    Options:
      -h, --help  Print help (see more with '--help')
    ");
    assert_snapshot!(of("images"), @"
    List the images in the store, and what they take

    Usage: postroj images [OPTIONS]

    Options:
          --json  Print JSON: sizes in bytes, times in seconds since 1970
      -h, --help  Print help (see more with '--help')
    ");
    assert_snapshot!(of("inspect"), @"
    Print all that is known of images in the store, as JSON

    Usage: postroj inspect [OPTIONS] <IMAGE>...

    Arguments:
      <IMAGE>...  The images, as `postroj images` lists them

    Options:
      -h, --help  Print help (see more with '--help')
    ");
    assert_snapshot!(of("rmi"), @"
    Remove images from the store

    Usage: postroj rmi [OPTIONS] [IMAGE]...

    Arguments:
      [IMAGE]...  The images, as `postroj images` lists them

    Options:
      -a, --all   Remove every image
      -h, --help  Print help (see more with '--help')
    ");
    assert_snapshot!(of("gc"), @"
    Remove what nobody needs: layers without an image, and what killed runs have left

    Usage: postroj gc [OPTIONS]

    Options:
          --dry-run  Only tell what would go
      -h, --help     Print help (see more with '--help')
    ");
}
