# Makes a SUSE root bootable. POSTROJ_PACKAGES holds what the catalogue adds.
zypper --non-interactive --gpg-auto-import-keys refresh
zypper --non-interactive install --no-recommends systemd systemd-sysvinit dbus-1 $POSTROJ_PACKAGES
zypper --non-interactive clean --all
rm -rf /var/cache/zypp/* /var/log/zypp* /var/log/zypper.log
