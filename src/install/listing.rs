//! What is installed.

use crate::image::Family;
use crate::machine::Command;

/// A command that lists the installed packages with their versions, one a line.
pub fn listing(family: Family) -> Command {
    match family {
        Family::Debian => Command::new(
            "/usr/bin/dpkg-query",
            [
                "--show",
                "--showformat=${db:Status-Abbrev} ${binary:Package} ${Version}\\n",
            ],
        ),
        Family::Redhat | Family::Suse => Command::new("/usr/bin/rpm", ["--query", "--all"]),
        Family::Arch => Command::new("/usr/bin/pacman", ["--query"]),
    }
}
