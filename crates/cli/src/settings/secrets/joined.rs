//! A certificate and its private key, from two places.

use jeton::Secret;
use jeton::credentials::{Reread, SecretFuture, SecretReading, SecretSource};
use std::sync::Arc;

/// One text of two: what the one source gives, a line break, and what the other gives. While both are being replaced they may not
/// fit together; that is found where the text is used, and what is in hand then stays.
pub(super) struct Joined {
    certificate: Arc<dyn SecretSource>,
    key: Arc<dyn SecretSource>,
}

impl Joined {
    pub(super) fn new(certificate: Arc<dyn SecretSource>, key: Arc<dyn SecretSource>) -> Self {
        Self { certificate, key }
    }
}

impl SecretSource for Joined {
    fn read(&self) -> SecretFuture<'_> {
        Box::pin(async {
            let (certificate, key) = tokio::join!(self.certificate.read(), self.key.read());
            let (certificate, key) = (certificate?, key?);
            let (first, second) = (certificate.current.expose(), key.current.expose());
            // Room for all of it, so that no copy stays behind where it grew.
            let mut text = String::with_capacity(first.len() + second.len() + 1);
            text.push_str(first);
            text.push('\n');
            text.push_str(second);
            let mut reading = SecretReading::new(Secret::new(text));
            reading.since = certificate.since.max(key.since);
            Ok(reading)
        })
    }

    /// As often as the one that can be read more often.
    fn reread(&self) -> Reread {
        match (self.certificate.reread(), self.key.reread()) {
            (Reread::BeforeEachRequest, _) | (_, Reread::BeforeEachRequest) => Reread::BeforeEachRequest,
            (Reread::Periodically, _) | (_, Reread::Periodically) => Reread::Periodically,
            (Reread::WhenRefused, Reread::WhenRefused) => Reread::WhenRefused,
        }
    }
}
