//! The change from one server key to the next: what is sealed is sealed anew.

use super::KeyringError;
use super::administration::{SigningKeys, TRIES};
use crate::registry::reseal_secrets;
use crate::store::{ChangeNumber, CommitError, Expect, Kind, Write};

/// So many records of clients are written in one commit, so that nobody waits long for the store.
const BATCH: usize = 500;

/// What was sealed anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// The key ids of the signing keys.
    pub signing_keys: Vec<String>,
    /// How many clients with secrets that are kept for `client_secret_jwt`.
    pub clients: usize,
    /// The clients with a secret that none of the keys opens, cut and cleaned. They are left as they are.
    pub unopened: Vec<String>,
}

impl SigningKeys {
    /// Seals everything with the server key that was given, and lets that key seal from now on at every instance.
    ///
    /// Every instance must have both keys before ([`ServerKey::with_previous`](crate::ServerKey::with_previous)); afterwards none needs the
    /// previous one, nor can use it. Done again it does what was left, which is nothing as a rule.
    ///
    /// # Errors
    /// [`KeyringError::Unreadable`] when a signing key cannot be opened with either key: then nothing was changed.
    pub fn reseal(&mut self) -> Result<Resealed, KeyringError> {
        let mut resealed = Resealed { signing_keys: self.reseal_keys()?, ..Resealed::default() };
        // Whoever was about to write a secret under the key before has done so by the second time.
        for _ in 0..TRIES {
            let (written, unopened, whole) = self.reseal_clients()?;
            resealed.clients += written;
            resealed.unopened = unopened;
            if written == 0 && whole {
                return Ok(resealed);
            }
        }
        Err(KeyringError::Contended)
    }

    fn reseal_keys(&mut self) -> Result<Vec<String>, KeyringError> {
        for _ in 0..TRIES {
            let book = self.read()?;
            let writes = book.resealing(&self.keys)?;
            if writes.is_empty() || self.commit(&writes)?.is_some() {
                let keys = writes.iter().filter(|write| book.key(&write.id).is_some());
                return Ok(keys.map(|write| write.id.clone()).collect());
            }
        }
        Err(KeyringError::Contended)
    }

    /// How many clients were written, those with secrets that cannot be opened, and whether nobody else changed one meanwhile.
    fn reseal_clients(&mut self) -> Result<(usize, Vec<String>, bool), KeyringError> {
        let (mut writes, mut unopened) = (Vec::new(), Vec::new());
        for record in self.store.changes(ChangeNumber(0))?.records {
            let Some(body) = record.body.filter(|_| record.kind == Kind::Client) else { continue };
            let resealed = reseal_secrets(&record.id, &body, self.keys.sealer())?;
            if !resealed.opened_all {
                unopened.push(jeton_proto::wire::error_response::printable(&record.id));
            }
            writes.extend(resealed.body.map(|body| Write {
                kind: Kind::Client,
                id: record.id,
                body: Some(body),
                expires_at: record.expires_at,
                expect: Expect::Change(record.change),
            }));
        }
        let (mut written, mut whole) = (0, true);
        for batch in writes.chunks(BATCH) {
            match self.store.commit(batch, self.clock.now()) {
                Ok(_) => written += batch.len(),
                Err(CommitError::Conflict { .. }) => whole = false,
                Err(CommitError::Full(_)) => return Err(KeyringError::Full),
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        Ok((written, unopened, whole))
    }
}
