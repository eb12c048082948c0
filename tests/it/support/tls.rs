//! Certificates, made on the spot by `openssl`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

use super::process::tool;

/// An authority that nobody knows, with a certificate for servers on loopback and one for a client.
pub(crate) struct Authority {
    directory: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir_in(super::cache::root()).expect("a temporary directory");
        let authority = Self { directory };
        let path = |name: &str| authority.path(name).display().to_string();
        let new_key = [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ];
        let run = |arguments: &[&str]| {
            let mut all = vec!["req", "-x509"];
            all.extend(new_key);
            all.extend(arguments);
            tool("openssl", &all);
        };
        run(&[
            "-subj",
            "/CN=authority",
            "-keyout",
            &path("ca.key"),
            "-out",
            &path("ca.crt"),
        ]);
        for (name, alternative) in [
            ("server", "subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost"),
            ("client", "extendedKeyUsage=clientAuth"),
        ] {
            run(&[
                "-subj",
                &format!("/CN={name}"),
                "-addext",
                alternative,
                "-addext",
                "basicConstraints=critical,CA:FALSE",
                "-CA",
                &path("ca.crt"),
                "-CAkey",
                &path("ca.key"),
                "-keyout",
                &path(&format!("{name}.key")),
                "-out",
                &path(&format!("{name}.cert")),
            ]);
        }
        authority
    }

    /// `ca.crt`, `server.cert`, `server.key`, `client.cert`, `client.key`.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Puts some of these files into a directory.
    pub(crate) fn copy(&self, names: &[&str], to: &Path) {
        fs::create_dir_all(to).expect("create a directory");
        for name in names {
            fs::copy(self.path(name), to.join(name)).expect("copy a certificate");
        }
    }

    /// For a server of the tests.
    pub(crate) fn server(&self) -> Arc<rustls::ServerConfig> {
        let certificate = CertificateDer::from_pem_file(self.path("server.cert"));
        let key = PrivateKeyDer::from_pem_file(self.path("server.key"));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.expect("a certificate")],
                key.expect("a key"),
            );
        Arc::new(config.expect("a certificate with its key"))
    }
}
