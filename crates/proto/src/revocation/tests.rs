use super::*;
use crate::issuance::{ClientCredentials, ClientSettings};
use crate::jose::jwk::{JwkSet, SigningKey};
use crate::jose::jws::{self, Algorithm, MAX_JWS_BYTES};
use crate::verification::Rejection;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::LazyLock;

const ISSUER: &str = "https://as.example";
const NOW: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);

static KEYS: LazyLock<Vec<SigningKey>> =
    LazyLock::new(|| Algorithm::ALL.map(|algorithm| SigningKey::generate(algorithm).unwrap()).into());

fn keys() -> JwkSet {
    JwkSet::from_keys(KEYS.iter().map(SigningKey::public_jwk)).unwrap()
}

fn after(seconds: u64) -> Timestamp {
    NOW.saturating_add(Duration::from_secs(seconds))
}

fn entry(name: &str, until: u64) -> RevocationEntry {
    RevocationEntry { id: RevokedId::of(name), until: after(until) }
}

fn page(since: u64, through: u64, more: More, entries: Vec<RevocationEntry>) -> VerifiedPage {
    VerifiedPage { page: RevocationPage { since, through, mark: None, more, entries }, issued_at: NOW }
}

fn signed(page: &RevocationPage) -> String {
    page.sign(&KEYS[0], ISSUER, NOW, after(120)).unwrap()
}

fn verify(compact: &str, now: Timestamp) -> Result<VerifiedPage, InvalidFeed> {
    RevocationPage::verify(compact, &keys(), ISSUER, now)
}

/// A page of the server with these claims changed; null takes one out.
fn with(changes: &Value) -> Result<VerifiedPage, InvalidFeed> {
    let mut claims = json!({ "iss": ISSUER, "iat": 1_700_000_000, "exp": 1_700_000_120, "since": 0, "through": 1, "revoked": "" });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    verify(&jws::sign(&KEYS[0], FEED_MEDIA_TYPE, claims.to_string().as_bytes()).unwrap(), NOW)
}

#[test]
fn a_client_revokes_its_own_tokens_and_with_the_scope_all() {
    let claims =
        json!({ "iss": "i", "aud": "a", "sub": "s", "client_id": "worker", "iat": 1, "exp": 2, "jti": "id" });
    let claims = VerifiedClaims::parse(claims.to_string().as_bytes()).unwrap();
    let by = |id: &str, scope: &str, audience: &str| {
        let settings = ClientSettings {
            allowed_scope: scope.parse().unwrap(),
            audiences: vec![audience.to_owned()],
            ..ClientSettings::new(id)
        };
        decide(&claims, &RegisteredClient::new(settings, ClientCredentials::default()).unwrap())
    };
    assert_eq!(by("worker", "x", "b"), Ok(()));
    assert_eq!(by("other", "jeton:revoke", "b"), Ok(()));
    // Who is the API of a token may ask about it, and that is all.
    assert_eq!(by("other", "jeton:introspect", "a"), Err(NotOfCaller));
}

#[test]
fn the_largest_page_can_be_read_with_every_algorithm() {
    let entries: Vec<_> = (0..MAX_PAGE_ENTRIES).map(|at| entry(&at.to_string(), 60)).collect();
    let largest = RevocationPage {
        since: u64::MAX - 1,
        through: u64::MAX,
        mark: Some(ChangeMark::from_bytes([255; 9])),
        more: More::Follows,
        entries,
    };
    let issuer = format!("https://as.example/{}", "a".repeat(2048));
    for key in KEYS.iter() {
        let compact = largest.sign(key, &issuer, NOW, after(120)).unwrap();
        assert!(compact.len() <= MAX_JWS_BYTES, "{}: {}", key.algorithm(), compact.len());
        let read = RevocationPage::verify(&compact, &keys(), &issuer, NOW).unwrap();
        assert_eq!(read, VerifiedPage { page: largest.clone(), issued_at: NOW });
    }
}

#[test]
fn a_page_is_believed_while_it_is_new() {
    let compact = signed(&page(0, 1, More::None, vec![entry("a", 60)]).page);
    for (now, good) in [
        (NOW, true),
        (after(120), true),
        (after(179), true),
        (after(180), false),
        (NOW.saturating_sub(MAX_CLOCK_SKEW), true),
        (NOW.saturating_sub(MAX_CLOCK_SKEW + Duration::from_secs(1)), false),
    ] {
        assert_eq!(verify(&compact, now).is_ok(), good, "{now}");
    }
}

