//! TLS to the database: rustls with ring, as everywhere in Ruche.
//!
//! | `sslmode` | encrypted | whose certificate is believed |
//! | --- | --- | --- |
//! | `disable` | never | – |
//! | `prefer` (default) | if the server offers it | anybody's |
//! | `require` | always | anybody's; with `sslrootcert`, as `verify-ca` |
//! | `verify-ca` | always | one of the roots vouches for it, whatever host it names |
//! | `verify-full` | always | one of the roots vouches for it, and it names the host of the URL |
//!
//! As in libpq, the roots are those of `sslrootcert=FILE` (PEM) and no others. Where it is absent or `system`, they are the
//! platform's; libpq would look into the home folder. Names are looked for in the subject alternative names alone. There
//! is no channel binding: `channel_binding=require` fails with an error that says so.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::error::OpenError;

/// What is asked of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Nothing: the connection is private against those who only listen.
    Anybody,
    /// A root vouches for it.
    Root,
    /// A root vouches for it, and it names the host.
    RootAndName,
}

/// Makes TLS sessions for tokio-postgres. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Reads the roots that are needed.
    ///
    /// # Errors
    /// `Tls` if a root cannot be read or there is none.
    pub(crate) fn new(trust: Trust, roots: Option<&Path>) -> Result<Self, OpenError> {
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match trust {
            Trust::Anybody => Arc::new(Lenient {
                roots: None,
                provider: Arc::clone(&provider),
            }),
            Trust::Root | Trust::RootAndName => {
                let store = Arc::new(read_roots(roots)?);
                let verifier = WebPkiServerVerifier::builder_with_provider(store, Arc::clone(&provider))
                    .build()
                    .map_err(|e| OpenError::Tls(e.to_string()))?;
                if trust == Trust::RootAndName {
                    verifier
                } else {
                    Arc::new(Lenient {
                        roots: Some(verifier),
                        provider: Arc::clone(&provider),
                    })
                }
            }
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| OpenError::Tls(e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        // As libpq: servers that are spoken to with `sslnegotiation=direct` insist on it, older ones pass over it.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

fn read_roots(file: Option<&Path>) -> Result<RootCertStore, OpenError> {
    let mut store = RootCertStore::empty();
    match file.filter(|file| *file != Path::new("system")) {
        Some(file) => {
            let failed = |e: &dyn std::fmt::Display| {
                OpenError::Tls(format!("sslrootcert {} cannot be read: {e}", file.display()))
            };
            for certificate in CertificateDer::pem_file_iter(file).map_err(|e| failed(&e))? {
                store
                    .add(certificate.map_err(|e| failed(&e))?)
                    .map_err(|e| failed(&e))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            for problem in &found.errors {
                tracing::warn!(%problem, "a certificate of the platform cannot be read");
            }
            store.add_parsable_certificates(found.certs);
        }
    }
    if store.is_empty() {
        let place = file.map_or_else(|| PathBuf::from("the platform"), Path::to_owned);
        return Err(OpenError::Tls(format!(
            "{} has no root certificate",
            place.display()
        )));
    }
    Ok(store)
}

/// Asks less than everything. The peer has to prove that it holds the key of its certificate all the same.
#[derive(Debug)]
struct Lenient {
    /// Who has to vouch for the certificate, if anybody.
    roots: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(roots) = &self.roots else {
            return Ok(ServerCertVerified::assertion());
        };
        match roots.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            // The name is looked at last: the chain was found good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = Encrypted;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, io::Error> {
        Ok(Handshake {
            connector: TlsConnector::from(Arc::clone(&self.0)),
            host: host.to_owned(),
        })
    }
}

/// One handshake that may happen. A Unix socket has no host and never gets here.
pub(crate) struct Handshake {
    connector: TlsConnector,
    host: String,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let name = ServerName::try_from(self.host)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
            let stream = self.connector.connect(name, socket).await?;
            Ok(Encrypted(Box::new(stream)))
        })
    }
}

/// An encrypted connection.
pub(crate) struct Encrypted(Box<tokio_rustls::client::TlsStream<Socket>>);

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}
