//! A key that verifies signatures, and the algorithms that it is for.

use jsonwebtoken::{AlgorithmFamily, DecodingKey, crypto::aws_lc::DEFAULT_PROVIDER};

use super::{Algorithm, Check, error::Refusal, token::Token};

/// The RSA keys that are accepted, in bits of the modulus: shorter ones can be factored, longer ones only cost.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A verification key. The algorithms belong to the key, so that a token cannot choose how it is verified: a public
/// key is never taken for an HMAC secret.
#[derive(Clone, Debug)]
pub(super) struct VerificationKey {
    /// Its id in a key set.
    pub(super) id: Option<String>,
    algorithms: Vec<jsonwebtoken::Algorithm>,
    key: DecodingKey,
}

impl VerificationKey {
    /// A shared secret; `Err` says what is wrong with it.
    pub(super) fn secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, String> {
        if !algorithm.is_symmetric() {
            return Err(format!("{algorithm} needs a public key in PEM form, not a shared secret"));
        }
        if secret.starts_with(b"-----BEGIN") {
            return Err(format!(
                "this is a PEM key, and {algorithm} would use its public text as the secret"
            ));
        }
        let needed = algorithm.secret_len_min();
        if secret.len() < needed {
            return Err(format!(
                "a secret for {algorithm} needs at least {needed} bytes (RFC 7518, section 3.2), this one has {}",
                secret.len()
            ));
        }
        Ok(Self::shared(None, vec![algorithm.0], secret))
    }

    /// A public key in PEM form; `Err` says what is wrong with it.
    pub(super) fn pem(algorithm: Algorithm, pem: &str) -> Result<Self, String> {
        if algorithm.is_symmetric() {
            return Err(format!("{algorithm} needs a shared secret, not a PEM key"));
        }
        if pem.contains("PRIVATE KEY-----") {
            return Err("this is a private key: a hub only verifies, give it the public key".to_owned());
        }
        if !pem.contains("PUBLIC KEY-----") {
            return Err("a PEM block \"PUBLIC KEY\" or \"RSA PUBLIC KEY\" is needed".to_owned());
        }
        let read = match algorithm.0.family() {
            AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(pem.as_bytes()),
            AlgorithmFamily::Ec => DecodingKey::from_ec_pem(pem.as_bytes()),
            _ => DecodingKey::from_ed_pem(pem.as_bytes()),
        };
        let key = read.map_err(|_| format!("the PEM block holds no public key for {algorithm}"))?;
        Self::public(None, vec![algorithm.0], key)
    }

    /// A public key for `algorithms`, which are all of its family; `Err` says why it does not fit them.
    pub(super) fn public(
        id: Option<String>,
        algorithms: Vec<jsonwebtoken::Algorithm>,
        key: DecodingKey,
    ) -> Result<Self, String> {
        match key.family() {
            AlgorithmFamily::Rsa => {
                let bits = rsa_bits(&key).ok_or("the RSA key cannot be read")?;
                if !RSA_BITS.contains(&bits) {
                    return Err(format!(
                        "an RSA key needs {} to {} bits, this one has {bits}",
                        RSA_BITS.start(),
                        RSA_BITS.end()
                    ));
                }
            }
            AlgorithmFamily::Ec => {
                // An uncompressed point: a tag and two coordinates. Its length tells the curve.
                let fits = match key.try_get_as_bytes().map(<[u8]>::len) {
                    Ok(65) => algorithms == [jsonwebtoken::Algorithm::ES256],
                    Ok(97) => algorithms == [jsonwebtoken::Algorithm::ES384],
                    _ => false,
                };
                if !fits {
                    return Err("ES256 needs a key on the curve P-256, ES384 one on P-384".to_owned());
                }
            }
            AlgorithmFamily::Ed => {
                if key.try_get_as_bytes().map(<[u8]>::len) != Ok(32) {
                    return Err("EdDSA needs an Ed25519 key of 32 bytes".to_owned());
                }
            }
            AlgorithmFamily::Hmac => return Err("a shared secret is not a public key".to_owned()),
        }
        Ok(Self { id, algorithms, key })
    }

    /// A shared secret of a key set, for algorithms that it was found to be long enough for.
    pub(super) fn shared(
        id: Option<String>,
        algorithms: Vec<jsonwebtoken::Algorithm>,
        secret: &[u8],
    ) -> Self {
        Self { id, algorithms, key: DecodingKey::from_secret(secret) }
    }

    /// Whether it may verify signatures of `algorithm`.
    pub(super) fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm.0)
    }

    /// Verifies the token's algorithm and signature.
    pub(super) fn verify(&self, token: &Token<'_>) -> Result<(), Refusal> {
        let algorithm = token.algorithm()?;
        if !self.is_for(algorithm) {
            let names: Vec<String> = self.algorithms.iter().map(|a| Algorithm(*a).to_string()).collect();
            let detail =
                format!("\"alg\" is {algorithm}, and the key that is configured is for {}", names.join(", "));
            return Err(Refusal::new(Check::Algorithm, detail));
        }
        // The provider is named rather than looked up: whatever else the process links, there is nothing to choose.
        let verified = (DEFAULT_PROVIDER.verifier_factory)(&algorithm.0, &self.key)
            .is_ok_and(|verifier| verifier.verify(token.signed().as_bytes(), token.signature()).is_ok());
        if verified {
            return Ok(());
        }
        Err(Refusal::new(Check::Signature, "the signature does not verify with the key that is configured"))
    }
}

fn rsa_bits(key: &DecodingKey) -> Option<usize> {
    let modulus = match key.kind() {
        jsonwebtoken::DecodingKeyKind::RsaModulusExponent { n, .. } => n.clone(),
        jsonwebtoken::DecodingKeyKind::SecretOrDer(der) => {
            (DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key)(der).ok()?.0
        }
    };
    let first = modulus.iter().position(|byte| *byte != 0)?;
    let leading = usize::try_from(modulus[first].leading_zeros()).ok()?;
    Some((modulus.len() - first) * 8 - leading)
}