#[test]
fn t43_what_is_not_signed_as_a_page_of_this_issuer_is_refused() {
    let good = page(0, 1, More::None, vec![entry("a", 60)]).page;
    let stranger = SigningKey::generate(Algorithm::Es256).unwrap();
    let foreign = good.sign(&stranger, ISSUER, NOW, after(120)).unwrap();
    assert!(matches!(verify(&foreign, NOW), Err(InvalidFeed::Signature(Rejection::UnknownKey { .. }))));
    let mut changed = signed(&good).into_bytes();
    let at = changed.iter().position(|byte| *byte == b'.').unwrap() + 12;
    changed[at] ^= 1;
    assert!(verify(std::str::from_utf8(&changed).unwrap(), NOW).is_err());
    let elsewhere = good.sign(&KEYS[0], "https://other.example", NOW, after(120)).unwrap();
    assert_eq!(verify(&elsewhere, NOW), Err(InvalidFeed::Issuer));
    for media_type in ["at+jwt", "JWT", "token-introspection+jwt"] {
        let other = jws::sign(&KEYS[0], media_type, b"{}").unwrap();
        assert_eq!(verify(&other, NOW), Err(InvalidFeed::Type), "{media_type}");
    }
    for garbage in ["", "a.b.c", "{}", "..", &"a".repeat(MAX_JWS_BYTES + 1)] {
        assert!(matches!(verify(garbage, NOW), Err(InvalidFeed::Signature(Rejection::Malformed(_)))));
    }
}

#[test]
fn claims_of_the_wrong_kind_are_refused_by_name() {
    assert!(with(&json!({})).is_ok());
    assert!(with(&json!({ "more": false, "unknown": 1 })).is_ok());
    for (name, values) in [
        ("iat", json!([null, "1", -1, 1.5])),
        ("exp", json!([null, "1", -1, 1.5])),
        ("since", json!([null, "1", -1, 1.5])),
        ("through", json!([null, "1", -1, 1.5])),
        ("more", json!([0, "true"])),
        ("mark", json!([0, "", "AAAAAAAAAAA", "AAAAAAAAAAA=", "AAAAAAAAAAAAA"])),
        ("revoked", json!([null, 1, "=", "AA", "AAAAAAAAAAAAAAAAAAAAAAAAAAA", "AAAA".repeat(7 * 1501)])),
    ] {
        for value in values.as_array().unwrap() {
            assert_eq!(with(&json!({ name: value })), Err(InvalidFeed::Claim(name)), "{name} {value}");
        }
    }
}

/// The time since the boot at this time of a clock that is right.
fn boot(seconds: u64) -> Duration {
    Duration::from_secs(10_000 + seconds)
}

#[test]
fn what_is_known_grows_with_each_page_and_shrinks_with_the_time() {
    let mut known = RevokedTokens::default();
    let first = page(0, 4, More::Follows, vec![entry("a", 10), entry("b", 1000)]);
    assert_eq!(known.take_in(&first, Some(boot(0))), Ok(Progress::MoreFollows));
    let second = page(4, 9, More::None, vec![entry("c", 2000)]);
    assert_eq!(known.take_in(&second, Some(boot(0))), Ok(Progress::UpToDate));
    assert_eq!((known.len(), known.position().through), (3, 9));
    assert!(known.contains("a") && known.contains("c") && !known.contains("d"));
    for (seconds, gone) in [(10, &[][..]), (600, &[]), (1199, &[]), (1200, &["a"]), (1800, &["a", "b"])] {
        let later = VerifiedPage { issued_at: after(seconds), ..page(9, 9, More::None, Vec::new()) };
        assert_eq!(known.take_in(&later, Some(boot(seconds))), Ok(Progress::UpToDate));
        for name in ["a", "b", "c"] {
            assert_eq!(known.contains(name), !gone.contains(&name), "{name} after {seconds} s");
        }
    }
}

