# Makes a SUSE root bootable. POSTROJ_PACKAGES holds what the catalogue adds.
# Exit codes from 100 on are news, and no failures: that there are updates (100, 101), that a reboot
# or a restart is wanted (102, 103), that a repository was left out (106). An unknown package (104),
# an interruption (105) and a script that failed (107) are failures all the same; zypper(8).
zypper() {
    command zypper --non-interactive --gpg-auto-import-keys "$@" || case $? in
    100 | 101 | 102 | 103 | 106) ;;
    *) return 1 ;;
    esac
}
zypper refresh
zypper install --no-recommends systemd systemd-sysvinit dbus-1 $POSTROJ_PACKAGES
