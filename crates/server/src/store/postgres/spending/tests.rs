use super::*;
use crate::clock::SystemClock;
use crate::store::PostgresSettings;
use crate::store::postgresql::{self, Postgres};

fn settings(postgres: &Postgres) -> PostgresSettings {
    PostgresSettings {
        password: Some(Arc::new(postgresql::password())),
        ..PostgresSettings::new(postgres.url())
    }
}

fn front(postgres: &Postgres) -> Arc<PostgresSpending> {
    let database = Arc::new(Database::new(&settings(postgres)).unwrap());
    Arc::new(PostgresSpending::start(&database, Arc::new(SystemClock), Workers::default()).unwrap())
}

fn key(number: u32) -> Key {
    let mut key = [7; 16];
    key[..4].copy_from_slice(&number.to_le_bytes());
    key
}

fn soon() -> Timestamp {
    SystemClock.now().saturating_add(Duration::from_secs(300))
}

#[tokio::test]
async fn t38_of_twenty_who_spend_one_assertion_at_two_instances_one_is_the_first() {
    let postgres = Postgres::start();
    let fronts = [front(&postgres), front(&postgres)];
    let until = soon();
    for round in 0..1000 {
        let racers: Vec<_> = (0..20)
            .map(|racer| {
                let front = Arc::clone(&fronts[racer % 2]);
                tokio::spawn(async move { front.spend(key(round), until).await.unwrap() })
            })
            .collect();
        let mut first = 0;
        for racer in racers {
            first += u32::from(racer.await.unwrap() == Spent::First);
        }
        assert_eq!(first, 1, "round {round}");
    }
    assert_eq!(postgres.sql("SELECT count(*) FROM jeton.spent_assertion"), "1000");
}

#[tokio::test]
async fn many_assertions_are_spent_at_once_without_waiting_for_one_another() {
    let postgres = Postgres::start();
    let fronts = [front(&postgres), front(&postgres)];
    let until = soon();
    // The same keys at both, the one forwards and the other backwards.
    let spends = (0..4000_u32).flat_map(|at| [(0, at), (1, 3999 - at)]).map(|(at, number)| {
        let front = Arc::clone(&fronts[at]);
        tokio::spawn(async move { front.spend(key(number), until).await })
    });
    let mut first = 0;
    for spend in spends.collect::<Vec<_>>() {
        first += u32::from(spend.await.unwrap() == Ok(Spent::First));
    }
    // On a machine that is busy elsewhere a few may be told that the time was over.
    let unavailable = fronts[0].unavailable() + fronts[1].unavailable();
    assert!(first <= 4000 && u64::from(first) + unavailable >= 4000, "{first}, {unavailable}");
}

#[tokio::test]
async fn while_the_database_is_away_callers_are_told_at_once_and_their_spends_are_written_up() {
    let mut postgres = Postgres::start();
    let fronts = [front(&postgres), front(&postgres)];
    let until = soon();
    assert_eq!(fronts[0].spend(key(1), until).await, Ok(Spent::First));
    postgres.kill();
    // The process behind the connection outlives the server by a moment.
    let mut last = 500;
    while fronts[0].spend(key(last), until).await.is_ok() {
        last += 1;
    }
    let begun = Instant::now();
    for number in 2..50 {
        assert_eq!(fronts[0].spend(key(number), until).await, Err(SpendingUnavailable));
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(fronts[0].unavailable(), 49);
    postgres.restart();
    let patience = Instant::now() + Duration::from_secs(60);
    let mut probe = 1000;
    while fronts[1].spend(key(probe), until).await.is_err() || !fronts[0].shared.to_write_up().is_empty() {
        assert!(Instant::now() < patience, "the database is not found again");
        probe += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Taken from the list of what is to be written, and perhaps on its way.
    let written = || -> u32 {
        let ours = "substr(key, 5) = '\\x070707070707070707070707' AND get_byte(key, 0) < 50 AND get_byte(key, 1) = 0";
        postgres.sql(&format!("SELECT count(*) FROM jeton.spent_assertion WHERE {ours}")).parse().unwrap()
    };
    while written() < 49 {
        assert!(Instant::now() < patience, "what was spent alone is not written up: {}", written());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for number in 1..50 {
        assert_eq!(fronts[1].spend(key(number), until).await, Ok(Spent::Again), "{number}");
    }
}

#[tokio::test]
async fn a_database_that_hangs_costs_a_caller_a_second_at_most_and_only_the_first_ones() {
    let postgres = Postgres::start();
    let front = front(&postgres);
    let frozen = postgres.freeze();
    let begun = Instant::now();
    for number in 0..200 {
        assert_eq!(front.spend(key(number), soon()).await, Err(SpendingUnavailable));
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    drop(frozen);
    let patience = Instant::now() + Duration::from_secs(60);
    while front.spend(key(1), soon()).await != Ok(Spent::Again) {
        assert!(Instant::now() < patience, "the database is not found again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_database_that_is_reached_and_takes_nothing_is_left_alone_until_it_does() {
    let postgres = Postgres::start();
    let front = front(&postgres);
    let disk = postgres.small_disk();
    disk.fill();
    let until = soon();
    // Until the pages that are there are full.
    let mut spent = 0;
    while front.spend(key(spent), until).await.is_ok() {
        spent += 1;
    }
    let sessions = || -> u32 {
        let sessions = "SELECT sessions FROM pg_stat_database WHERE datname = 'jeton'";
        postgres.sql(sessions).parse().unwrap()
    };
    let before = sessions();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let connected = sessions() - before;
    assert!(connected < 10, "it was connected to {connected} times in 3 s");
    assert_eq!(front.spend(key(spent + 1), until).await, Err(SpendingUnavailable));
    disk.make_room();
    let patience = Instant::now() + Duration::from_secs(60);
    while front.spend(key(spent), until).await != Ok(Spent::Again) {
        assert!(Instant::now() < patience, "what was spent alone is not written up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_nobody_takes_any_more_is_removed() {
    let postgres = Postgres::start();
    let database = front(&postgres);
    let long_ago = SystemClock.now().as_unix_millis() - 3_600_000;
    postgres.sql(&format!(
        "INSERT INTO jeton.spent_assertion SELECT decode(md5(n::text), 'hex'), {long_ago} FROM generate_series(1, 5000) AS n"
    ));
    drop(database);
    let front = front(&postgres);
    assert_eq!(front.spend(key(1), soon()).await, Ok(Spent::First));
    let patience = Instant::now() + Duration::from_secs(60);
    while postgres.sql("SELECT count(*) FROM jeton.spent_assertion") != "1" {
        assert!(Instant::now() < patience, "it is not removed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn t38_an_instance_whose_clock_is_ahead_takes_no_assertion_from_the_others() {
    let postgres = Postgres::start();
    let front = front(&postgres);
    assert_eq!(front.spend(key(1), soon()).await, Ok(Spent::First));
    let connector = Connector::new(&settings(&postgres)).unwrap();
    let session = connector.session().await.unwrap();
    let ahead = SystemClock.now().saturating_add(Duration::from_hours(24));
    assert_eq!(purge(&session.client, ahead).await.unwrap(), 0);
    assert_eq!(front.spend(key(1), soon()).await, Ok(Spent::Again));
}
