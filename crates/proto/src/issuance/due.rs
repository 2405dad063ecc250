//! Which client secrets ask for somebody's attention, and why.

use super::credentials::{NamedSecret, SecretTerm};
use crate::time::Timestamp;
use std::time::Duration;

/// From when on a secret is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueTerms {
    /// A secret without an end is due for a successor at this age. Usual: 90 days.
    pub old_after: Duration,
    /// A secret whose end is nearer than this is told of, while there is time to replace it.
    pub ending_within: Duration,
    /// A secret that nobody has used is told of when it could have been for as long as this. Usual: 7 days, in which a new one is
    /// handed over. A server writes a use up to a minute later, so much less than that tells of secrets that are in use.
    pub unused_after: Duration,
}

/// Why a secret is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DueReason {
    /// It is as old as secrets should become, and has no end.
    Old,
    /// It ends soon.
    Ending {
        /// When.
        at: Timestamp,
    },
    /// Its successor is there, and somebody still uses it.
    StillUsed {
        /// When somebody did last.
        last_used_at: Timestamp,
    },
    /// Nobody has used it for all the time that it could have been.
    NeverUsed,
}

/// Which of the secrets of one client ask for attention at `now`: each with every reason, in the order of the secrets. What has expired
/// asks for none.
///
/// `last_used_at` tells when a secret was used last.
pub fn due(
    secrets: &[NamedSecret],
    last_used_at: impl Fn(&NamedSecret) -> Option<Timestamp>,
    terms: DueTerms,
    now: Timestamp,
) -> Vec<(&NamedSecret, DueReason)> {
    let in_force = || secrets.iter().filter(|secret| secret.term(now) == SecretTerm::InForce);
    let mut found = Vec::new();
    for secret in secrets.iter().filter(|secret| secret.term(now) != SecretTerm::Expired) {
        let used_at = last_used_at(secret);
        if secret.expires_at.is_none() && now.saturating_since(secret.created_at) >= terms.old_after {
            found.push((secret, DueReason::Old));
        }
        if let Some(at) = secret.expires_at.filter(|end| end.saturating_since(now) <= terms.ending_within) {
            found.push((secret, DueReason::Ending { at }));
        }
        let successor =
            in_force().map(|other| other.created_at).filter(|made| *made > secret.created_at).min();
        match (used_at, successor) {
            (Some(used_at), Some(succeeded_at)) if used_at > succeeded_at => {
                found.push((secret, DueReason::StillUsed { last_used_at: used_at }));
            }
            (Some(_), Some(_) | None) => {}
            (None, Some(_) | None) => {
                let good_since = secret.created_at.max(secret.not_before.unwrap_or(Timestamp::EPOCH));
                // One that is not good yet has never been usable, however short the term.
                if good_since <= now && now.saturating_since(good_since) >= terms.unused_after {
                    found.push((secret, DueReason::NeverUsed));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::credentials::SecretDigest;
    use super::*;

    const AT: fn(u64) -> Timestamp = Timestamp::from_unix_seconds;
    const NOW: Timestamp = Timestamp::from_unix_seconds(1000);
    const TERMS: DueTerms = DueTerms {
        old_after: Duration::from_secs(500),
        ending_within: Duration::from_secs(100),
        unused_after: Duration::from_secs(70),
    };

    fn secret(name: &str, created_at: u64, expires_at: Option<u64>) -> NamedSecret {
        let secret = NamedSecret::new(name, SecretDigest::new([1; 32]), AT(created_at));
        NamedSecret { expires_at: expires_at.map(AT), ..secret }
    }

    fn reasons(secrets: &[NamedSecret], uses: &[(&str, u64)]) -> Vec<(String, DueReason)> {
        let used_at = |secret: &NamedSecret| {
            uses.iter().find(|(name, _)| *name == secret.name).map(|(_, second)| AT(*second))
        };
        let found = due(secrets, used_at, TERMS, NOW);
        found.into_iter().map(|(secret, reason)| (secret.name.clone(), reason)).collect()
    }

    #[test]
    fn a_secret_is_old_from_its_age_on() {
        assert_eq!(reasons(&[secret("a", 501, None)], &[("a", 999)]), []);
        assert_eq!(reasons(&[secret("a", 500, None)], &[("a", 999)]), [("a".to_owned(), DueReason::Old)]);
    }

    #[test]
    fn a_secret_that_ends_soon_is_told_until_it_is_over() {
        let ending = [("a".to_owned(), DueReason::Ending { at: AT(1100) })];
        assert_eq!(reasons(&[secret("a", 1, Some(1100))], &[("a", 999)]), ending);
        assert_eq!(reasons(&[secret("a", 1, Some(1101))], &[("a", 999)]), []);
        assert_eq!(reasons(&[secret("a", 1, Some(1000))], &[]), []);
    }

    #[test]
    fn an_old_secret_is_told_when_it_was_used_after_its_successor_came() {
        let both = [secret("a", 600, Some(2000)), secret("b", 700, None)];
        assert_eq!(reasons(&both, &[("a", 699), ("b", 800)]), []);
        let still = [("a".to_owned(), DueReason::StillUsed { last_used_at: AT(900) })];
        assert_eq!(reasons(&both, &[("a", 900), ("b", 800)]), still);
        let later = NamedSecret { not_before: Some(AT(1500)), ..secret("b", 700, None) };
        let told = reasons(&[secret("a", 600, Some(2000)), later], &[("a", 900), ("b", 800)]);
        assert_eq!(told, [], "a successor that is not in force yet cannot be used");
    }

    #[test]
    fn a_secret_that_nobody_used_is_told_when_it_had_its_time() {
        let unused = [("a".to_owned(), DueReason::NeverUsed)];
        assert_eq!(reasons(&[secret("a", 930, None)], &[]), unused);
        assert_eq!(reasons(&[secret("a", 931, None)], &[]), [], "it was made a moment ago");
        assert_eq!(reasons(&[secret("a", 930, None)], &[("a", 999)]), []);
        let from = |second| NamedSecret { not_before: Some(AT(second)), ..secret("a", 600, None) };
        assert_eq!(reasons(&[from(930)], &[]), unused, "its time is what it was good for");
        assert_eq!(reasons(&[from(931)], &[]), []);
    }

    #[test]
    fn a_secret_that_is_not_good_yet_is_unused_for_a_reason() {
        let terms = DueTerms { unused_after: Duration::ZERO, ..TERMS };
        let told = |begin| {
            let held = [NamedSecret { not_before: Some(AT(begin)), ..secret("a", 999, None) }];
            due(&held, |_| None, terms, NOW).len()
        };
        assert_eq!((told(1001), told(1000)), (0, 1));
        assert_eq!(
            due(&[secret("a", 1001, None)], |_| None, terms, NOW),
            [],
            "made by a clock that is ahead"
        );
    }
}
