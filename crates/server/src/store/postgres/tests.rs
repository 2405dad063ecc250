use super::*;
use crate::clock::SystemClock;
use crate::store::postgresql::{self, Postgres};
use crate::store::{Expect, StoreLocation};
use jeton_proto::secret::Secret;
use jeton_proto::time::Clock as _;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

fn settings(postgres: &Postgres) -> PostgresSettings {
    PostgresSettings {
        password: Some(Arc::new(postgresql::password())),
        ..PostgresSettings::new(postgres.url())
    }
}

fn database(settings: &PostgresSettings) -> Arc<Database> {
    Arc::new(Database::new(settings).unwrap())
}

fn write(id: &str, body: &str) -> Write {
    let (id, body) = (id.to_owned(), Some(body.to_owned()));
    Write { kind: Kind::Client, id, body, expires_at: None, expect: Expect::Anything }
}

/// The whole message, with those of its sources.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[test]
fn of_many_who_come_to_an_empty_database_one_makes_the_schema() {
    let postgres = Postgres::start();
    let settings = settings(&postgres);
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| PostgresStore::open(&database(&settings)).unwrap());
        }
    });
    assert_eq!(postgres.sql("SELECT version FROM jeton.schema_version"), schema::VERSION.to_string());
    assert_eq!(postgres.sql("SELECT count(*) FROM jeton.counter"), "1");
    postgres.sql("UPDATE jeton.schema_version SET version = 99");
    let refused = PostgresStore::open(&database(&settings)).unwrap_err();
    assert!(
        matches!(refused, StoreError::NewerSchema { version: 99, known: schema::VERSION, .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains("in the database jeton at 127.0.0.1:"), "{refused}");
}

#[test]
fn a_user_with_few_rights_can_use_what_another_has_made() {
    let postgres = Postgres::start();
    let owner = PostgresStore::open(&database(&settings(&postgres))).unwrap();
    postgres.sql("CREATE ROLE few LOGIN PASSWORD 'few'");
    let few = PostgresSettings {
        url: postgres.url().replace("//jeton@", "//few@"),
        password: Some(Arc::new(Secret::from("few"))),
    };
    let refused = told(&PostgresStore::open(&database(&few)).unwrap_err());
    assert!(refused.contains("lacks a right"), "{refused}");
    postgres.sql("GRANT USAGE ON SCHEMA jeton TO few");
    postgres.sql("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA jeton TO few");
    let mut store = PostgresStore::open(&database(&few)).unwrap();
    store.commit(&[write("a", "1")], NOW).unwrap();
    store.purge(NOW).unwrap();
    drop(owner);
}

#[test]
fn a_password_that_is_refused_is_told_and_not_shown() {
    let postgres = Postgres::start();
    let wrong = "canary-that-is-wrong";
    let settings = PostgresSettings { password: Some(Arc::new(Secret::from(wrong))), ..settings(&postgres) };
    let refused = told(&PostgresStore::open(&database(&settings)).unwrap_err());
    assert!(refused.contains("refuses the user or the password"), "{refused}");
    assert!(refused.contains("28P01") && !refused.contains("canary"), "{refused}");
    let none = PostgresSettings { password: None, ..settings };
    let refused = told(&PostgresStore::open(&database(&none)).unwrap_err());
    assert!(refused.contains("password missing"), "{refused}");
}

#[test]
fn nobody_is_taken_for_the_database_without_its_certificate() {
    let authority = |name: &str| {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        rcgen::CertifiedIssuer::self_signed(parameters, rcgen::KeyPair::generate().unwrap()).unwrap()
    };
    let (good, other) = (authority("good"), authority("other"));
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &good).unwrap();
    let postgres = Postgres::start_with_tls(&certificate.pem(), &key.serialize_pem());
    let dir = tempfile::tempdir().unwrap();
    let open = |host: &str, authorities: Option<&str>| {
        let mut url = postgres.url().replace("127.0.0.1", host) + "?sslmode=verify-full";
        if let Some(pem) = authorities {
            let file = dir.path().join("authorities.pem");
            std::fs::write(&file, pem).unwrap();
            url = format!("{url}&sslrootcert={}", file.display());
        }
        let database = database(&PostgresSettings { url, ..settings(&postgres) });
        PostgresStore::open(&database).map_err(|error| told(&error))
    };
    let mut store = open("localhost", Some(&good.pem())).unwrap();
    store.commit(&[write("a", "1")], NOW).unwrap();
    let over_tls =
        "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'jeton'";
    assert_eq!(postgres.sql(over_tls), "t");
    for (host, authorities, expected) in [
        ("localhost", Some(other.pem()), "certificate is not good"),
        ("127.0.0.1", Some(good.pem()), "certificate is not good"),
        ("localhost", None, "certificate is not good"),
        ("localhost", Some("no PEM".to_owned()), "file of sslrootcert"),
    ] {
        let refused = open(host, authorities.as_deref()).unwrap_err();
        assert!(refused.contains(expected), "{host}: {refused}");
    }
    let plain = Postgres::start();
    let settings = PostgresSettings { url: plain.url() + "?sslmode=verify-full", ..settings(&plain) };
    let refused = told(&PostgresStore::open(&database(&settings)).unwrap_err());
    assert!(refused.contains("does not support TLS"), "{refused}");
}

