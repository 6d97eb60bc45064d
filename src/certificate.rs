//! The certificate and the key that a gateway shows its clients, as files that may be replaced while it runs.

#[cfg(feature = "tls")]
pub(crate) use with_tls::Certificate;
#[cfg(not(feature = "tls"))]
pub(crate) use without_tls::Certificate;

#[cfg(feature = "tls")]
mod with_tls {
    use crate::sync::{Mutex, lock};
    use rustls::ServerConfig;
    use rustls::crypto::ring;
    use rustls::pki_types::pem::{self, PemObject};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use std::fmt::Display;
    use std::io;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    /// Where certificate and key are, and what was read there last.
    #[derive(Debug)]
    pub(crate) struct Certificate {
        chain: PathBuf,
        key: PathBuf,
        read: Mutex<Arc<ServerConfig>>,
    }

    impl Certificate {
        /// Reads both files: PEM, the gateway's own certificate first and those that vouch for it behind.
        ///
        /// # Errors
        /// One sentence that names the file.
        pub(crate) fn open(chain: &Path, key: &Path) -> io::Result<Certificate> {
            Ok(Certificate {
                read: Mutex::new(read(chain, key)?),
                chain: chain.to_owned(),
                key: key.to_owned(),
            })
        }

        /// Reads both files again, for handshakes that begin from now on. What was read before stays if they cannot be
        /// used.
        pub(crate) fn reload(&self) -> io::Result<()> {
            let fresh = read(&self.chain, &self.key)?;
            *lock(&self.read) = fresh;
            Ok(())
        }

        /// What a handshake needs.
        pub(crate) fn current(&self) -> Arc<ServerConfig> {
            Arc::clone(&lock(&self.read))
        }
    }

    fn read(chain: &Path, key: &Path) -> io::Result<Arc<ServerConfig>> {
        let certificates = CertificateDer::pem_file_iter(chain)
            .and_then(|found| found.collect::<Result<Vec<_>, _>>())
            .map_err(|why| unusable("certificate", chain, &why))?;
        if certificates.is_empty() {
            return Err(unusable("certificate", chain, &pem::Error::NoItemsFound));
        }
        let private =
            PrivateKeyDer::from_pem_file(key).map_err(|why| unusable("key", key, &why))?;
        // HTTP/2 has no WebSocket here: a client that speaks nothing else is told so in the handshake.
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(invalid)?
            .with_no_client_auth()
            .with_single_cert(certificates, private)
            .map_err(|why| {
                let (chain, key) = (chain.display(), key.display());
                invalid(format!(
                    "the certificate in {chain} and the key in {key}: {why}"
                ))
            })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// What is wrong with a file.
    fn unusable(what: &str, file: &Path, why: &pem::Error) -> io::Error {
        let file = file.display();
        match why {
            pem::Error::Io(error) => {
                io::Error::new(error.kind(), format!("the {what} file {file}: {error}"))
            }
            pem::Error::NoItemsFound => invalid(format!(
                "the {what} file {file} holds no {what} in PEM form (\"-----BEGIN\"), or one with a passphrase"
            )),
            other => invalid(format!("the {what} file {file}: {other}")),
        }
    }

    fn invalid(why: impl Display) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, why.to_string())
    }
}

#[cfg(not(feature = "tls"))]
mod without_tls {
    use std::io;
    use std::path::Path;

    /// None, in a build without the feature `tls`.
    #[derive(Debug)]
    pub(crate) enum Certificate {}

    impl Certificate {
        pub(crate) fn open(_: &Path, _: &Path) -> io::Result<Certificate> {
            let why = "this build of csp-websocket has no TLS: it needs the feature `tls`";
            Err(io::Error::new(io::ErrorKind::Unsupported, why))
        }

        pub(crate) fn reload(&self) -> io::Result<()> {
            match *self {}
        }
    }
}
