//! A credential that is replaced while requests are under way.

mod previous;
mod rereading;
mod under_load;

use crate::support::{
    Behaviour, Endpoint, SECRET, VirtualClock, basic, builder, key, manager, millis, refusal, secs,
};
use jeton::credentials::{SecretFuture, SecretReading, SourceFault, SourceFaultKind};
use jeton::{BuildError, Secret, SecretSource, TokenErrorKind, TokenKey};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::time::sleep;

/// A source that gives what it is set to.
struct Vault {
    secret: Mutex<Result<&'static str, &'static str>>,
    reads: AtomicU64,
}

impl Vault {
    fn holding(secret: &'static str) -> Arc<Self> {
        Arc::new(Self { secret: Mutex::new(Ok(secret)), reads: AtomicU64::new(0) })
    }
}

impl SecretSource for Vault {
    fn read(&self) -> SecretFuture<'_> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let secret = *self.secret.lock().unwrap();
        Box::pin(async move {
            let reading = secret.map(|secret| SecretReading::new(Secret::from(secret)));
            reading.map_err(|what| SourceFault::new(SourceFaultKind::Absent, "the vault", what))
        })
    }
}

#[tokio::test(start_paused = true)]
async fn r3_3_a_replaced_secret_ends_what_was_remembered_at_once() {
    let endpoint = Endpoint::new(refusal(401, "invalid_client"));
    let manager = manager(&endpoint);
    manager.token(&key()).await.unwrap_err();
    manager.replace_credential(Secret::from(SECRET)).unwrap();
    manager.token(&key()).await.unwrap_err();
    assert_eq!(endpoint.requests(), 1, "it is the same secret");
    endpoint.set(Behaviour::Grant { expires_in: 60 });
    manager.replace_credential(Secret::from("new")).unwrap();
    assert!(manager.token(&key()).await.is_ok());
    assert_eq!(*endpoint.last_authorization.lock().unwrap(), Some(basic("new")));
}

#[tokio::test(start_paused = true)]
async fn r3_3_a_replaced_secret_ends_the_refusal_of_a_scope_too() {
    let endpoint = Endpoint::new(refusal(400, "invalid_scope"));
    let manager = manager(&endpoint);
    manager.token(&key()).await.unwrap_err();
    endpoint.set(Behaviour::Grant { expires_in: 60 });
    assert!(manager.token(&key()).await.is_err());
    manager.replace_credential(Secret::from("new")).unwrap();
    assert!(manager.token(&key()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn r3_3_a_secret_replaced_while_its_refusal_is_on_the_way_is_tried_in_the_same_flight() {
    let endpoint = Endpoint::new(refusal(401, "invalid_client"));
    endpoint.set_latency(secs(1));
    let manager = manager(&endpoint);
    let caller = tokio::spawn({
        let manager = manager.clone();
        async move { manager.token(&key()).await.map(|token| token.access_token().to_owned()) }
    });
    sleep(millis(500)).await;
    manager.replace_credential(Secret::from("new")).unwrap();
    sleep(millis(600)).await;
    endpoint.set(Behaviour::Grant { expires_in: 60 });
    let outcome = caller.await.unwrap();
    assert_eq!(endpoint.requests(), 2);
    assert_eq!(*endpoint.last_authorization.lock().unwrap(), Some(basic("new")));
    drop(outcome);
    // The late refusal of the old secret is not held against the new one.
    assert!(manager.token(&TokenKey::default()).await.is_err() || endpoint.requests() == 3);
}

#[tokio::test(start_paused = true)]
async fn t33_an_invalid_client_reads_the_source_once_and_tries_a_changed_secret() {
    let endpoint = Endpoint::new(refusal(401, "invalid_client"));
    let vault = Vault::holding("old");
    let build = || {
        jeton::TokenManager::builder("https://as.example/token", "billing")
            .clock(VirtualClock::new())
            .exchange(Arc::new(crate::support::InMemory(Arc::clone(&endpoint))))
            .client_secret_source(Arc::clone(&vault) as Arc<dyn SecretSource>)
            .build()
            .unwrap()
    };
    let manager = build();
    assert_eq!(vault.reads.load(Ordering::SeqCst), 0, "it is read when it is needed");
    for _ in 0..20 {
        assert!(manager.token(&key()).await.is_err());
    }
    assert_eq!((endpoint.requests(), vault.reads.load(Ordering::SeqCst)), (1, 2), "unchanged: remembered");
    drop(manager);

    let manager = build();
    manager.token(&key()).await.unwrap_err();
    let asked = endpoint.requests();
    *vault.secret.lock().unwrap() = Ok("new");
    sleep(secs(31)).await;
    manager.token(&key()).await.unwrap_err();
    assert_eq!(endpoint.requests(), asked + 2, "changed: tried once");
    assert_eq!(*endpoint.last_authorization.lock().unwrap(), Some(basic("new")));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_is_told_and_asked_again() {
    let endpoint = Endpoint::granting(60);
    let vault = Vault::holding("unused");
    *vault.secret.lock().unwrap() = Err("the vault is sealed");
    let manager = jeton::TokenManager::builder("https://as.example/token", "billing")
        .clock(VirtualClock::new())
        .exchange(Arc::new(crate::support::InMemory(Arc::clone(&endpoint))))
        .client_secret_source(Arc::clone(&vault) as Arc<dyn SecretSource>)
        .build()
        .unwrap();
    let error = manager.token(&key()).await.unwrap_err();
    assert!(matches!(error.kind(), TokenErrorKind::SecretUnavailable { .. }), "{error}");
    assert!(error.to_string().contains("the vault is sealed") && error.is_retryable());
    *vault.secret.lock().unwrap() = Ok("");
    sleep(secs(1)).await;
    let error = manager.token(&key()).await.unwrap_err();
    assert!(error.to_string().contains("it is empty"), "{error}");
    assert_eq!(endpoint.requests(), 0);
    *vault.secret.lock().unwrap() = Ok("good");
    sleep(secs(2)).await;
    assert!(manager.token(&key()).await.is_ok());
}

#[test]
fn a_secret_and_a_source_of_secrets_are_refused_together() {
    let endpoint = Endpoint::granting(60);
    let vault: Arc<dyn SecretSource> = Vault::holding("a");
    let both = builder(&endpoint).client_secret_source(vault).build().unwrap_err();
    assert_eq!(both, BuildError::TwoSecrets);
}