#[test]
fn another_database_in_its_place_is_read_whole() {
    let mut postgres = Postgres::start();
    let mut store = PostgresStore::open(&database(&settings(&postgres))).unwrap();
    store.commit(&[write("lost", "1"), write("kept", "1")], NOW).unwrap();
    let seen = store.changes(ChangeNumber(0)).unwrap();
    assert_eq!(store.changes(seen.through).unwrap().records.len(), 0);
    // As a backup does that has had other changes since.
    postgres.sql("DELETE FROM jeton.record WHERE id = 'lost'");
    postgres.kill();
    postgres.restart();
    let restored = loop {
        match store.changes(seen.through) {
            Ok(changes) => break changes,
            Err(error) => assert!(told(&error).contains("cannot be reached"), "{}", told(&error)),
        }
    };
    assert_eq!(restored.extent, crate::store::Extent::Everything);
    let ids: Vec<&str> = restored.records.iter().map(|record| record.id.as_str()).collect();
    assert_eq!(ids, ["kept"]);
    postgres.sql("DROP SCHEMA jeton CASCADE");
    let gone = told(&store.changes(seen.through).unwrap_err());
    assert!(gone.contains("is not there any more"), "{gone}");
    assert_eq!(postgres.sql("SELECT to_regnamespace('jeton') IS NULL"), "t", "what is gone is not made anew");
}

#[test]
fn a_primary_that_became_read_only_is_left_for_the_one_that_takes_changes() {
    let (old, new) = (Postgres::start(), Postgres::start());
    let host = |postgres: &Postgres| postgres.url().split(['@', '/']).nth(3).unwrap().to_owned();
    let url = format!("postgresql://jeton@{},{}/jeton", host(&old), host(&new));
    let both = PostgresSettings { url, ..settings(&old) };
    let mut at_new = PostgresStore::open(&database(&settings(&new))).unwrap();
    at_new.commit(&[write("new", "1")], NOW).unwrap();
    let mut reader = PostgresStore::open(&database(&both)).unwrap();
    let mut writer = PostgresStore::open(&database(&both)).unwrap();
    let seen = writer.commit(&[write("old", "1")], NOW).unwrap();
    assert_eq!(reader.changes(ChangeNumber(0)).unwrap().records[0].id, "old");
    // As whoever makes a standby the primary does, so that nobody writes where it is lost.
    old.set_read_only(true);
    let refused = told(&writer.commit(&[write("lost", "1")], NOW).unwrap_err());
    assert!(refused.contains("is read only, as a standby is") && refused.contains("25006"), "{refused}");
    writer.commit(&[write("kept", "1")], NOW).unwrap();
    reader.changes(seen).unwrap();
    let changes = reader.changes(seen).unwrap();
    let ids: Vec<&str> = changes.records.iter().map(|record| record.id.as_str()).collect();
    assert_eq!((ids, changes.extent), (vec!["new", "kept"], crate::store::Extent::Everything));
    assert_eq!(old.sql("SELECT count(*) FROM jeton.record WHERE id <> 'old'"), "0");
}

#[test]
fn where_all_is_read_only_reading_goes_on_and_changes_are_refused_until_it_is_not() {
    let postgres = Postgres::start();
    let mut store = PostgresStore::open(&database(&settings(&postgres))).unwrap();
    let seen = store.commit(&[write("a", "1")], NOW).unwrap();
    postgres.set_read_only(true);
    for _ in 0..3 {
        let refused = told(&store.commit(&[write("a", "2")], NOW).unwrap_err());
        assert!(refused.contains("is read only, as a standby is"), "{refused}");
        assert_eq!(store.changes(seen).unwrap().records.len(), 0);
    }
    assert_eq!(store.record(Kind::Client, "a").unwrap().unwrap().body.as_deref(), Some("1"));
    let refused = told(&PostgresStore::open(&database(&settings(&postgres))).unwrap_err());
    assert!(refused.contains("is read only, as a standby is"), "{refused}");
    assert!(!refused.contains("cannot be reached"), "{refused}");
    postgres.set_read_only(false);
    store.commit(&[write("a", "2")], NOW).unwrap();
    assert_eq!(store.changes(seen).unwrap().records.len(), 1);
}

