use super::*;
use crate::declared::{Adoption, Unnamed};
use jeton_proto::issuance::{ClientSettings, ClientStatus};
use std::path::Path;
use std::time::Duration;

fn terms(unnamed: Unnamed) -> PlanTerms {
    PlanTerms { manager: "files".to_owned(), adoption: Adoption::Refused, unnamed }
}

struct World {
    data: tempfile::TempDir,
    files: tempfile::TempDir,
    registry: Registry,
}

impl World {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let registry = Registry::open(data.path()).unwrap();
        Self { data, files: tempfile::tempdir().unwrap(), registry }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.files.path().join(name), text).unwrap();
    }

    fn apply(&self, unnamed: Unnamed) -> Result<Plan, ApplyError> {
        let declared = DeclaredClients::read(self.files.path()).map_err(ApplyError::Files)?;
        self.registry.apply(&declared, &terms(unnamed))
    }

    fn ids(&self) -> Vec<String> {
        let listed = self.registry.list().unwrap().clients;
        listed.into_iter().map(|record| record.settings.client_id).collect()
    }
}

fn faults(outcome: Result<Plan, ApplyError>) -> Vec<String> {
    match outcome {
        Err(ApplyError::Files(faults)) => faults.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_are_applied_and_applied_again_without_a_change() {
    let world = World::new();
    world.write("a.toml", "client_id = 'a'\nscope = 'x'");
    world.write("b.toml", "[[client]]\nclient_id = 'b'\n[[client]]\nclient_id = 'c'");
    world.write("notes.txt", "not toml");
    world.write(".hidden.toml", "not toml either");
    assert_eq!(world.apply(Unnamed::Kept).unwrap().changes.len(), 3);
    assert_eq!(world.ids(), ["a", "b", "c"]);
    assert_eq!(world.apply(Unnamed::Removed).unwrap(), Plan::default());
    let secret = world.registry.rotate("a", None, Duration::ZERO).unwrap();
    assert_eq!(world.apply(Unnamed::Removed).unwrap(), Plan::default(), "its secrets are the registry's");
    world.write("a.toml", "client_id = 'a'\nscope = 'x y'");
    assert_eq!(world.apply(Unnamed::Removed).unwrap().changes.len(), 1);
    assert!(world.registry.verify("a", &secret).unwrap().is_some());
    std::fs::remove_file(world.files.path().join("b.toml")).unwrap();
    assert_eq!(world.apply(Unnamed::Kept).unwrap().kept, ["b", "c"]);
    assert_eq!(world.apply(Unnamed::Removed).unwrap().changes.len(), 2);
    assert_eq!(world.ids(), ["a"]);
}

#[test]
fn one_fault_keeps_everything_as_it_was() {
    let world = World::new();
    world.registry.add(ClientSettings::new("by-hand")).unwrap();
    world.write("a.toml", "client_id = 'a'");
    world.write("b.toml", "client_id = 'b'\nscope = 7");
    world.write("c.toml", "client_id = 'a'");
    let told = faults(world.apply(Unnamed::Kept));
    assert!(told[0].starts_with("b.toml:2: scope: invalid type"), "{told:?}");
    assert_eq!(told[1], "c.toml:1: the client a stands at a.toml:1 already");
    world.write("b.toml", "client_id = 'by-hand'");
    std::fs::remove_file(world.files.path().join("c.toml")).unwrap();
    let told = faults(world.apply(Unnamed::Kept));
    assert!(told[0].starts_with("b.toml:1: there is a client by-hand that no file manages"), "{told:?}");
    assert_eq!(world.ids(), ["by-hand"]);
}

#[test]
fn a_client_is_taken_over_with_its_secrets_when_that_is_asked_for() {
    let world = World::new();
    let secret = world.registry.add(ClientSettings::new("by-hand")).unwrap();
    world.write("a.toml", "client_id = 'by-hand'\nscope = 'x'");
    let declared = DeclaredClients::read(world.files.path()).unwrap();
    let adopting = PlanTerms { adoption: Adoption::Taken, ..terms(Unnamed::Kept) };
    world.registry.apply(&declared, &adopting).unwrap();
    assert!(world.registry.verify("by-hand", &secret).unwrap().is_some());
    assert_eq!(world.registry.client("by-hand").unwrap().managed_by.as_deref(), Some("files"));
    assert_eq!(world.apply(Unnamed::Kept).unwrap(), Plan::default());
}

#[test]
fn a_client_that_was_disabled_stays_so() {
    let world = World::new();
    world.write("a.toml", "client_id = 'a'");
    world.apply(Unnamed::Kept).unwrap();
    world.registry.disable("a").unwrap();
    world.write("a.toml", "client_id = 'a'\nscope = 'x'");
    world.apply(Unnamed::Kept).unwrap();
    assert_eq!(world.registry.client("a").unwrap().settings.status, ClientStatus::Disabled);
}

#[test]
fn a_digest_is_of_this_server_or_told() {
    let world = World::new();
    let secret = jeton_proto::secret::Secret::from("a secret that somebody has");
    let digest = world.registry.hash(&secret);
    let text = format!("client_id = 'a'\nsecret_digests = [\n  {{ name = 'x', digest = '{digest}' }}\n]");
    world.write("a.toml", &text);
    world.apply(Unnamed::Kept).unwrap();
    assert_eq!(world.registry.verify("a", &secret).unwrap().unwrap().0.name, "x");
    let other = World::new();
    other.write("a.toml", &text);
    let told = faults(other.apply(Unnamed::Kept));
    assert!(
        told[0].starts_with("a.toml:3: the digest of the secret x was made with the key of another"),
        "{told:?}"
    );
    assert!(other.ids().is_empty());
}

#[test]
fn a_directory_without_clients_removes_none() {
    let world = World::new();
    world.write("a.toml", "client_id = 'a'");
    world.apply(Unnamed::Removed).unwrap();
    std::fs::remove_file(world.files.path().join("a.toml")).unwrap();
    let error = world.apply(Unnamed::Removed).unwrap_err().to_string();
    assert!(error.contains("no client at all, and 1 clients would be removed"), "{error}");
    assert_eq!(world.ids(), ["a"]);
    let absent = DeclaredClients::read(Path::new("absent")).unwrap_err();
    assert!(absent[0].to_string().contains("the directory cannot be read"), "{absent:?}");
}

#[test]
fn two_who_apply_at_once_leave_what_one_of_them_says() {
    let world = World::new();
    for round in 0..4 {
        std::thread::scope(|scope| {
            for lifetime in [60, 90] {
                let (data, round) = (world.data.path(), round);
                scope.spawn(move || {
                    let files = tempfile::tempdir().unwrap();
                    let seconds = lifetime + round;
                    let client = |at| {
                        format!("[[client]]\nclient_id = 'c-{at}'\ntoken_lifetime_seconds = {seconds}\n")
                    };
                    let clients: Vec<_> = (0..50).map(client).collect();
                    std::fs::write(files.path().join("a.toml"), clients.concat()).unwrap();
                    let declared = DeclaredClients::read(files.path()).unwrap();
                    Registry::open(data).unwrap().apply(&declared, &terms(Unnamed::Kept)).unwrap();
                });
            }
        });
        let listed = world.registry.list().unwrap().clients;
        let lifetimes: std::collections::HashSet<_> =
            listed.iter().map(|record| record.settings.token_lifetime).collect();
        assert_eq!((listed.len(), lifetimes.len()), (50, 1));
    }
}
