//! What the tests stand on: a cache of what is dear to make, places to run postroj in, and servers,
//! packages and trees to feed it.
//!
//! | module | holds |
//! |---|---|
//! | [`cache`] | what is made once and used by later runs; locks between tests |
//! | [`process`] | child processes with a deadline and all of their output |
//! | [`place`] | the two kinds of host, and postroj's command line on them |
//! | [`nested`] | the host with systemd as PID 1 that the tests boot |
//! | [`tree`] | Debian root trees |
//! | [`image`] | postroj's own store, filled once |
//! | [`deb`] | packages built on the spot |
//! | [`disk`] | file systems that fill up and lose their power |
//! | [`http`] | a web server with faults |
//! | [`archive`] | archives written entry by entry, however bad |
//! | [`net`] | network namespaces that are a host's, with servers next door |
//! | [`oci`] | images on that server, and postroj pulling them |
//! | [`registry`] | a container registry on loopback |
//! | [`sweep`] | what a run has left behind |
//! | [`tls`] | certificates |
//! | [`tiny`] | images that are pulled at once |

pub(crate) mod archive;
pub(crate) mod cache;
pub(crate) mod deb;
pub(crate) mod disk;
pub(crate) mod http;
pub(crate) mod image;
pub(crate) mod nested;
pub(crate) mod net;
pub(crate) mod oci;
pub(crate) mod place;
pub(crate) mod process;
pub(crate) mod registry;
pub(crate) mod sweep;
pub(crate) mod terminal;
pub(crate) mod tiny;
pub(crate) mod tls;
pub(crate) mod tree;

pub(crate) use deb::Deb;
pub(crate) use place::Place;
