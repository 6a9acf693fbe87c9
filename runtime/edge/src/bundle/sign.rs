//! Signatures in the form of minisign, so that its ordinary tool checks and makes them too.
//!
//! Keys and signatures only; what is signed is no matter of this file. Invariants: a secret key is never printed, and
//! its file is readable for its owner alone; a signature has one spelling.

use super::error::BundleError;
use super::manifest::{PAGE, Version};
use minisign::{KeyPair, PublicKeyBox, SecretKeyBox, SignatureBox};
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{Cursor, IsTerminal, Write};
use std::path::Path;

/// Characters of a public key without its comment.
const KEY_LENGTH: usize = 56;
/// Characters of the two signatures; the crate does not look at the second one's length before it takes it apart.
const SIGNATURE_LENGTHS: [(usize, usize); 2] = [(1, 100), (3, 88)];

/// The key that bundles are checked with.
#[derive(Clone, Debug)]
pub(crate) struct PublicKey(minisign::PublicKey);

/// The key that bundles are signed with.
pub(crate) struct SecretKey(minisign::SecretKey);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

impl PublicKey {
    /// The key itself, or the file that holds it.
    pub(crate) fn read(spec: &str) -> Result<Self, BundleError> {
        let bad = |reason: String| BundleError::Key { what: format!("the public key {spec}"), reason };
        let key = if spec.len() == KEY_LENGTH && spec.starts_with("RW") {
            minisign::PublicKey::from_base64(spec)
        } else {
            let text = fs::read_to_string(spec).map_err(|e| bad(e.to_string()))?;
            PublicKeyBox::from_string(&text).and_then(PublicKeyBox::into_public_key)
        };
        key.map(Self).map_err(|e| bad(e.to_string()))
    }

    /// Checks `signature` on `text`; says what is wrong with it.
    pub(super) fn verify(&self, text: &[u8], signature: &[u8]) -> Result<(), String> {
        let signature = std::str::from_utf8(signature).map_err(|_| "it is no text")?;
        let lines: Vec<&str> = signature.lines().collect();
        let whole = lines.len() == 4 && SIGNATURE_LENGTHS.iter().all(|(line, n)| lines[*line].len() == *n);
        let parsed = SignatureBox::from_string(signature).map_err(|e| e.to_string())?;
        if !whole || parsed.to_string() != signature {
            return Err("it is not in the form of minisign".into());
        }
        minisign::verify(&self.0, &parsed, Cursor::new(text), true, false, false).map_err(|e| e.to_string())
    }
}

impl SecretKey {
    /// Reads the key; one under a password takes `password`, or asks for it on a terminal.
    pub(crate) fn read(path: &Path, password: Option<String>) -> Result<Self, BundleError> {
        let what = || format!("the secret key {}", path.display());
        let bad = |reason: String| BundleError::Key { what: what(), reason };
        let text = fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
        let boxed = SecretKeyBox::from(text);
        if let Ok(key) = boxed.clone().into_unencrypted_secret_key() {
            return Ok(Self(key));
        }
        if password.is_none() && !std::io::stdin().is_terminal() {
            return Err(bad("it is damaged, or needs a password (--password-env)".into()));
        }
        boxed.into_secret_key(password).map(Self).map_err(|e| bad(e.to_string()))
    }

    /// Signs `text`.
    pub(super) fn sign(&self, text: &[u8], version: Version) -> Result<String, BundleError> {
        let comment = format!("r2d-edge bundle, version {version}");
        minisign::sign(
            None,
            &self.0,
            Cursor::new(text),
            Some(&comment),
            Some(&format!("signature of {PAGE}")),
        )
        .map(SignatureBox::into_string)
        .map_err(|e| BundleError::Key { what: "cannot sign".into(), reason: e.to_string() })
    }
}

