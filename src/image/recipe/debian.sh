# Makes a Debian or Ubuntu root bootable. POSTROJ_PACKAGES holds what the catalogue adds.
export DEBIAN_FRONTEND=noninteractive
# What container images put there keeps packages from starting services and drops their files.
rm -f /usr/sbin/policy-rc.d
rm -f /etc/apt/apt.conf.d/docker-* /etc/dpkg/dpkg.cfg.d/docker* /etc/dpkg/dpkg.cfg.d/excludes
# Snapshots and archived releases keep an expired Release file for ever.
printf 'Acquire::Check-Valid-Until "false";\n' >/etc/apt/apt.conf.d/99postroj
# Services are for the boot to start.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
apt-get -q -y -o Acquire::Languages=none update
apt-get -q -y -o DPkg::Options::=--force-unsafe-io --no-install-recommends \
    install systemd systemd-sysv dbus ca-certificates $POSTROJ_PACKAGES
# The web document root of Debian Policy 11.5, which some web servers serve and none of them makes.
mkdir -p /var/www/html
rm -f /usr/sbin/policy-rc.d
