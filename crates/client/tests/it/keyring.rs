//! Client secrets in the keyring of the desktop: GNOME Keyring on a bus of its own.

mod desktop;

use crate::support::secs;
use desktop::Desktop;
use jeton::Secret;
use jeton::credentials::{
    Environment, KeyringPlace, Reread, SecretReading, SecretSource, SourceFault, SourceFaultKind,
    Surroundings,
};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Instant;

const PLACE: &str = "id.example.com/billing";

fn opened(variables: &[(&str, &str)]) -> Result<Arc<dyn SecretSource>, SourceFault> {
    let environment: Environment = variables.iter().copied().collect();
    let surroundings = Surroundings { environment, ..Surroundings::default() };
    PLACE.parse::<KeyringPlace>().unwrap().open(&surroundings)
}

async fn read(bus: &str) -> Result<SecretReading, SourceFault> {
    opened(&[("DBUS_SESSION_BUS_ADDRESS", bus)]).unwrap().read().await
}

/// That the entry cannot be read over `bus`, for this reason.
async fn check(bus: &str, kind: SourceFaultKind, told: &str) {
    let asked = Instant::now();
    let fault = read(bus).await.unwrap_err();
    assert_eq!(fault.kind(), kind, "{fault}");
    assert!(fault.to_string().contains(told), "{fault}");
    assert!(asked.elapsed() < secs(7), "nobody was waited for: {:?}", asked.elapsed());
}

#[tokio::test]
async fn an_entry_is_read_anew_each_time() {
    let desktop = Desktop::with_keyring();
    desktop.store(b"canary-1\n", &[]);
    let source = opened(&[("DBUS_SESSION_BUS_ADDRESS", &desktop.bus)]).unwrap();
    assert_eq!(source.reread(), Reread::Periodically);
    let first = source.read().await.unwrap();
    assert_eq!((first.current, first.previous), (Secret::from("canary-1"), None));
    assert!(first.since.is_some());

    desktop.store(b"canary-2", &[]);
    assert_eq!(source.read().await.unwrap().current, Secret::from("canary-2"));

    let source = opened(&[("XDG_RUNTIME_DIR", desktop.directory())]).unwrap();
    assert_eq!(
        source.read().await.unwrap().current,
        Secret::from("canary-2"),
        "the socket of the user's bus"
    );
}

#[tokio::test]
async fn what_cannot_be_read_says_why() {
    let mut desktop = Desktop::with_keyring();
    let bus = desktop.bus.clone();
    let stored_by = "secret-tool store --label=jeton service 'id.example.com' username 'billing'";
    check(&bus, SourceFaultKind::Absent, stored_by).await;

    desktop.store(b"\xff\xfe", &[]);
    check(&bus, SourceFaultKind::Malformed, "not utf-8 text").await;

    desktop.store(b"canary", &[("kind", "another")]);
    check(&bus, SourceFaultKind::Unusable, "2 entries").await;

    desktop.lock();
    check(&bus, SourceFaultKind::Unusable, "2 entries").await;

    desktop.end_keyring();
    check(&bus, SourceFaultKind::Unreachable, "no program on the session bus keeps secrets").await;
}

#[tokio::test]
async fn a_locked_keyring_is_told_at_once_and_nobody_is_asked_to_unlock_it() {
    let desktop = Desktop::with_keyring();
    desktop.store(b"canary", &[]);
    desktop.lock();
    check(&desktop.bus, SourceFaultKind::Denied, "the keyring is locked").await;
}

#[tokio::test]
async fn without_a_bus_it_is_told_what_is_missing() {
    let fault = opened(&[]).err().unwrap();
    assert_eq!(fault.kind(), SourceFaultKind::Unusable);
    assert!(
        fault.to_string().contains("neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set"),
        "{fault}"
    );

    let directory = tempfile::tempdir().unwrap();
    let nobody = format!("unix:path={}/bus", directory.path().display());
    check(&nobody, SourceFaultKind::Unreachable, "does not answer, is it running?").await;
    check("nonsense", SourceFaultKind::Unusable, "the address of the D-Bus session bus").await;
}

#[tokio::test(start_paused = true)]
async fn a_keyring_that_never_answers_is_not_waited_for_longer_than_8_s() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bus");
    let _silent = UnixListener::bind(&path).unwrap();
    let asked = tokio::time::Instant::now();
    let fault = read(&format!("unix:path={}", path.display())).await.unwrap_err();
    assert_eq!(fault.kind(), SourceFaultKind::Unreachable, "{fault}");
    assert!(fault.to_string().contains("within 8 s"), "{fault}");
    assert_eq!(asked.elapsed().as_secs(), 8);
}
