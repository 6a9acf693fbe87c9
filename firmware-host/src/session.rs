//! What tells one session from every other: a number that both ends take part in.
//!
//! Not a secret and no authentication: it keeps frames of an earlier session, left over in some buffer, from being
//! taken for the present one. Invariant: an end that gave up a session goes on with another nonce.

use serde::{Deserialize, Serialize};

/// One end's part of a session. The first one is the caller's: random, or a counter that survives restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(pub u32);

impl Nonce {
    /// The next part; all 2^32 come before one comes again.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(0x9E37_79B9))
    }
}

/// A session: CRC-32C of the host's and the panel's nonce, both little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Session(pub u32);

impl Session {
    /// The session of two nonces.
    #[must_use]
    pub fn of(host: Nonce, panel: Nonce) -> Self {
        let mut digest = crate::codec::CRC.digest();
        digest.update(&host.0.to_le_bytes());
        digest.update(&panel.0.to_le_bytes());
        Self(digest.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_nonce_changes_the_session() {
        let s = Session::of(Nonce(1), Nonce(2));
        assert_eq!(s, Session::of(Nonce(1), Nonce(2)));
        assert_ne!(s, Session::of(Nonce(1).next(), Nonce(2)));
        assert_ne!(s, Session::of(Nonce(1), Nonce(2).next()));
        assert_ne!(s, Session::of(Nonce(2), Nonce(1)));
    }
}
