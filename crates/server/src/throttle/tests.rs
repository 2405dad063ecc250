use super::*;
use jeton_proto::time::Timestamp;
use std::time::Duration;

const NOW: Moment = Moment::new(Timestamp::from_unix_seconds(1_700_000_000), None);

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn throttle(rate: RequestRate) -> Throttle {
    Throttle::new(&Throttling { client_requests: rate, ..Throttling::default() })
}

#[test]
fn r5_6_a_client_has_its_burst_and_others_have_theirs() {
    let throttle = throttle(RequestRate::new(2, 3).unwrap());
    let [one, two] = ["one", "two"].map(|client_id| throttle.request_key(client_id));
    for client in [one, two] {
        for _ in 0..3 {
            assert_eq!(throttle.requested(client, NOW), Ok(()));
        }
        let refusal = throttle.requested(client, NOW).unwrap_err();
        assert_eq!(refusal.limit, Some(Limit::ClientRequests));
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(1)), "half a second, in whole seconds");
    }
    assert_eq!(throttle.requested(one, NOW.saturating_add(Duration::from_millis(500))), Ok(()));
}

#[test]
fn r5_6_a_rate_that_is_off_refuses_nobody() {
    let throttle = throttle(RequestRate::Off);
    assert!((0..10_000).all(|_| throttle.requested(throttle.request_key("one"), NOW).is_ok()));
}

#[test]
fn t41_a_dear_check_is_refused_to_the_pair_that_fails_and_to_nobody_else() {
    let throttle = throttle(RequestRate::Off);
    let (attacker, honest) = (address("127.0.0.2"), address("127.0.0.1"));
    while throttle.failed("worker", attacker, NOW).is_ok() {}
    let refusal = throttle.before_dear_check("worker", attacker, NOW).unwrap_err();
    assert_eq!((refusal.limit, refusal.retry_after), (Some(Limit::Failures), Some(Duration::from_secs(5))));
    assert_eq!(throttle.before_dear_check("worker", honest, NOW), Ok(()));
    assert_eq!(throttle.before_dear_check("other", attacker, NOW), Ok(()));
    throttle.proved("worker", attacker, NOW);
    assert_eq!(throttle.before_dear_check("worker", attacker, NOW), Ok(()));
    assert!(throttle.standing("worker", attacker, NOW).is_err(), "its failures are answered as before");
}

#[test]
fn t41_the_addresses_of_one_ipv6_network_share_their_failures() {
    let throttle = throttle(RequestRate::Off);
    let mut hosts = 1_u16..;
    let fail = |host: u16| throttle.failed("worker", address(&format!("2001:db8::{host:x}")), NOW);
    assert!(hosts.by_ref().take(10).all(|host| fail(host).is_ok()));
    assert!(hosts.take(1000).all(|host| fail(host).is_err()));
    assert_eq!(throttle.failed("worker", address("2001:db8:0:1::1"), NOW), Ok(()));
}

#[test]
fn every_shard_is_used() {
    let sharded = Sharded::new(|| 0_u32);
    for key in 0..u64::try_from(SHARDS).unwrap() {
        *sharded.lock(key << 60) += 1;
    }
    assert!(sharded.0.iter().all(|shard| *locked(shard) == 1));
}
