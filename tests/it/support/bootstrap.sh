# Makes an rpm-md and a pacman repository of one system each, in the directory $2, from the tree $1.
# The packages are real ones, by rpmbuild and bsdtar; the system in them is Debian's, with another
# os-release, in a package of its own that the other one needs. The rpms are signed.
set -eu
tree=$1
cd "$2"
work=$PWD/work
mkdir -p "$work" rpm pacman

cp -al "$tree/." "$work/system"
rm -rf "$work/system/usr/lib/os-release" "$work/system/etc/os-release" "$work/system/etc/machine-id" \
	"$work/system/proc" "$work/system/sys" "$work/system/dev" "$work/system/run" "$work/system/tmp" \
	"$work/system"/var/cache/* "$work/system"/var/log/*
mkdir -p "$work/release/usr/lib" "$work/release/etc"
ln -s ../usr/lib/os-release "$work/release/etc/os-release"
printf 'ID=made\nVERSION_ID=1\nPRETTY_NAME="Made for a test"\n' >"$work/release/usr/lib/os-release"

{
	cat <<'SPEC'
%global __os_install_post %{nil}
%global debug_package %{nil}
%global _build_id_links none
%global _binary_payload w1.gzdio
Name: system
Version: 1
Release: 1
Summary: A test
License: MIT
Requires: system-release
Provides: /bin/sh
AutoReqProv: no
%description
A test.
%package release
Summary: A test
AutoReqProv: no
%description release
A test.
%package later
Summary: A test
AutoReqProv: no
%description later
A test.
%package slow
Summary: A test
AutoReqProv: no
Requires: system
%description slow
A test.
%post slow -p /bin/sh
exec sleep 4711
%install
cp -al %{trees}/system/. %{trees}/release/. %{buildroot}
mkdir -p %{buildroot}/srv/later
%files release
/etc/os-release
/usr/lib/os-release
%files later
/srv/later
%files slow
%files
SPEC
	(cd "$work/system" && for name in * ; do
		case $name in
		etc | usr | srv) ;;
		*) echo "/$name" ;;
		esac
	done
	for name in etc/* etc/.[a-z]* usr/* usr/lib/*; do
		[ "$name" = usr/lib ] || printf '"/%s"\n' "$name"
	done)
} >"$work/system.spec"
rpmbuild --quiet -bb --define "trees $work" --define "_topdir $work/top" --define "_rpmdir $PWD/rpm" \
	--define "_dbpath $work/db" "$work/system.spec"
export GNUPGHOME="$work/gnupg"
mkdir -m 0700 "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-generate-key 'A Test <test@example.org>' rsa2048 sign never
gpg --armor --export >rpm/key.asc
rpmsign --define '_gpg_name A Test' --define "__gpg $(command -v gpg)" --addsign rpm/*/*.rpm >/dev/null
gpgconf --kill all
createrepo_c --quiet rpm

for package in system system-release; do
	directory=$work/${package#system-}
	{
		echo "pkgname = $package"
		echo 'pkgver = 1-1'
		echo 'pkgdesc = A test'
		echo 'arch = any'
		echo 'size = 1'
		echo 'builddate = 1'
		[ "$package" != system ] || echo 'depend = system-release'
	} >"$directory/.PKGINFO"
	(cd "$directory" && bsdtar -cf - .PKGINFO * | gzip -1 >"../../pacman/$package-1-1-any.pkg.tar.gz")
done
repo-add --quiet pacman/made.db.tar.gz pacman/*.pkg.tar.gz
rm -rf "$work"