#[test]
fn an_old_page_makes_no_revoked_token_good_again() {
    let mut known = RevokedTokens::default();
    known.take_in(&page(0, 9, More::None, vec![entry("a", 60), entry("b", 60)]), Some(boot(0))).unwrap();
    // A server that was set up from a backup begins anew with lower numbers.
    known.take_in(&page(0, 3, More::None, vec![entry("a", 30)]), Some(boot(1))).unwrap();
    assert!(known.contains("a") && known.contains("b"));
    assert_eq!(known.position().through, 3);
    known.start_over();
    assert!(known.contains("a") && known.contains("b") && known.position().through == 0);
}

#[test]
fn pages_that_lead_nowhere_are_refused_and_what_was_known_stays() {
    let mut known = RevokedTokens::default();
    known.take_in(&page(0, 5, More::None, vec![entry("a", 60)]), Some(boot(0))).unwrap();
    for (page, fault) in [
        (page(6, 7, More::None, Vec::new()), FeedFault::Gap),
        (page(5, 5, More::Follows, Vec::new()), FeedFault::NoProgress),
        (page(5, 4, More::None, Vec::new()), FeedFault::NoProgress),
    ] {
        assert_eq!(known.take_in(&page, Some(boot(1))), Err(fault), "{page:?}");
        assert!(known.contains("a") && known.position().through == 5);
    }
}

#[test]
fn a_revocation_is_remembered_longer_than_any_guard_takes_the_token() {
    assert!(remembered_until(NOW) >= NOW.saturating_add(MAX_CLOCK_SKEW).saturating_add(MAX_CLOCK_SKEW));
    assert_eq!(remembered_until(Timestamp::MAX), Timestamp::MAX);
}

proptest! {
    #[test]
    fn a_page_survives_a_round_trip(
        since in any::<u64>(), through in any::<u64>(), more in any::<bool>(), mark in any::<Option<[u8; 9]>>(),
        names in proptest::collection::vec(("[a-z]{1,8}", 0_u64..1 << 40), 0..40),
    ) {
        let entries = names.iter().map(|(name, until)| RevocationEntry {
            id: RevokedId::of(name),
            until: Timestamp::from_unix_seconds(*until),
        });
        let more = if more { More::Follows } else { More::None };
        let page = RevocationPage {
            since,
            through,
            mark: mark.map(ChangeMark::from_bytes),
            more,
            entries: entries.collect(),
        };
        prop_assert_eq!(verify(&signed(&page), NOW).unwrap().page, page);
    }

    /// Whatever the order of pages, everything in them is known.
    #[test]
    fn no_revocation_is_lost(pages in proptest::collection::vec((0_u64..6, 0_u64..6, proptest::collection::vec("[a-d]", 0..3)), 0..12)) {
        let mut known = RevokedTokens::default();
        let mut told = BTreeSet::new();
        for (since, through, names) in pages {
            let entries = names.iter().map(|name| entry(name, 60)).collect();
            if known.take_in(&page(since, through, More::None, entries), Some(boot(0))).is_ok() {
                told.extend(names);
            }
            prop_assert!(told.iter().all(|name| known.contains(name)));
            prop_assert_eq!(known.len(), told.len());
        }
    }

    /// A clock of the issuer that jumps ahead and comes back within ten minutes has no revocation of a live token forgotten,
    /// whether the page with it came before the jump, in it, or after it.
    #[test]
    fn t40_a_clock_that_jumps_and_comes_back_loses_no_revocation(
        polls in proptest::collection::vec((1_u64..240, 0_u64..1 << 22, proptest::option::of(0_u64..900)), 1..150),
    ) {
        let mut known = RevokedTokens::default();
        let (mut second, mut right_at, mut told) = (0, 0, Vec::new());
        for (index, (pause, ahead, lives)) in polls.into_iter().enumerate() {
            second += pause;
            let ahead = if second - right_at + 240 >= 600 { 0 } else { ahead };
            if ahead == 0 {
                right_at = second;
            }
            let name = index.to_string();
            let entries: Vec<_> = lives.map(|lives| entry(&name, second + lives)).into_iter().collect();
            told.extend(lives.map(|lives| (name, second + lives)));
            let poll = page(index as u64, index as u64 + 1, More::None, entries);
            known.take_in(&VerifiedPage { issued_at: after(second + ahead), ..poll }, Some(boot(second))).unwrap();
            for (name, until) in told.iter().filter(|(_, until)| second < *until) {
                prop_assert!(known.contains(name), "{name} counts until {until}, and it is {second}");
            }
        }
    }
}
