# A machine gets its id at its first boot; two machines of one image must not share it.
[ ! -s /etc/machine-id ] || : >/etc/machine-id
[ -L /var/lib/dbus/machine-id ] || rm -f /var/lib/dbus/machine-id
# What differs from one run to the next: seeds, logs, caches that are keyed by inode, backups.
rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret
rm -f /var/cache/ldconfig/aux-cache /var/cache/debconf/*-old /var/lib/dpkg/*-old
find /var/log -type f -size +0 -delete 2>/dev/null || :
