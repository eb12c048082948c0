# Makes an Arch Linux root bootable. POSTROJ_PACKAGES holds what the catalogue adds.
if [ ! -d /etc/pacman.d/gnupg ]; then
    pacman-key --init
    pacman-key --populate
fi
pacman --noconfirm -Sy
pacman --noconfirm --needed -S systemd systemd-sysvcompat dbus $POSTROJ_PACKAGES
rm -rf /var/cache/pacman/pkg/* /var/log/pacman.log
# An agent that is left would keep the root busy.
gpgconf --homedir /etc/pacman.d/gnupg --kill all 2>/dev/null || :
