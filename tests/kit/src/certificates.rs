//! A certificate authority for one test, and the certificates that it signs, good and bad ones.
//! They are PEM files in a temporary folder, which is removed with the value.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use time::{Duration, OffsetDateTime};

/// The period in which a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    Now,
    Expired,
    NotYet,
}

/// The kind of all keys of an authority: its own and those of its certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    Rsa2048,
    P256,
    P384,
    Ed25519,
}

impl Keys {
    fn make(self) -> KeyPair {
        let made = match self {
            Keys::Rsa2048 => KeyPair::from_pem(include_str!("../../../testdata/tls/rsa-2048.key")),
            Keys::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            Keys::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            Keys::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
        };
        made.expect("a key")
    }
}

pub struct Authority {
    keys: Keys,
    folder: PathBuf,
    file: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// The files of a server's certificate and its key.
pub struct Certificates {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::of(Keys::P256)
    }
}

impl Authority {
    pub fn of(keys: Keys) -> Authority {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("realtime-certificates-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("cannot make the certificates' folder");
        let key = keys.make();
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, format!("test authority {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key).expect("a certificate");
        let file = folder.join("authority.pem");
        std::fs::write(&file, certificate.pem()).expect("cannot write a certificate");
        Authority { keys, folder, file, issuer: Issuer::new(params, key) }
    }

    /// The file of the authority's own certificate: a client that gets it trusts the authority.
    pub fn file(&self) -> &Path {
        &self.file
    }

    pub fn server(&self, name: &str, validity: Validity) -> Certificates {
        let key = self.keys.make();
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let (now, year) = (OffsetDateTime::now_utc(), Duration::days(365));
        (params.not_before, params.not_after) = match validity {
            Validity::Now => (now - year, now + year),
            Validity::Expired => (now - year, now - Duration::days(1)),
            Validity::NotYet => (now + Duration::days(1), now + year),
        };
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let files = Certificates {
            cert: self.folder.join(format!("{name}-{validity:?}.pem")),
            key: self.folder.join(format!("{name}-{validity:?}.key")),
        };
        std::fs::write(&files.cert, certificate.pem()).expect("cannot write a certificate");
        std::fs::write(&files.key, key.serialize_pem()).expect("cannot write a key");
        files
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder); // A folder that stays behind does no harm.
    }
}
