use super::*;
use crate::declared::client::{DeclaredSecret, Place};
use jeton_proto::issuance::{ClientCredentials, ClientStatus, SecretDigest};
use proptest::prelude::*;
use std::time::Duration;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

fn place(line: usize) -> Place {
    Place { file: "clients.toml".to_owned(), line }
}

fn terms(adoption: Adoption, unnamed: Unnamed) -> PlanTerms {
    PlanTerms { manager: "files".to_owned(), adoption, unnamed }
}

fn settings(id: u8, seconds: u64) -> ClientSettings {
    ClientSettings {
        token_lifetime: Duration::from_secs(seconds),
        ..ClientSettings::new(format!("client-{id}"))
    }
}

fn digests() -> impl Strategy<Value = Vec<(bool, u8)>> {
    prop::collection::vec((any::<bool>(), 1..3_u8), 0..2)
}

fn declared_client() -> impl Strategy<Value = DeclaredClient> {
    let status = prop::option::of(prop_oneof![Just(ClientStatus::Enabled), Just(ClientStatus::Disabled)]);
    (0..6_u8, 1..3_u64, status, prop::option::of(digests())).prop_map(|(id, seconds, status, digests)| {
        let secret = |(ends, byte): (bool, u8)| DeclaredSecret {
            name: byte.to_string(),
            digest: SecretDigest::new([byte; 32]),
            key_id: [0; 4],
            not_before: None,
            expires_at: ends.then_some(NOW),
            place: place(1),
        };
        let secrets = digests.map(|digests| digests.into_iter().map(secret).collect());
        DeclaredClient {
            settings: settings(id, seconds),
            status,
            credentials: ClientCredentials::default(),
            secrets: secrets.map_or(DeclaredSecrets::InRegistry, DeclaredSecrets::These),
            place: place(id.into()),
        }
    })
}

fn record() -> impl Strategy<Value = ClientRecord> {
    let manager = prop_oneof![Just(None), Just(Some("files")), Just(Some("other"))];
    (0..6_u8, 1..3_u64, manager, digests()).prop_map(|(id, seconds, manager, digests)| {
        let secret = |(_, byte): (bool, u8)| {
            NamedSecret::new(byte.to_string(), SecretDigest::new([byte; 32]), Timestamp::EPOCH)
        };
        ClientRecord {
            settings: settings(id, seconds),
            credentials: ClientCredentials {
                secrets: digests.into_iter().map(secret).collect(),
                ..ClientCredentials::default()
            },
            created_at: Timestamp::EPOCH,
            managed_by: manager.map(str::to_owned),
        }
    })
}

/// Clients, each id once.
fn distinct<T>(clients: Vec<T>, id: impl Fn(&T) -> String) -> Vec<T> {
    let mut seen = std::collections::HashSet::new();
    clients.into_iter().filter(|client| seen.insert(id(client))).collect()
}

fn declared() -> impl Strategy<Value = Vec<DeclaredClient>> {
    prop::collection::vec(declared_client(), 0..6)
        .prop_map(|clients| distinct(clients, |client| client.settings.client_id.clone()))
}

fn registry() -> impl Strategy<Value = Vec<ClientRecord>> {
    prop::collection::vec(record(), 0..6)
        .prop_map(|clients| distinct(clients, |client| client.settings.client_id.clone()))
}

fn any_terms() -> impl Strategy<Value = PlanTerms> {
    let adoption = prop_oneof![Just(Adoption::Refused), Just(Adoption::Taken)];
    let unnamed = prop_oneof![Just(Unnamed::Kept), Just(Unnamed::Removed)];
    (adoption, unnamed).prop_map(|(adoption, unnamed)| terms(adoption, unnamed))
}

fn applied(registry: &[ClientRecord], plan: &Plan) -> Vec<ClientRecord> {
    let mut held: BTreeMap<String, ClientRecord> =
        registry.iter().map(|record| (record.settings.client_id.clone(), record.clone())).collect();
    for change in &plan.changes {
        match change {
            PlannedChange::Add(record) => {
                assert!(held.insert(change.client_id().to_owned(), (**record).clone()).is_none());
            }
            PlannedChange::Update { before, after } => {
                assert_eq!(
                    held.insert(change.client_id().to_owned(), (**after).clone()),
                    Some((**before).clone())
                );
            }
            PlannedChange::Remove(_) => drop(held.remove(change.client_id()).unwrap()),
        }
    }
    held.into_values().collect()
}

fn declared_of(clients: Vec<DeclaredClient>) -> DeclaredClients {
    DeclaredClients::new(clients).unwrap()
}

