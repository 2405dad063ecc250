//! Secrets in a Vault, against a real `OpenBao`, and against servers that a Vault must not be mistaken for.

#[path = "../../../../testdata/foreign/openbao.rs"]
mod openbao;

mod faults;
mod hostile;
mod login;
mod secrets;

use jeton::Secret;
use jeton::credentials::{
    Environment, SecretPlace, SecretReading, SecretSource, SourceFault, SourceFaultKind, Surroundings,
};
use openbao::{OpenBao, ROOT_TOKEN};
use std::sync::Arc;

/// Surroundings in which the server is named, and nothing of this process is seen.
fn around(url: &str, variables: &[(&str, &str)]) -> Surroundings {
    let environment = [("VAULT_ADDR", url)].iter().chain(variables).copied().collect::<Environment>();
    Surroundings { environment, ..Surroundings::default() }
}

/// Those with the token that may do everything.
fn as_root(server: &OpenBao) -> Surroundings {
    around(&server.url(), &[("VAULT_TOKEN", ROOT_TOKEN)])
}

fn opened(place: &str, around: &Surroundings) -> Arc<dyn SecretSource> {
    let place: SecretPlace = place.parse().unwrap();
    place.open(around).unwrap()
}

async fn read(source: &Arc<dyn SecretSource>) -> SecretReading {
    source.read().await.unwrap_or_else(|fault| panic!("{fault}"))
}

async fn current(source: &Arc<dyn SecretSource>) -> String {
    read(source).await.current.expose().clone()
}

async fn fault(source: &Arc<dyn SecretSource>) -> SourceFault {
    source.read().await.expect_err("there is no such secret")
}

/// That the next read fails so.
async fn assert_fault(source: &Arc<dyn SecretSource>, kind: SourceFaultKind, words: &[&str]) {
    let fault = fault(source).await;
    let told = fault.to_string();
    assert_eq!(fault.kind(), kind, "{told}");
    for word in words {
        assert!(told.contains(word), "{told:?} has no {word:?}");
    }
    assert!(!told.contains("canary"), "{told}");
}

fn secret(text: &str) -> Secret<String> {
    Secret::from(text)
}
