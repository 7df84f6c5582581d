//! Parts of every outgoing connection: a deadline for each read and write, and the certificate authorities of TLS.
//! Runs on the thread of its caller and owns nothing. TLS trusts the built-in public authorities and those in the file
//! that an option names. Certificate checks cannot be switched off.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::ring::{self, cipher_suite};
use rustls::crypto::{CryptoProvider, KeyProvider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;
use rustls::{
    CertificateError, CipherSuiteCommon, ClientConfig, RootCertStore, SupportedCipherSuite, Tls13CipherSuite,
};

use crate::config;
use crate::io::plain_file::read_at_most;

/// Largest file of certificate authorities, in bytes: all public ones of a system together take some 220 KB.
const CA_FILE_BYTES_MAX: usize = 1024 * 1024;

/// Most addresses of one host that are tried. Each gets a timeout of its own, so their number bounds the whole attempt.
pub(crate) const ADDRESSES_TRIED_MAX: usize = 4;

/// A socket whose reads and writes all end at one deadline. A timeout of the socket alone would not do: it starts again
/// with each read, so a server that sends one byte a second could hold the thread for ever.
pub(crate) struct Timed<'a> {
    pub(crate) stream: &'a TcpStream,
    /// The caller may move it between two reads.
    pub(crate) deadline: Instant,
}

impl Timed<'_> {
    /// The time left, never zero: a zero timeout would mean to wait for ever. An error of kind `TimedOut` if none is left.
    pub(crate) fn left(&self) -> io::Result<Option<Duration>> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    /// Nothing to do: a socket has no buffer in this process.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The settings for TLS sessions. `ca_file` is the value of the option named `option`, a path or empty; the option's name
/// stands in the errors. The result is shared by all sessions: it also keeps their tickets, which shorten the next
/// handshake with the same host.
pub(crate) fn tls_config(option: &str, ca_file: &str) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|err| err.to_string())?
        .with_root_certificates(authorities(option, ca_file)?)
        .with_no_client_auth();
    Ok(Arc::new(config))
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

/// The parts of ring's provider that a client needs. ChaCha20 is left out: every server knows AES-GCM, which RFC 8446
/// section 9.1 requires. So are private keys, which only a client with a certificate of its own would load. TLS 1.2
/// stays: some hosts of Redis and older web servers have no other.
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

/// The error text for a refused certificate, in words that help an operator. `option` names the option for further
/// authorities; `name_advice` follows the text for a certificate of another name.
pub(crate) fn certificate_trouble(certificate: &CertificateError, option: &str, name_advice: &str) -> String {
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
