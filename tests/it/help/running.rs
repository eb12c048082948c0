//! Of what runs commands.

use insta::assert_snapshot;

use super::of_words;

#[test]
#[expect(clippy::too_many_lines, reason = "it is one text")]
fn of_run() {
    assert_snapshot!(of_words(&["run", "--help"]), @"
    Run one command in a container of its own

    Without --boot, no system is booted: the command runs alone, below an init that does nothing but
    look after it, so any image will do. What the image says about running it holds where nothing else
    is said. The container goes with the command, and with it all that it has written.

    Usage: postroj run [OPTIONS] <IMAGE> [COMMAND]...

    Arguments:
      <IMAGE>
              The image: a name of `postroj list-images`, a registry's NAME:TAG or `docker://NAME`, the
              URL or the path (with a /) of a root-filesystem tarball, or a directory

      [COMMAND]...
              The command, or the arguments of the image's entry point [default: the image's own]

    Options:
      -i, --interactive
              Let the command read what postroj reads from standard input

      -t, --tty
              Give the command a terminal of its own

          --rm
              Remove the container when the command has ended, as is done in any case

          --init
              Run an init in the container, as is done in any case

          --name <NAME>
              The container is to be postroj-NAME [default: a name made from the image's]

      -e, --env <NAME[=VALUE]>
              Set a variable in the command's environment; without a value, to the one that it has here

          --env-file <FILE>
              Set the variables that FILE has, one a line

      -v, --volume <SOURCE:TARGET[:ro]>
              Show a file or directory of this host at a path of the container

          --mount <OPTIONS>
              Mount something: type=bind,source=PATH,target=PATH[,readonly] or
              type=tmpfs,target=PATH[,tmpfs-size=SIZE]

          --tmpfs <TARGET[:OPTIONS]>
              Mount an empty file system in memory

      -w, --workdir <PATH>
              Where the command starts [default: where the image says]

      -u, --user <USER[:GROUP]>
              As whom the command runs, by names of the image or numbers [default: as the image says]

          --entrypoint <PROGRAM>
              Run the command by this program, not by the image's entry point; by none if it is empty

      -h, --hostname <NAME>
              The container's host name [default: its own name]

          --network <NETWORK>
              The container's network: nat is one of its own, from which pasta leads out; host is this
              host's; none is a loopback device and nothing else [default: nat where pasta is installed,
              else host]

      -p, --publish <[ADDRESS:]HOST:CONTAINER[/udp]>
              Let a port of this host lead to one of the container's

          --add-host <NAME:ADDRESS>
              Let the container know a name by itself

          --dns <ADDRESS>
              Ask this nameserver [default: this host's]

      -m, --memory <SIZE>
              The memory of the container's processes and of what they write in memory, as 512m or 2g;
              who wants more is killed [default: no limit]

          --memory-swap <SIZE>
              The memory and what of it may be moved to swap, together [default: as much as --memory]

          --cpus <NUMBER>
              How many processors' time the container gets, as 2 or 0.5 [default: no limit]

      -c, --cpu-shares <NUMBER>
              The container's share of processors that others want as well; everybody has 1024

          --cpuset-cpus <LIST>
              The processors that the command runs on, as 0-2,5

          --pids-limit <NUMBER>
              How many processes and threads the container has at a time
              
              [default: 16384]

          --disk <SIZE>
              How much the container may write: memory:SIZE, disk:SIZE, or SIZE in either [default: half
              of the memory, in memory]

          --cap-add <NAME>
              Give the container a capability of capabilities(7), or ALL

          --cap-drop <NAME>
              Take a capability from the command, or ALL

          --privileged
              Let the container do what root of this host may: every capability and system call, as the
              host's users

          --private-users <yes|no>
              Whether the container's users are others than the host's of the same numbers [default:
              yes, where the host can do it]

          --read-only
              Let nothing be written to the container's root

          --device <SOURCE[:TARGET]>
              Let the container use a device of this host

      -l, --label <NAME[=VALUE]>
              Say something about the container, which `postroj machines --json` shows

          --boot[=<PROFILE>]
              Boot the image's system first, and run the command as a service of it: trimmed, if nothing
              else is said, or full, with all that the image would start

          --boot-timeout <TIME>
              How long the boot may take
              
              [default: 60]

          --timeout <TIME>
              End the command when it has taken so long [default: no limit]

          --stop-timeout <TIME>
              How long the command may take to end after it was asked to, before it is killed
              
              [default: 10]

          --pull <WHEN>
              When to ask the image's source: always takes what the store has only if there is nothing
              newer, missing (the default) whenever the store has the image, never in any case

          --locked <FILE>
              Take the images that FILE has, by their digests, and no others; `postroj pull --lock FILE`
              writes it. What has no digest to ask for (a bootstrap, and the layer that makes an image
              bootable) has to be in the store or to come out the same

          --offline
              Leave the network alone: take what the store and the caches have, and say what is missing

          --platform <PLATFORM>
              Take the image for OS/ARCH[/VARIANT] of those that a registry has [default: this
              machine's]

          --authfile <FILE>
              The credentials for registries, which `postroj login` and `podman login` write [default:
              those of podman, else those of docker]

          --cert-dir <DIR>
              A directory with certificates for registries: authorities to trust (*.crt), and who we are
              (*.cert and *.key) [default: /etc/containers/certs.d/HOST:PORT,
              /etc/docker/certs.d/HOST:PORT]

          --tls-verify[=<BOOL>]
              Insist on https and on valid certificates, or with --tls-verify=false do without [default:
              as registries.conf has it for the registry, else true]

          --help
              Print help
    ");
}

#[test]
fn of_chain_run() {
    assert_snapshot!(of_words(&["chain", "run", "-h"]), @"
    Run the stages of a file, one after the other, until one fails

    Usage: postroj chain run [OPTIONS] <FILE>

    Arguments:
      <FILE>  The file, in YAML, JSON (.json) or TOML (.toml)

    Options:
      -e, --env <NAME[=VALUE]>      Set a variable in the environment of every stage, over what the file
                                    says; without a value, to the one that it has here
          --workdir <DIR>           Make the directory that the stages have in common in DIR [default:
                                    that for temporary files]
          --keep-job                Leave that directory where it is
          --private-users <yes|no>  Whether the containers' users are others than the host's of the same
                                    numbers [default: yes, where the host can do it]
          --json                    Print the result as JSON
          --pull <WHEN>             When to ask the image's source: always takes what the store has only
                                    if there is nothing newer, missing (the default) whenever the store
                                    has the image, never in any case
          --locked <FILE>           Take the images that FILE has, by their digests, and no others;
                                    `postroj pull --lock FILE` writes it. What has no digest to ask for
                                    (a bootstrap, and the layer that makes an image bootable) has to be
                                    in the store or to come out the same
          --offline                 Leave the network alone: take what the store and the caches have,
                                    and say what is missing
          --platform <PLATFORM>     Take the image for OS/ARCH[/VARIANT] of those that a registry has
                                    [default: this machine's]
          --authfile <FILE>         The credentials for registries, which `postroj login` and `podman
                                    login` write [default: those of podman, else those of docker]
          --cert-dir <DIR>          A directory with certificates for registries: authorities to trust
                                    (*.crt), and who we are (*.cert and *.key) [default:
                                    /etc/containers/certs.d/HOST:PORT, /etc/docker/certs.d/HOST:PORT]
          --tls-verify[=<BOOL>]     Insist on https and on valid certificates, or with
                                    --tls-verify=false do without [default: as registries.conf has it
                                    for the registry, else true]
      -h, --help                    Print help (see more with '--help')
    ");
}