/// Writes a new pair of keys, or none; the secret one under `password`, if there is one. Says the public key.
pub(crate) fn keygen(secret: &Path, public: &Path, password: Option<String>) -> Result<String, BundleError> {
    let bad =
        |e: minisign::PError| BundleError::Key { what: "cannot make keys".into(), reason: e.to_string() };
    let KeyPair { pk, sk } = match password {
        Some(password) => KeyPair::generate_encrypted_keypair(Some(password)),
        None => KeyPair::generate_unencrypted_keypair(),
    }
    .map_err(bad)?;
    if public.exists() {
        return Err(BundleError::Input(format!(
            "{} is there already; hint: choose another name",
            public.display()
        )));
    }
    let secret_text = sk.to_box(Some("r2d-edge bundle secret key")).map_err(bad)?.into_string();
    let public_text = pk.to_box().map_err(bad)?.into_string();
    write_new(secret, &secret_text, 0o600)?;
    write_new(public, &public_text, 0o644).inspect_err(|_| {
        // Of no use by itself, and in the way of the next try.
        let _gone = fs::remove_file(secret);
    })?;
    Ok(pk.to_base64())
}

/// Writes a file that must not be there; one that cannot be written whole goes again.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), BundleError> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(mode).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(BundleError::Input(format!(
                "{} is there already; hint: choose another name",
                path.display()
            )));
        }
        opened => opened.map_err(BundleError::io("create", path))?,
    };
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| {
        let _gone = fs::remove_file(path);
        BundleError::io("write", path)(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    fn keys(folder: &Path, password: Option<&str>) -> (PathBuf, PathBuf, String) {
        let (secret, public) = (folder.join("b.key"), folder.join("b.pub"));
        let key = keygen(&secret, &public, password.map(str::to_owned)).unwrap();
        (secret, public, key)
    }

    #[test]
    fn a_key_is_private_is_never_overwritten_and_is_known_by_file_or_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let (secret, public, key) = keys(folder.path(), None);
        assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(keygen(&secret, &folder.path().join("c.pub"), None), Err(BundleError::Input(_))));
        assert!(matches!(keygen(&folder.path().join("c.key"), &public, None), Err(BundleError::Input(_))));
        let signature = SecretKey::read(&secret, None).unwrap().sign(b"text", "3".parse().unwrap()).unwrap();
        for spec in [public.to_str().unwrap(), &key] {
            let key = PublicKey::read(spec).unwrap();
            key.verify(b"text", signature.as_bytes()).unwrap();
            assert!(key.verify(b"tent", signature.as_bytes()).is_err());
        }
        assert!(signature.contains("version 3"), "{signature}");
    }

    #[test]
    fn a_pair_that_cannot_be_written_whole_leaves_nothing_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("b.key");
        let error = keygen(&secret, &folder.path().join("absent/b.pub"), None).unwrap_err().to_string();
        assert!(error.contains("absent/b.pub") && error.contains("hint: check the path"), "{error}");
        assert!(!error.contains("permissions"), "{error}");
        // One name for both is no pair either.
        assert!(keygen(&secret, &secret, None).is_err());
        assert!(!secret.exists());
        keys(folder.path(), None);
    }

    #[test]
    fn another_key_and_any_altered_or_missing_character_of_a_signature_is_refused() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (secret, _, key) = keys(one.path(), None);
        let (_, _, other) = keys(two.path(), None);
        let signature = SecretKey::read(&secret, None).unwrap().sign(b"text", "3".parse().unwrap()).unwrap();
        let check = |key: &str, signature: &[u8]| PublicKey::read(key).unwrap().verify(b"text", signature);
        let error = check(&other, signature.as_bytes()).unwrap_err();
        assert!(error.contains("different from public key"), "{error}");
        // The first line is a comment that nothing vouches for, beyond how it begins.
        let first = signature.find('\n').unwrap();
        for at in first..signature.len() {
            let mut altered = signature.clone().into_bytes();
            altered[at] ^= 1;
            assert!(check(&key, &altered).is_err(), "character {at} may be altered");
            assert!(check(&key, &signature.as_bytes()[..at]).is_err(), "{at} characters are enough");
        }
    }

    #[test]
    fn a_key_under_a_password_wants_that_password() {
        let folder = tempfile::tempdir().unwrap();
        let (secret, _, _) = keys(folder.path(), Some("open"));
        let read = |password: &str| SecretKey::read(&secret, Some(password.into()));
        assert!(read("open").is_ok());
        assert!(matches!(read("shut"), Err(BundleError::Key { .. })));
    }
}
