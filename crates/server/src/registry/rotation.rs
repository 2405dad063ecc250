//! The secrets of a client: how they come, how one takes the place of another, and how they are looked at.

use super::{Registry, RegistryError, secrets};
use jeton_proto::issuance::{ClientCredentials, ClientSettings, MAX_SECRETS, NamedSecret, SecretTerm};
use jeton_proto::secret::Secret;
use jeton_proto::time::Timestamp;
use jeton_proto::wire::error_response::printable;
use std::time::Duration;

/// The name of the secret that a client is added with, where none is given.
pub(super) const FIRST_SECRET: &str = "1";

/// What the server keeps of a secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecretKeeping {
    /// The keyed digest alone, which is all that `client_secret_basic` and `client_secret_post` need.
    #[default]
    Digest,
    /// The secret itself besides, sealed with a key from the server's: `client_secret_jwt` is a MAC under it.
    Sealed,
}

/// A secret that is to be made for a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewSecret {
    /// What it is called; `None`: the next number.
    pub name: Option<String>,
    /// What is kept of it; `None`: what is kept of those that the client has, and of a first one the digest.
    pub keeping: Option<SecretKeeping>,
}

/// A secret that has taken the place of others, or will when they are over.
#[derive(Debug)]
pub struct Rotated {
    /// The secret: the one time that it can be had.
    pub secret: Secret<String>,
    /// What it is called.
    pub name: String,
    before: Vec<NamedSecret>,
    after: Vec<NamedSecret>,
}

impl Registry {
    /// Adds a client with these credentials and a secret besides, and gives that: the one time that it can be had.
    pub fn add_with_secret(
        &self,
        settings: ClientSettings,
        mut credentials: ClientCredentials,
        new: &NewSecret,
    ) -> Result<Secret<String>, RegistryError> {
        let secret = secrets::generate()?;
        let name = new.name.as_deref().unwrap_or(FIRST_SECRET);
        let keeping = new.keeping.unwrap_or_default();
        credentials.secrets.push(self.named_secret(&settings.client_id, name, &secret, keeping)?);
        self.add_with(settings, credentials)?;
        Ok(secret)
    }

    /// Gives the client a new secret, good at once, and lets those that it has expire after `overlap`. The new one is called `name`,
    /// or by the next number.
    ///
    /// # Errors
    /// [`RegistryError::SecretsInForce`] when two are good already, since a third would leave somebody without: revoke one of them first.
    pub fn rotate(
        &self,
        client_id: &str,
        name: Option<&str>,
        overlap: Duration,
    ) -> Result<Secret<String>, RegistryError> {
        let new = NewSecret { name: name.map(str::to_owned), keeping: None };
        Ok(self.rotate_to(client_id, &new, overlap)?.secret)
    }

    /// As [`rotate`](Self::rotate), and can be undone by [`undo_rotation`](Self::undo_rotation) while nobody has the secret.
    pub fn rotate_to(
        &self,
        client_id: &str,
        new: &NewSecret,
        overlap: Duration,
    ) -> Result<Rotated, RegistryError> {
        let secret = secrets::generate()?;
        let (name, before, after) = self.update(client_id, |record| {
            let now = self.clock.now();
            let held = &mut record.credentials.secrets;
            let before = held.clone();
            let name = new.name.clone().unwrap_or_else(|| next_name(held));
            let sealed = held.iter().any(|secret| secret.sealed.is_some());
            let usual = if sealed { SecretKeeping::Sealed } else { SecretKeeping::Digest };
            held.retain(|secret| secret.term(now) != SecretTerm::Expired);
            if held.len() >= MAX_SECRETS {
                return Err(RegistryError::SecretsInForce {
                    client_id: printable(client_id),
                    names: held.iter().map(|secret| secret.name.clone()).collect(),
                });
            }
            end_by(held, now.saturating_add(overlap));
            held.push(self.named_secret(client_id, &name, &secret, new.keeping.unwrap_or(usual))?);
            Ok((name, before, held.clone()))
        })?;
        Ok(Rotated { secret, name, before, after })
    }

    /// Takes back a rotation whose secret nobody got: the new secret is gone, and the others are good for as long as they were before.
    /// What was changed by others since then stays.
    pub fn undo_rotation(&self, client_id: &str, rotated: &Rotated) -> Result<(), RegistryError> {
        self.update(client_id, |record| {
            let held = &mut record.credentials.secrets;
            held.retain(|secret| secret.name != rotated.name || !rotated.after.contains(secret));
            for secret in held.iter_mut().filter(|secret| rotated.after.contains(secret)) {
                if let Some(before) = rotated.before.iter().find(|before| before.name == secret.name) {
                    secret.clone_from(before);
                }
            }
            Ok(())
        })
    }