#[test]
fn an_instance_whose_clock_is_ahead_takes_nothing_from_the_others() {
    let postgres = Postgres::start();
    let mut store = PostgresStore::open(&database(&settings(&postgres))).unwrap();
    let now = SystemClock.now();
    let until = |end| Write { expires_at: Some(end), ..write("x", "1") };
    let over = Write { id: "over".to_owned(), ..until(now) };
    let good = Write { id: "good".to_owned(), ..until(now.saturating_add(Duration::from_mins(5))) };
    store.commit(&[over, good], now).unwrap();
    store.purge(now.saturating_add(Duration::from_hours(24 * 365))).unwrap();
    assert_eq!(postgres.sql("SELECT string_agg(id, ' ') FROM jeton.record"), "good");
}

#[tokio::test]
async fn a_store_can_be_used_and_dropped_on_a_thread_that_drives_tasks() {
    let postgres = Postgres::start();
    let settings = settings(&postgres);
    let location = StoreLocation::Postgres(database(&settings));
    let mut store = location.open().unwrap();
    store.commit(&[write("a", "1")], NOW).unwrap();
    drop((store, location));
    let blocking = tokio::task::spawn_blocking(move || {
        let mut store = PostgresStore::open(&database(&settings)).unwrap();
        store.record(Kind::Client, "a").unwrap().is_some()
    });
    assert!(blocking.await.unwrap());
}

#[test]
fn a_database_that_hangs_holds_nobody_for_long() {
    let postgres = Postgres::start();
    let mut store = PostgresStore::open(&database(&settings(&postgres))).unwrap();
    let before = store.commit(&[write("a", "1")], NOW).unwrap();
    let frozen = postgres.freeze();
    let begun = Instant::now();
    let told_at_first = told(&store.changes(before).unwrap_err());
    assert!(told_at_first.contains("does not answer in time"), "{told_at_first}");
    let again = told(&store.commit(&[write("a", "2")], NOW).unwrap_err());
    assert!(again.contains("does not answer in time"), "{again}");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    drop(frozen);
    let patience = Instant::now() + Duration::from_secs(30);
    while let Err(error) = store.commit(&[write("a", "3")], NOW) {
        assert!(Instant::now() < patience, "{}", told(&error));
        std::thread::sleep(Duration::from_millis(20));
    }
    let record = store.record(Kind::Client, "a").unwrap().unwrap();
    assert_eq!(record.body.as_deref(), Some("3"));
}

#[test]
fn one_who_dies_in_a_commit_leaves_nothing_and_holds_nobody() {
    let postgres = Postgres::start();
    let mut store = PostgresStore::open(&database(&settings(&postgres))).unwrap();
    let dead = database(&settings(&postgres));
    let connector = Arc::clone(dead.connector());
    let held = dead.wait(async move {
        let session = connector.session().await.unwrap();
        let begin = "BEGIN; UPDATE jeton.counter SET change = change + 1;
                     INSERT INTO jeton.record VALUES ('client', 'half', '1', 2, NULL)";
        session.client.batch_execute(begin).await.unwrap();
        session
    });
    let waiting = told(&store.commit(&[write("a", "1")], NOW).unwrap_err());
    assert!(waiting.contains("is held by another program"), "{waiting}");
    drop((held, dead));
    store.commit(&[write("a", "1")], NOW).unwrap();
    assert!(store.record(Kind::Client, "half").unwrap().is_none());
}

#[test]
fn a_commit_is_heard_of_by_others() {
    let postgres = Postgres::start();
    let mut store = PostgresStore::open(&database(&settings(&postgres))).unwrap();
    let (sender, nudged) = std::sync::mpsc::sync_channel(1);
    let sender = Arc::new(sender);
    let hears = || nudged.recv_timeout(Duration::from_secs(60)).unwrap();
    let listening = store.listen(Nudge::of(&sender)).unwrap();
    hears();
    for round in 0..3 {
        store.commit(&[write("a", &round.to_string())], NOW).unwrap();
        hears();
    }
    let listeners = "FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    postgres.sql(&format!("SELECT pg_terminate_backend(pid) {listeners}"));
    hears();
    store.commit(&[write("a", "again")], NOW).unwrap();
    hears();
    drop(listening);
    let patience = Instant::now() + Duration::from_secs(60);
    while postgres.sql(&format!("SELECT count(*) {listeners}")) != "0" {
        assert!(Instant::now() < patience, "the connection that listens outlives its reader");
        std::thread::sleep(Duration::from_millis(20));
    }
}
