//! Randomness from the system.

use std::io;

/// 32 bytes that nobody can guess: a secret, or a seed.
///
/// # Errors
///
/// Where the system has no random source.
pub fn secret() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::from)?;
    Ok(bytes)
}

/// A seed for what need not be secret.
///
/// # Errors
///
/// As for [`secret`].
pub fn seed() -> io::Result<u64> {
    let bytes = secret()?;
    let (head, _) = bytes.as_chunks::<8>();
    Ok(u64::from_le_bytes(head[0]))
}
