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
      -d, --detach
              Do not wait for the command: print the id of a task, which `postroj task` looks after

          --rm
              Remove the container when the command has ended, as is done in any case; with --detach,
              the task and its logs as well

          --restart <WHEN>
              When the command of a task is started again: no, on-failure, on-failure:NUMBER or always

      -i, --interactive
              Let the command read what postroj reads from standard input; of a task, what `postroj task
              attach` reads

      -t, --tty
              Give the command a terminal of its own

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
              How many processes and threads the container has at a time; 0 or -1: as many as it likes
              
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

/// What it has besides what `run` has.
#[test]
fn of_task_create() {
    let text = of_words(&["task", "create", "--help"]);
    let (own, common) = text.split_once("  -i, --interactive").expect("its options");
    let run = of_words(&["run", "--help"]);
    let (_, commands) = run.split_once("  -i, --interactive").expect("its options");
    let options = |text: &str| text.split("\n\nThe exit code").next().map(str::to_owned);
    assert_eq!(options(common), options(commands));
    assert_snapshot!(own, @"
    Start a command in a container of its own, and print the id of the task

    The command goes on when postroj has ended; what it writes is kept for `postroj task logs`. What
    there is of a task, whether it runs or has ended, stays until `postroj task rm` removes it. Each
    start of the command gets the image's root anew: what is to be kept is written to a --volume.

    Usage: postroj task create [OPTIONS] <IMAGE> [COMMAND]...

    Arguments:
      <IMAGE>
              The image: a name of `postroj list-images`, a registry's NAME:TAG or `docker://NAME`, the
              URL or the path (with a /) of a root-filesystem tarball, or a directory

      [COMMAND]...
              The command, or the arguments of the image's entry point [default: the image's own]

    Options:
          --restart <WHEN>
              When the command is started again: no, on-failure, on-failure:NUMBER or always

          --rm
              Remove the task when it has ended, with what it has written
    ");
}

#[test]
fn of_what_looks_after_tasks() {
    assert_snapshot!(of_words(&["task", "-h"]), @"
    Look after commands that run in containers of their own and outlive postroj

    Usage: postroj task [OPTIONS] <COMMAND>

    Commands:
      create  Start a command in a container of its own, and print the id of the task
      list    List the tasks, those that have ended included
      health  Tell how a task is
      logs    Print what the command of a task has written
      signal  Send the command of a task a signal
      wait    Wait until tasks have ended, and print their exit codes
      attach  Read what the command of a task writes from now on, and let it read what is typed
      rm      Remove tasks, and what they have written

    Options:
      -h, --help  Print help (see more with '--help')
    ");
    assert_snapshot!(of_words(&["task", "health", "--help"]), @"
    Tell how a task is

    The exit code is 0 if there is such a task, however it is, and 1 if there is none. What its command
    does is told as the kernel has it: sleeping, running, disk-sleep, stopped or zombie; exited if it
    has ended, and dead if it has ended and nobody knows how, for its keeper was killed or the host went
    down.

    Usage: postroj task health [OPTIONS] <TASK>

    Arguments:
      <TASK>
              The task: its name, its id, or the beginning of that

    Options:
          --json
              Print JSON: the memory in bytes, the CPU time in seconds

      -h, --help
              Print help (see a summary with '-h')
    ");
    assert_snapshot!(of_words(&["task", "logs", "-h"]), @"
    Print what the command of a task has written

    Usage: postroj task logs [OPTIONS] <TASK>

    Arguments:
      <TASK>  The task: its name, its id, or the beginning of that

    Options:
      -f, --follow         Go on with what is written from now on, until the task ends
          --since <TIME>   Leave out what was written before: a time as 2026-01-31T12:00:00Z, or how
                           long ago, as 10m
      -n, --tail <NUMBER>  Print so many of the last lines only
          --stdout         Print what was written to standard output only
          --stderr         Print what was written to standard error only
      -t, --timestamps     Print the time before each line
      -h, --help           Print help (see more with '--help')
    ");
    assert_snapshot!(of_words(&["task", "rm", "-h"]), @"
    Remove tasks, and what they have written

    Usage: postroj task rm [OPTIONS] [TASK]...

    Arguments:
      [TASK]...  The tasks: their names, their ids, or the beginnings of those

    Options:
      -a, --all    Remove every task
      -f, --force  End what runs first, as its image wants it to be ended, and by force after
                   --stop-timeout
      -h, --help   Print help (see more with '--help')
    ");
    assert_snapshot!(of_words(&["task", "attach", "--help"]), @"
    Read what the command of a task writes from now on, and let it read what is typed

    It reads from standard input if the task was created with --interactive; the end of standard input
    is the end of what it reads. On a terminal of its own, Ctrl-P Ctrl-Q leaves it alone, elsewhere
    signals are passed on to it, and the third leaves it alone. The exit code is the command's.

    Usage: postroj task attach [OPTIONS] <TASK>

    Arguments:
      <TASK>
              The task: its name, its id, or the beginning of that

    Options:
          --no-stdin
              Let it read nothing

      -h, --help
              Print help (see a summary with '-h')
    ");
}