proptest! {
    #[test]
    fn what_was_applied_leaves_nothing_to_apply(
        clients in declared(), registry in registry(), terms in any_terms()
    ) {
        let declared = declared_of(clients);
        if let Ok(first) = plan(&declared, &registry, &terms, NOW) {
            let after = applied(&registry, &first);
            let later = NOW.saturating_add(Duration::from_hours(1));
            let second = plan(&declared, &after, &terms, later).unwrap();
            prop_assert_eq!(second.changes, []);
            prop_assert_eq!(second.kept, first.kept);
            for client in declared.iter() {
                let record = after.iter().find(|record| record.settings.client_id == client.settings.client_id);
                prop_assert_eq!(record.unwrap().managed_by.as_deref(), Some("files"));
            }
        }
    }

    #[test]
    fn a_client_of_others_is_not_touched(
        clients in declared(), registry in registry(), terms in any_terms()
    ) {
        let declared = declared_of(clients);
        let of_others = |record: &&ClientRecord| match record.managed_by.as_deref() {
            Some("files") => false,
            Some(_) => true,
            None => {
                terms.adoption == Adoption::Refused || declared.client(&record.settings.client_id).is_none()
            }
        };
        let planned = plan(&declared, &registry, &terms, NOW);
        for record in registry.iter().filter(of_others) {
            let named = declared.client(&record.settings.client_id).is_some();
            match &planned {
                Ok(plan) => {
                    prop_assert!(!named);
                    let client_id = &record.settings.client_id;
                    prop_assert!(plan.changes.iter().all(|change| change.client_id() != client_id));
                }
                Err(faults) if named => prop_assert!(faults.iter().any(|fault| fault.what.contains(&record.settings.client_id))),
                Err(_) => {}
            }
        }
    }

    #[test]
    fn the_order_of_files_and_clients_does_not_matter(
        clients in declared(), registry in registry(), terms in any_terms()
    ) {
        let backwards: Vec<_> = clients.iter().rev().cloned().collect();
        let reversed: Vec<_> = registry.iter().rev().cloned().collect();
        let one = plan(&declared_of(clients), &registry, &terms, NOW);
        prop_assert_eq!(one, plan(&declared_of(backwards), &reversed, &terms, NOW));
    }

    #[test]
    fn a_client_that_no_file_names_stays_unless_its_removal_is_asked_for(
        clients in declared(), registry in registry(), terms in any_terms()
    ) {
        let declared = declared_of(clients);
        if let Ok(plan) = plan(&declared, &registry, &terms, NOW) {
            for change in &plan.changes {
                if let PlannedChange::Remove(record) = change {
                    prop_assert_eq!(terms.unnamed, Unnamed::Removed);
                    prop_assert_eq!(record.managed_by.as_deref(), Some("files"));
                    prop_assert!(declared.client(change.client_id()).is_none());
                }
            }
        }
    }
}

fn one(change: impl FnOnce(&mut DeclaredClient)) -> DeclaredClients {
    let mut client = DeclaredClient {
        settings: settings(1, 60),
        status: None,
        credentials: ClientCredentials::default(),
        secrets: DeclaredSecrets::InRegistry,
        place: place(1),
    };
    change(&mut client);
    declared_of(vec![client])
}

fn held(change: impl FnOnce(&mut ClientRecord)) -> [ClientRecord; 1] {
    let mut record = ClientRecord {
        settings: settings(1, 60),
        credentials: ClientCredentials::from_digest(SecretDigest::new([7; 32])),
        created_at: Timestamp::EPOCH,
        managed_by: Some("files".to_owned()),
    };
    change(&mut record);
    [record]
}

#[test]
fn what_a_file_does_not_say_of_status_and_secrets_stays() {
    let registry = held(|record| record.settings.status = ClientStatus::Disabled);
    let terms = terms(Adoption::Refused, Unnamed::Removed);
    assert_eq!(plan(&one(|_| {}), &registry, &terms, NOW).unwrap(), Plan::default());
    let enabled = one(|client| client.status = Some(ClientStatus::Enabled));
    let plan = plan(&enabled, &registry, &terms, NOW).unwrap();
    let members: Vec<_> = plan.changes[0].differences().into_iter().map(|found| found.member).collect();
    assert_eq!(members, ["status"]);
}

#[test]
fn a_difference_shows_no_digest() {
    let digest = |byte: u8| {
        one(|client| {
            client.secrets = DeclaredSecrets::These(vec![DeclaredSecret {
                name: "default".to_owned(),
                digest: SecretDigest::new([byte; 32]),
                key_id: [0; 4],
                not_before: None,
                expires_at: None,
                place: place(1),
            }]);
        })
    };
    let terms = terms(Adoption::Refused, Unnamed::Removed);
    assert_eq!(plan(&digest(7), &held(|_| {}), &terms, NOW).unwrap().changes, []);
    let plan = plan(&digest(0xab), &held(|_| {}), &terms, NOW).unwrap();
    let told = format!("{:?}", plan.changes[0].differences());
    assert!(told.contains("secrets") && told.contains("created_at_ms"), "{told}");
    assert!(!told.contains("abab"), "{told}");
}
