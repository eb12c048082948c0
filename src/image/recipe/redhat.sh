# Makes a root of the Red Hat family bootable. POSTROJ_PACKAGES holds what the catalogue adds.
for tool in dnf microdnf yum; do
    command -v "$tool" >/dev/null 2>&1 && break
done
# Container images mask what a real boot needs.
find /etc/systemd/system /usr/lib/systemd/system -maxdepth 2 -type l -lname /dev/null \
    ! -name 'systemd-firstboot.service' -delete 2>/dev/null || :
# What is downloaded is kept for the next; it does not come to be in the image.
"$tool" -y --setopt=keepcache=1 install systemd dbus $POSTROJ_PACKAGES
