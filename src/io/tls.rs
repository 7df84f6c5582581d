//! TLS for outgoing connections: the authorities that are trusted, and the parts of rustls that the library contains.
//! Runs on the thread of its caller and owns nothing. It trusts the built-in public authorities and those in the file
//! that an option names. Certificate checks cannot be switched off.
//!
//! | part | in the library | reason |
//! |---|---|---|
//! | TLS 1.3 and 1.2 | yes | some hosts of Redis and older web servers have no other than 1.2 (58 KB) |
//! | AES-GCM | yes | every server knows it: RFC 8446, section 9.1 requires it |
//! | ChaCha20 | no | so no server needs it (56 KB) |
//! | public authorities | yes | nothing has to be installed on the server (67 KB) |
//! | private keys | no | only a client with a certificate of its own loads one (55 KB) |
//! | QUIC | no | all connections are TCP |
//! | ring's large tables | no | they save half a millisecond of each handshake (155 KB); see `build.rs` |
//!
//! Without the feature `tls` all of it is left out; `tls/absent.rs` then stands in for this file.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::{self, cipher_suite};
use rustls::crypto::{CryptoProvider, KeyProvider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::SigningKey;
use rustls::{
    CertificateError, CipherSuiteCommon, ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    SupportedCipherSuite, Tls13CipherSuite,
};

use crate::config;
use crate::io::plain_file::read_at_most;

/// Largest file of certificate authorities, in bytes: all public ones of a system together take some 220 KB.
const CA_FILE_BYTES_MAX: usize = 1024 * 1024;

/// A connection that is encrypted. The handshake happens at the first write.
pub(crate) type Encrypted<S> = StreamOwned<ClientConnection, S>;

/// The settings for TLS sessions. All sessions share them: they also keep the tickets of the sessions, which shorten the
/// next handshake with the same host.
#[derive(Clone)]
pub(crate) struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Trusts the built-in authorities and those in `ca_file`, which is the value of the option named `option`: a path, or
    /// empty. The option's name stands in the errors.
    pub(crate) fn read(option: &str, ca_file: &str) -> Result<Trust, String> {
        let config = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()
            .map_err(|err| err.to_string())?
            .with_root_certificates(authorities(option, ca_file)?)
            .with_no_client_auth();
        Ok(Trust(Arc::new(config)))
    }

    /// A session with a host whose certificate must carry this name. `None`: no certificate can carry it.
    pub(crate) fn session(self, name: &str) -> Option<Result<ClientConnection, String>> {
        let name = ServerName::try_from(name.to_owned()).ok()?;
        Some(ClientConnection::new(self.0, name).map_err(|err| err.to_string()))
    }

    /// Encrypts what goes through `stream`, for a host with this name.
    pub(crate) fn encrypt<S: Read + Write>(self, stream: S, name: &str) -> Result<Encrypted<S>, String> {
        let session = self.session(name).ok_or("its name can be no certificate's")??;
        Ok(StreamOwned::new(session, stream))
    }
}

/// A suite of TLS 1.3 without its part for QUIC, whose code the library then does not contain.
const fn without_quic(suite: &'static SupportedCipherSuite) -> Tls13CipherSuite {
    let SupportedCipherSuite::Tls13(suite) = suite else { panic!("a suite of TLS 1.3") };
    let CipherSuiteCommon { suite: name, hash_provider, confidentiality_limit } = suite.common;
    let common = CipherSuiteCommon { suite: name, hash_provider, confidentiality_limit };
    Tls13CipherSuite { common, hkdf_provider: suite.hkdf_provider, aead_alg: suite.aead_alg, quic: None }
}

static TLS13_AES_256: Tls13CipherSuite = without_quic(&cipher_suite::TLS13_AES_256_GCM_SHA384);
static TLS13_AES_128: Tls13CipherSuite = without_quic(&cipher_suite::TLS13_AES_128_GCM_SHA256);

/// The parts of ring's provider that the table above names.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            SupportedCipherSuite::Tls13(&TLS13_AES_256),
            SupportedCipherSuite::Tls13(&TLS13_AES_128),
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ],
        key_provider: &NoKeys,
        ..ring::default_provider()
    }
}

/// Loads no private key.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("this program has no private keys".to_owned()))
    }
}

/// The first bytes of a certificate in DER form: the tag of a sequence, then the mark of a length in two bytes.
const DER_START: [u8; 2] = [0x30, 0x82];

/// The built-in authorities and those in the file, in PEM form. The file may be in any encoding that [`config::decode`]
/// reads. A file in DER form is recognised, and the error tells how to convert it.
fn authorities(option: &str, ca_file: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    // The file adds authorities. The public ones stay trusted: webhooks reach Discord and a private server alike.
    if !ca_file.is_empty() {
        let unusable = |found: String| format!("cannot use {option} `{ca_file}`: {found}");
        let before = roots.len();
        let bytes = read_at_most(Path::new(ca_file), CA_FILE_BYTES_MAX).map_err(|err| unusable(err.to_string()))?;
        if bytes.starts_with(&DER_START) {
            return Err(unusable("it is in DER form: convert it with openssl x509 -inform der".to_owned()));
        }
        for certificate in CertificateDer::pem_slice_iter(config::decode(&bytes).as_bytes()) {
            let certificate = certificate.map_err(|err| unusable(err.to_string()))?;
            roots.add(certificate).map_err(|err| unusable(err.to_string()))?;
        }
        if roots.len() == before {
            return Err(unusable("it holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)".to_owned()));
        }
    }
    Ok(roots)
}

/// The reason of an error that TLS has found, in words that help an operator; `None` for an error of the socket.
/// `option` names the option for further authorities; `name_advice` follows the text for a certificate of another name,
/// `plain_advice` the text for a server that does not speak TLS.
pub(crate) fn trouble(err: &io::Error, option: &str, name_advice: &str, plain_advice: &str) -> Option<String> {
    let found = err.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match found {
        rustls::Error::InvalidCertificate(certificate) => certificate_trouble(certificate, option, name_advice),
        rustls::Error::InvalidMessage(_) | rustls::Error::InappropriateMessage { .. } => {
            format!("it does not speak TLS{plain_advice}")
        }
        other => other.to_string(),
    })
}

/// The error text for a refused certificate.
fn certificate_trouble(certificate: &CertificateError, option: &str, name_advice: &str) -> String {
    match certificate {
        CertificateError::UnknownIssuer => {
            format!("no known authority signed its certificate: name the authority's file in {option}")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("its certificate has expired ({certificate})")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("its certificate is not valid yet, or the clock here is wrong ({certificate})")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is for another name{name_advice} ({certificate})")
        }
        other => format!("its certificate cannot be trusted: {other}"),
    }
}
