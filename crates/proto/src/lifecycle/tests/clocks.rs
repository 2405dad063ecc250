//! A wall clock that is set, a machine that sleeps, and a boot clock that sees it.

use super::*;

fn both(wall_millis: i64, boot_millis: u64) -> Moment {
    let wall = START.as_unix_millis().saturating_add_signed(wall_millis);
    Moment::new(Timestamp::from_unix_millis(wall), Some(Duration::from_millis(1_000_000 + boot_millis)))
}

fn slot_with_boot_clock(lifetime: Duration) -> Slot {
    let token = CachedToken::new(Secret::from("a"), None, both(0, 0), lifetime).unwrap();
    let policy = RefreshPolicy::default();
    Slot::default().granted(Arc::new(token), MintReason::Needed, &policy, 0.5, both(0, 0))
}

#[test]
fn t5_the_boot_clock_decides_whatever_happens_to_the_wall_clock() {
    let slot = slot_with_boot_clock(secs(3600));
    for (wall_millis, boot_millis, expected) in [
        (0, 0, "serve"),
        // Set back: nothing has changed.
        (-86_400_000, 10_000, "serve"),
        (-86_400_000, 2_520_000, "serve and refresh"),
        (-86_400_000, 3_570_000, "await with backup"),
        // An expired token never looks fresh.
        (-86_400_000, 3_600_000, "await"),
        (10_000, 3_600_000, "await"),
        // Set forward, but not past the expiry.
        (3_599_999, 10_000, "serve"),
        // Set forward past the expiry: a new token ends the doubt, and this one is the backup.
        (3_600_000, 10_000, "await with backup"),
        (86_400_000, 10_000, "await with backup"),
    ] {
        assert_eq!(
            name(slot.decide(both(wall_millis, boot_millis))),
            expected,
            "{wall_millis} {boot_millis}"
        );
    }
    let doubted = both(86_400_000, 10_000);
    assert_eq!(slot.until_advisory(doubted), Some(Duration::ZERO));
    let failing = slot.failed(TRANSIENT, &BackoffPolicy::default(), 1.0, doubted);
    assert_eq!(name(failing.decide(doubted)), "serve", "an outage of the server is not ours");
}

#[test]
fn t5_a_token_that_the_server_vouches_for_again_is_no_longer_in_doubt() {
    let slot = slot_with_boot_clock(secs(3600));
    let now = both(86_400_000, 10_000);
    let again = CachedToken::new(Secret::from("a"), None, now, secs(3590)).unwrap();
    let slot = slot.granted(Arc::new(again), MintReason::Needed, &RefreshPolicy::default(), 0.5, now);
    assert_eq!(name(slot.decide(both(86_401_000, 11_000))), "serve");
    assert_eq!(name(slot.decide(both(86_400_000 + 3_589_999, 3_599_999))), "serve");
    assert_eq!(name(slot.decide(both(86_400_000 + 3_590_000, 3_600_000))), "await");
}
