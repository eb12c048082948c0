# Run in the tree of package managers: makes an rpm-md and a pacman repository of two packages, one
# of which depends on the other, and tells dnf, zypper and pacman of them.
set -eu
work=$(mktemp -d)
cd "$work"

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
rpmbuild --quiet -bb --define "trees $work" --define "_topdir $work/top" --define '_rpmdir /srv/rpm' greeter.spec
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
for package in greeter greeter-data; do
	{
		echo "pkgname = $package"
		echo 'pkgver = 1.0-1'
		echo 'pkgdesc = A test'
		echo 'arch = any'
		echo 'size = 1'
		echo 'builddate = 1'
		[ "$package" != greeter ] || echo 'depend = greeter-data'
	} >"$package/.PKGINFO"
	(cd "$package" && bsdtar -caf "/srv/pacman/$package-1.0-1-any.pkg.tar.gz" .PKGINFO usr)
done
repo-add --quiet /srv/pacman/greetings.db.tar.gz /srv/pacman/*.pkg.tar.gz
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