    /// Which secret of the client `secret` is, and whether it is good now; `None`: none of them.
    pub fn verify(
        &self,
        client_id: &str,
        secret: &Secret<String>,
    ) -> Result<Option<(NamedSecret, SecretTerm)>, RegistryError> {
        let digest = self.hasher.digest(secret);
        let held = self.client(client_id)?.credentials.secrets;
        let now = self.clock.now();
        Ok(held.into_iter().find(|held| held.digest == digest).map(|held| {
            let term = held.term(now);
            (held, term)
        }))
    }

    /// The digest of a secret under the key of this registry, as a file of clients has it.
    #[must_use]
    pub fn hash(&self, secret: &Secret<String>) -> String {
        self.hasher.digest_text(secret)
    }

    pub(super) fn named_secret(
        &self,
        client_id: &str,
        name: &str,
        secret: &Secret<String>,
        keeping: SecretKeeping,
    ) -> Result<NamedSecret, RegistryError> {
        let sealed = match keeping {
            SecretKeeping::Digest => None,
            SecretKeeping::Sealed => {
                let sealing_name = secrets::sealing_name(client_id, name);
                let sealing = self.sealing()?;
                let secret = secret.expose().as_bytes();
                Some(self.keys.sealer().seal(sealing.as_ref(), &sealing_name, secret)?)
            }
        };
        let digest = self.hasher.digest(secret);
        Ok(NamedSecret { sealed, ..NamedSecret::new(name, digest, self.clock.now()) })
    }
}

/// Lets secrets be good until `end` at most.
fn end_by(held: &mut [NamedSecret], end: Timestamp) {
    for old in held {
        old.expires_at = Some(old.expires_at.map_or(end, |set| set.min(end)));
        // One that would never have been good has no place beside its successor.
        old.not_before = old.not_before.filter(|begin| *begin < end);
    }
}

/// The number after the highest that was used as a name.
fn next_name(held: &[NamedSecret]) -> String {
    let highest = held.iter().filter_map(|secret| secret.name.parse::<u64>().ok()).max();
    highest.unwrap_or_default().saturating_add(1).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn registry(dir: &std::path::Path) -> Registry {
        let registry = Registry::open(dir).unwrap();
        registry.add(ClientSettings::new("a")).unwrap();
        registry
    }

    #[test]
    fn a_rotation_that_was_undone_has_not_been() {
        let dir = tempfile::tempdir().unwrap();
        let registry = registry(dir.path());
        let before = registry.client("a").unwrap();
        let rotated = registry.rotate_to("a", &NewSecret::default(), DAY).unwrap();
        registry.undo_rotation("a", &rotated).unwrap();
        assert_eq!(registry.client("a").unwrap(), before);
        assert_eq!(registry.verify("a", &rotated.secret).unwrap(), None);
    }

    #[test]
    fn an_undoing_leaves_what_others_have_changed() {
        let dir = tempfile::tempdir().unwrap();
        let registry = registry(dir.path());
        let rotated = registry.rotate_to("a", &NewSecret::default(), DAY).unwrap();
        registry.revoke_secret("a", "1").unwrap();
        let kept = registry.rotate("a", None, DAY).unwrap();
        registry.undo_rotation("a", &rotated).unwrap();
        let names = |registry: &Registry| -> Vec<_> {
            let held = registry.client("a").unwrap().credentials.secrets;
            held.into_iter().map(|secret| secret.name).collect()
        };
        // Number 2 was given an end by the rotation to 3, so it is not as this rotation left it.
        assert_eq!(names(&registry), ["2", "3"]);
        assert!(registry.verify("a", &kept).unwrap().is_some());
    }

    #[test]
    fn a_sealed_secret_opens_under_its_name_and_its_successor_is_sealed_too() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::open(dir.path()).unwrap();
        let new = NewSecret { name: Some("first".to_owned()), keeping: Some(SecretKeeping::Sealed) };
        let first =
            registry.add_with_secret(ClientSettings::new("a"), ClientCredentials::default(), &new).unwrap();
        let second = registry.rotate("a", Some("second"), DAY).unwrap();
        let held = registry.client("a").unwrap().credentials.secrets;
        for (named, secret) in held.iter().zip([first, second]) {
            let sealing_name = secrets::sealing_name("a", &named.name);
            let opened = registry.keys.sealer().open(&sealing_name, named.sealed.as_ref().unwrap()).unwrap();
            assert_eq!(opened.expose(), secret.expose().as_bytes());
        }
    }
}
