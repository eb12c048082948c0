# Run in the tree of package managers: makes an rpm-md and a pacman repository, and tells dnf, zypper and
# pacman of them. In each are two packages, one of which depends on the other, and one of two versions.
set -eu
work=$(mktemp -d)
cd "$work"

# Debian's rpm has a database for each user; elsewhere there is one.
mkdir -p /etc/rpm
echo '%_dbpath /var/lib/rpm' >>/etc/rpm/macros

unit='[Service]
ExecStart=/bin/sleep infinity

[Install]
WantedBy=multi-user.target
'
mkdir -p greeter/usr/lib/systemd/system greeter-data/usr/share/greeter
printf %s "$unit" >greeter/usr/lib/systemd/system/greeter.service
echo hello >greeter-data/usr/share/greeter/hello

cat >greeter.spec <<'SPEC'
Name: greeter
Version: 1.0
Release: 1
Summary: A test
License: MIT
BuildArch: noarch
Requires: greeter-data
AutoReqProv: no
%description
A test.
%package -n greeter-data
Summary: A test
AutoReqProv: no
%description -n greeter-data
A test.
%install
cp -a %{trees}/greeter/. %{trees}/greeter-data/. %{buildroot}
%files
/usr/lib/systemd/system/greeter.service
%files -n greeter-data
/usr/share/greeter/hello
SPEC

mkdir -p waker/usr/lib/systemd/system waker/etc
printf %s "$unit" >waker/usr/lib/systemd/system/waker.service
echo hour=6 >waker/etc/waker.conf
cat >waker.spec <<'SPEC'
Name: waker
Version: %{version}
Release: 1
Summary: A test
License: MIT
BuildArch: noarch
AutoReqProv: no
%description
A test.
%install
cp -a %{trees}/waker/. %{buildroot}
%files
/usr/lib/systemd/system/waker.service
%config(noreplace) /etc/waker.conf
SPEC
build() {
	rpmbuild --quiet -bb --define "trees $work" --define "_topdir $work/top" --define '_rpmdir /srv/rpm' "$@"
}
build greeter.spec
build --define 'version 1.0' waker.spec
echo minute=30 >>waker/etc/waker.conf
build --define 'version 2.0' waker.spec
# No system's database is empty, and zypper takes one that is for broken.
cat >ground.spec <<'SPEC'
Name: ground
Version: 1.0
Release: 1
Summary: A test
License: MIT
BuildArch: noarch
%description
A test.
%files
SPEC
build ground.spec
rpm --install --force-debian --nodeps /srv/rpm/noarch/ground-1.0-1.noarch.rpm
createrepo_c --quiet /srv/rpm
mkdir -p /etc/yum.repos.d /etc/zypp/repos.d
cat >/etc/yum.repos.d/local.repo <<'REPO'
[local]
name=local
baseurl=file:///srv/rpm
enabled=1
gpgcheck=0
REPO
cp /etc/yum.repos.d/local.repo /etc/zypp/repos.d/

mkdir -p /srv/pacman
pacman_package() {
	{
		echo "pkgname = $1"
		echo "pkgver = $2-1"
		echo 'pkgdesc = A test'
		echo 'arch = any'
		echo 'size = 1'
		echo 'builddate = 1'
		[ -z "${3-}" ] || echo "$3"
	} >"$1/.PKGINFO"
	(cd "$1" && bsdtar -caf "/srv/pacman/$1-$2-1-any.pkg.tar.gz" .PKGINFO *)
}
pacman_package greeter 1.0 'depend = greeter-data'
pacman_package greeter-data 1.0
pacman_package waker 2.0 'backup = etc/waker.conf'
# A repository has one version of a package.
repo-add --quiet /srv/pacman/greetings.db.tar.gz /srv/pacman/*.pkg.tar.gz
echo hour=6 >waker/etc/waker.conf
pacman_package waker 1.0 'backup = etc/waker.conf'
cat >/etc/pacman.conf <<'CONF'
[options]
Architecture = auto
SigLevel = Never
LocalFileSigLevel = Never

[greetings]
Server = file:///srv/pacman
CONF
cd /
rm -rf "$work"
