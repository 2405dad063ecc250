use super::*;
use std::os::unix::fs::PermissionsExt as _;

const BOOT: &str = "11111111-2222-3333-4444-555555555555";
const NOW: Timestamp = Timestamp::from_unix_millis(1_800_000_000_500);
const SINCE: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
const FILES: [&str; 2] = ["spent-assertions.0.journal", "spent-assertions.1.journal"];

fn open(dir: &Path, now: Timestamp) -> (Journal, Kept) {
    Journal::open_in_boot(dir, Some(BOOT.to_owned()), now)
}

fn later(seconds: u64) -> Timestamp {
    NOW.saturating_add(Duration::from_secs(seconds))
}

fn record(number: u64) -> (SpentKey, Timestamp) {
    (SpentKey::new("client", &number.to_string()), later(330 + number))
}

fn write(journal: &mut Journal, number: u64, now: Timestamp) {
    journal.record(record(number), SINCE, now, || panic!("nothing is written again"));
}

fn numbers(mut spent: Vec<(SpentKey, Timestamp)>, expected: impl IntoIterator<Item = u64>) {
    let mut expected: Vec<_> = expected.into_iter().map(record).collect();
    expected.sort_unstable();
    spent.sort_unstable();
    assert_eq!(spent, expected);
}

#[test]
fn t38_what_was_spent_is_known_to_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, kept) = open(dir.path(), NOW);
    assert_eq!(
        (kept.spent.len(), kept.known_since),
        (0, SINCE),
        "nothing is known of before the first start"
    );
    for number in 0..100 {
        write(&mut journal, number, NOW);
    }
    drop(journal);
    for restart in 1..4 {
        let (mut journal, kept) = open(dir.path(), later(restart));
        assert_eq!(kept.known_since, SINCE, "nothing is forgotten, so nothing more is refused");
        numbers(kept.spent, 0..99 + restart);
        write(&mut journal, 99 + restart, later(restart));
    }
    for name in FILES {
        assert_eq!(std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn two_files_take_turns_and_what_can_be_used_is_in_one_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), NOW);
    for number in 0..40 {
        write(&mut journal, number, later(number * 50));
    }
    drop(journal);
    let (_journal, kept) = open(dir.path(), later(2000));
    let mut kept_numbers: Vec<_> = (0..40).filter(|number| kept.spent.contains(&record(*number))).collect();
    kept_numbers.sort_unstable();
    assert!(kept_numbers.len() < 20, "{kept_numbers:?}");
    assert!((32..40).all(|number| kept_numbers.contains(&number)), "400 s at least: {kept_numbers:?}");
}

#[test]
fn a_record_cut_off_by_a_kill_is_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), NOW);
    for number in 0..3 {
        write(&mut journal, number, NOW);
    }
    drop(journal);
    let path = FILES.map(|name| dir.path().join(name));
    let longest = path.iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let bytes = std::fs::read(longest).unwrap();
    std::fs::write(longest, bytes.split_last_chunk::<5>().unwrap().0).unwrap();
    let (mut journal, kept) = open(dir.path(), later(1));
    assert_eq!(kept.known_since, SINCE);
    numbers(kept.spent, 0..2);
    write(&mut journal, 7, later(1));
    drop(journal);
    numbers(open(dir.path(), later(1)).1.spent, [0, 1, 7]);
}

#[test]
fn a_journal_of_another_boot_or_a_damaged_one_is_not_believed() {
    type Damage = fn(&Path);
    let damage: [(&str, Damage); 5] = [
        ("garbage in the header", |dir| overwrite(dir, 20, b"?")),
        ("a mark that something is missing", |dir| overwrite(dir, 16, &[0])),
        ("garbage in the records", |dir| overwrite(dir, 96, &[7; 70])),
        ("an empty file", |dir| FILES.iter().for_each(|name| std::fs::write(dir.join(name), "").unwrap())),
        ("another boot", |_| {}),
    ];
    for (name, damage) in damage {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(dir.path(), NOW);
        for number in 0..5 {
            write(&mut journal, number, NOW);
        }
        drop(journal);
        damage(dir.path());
        let boot = if name == "another boot" { BOOT.replace('1', "9") } else { BOOT.to_owned() };
        let (_, kept) = Journal::open_in_boot(dir.path(), Some(boot.clone()), later(100));
        assert!(kept.known_since >= Timestamp::from_unix_seconds(1_800_000_100), "{name}: {kept:?}");
        // What was not known at the first restart is not known at the second.
        let (_, again) = Journal::open_in_boot(dir.path(), Some(boot), later(110));
        assert_eq!(again.known_since, kept.known_since, "{name}");
    }
}

fn overwrite(dir: &Path, at: usize, with: &[u8]) {
    for name in FILES {
        let mut bytes = std::fs::read(dir.join(name)).unwrap();
        for (to, from) in bytes.iter_mut().skip(at).zip(with) {
            *to = *from;
        }
        std::fs::write(dir.join(name), bytes).unwrap();
    }
}

