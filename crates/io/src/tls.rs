//! TLS for `wss`: the listener's certificate, and what a caller asks of one. It must not know sockets.
//!
//! Who the server is, netplay's own handshake proves, inside of this and by its own key. The certificate is for what stands
//! between: proxies and firewalls that let nothing else through. So a caller takes any, unless the URL pins one by `#cert=`.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use netplay_proto::{Identity, Key};
use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring as provider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme};

/// How long a file of certificates or a key may be: more than any is.
const MAX_PEM_LEN: u64 = 1024 * 1024;

/// What is spoken inside.
const ALPN: &[u8] = b"http/1.1";

/// What a secret key of Ed25519 has before its 32 bytes (PKCS #8, RFC 8410 §7).
const ED25519_PREFIX: [u8; 16] = *b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";

/// How a listener answers TLS.
pub(crate) struct ServerTls {
    pub(crate) config: Arc<ServerConfig>,
    /// The SHA-256 of its certificate, as `openssl x509 -fingerprint -sha256` shows it.
    pub(crate) fingerprint: Key,
}

impl ServerTls {
    /// Reads a certificate, with those that vouch for it behind it, and its key, both PEM. Blocks for the disk.
    pub(crate) fn from_files(certificate: &Path, key: &Path) -> Result<Self, String> {
        let cannot = |path: &Path, error: &dyn std::fmt::Display| format!("{path:?} cannot be used: {error}");
        let pem = read(certificate).map_err(|error| cannot(certificate, &error))?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let chain = chain.map_err(|error| cannot(certificate, &error))?;
        if chain.is_empty() {
            return Err(cannot(certificate, &"there is no certificate in it, or it is not PEM"));
        }
        let pem = read(key).map_err(|error| cannot(key, &error))?;
        let secret = match PrivateKeyDer::from_pem_slice(&pem) {
            Ok(secret) => secret,
            Err(PemError::NoItemsFound) => {
                return Err(cannot(key, &"there is no private key in it, or it is not PEM"));
            }
            Err(error) => return Err(cannot(key, &error)),
        };
        Self::new(chain, secret).map_err(|error| match error {
            Error::InconsistentKeys(_) => {
                cannot(key, &format!("it is not the key of the certificate in {certificate:?}"))
            }
            error => cannot(certificate, &error),
        })
    }

    /// Makes a certificate that vouches for itself. From one identity it is always the same, so that a pin stays good.
    pub(crate) fn self_signed(identity: &Identity) -> Result<Self, String> {
        let secret = identity.derive(b"netplay self-signed certificate 1");
        let pkcs8 = PrivatePkcs8KeyDer::from([ED25519_PREFIX.as_slice(), &secret].concat());
        let make = || {
            let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &rcgen::PKCS_ED25519)?;
            let mut params = rcgen::CertificateParams::new(vec!["netplay.invalid".to_owned()])?;
            params.distinguished_name = rcgen::DistinguishedName::new();
            params
                .distinguished_name
                .push(rcgen::DnType::CommonName, "netplay, self-signed");
            params.serial_number = Some(1u64.into());
            params.self_signed(&pair)
        };
        let certificate = make().map_err(|error: rcgen::Error| error.to_string())?;
        Self::new(vec![certificate.der().clone()], pkcs8.clone_key().into()).map_err(|error| error.to_string())
    }

    fn new(chain: Vec<CertificateDer<'static>>, secret: PrivateKeyDer<'static>) -> Result<Self, Error> {
        let fingerprint = fingerprint(&chain[0]);
        let mut config = ServerConfig::builder_with_provider(provider::default_provider().into())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, secret)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self {
            config: Arc::new(config),
            fingerprint,
        })
    }
}

/// Reads a file that should hold a certificate or a key, and no more of one that cannot be either.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_PEM_LEN + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_PEM_LEN {
        return Err(format!("it is longer than {MAX_PEM_LEN} bytes, the most that is read"));
    }
    Ok(bytes)
}

/// Returns what a caller asks of a certificate: this fingerprint, or with None nothing.
pub(crate) fn client_config(pinned: Option<Key>) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(provider::default_provider());
    let verifier = Pinned {
        pinned,
        provider: Arc::clone(&provider),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    // What a server remembers of us between two calls helps nobody here.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// Returns what takes the certificate with this fingerprint, or with None any: for those who prove themselves otherwise.
#[cfg(feature = "p2p")]
pub(crate) fn verifier(pinned: Option<Key>, provider: Arc<CryptoProvider>) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Pinned { pinned, provider })
}

fn fingerprint(certificate: &CertificateDer<'_>) -> Key {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest(&SHA256, certificate).as_ref());
    fingerprint
}

/// Takes the certificate with one fingerprint, or any. That the server has its key is checked either way.
#[derive(Debug)]
struct Pinned {
    pinned: Option<Key>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.pinned {
            Some(pinned) if pinned != fingerprint(end_entity) => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_identity_makes_one_certificate() {
        let made = |secret| {
            ServerTls::self_signed(&Identity::from_secret([secret; 32]))
                .unwrap()
                .fingerprint
        };
        assert_eq!(made(7), made(7));
        assert_ne!(made(7), made(8));
    }

    #[test]
    fn a_certificate_that_cannot_be_used_is_named() {
        let nowhere = Path::new("/nowhere/certificate.pem");
        let error = ServerTls::from_files(nowhere, nowhere).err().unwrap();
        assert!(error.contains("/nowhere/certificate.pem"), "{error}");
    }
}
