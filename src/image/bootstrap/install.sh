# Has a package manager of the host install to an empty root, and writes that as an archive to
# standard output. In mount and PID namespaces of its own: what is mounted here is nobody else's, and
# what is left running ends with this shell.
#
# $1 is a directory for our own use, in which `root` becomes the root; the rest is the command.
set -eu
exec 3>&1 1>&2
own=$1
shift
root=$own/root
mkdir -m 0755 "$root" "$root/proc" "$root/dev" "$root/sys"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=0755 dev "$root/dev"
for node in null zero full random urandom tty; do
    : >"$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
ln -s /proc/self/fd "$root/dev/fd"

prepare
# zypper's exit codes from 100 on are news, but for an unknown package (104), an interruption (105)
# and a script that failed (107); the others have none of these.
"$@" || case $? in
100 | 101 | 102 | 103 | 106) ;;
*) exit 1 ;;
esac
finish

umount -R "$root/dev" || umount -l "$root/dev"
umount "$root/proc" || umount -l "$root/proc"
# What a machine makes for itself, and what only tells of this run.
[ ! -s "$root/etc/machine-id" ] || : >"$root/etc/machine-id"
rm -f "$root/var/lib/systemd/random-seed" "$root/var/cache/ldconfig/aux-cache"
for cache in dnf libdnf5 yum zypp pacman/pkg; do
    rm -rf "$root/var/cache/$cache"/*
done
rm -rf "$root/tmp"/* "$root/var/tmp"/* "$root/run"/*
if [ -d "$root/var/log" ]; then
    find "$root/var/log" -type f -size +0 -delete
fi
exec tar --create --file=- --directory="$root" --sort=name --numeric-owner --format=pax \
    --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \
    --xattrs --xattrs-include='*' --one-file-system . >&3 3>&-
