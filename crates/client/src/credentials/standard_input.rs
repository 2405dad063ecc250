//! A secret from standard input, which holds it once.

use super::content;
use super::look::{Look, Looked};
use super::place::SecretPlace;
use super::source::{SecretFuture, SecretReading, SecretSource};
use std::sync::{Arc, OnceLock};

/// Standard input, read to its end by the first read, and kept for those that follow. There should be one of these in a
/// process: a second one finds nothing left.
#[derive(Debug, Default)]
pub struct StandardInputSource {
    kept: Arc<OnceLock<SecretReading>>,
    look: Look,
}

impl StandardInputSource {
    /// Standard input; it is not read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl SecretSource for StandardInputSource {
    fn read(&self) -> SecretFuture<'_> {
        Box::pin(async {
            if let Some(kept) = self.kept.get() {
                return Ok(kept.clone());
            }
            let kept = Arc::clone(&self.kept);
            self.look.at(move || look(&kept)).await
        })
    }
}

fn look(kept: &OnceLock<SecretReading>) -> Looked {
    let place = SecretPlace::StandardInput;
    let bytes = content::read_to_end(&place, input(&place)?)?;
    let secret = content::secret(&place, &bytes)?;
    Ok(kept.get_or_init(|| SecretReading::new(secret)).clone())
}

/// A handle of its own: the buffer behind that of the standard library is never wiped.
#[cfg(unix)]
fn input(place: &SecretPlace) -> Result<impl std::io::Read + use<>, super::source::SourceFault> {
    use std::os::fd::AsFd as _;
    let handle = std::io::stdin().as_fd().try_clone_to_owned();
    handle.map(std::fs::File::from).map_err(|error| content::io_fault(place, &error))
}

#[cfg(not(unix))]
fn input(_place: &SecretPlace) -> Result<impl std::io::Read + use<>, super::source::SourceFault> {
    Ok(std::io::stdin())
}