#[test]
fn where_boots_cannot_be_told_apart_no_journal_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open_in_boot(dir.path(), None, NOW);
    write(&mut journal, 1, NOW);
    drop(journal);
    let (_, kept) = Journal::open_in_boot(dir.path(), None, later(100));
    assert_eq!(kept.known_since, Timestamp::from_unix_seconds(1_800_000_100));
    numbers(kept.spent, [1]);
}

#[test]
fn two_processes_do_not_write_into_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (mut first, _) = open(dir.path(), NOW);
    let (mut second, kept) = open(dir.path(), later(1));
    assert!(kept.known_since > later(1), "what the first one spends is not known to the second");
    write(&mut first, 1, later(2));
    second.record(record(2), kept.known_since, later(2), || panic!("it is not tried so soon"));
    second.record(record(3), kept.known_since, later(40), || vec![record(2), record(3)]);
    drop(first);
    // The first one has ended, so the second takes over, with everything that it knows.
    second.record(record(4), kept.known_since, later(80), || vec![record(2), record(3), record(4)]);
    drop(second);
    let (_, kept) = open(dir.path(), later(81));
    numbers(kept.spent, [2, 3, 4]);
}

#[test]
fn t38_a_clock_that_jumps_ahead_and_back_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), NOW);
    write(&mut journal, 1, NOW);
    write(&mut journal, 2, later(3600));
    write(&mut journal, 3, later(10));
    let copy = tempfile::tempdir().unwrap();
    for name in FILES {
        std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    let (_, kept) = open(copy.path(), later(11));
    assert!(kept.known_since > later(11) || kept.spent.contains(&record(1)), "{kept:?}");
    journal.record(record(4), SINCE, later(50), || [1, 3, 4].map(record).to_vec());
    drop(journal);
    let (_, kept) = open(dir.path(), later(51));
    assert_eq!(kept.known_since, SINCE);
    numbers(kept.spent, [1, 3, 4]);
}

/// A journal whose next write fails, as on a disk that is full.
fn on_a_full_disk(dir: &Path) -> Journal {
    let (mut journal, _) = open(dir, NOW);
    write(&mut journal, 1, NOW);
    match &mut journal.state {
        State::Writing(current) => current.fail_from_now_on(),
        State::Failing { .. } => panic!("{journal:?}"),
    }
    journal
}

#[test]
fn a_full_disk_stops_nothing_and_is_made_good_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = on_a_full_disk(dir.path());
    write(&mut journal, 2, later(1));
    assert!(matches!(journal.state, State::Failing { .. }));
    write(&mut journal, 3, later(2));
    journal.record(record(4), SINCE, later(40), || (1..=4).map(record).collect());
    write(&mut journal, 5, later(41));
    drop(journal);
    let (_, kept) = open(dir.path(), later(42));
    assert_eq!(kept.known_since, SINCE);
    numbers(kept.spent, 1..=5);
}

#[test]
fn t38_what_a_full_disk_has_lost_is_refused_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = on_a_full_disk(dir.path());
    write(&mut journal, 2, later(1));
    drop(journal);
    let (_, kept) = open(dir.path(), later(2));
    assert!(kept.known_since > later(2), "{kept:?}");
}

/// A small file system of its own, which is taken away when this is dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn at(place: &'a Path) -> Self {
        let disk = Self(place);
        disk.mount(&["-t", "tmpfs", "-o", "size=1m", "tmpfs"]);
        disk
    }

    fn mount(&self, how: &[&str]) {
        let mounted = std::process::Command::new("mount").args(how).arg(self.0).status();
        assert!(mounted.unwrap().success(), "a small file system cannot be mounted: this wants root");
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _gone = std::process::Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn t38_what_a_read_only_disk_has_lost_is_marked_by_the_next_record_that_it_could_take() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Mounted::at(dir.path());
    let mut journal = on_a_full_disk(dir.path());
    // Nobody may have a file open for writing when the disk is made read-only.
    journal.lock = None;
    disk.mount(&["-o", "remount,ro"]);
    write(&mut journal, 2, later(1));
    assert!(matches!(journal.state, State::Failing { unmarked: Some(_), .. }), "{journal:?}");
    disk.mount(&["-o", "remount,rw"]);
    // Long before the journal is tried again as a whole.
    write(&mut journal, 3, later(2));
    assert!(matches!(journal.state, State::Failing { unmarked: None, .. }), "{journal:?}");
    drop(journal);
    let (_, kept) = open(dir.path(), later(3));
    assert!(kept.known_since > later(3), "{kept:?}");
}

#[test]
fn a_directory_that_cannot_be_written_is_told_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let (mut journal, kept) = open(&file, NOW);
    assert!(kept.known_since > NOW);
    write(&mut journal, 1, NOW);
}
