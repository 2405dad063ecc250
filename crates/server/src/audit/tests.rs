use super::chain::Line;
use super::verify::{Chain, FileEnd};
use super::*;
use crate::clock::SystemClock;
use crate::workers::Workers;
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const NOW: Timestamp = Timestamp::from_unix_millis(1_800_000_000_999);

fn log_of(records: usize) -> Vec<u8> {
    let (mut log, mut head) = (Vec::new(), Head::START);
    for number in 0..records {
        let record = Record::new(Event::TokenGranted, NOW).text("client_id", &format!("client-{number}"));
        head.append(&mut log, record.members());
    }
    log
}

fn read(log: &[u8]) -> (Chain, FileEnd) {
    let mut chain = Chain::default();
    let end = chain.read(&mut &log[..]).unwrap();
    (chain, end)
}

fn lines(log: &[u8]) -> Vec<&[u8]> {
    log.split_inclusive(|byte| *byte == b'\n').collect()
}

#[test]
fn a_log_as_it_was_written_holds_together() {
    let log = log_of(5);
    let (chain, end) = read(&log);
    assert_eq!((end, chain.lines, chain.head.unwrap().sequence()), (FileEnd::Whole, 5, 5));
    for line in lines(&log) {
        let object: serde_json::Value = serde_json::from_slice(line).unwrap();
        assert_eq!(object["previous"].as_str().unwrap().len(), 64);
    }
    // A part of it holds together too, and tells that it is one.
    let (chain, end) = read(&lines(&log)[2..].concat());
    assert_eq!((end, chain.lines, chain.head.unwrap().sequence()), (FileEnd::Whole, 3, 5));
}

proptest! {
    #[test]
    fn any_byte_that_is_changed_is_found(records in 1..6_usize, at in any::<proptest::sample::Index>(), with in 1..=255_u8) {
        let mut log = log_of(records);
        let at = at.index(log.len());
        log[at] ^= with;
        let (_, end) = read(&log);
        prop_assert!(matches!(end, FileEnd::Broken { .. }), "byte {at}: {end:?}");
    }

    #[test]
    fn any_byte_that_is_removed_or_added_is_found(records in 1..6_usize, at in any::<proptest::sample::Index>(), added in proptest::option::of(any::<u8>())) {
        let mut log = log_of(records);
        let at = at.index(log.len());
        match added {
            Some(byte) => log.insert(at, byte),
            None => drop(log.remove(at)),
        }
        let (_, end) = read(&log);
        // The last line feed is all that the writer may have been kept from.
        prop_assert!(end != FileEnd::Whole, "byte {at}");
        prop_assert!(at + 1 >= log.len() || matches!(end, FileEnd::Broken { .. }), "byte {at}: {end:?}");
    }

    #[test]
    fn lines_that_are_removed_doubled_or_exchanged_are_found(
        records in 3..8_usize, one in any::<proptest::sample::Index>(), other in any::<proptest::sample::Index>(),
    ) {
        let log = log_of(records);
        let lines = lines(&log);
        let (one, other) = (one.index(records), other.index(records));
        let broken = |lines: &[&[u8]]| matches!(read(&lines.concat()).1, FileEnd::Broken { .. });
        let mut exchanged = lines.clone();
        exchanged.swap(one, other);
        prop_assert_eq!(broken(&exchanged), one != other);
        let mut doubled = lines.clone();
        doubled.insert(other, lines[one]);
        prop_assert!(broken(&doubled));
        let mut removed = lines.clone();
        removed.remove(one);
        let (chain, _) = read(&removed.concat());
        // At either end nothing in the file tells; the numbers of the first and the last line do.
        let at_an_end = one == 0 || one + 1 == records;
        prop_assert!(broken(&removed) != at_an_end);
        prop_assert!(chain.lines < records as u64);
    }

    #[test]
    fn what_is_cut_off_is_told_apart_from_tampering(records in 1..5_usize, keep in any::<proptest::sample::Index>()) {
        let log = log_of(records);
        let kept = &log[..keep.index(log.len())];
        let (chain, end) = read(kept);
        let whole = kept.split(|byte| *byte == b'\n').count() as u64 - 1;
        prop_assert_eq!(chain.lines, whole);
        let torn = matches!(end, FileEnd::Torn { .. });
        prop_assert_eq!(torn, !kept.is_empty() && kept.last() != Some(&b'\n'), "{:?}", end);
    }

    #[test]
    fn no_bytes_make_the_verifier_fail(log in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'{'), any::<u8>()], 0..400)) {
        let (chain, _) = read(&log);
        prop_assert_eq!(chain.lines, 0);
    }
}

#[test]
fn a_line_with_a_new_digest_of_its_own_is_found_by_the_next_one() {
    let log = log_of(3);
    let lines = lines(&log);
    let second = Line::parse(lines[1].strip_suffix(b"\n").unwrap()).unwrap();
    let mut forged = Vec::new();
    second.before().append(&mut forged, Record::new(Event::TokenRefused, NOW).members());
    let (_, end) = read(&[lines[0], &forged, lines[2]].concat());
    assert_eq!(end, FileEnd::Broken { line: 3, what: Break::Previous });
}

fn act(client_id: &str) -> Act<'_> {
    Act { event: Event::ClientAdded, actor: "uid=0", client_id: Some(client_id), detail: None }
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    (dir, path)
}

/// That the log holds together, and what is in it.
#[track_caller]
fn records(path: &Path) -> Vec<serde_json::Value> {
    let files = log_files(path).unwrap();
    let verdict = verify(&files, None).unwrap();
    assert_eq!((&verdict.fault, &verdict.torn), (&None, &None));
    assert_eq!(verdict.first_sequence, (verdict.lines > 0).then_some(1));
    let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn started(path: &Path, limits: AuditLimits) -> Audit {
    Audit::start(path.to_owned(), limits, Arc::new(SystemClock)).unwrap()
}

#[test]
fn several_writers_make_one_chain() {
    let (_dir, path) = place();
    let audit = started(&path, AuditLimits::default());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..20).for_each(|_| append(&path, &act("command"), NOW).unwrap()));
        }
        for _ in 0..200 {
            audit.tell(&act("server"));
            std::thread::yield_now();
        }
    });
    audit.close();
    let records = records(&path);
    assert_eq!(records.len(), 262);
    assert_eq!(records.iter().filter(|record| record["client_id"] == "command").count(), 60);
    assert_eq!(records[261]["event"], "server_ended");
    assert_eq!(audit.counts(), AuditCounts { written: 202, lost: 0 });
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_line_that_was_cut_off_is_mended_and_told() {
    let (_dir, path) = place();
    append(&path, &act("one"), NOW).unwrap();
    append(&path, &act("two"), NOW).unwrap();
    let whole = fs::read(&path).unwrap();
    for cut in [1, 20, 200] {
        fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        let verdict = verify(std::slice::from_ref(&path), None).unwrap();
        assert!(verdict.torn.is_some() && verdict.fault.is_none(), "{verdict:?}");
        append(&path, &act("three"), NOW).unwrap();
        let records = records(&path);
        let events: Vec<_> = records.iter().map(|record| record["event"].as_str().unwrap()).collect();
        assert_eq!(events, ["client_added", "log_resumed", "client_added"]);
        assert!(records[1]["torn_bytes"].as_u64().unwrap() > 0);
        assert!(records[1]["torn"].as_str().unwrap().starts_with("{\"sequence\":2,"), "{:?}", records[1]);
    }
    // The very first line.
    fs::write(&path, "{\"sequ").unwrap();
    append(&path, &act("three"), NOW).unwrap();
    assert_eq!(records(&path).len(), 2);
}

#[test]
fn a_log_that_is_damaged_is_set_aside_and_another_one_begun() {
    let (dir, path) = place();
    append(&path, &act("one"), NOW).unwrap();
    let damaged = fs::read_to_string(&path).unwrap().replace("one", "two");
    fs::write(&path, &damaged).unwrap();
    append(&path, &act("three"), NOW).unwrap();
    let records = records(&path);
    assert_eq!(records[0]["event"], "log_resumed");
    let aside = dir.path().join(records[0]["moved_to"].as_str().unwrap());
    assert_eq!(fs::read_to_string(aside).unwrap(), damaged);
    assert_eq!((records.len(), &records[1]["client_id"]), (2, &"three".into()));
}

#[test]
fn a_chain_goes_on_over_files_and_starts() {
    let (dir, path) = place();
    let limits = AuditLimits { file_bytes: 2_000, ..AuditLimits::default() };
    for _ in 0..3 {
        let audit = started(&path, limits);
        for _ in 0..20 {
            audit.tell(&act("worker"));
            // A file holds what is written at once.
            std::thread::sleep(Duration::from_millis(if fs::metadata(&path).is_ok() { 10 } else { 0 }));
        }
        audit.close();
    }
    assert_eq!(records(&path).len(), 66);
    let files = log_files(&path).unwrap();
    assert!(files.len() > 2, "{files:?}");
    // The kill that hits between the two steps of a rotation leaves no file of that name.
    fs::rename(&path, archive_of(&path)).unwrap();
    append(&path, &act("last"), NOW).unwrap();
    assert_eq!(records(&path).last().unwrap()["sequence"], 67);
    // A file in between that is gone is found.
    fs::remove_file(&files[1]).unwrap();
    let verdict = verify(&log_files(&path).unwrap(), None).unwrap();
    assert!(matches!(verdict.fault.unwrap().what, Break::Sequence { .. }));
    drop(dir);
}

#[test]
fn a_rotation_that_was_killed_halfway_is_finished() {
    let (_dir, path) = place();
    for client_id in ["one", "two"] {
        append(&path, &act(client_id), NOW).unwrap();
    }
    fs::hard_link(&path, archive_of(&path)).unwrap();
    append(&path, &act("three"), NOW).unwrap();
    assert_eq!(records(&path).len(), 3);
    assert_eq!(log_files(&path).unwrap().len(), 2);
    // It goes on, whatever the next files are called.
    let audit = started(&path, AuditLimits { file_bytes: 500, ..AuditLimits::default() });
    (0..20).for_each(|_| audit.tell(&act("worker")));
    audit.close();
    assert_eq!((records(&path).len(), audit.counts().lost), (25, 0));
    // The same with one that is damaged.
    let damaged = fs::read_to_string(&path).unwrap().replace("server_ended", "server_bended");
    fs::write(&path, damaged).unwrap();
    let mark = fs::metadata(&path).unwrap().ino();
    fs::hard_link(&path, path.with_file_name(format!("audit-damaged-{mark}.jsonl"))).unwrap();
    append(&path, &act("four"), NOW).unwrap();
    let ended = fs::read_to_string(&path).unwrap();
    assert!(ended.contains("log_resumed") && ended.contains("four"), "{ended}");
    // A link of somebody else is nobody's business.
    fs::hard_link(&path, path.with_file_name("copy")).unwrap();
    append(&path, &act("last"), NOW).unwrap();
    assert!(fs::read_to_string(path.with_file_name("copy")).unwrap().contains("last"));
}

fn archive_of(path: &Path) -> PathBuf {
    let text = fs::read_to_string(path).unwrap();
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    path.with_file_name(format!("audit-{}.jsonl", first["sequence"]))
}

#[test]
fn what_finds_no_room_while_another_holds_the_log_is_counted_in_it() {
    let (_dir, path) = place();
    let audit = started(&path, AuditLimits { queue_bytes: 2_000, ..AuditLimits::default() });
    while audit.counts().written == 0 {
        std::thread::yield_now();
    }
    let holder = fs::File::open(&path).unwrap();
    holder.lock().unwrap();
    for _ in 0..100 {
        audit.tell(&act("worker"));
    }
    while audit.counts().lost == 0 {
        audit.tell(&act("worker"));
    }
    holder.unlock().unwrap();
    audit.close();
    let (records, counts) = (records(&path), audit.counts());
    let lost: u64 = records.iter().filter_map(|record| record["records_lost"].as_u64()).sum();
    assert!(lost > 0 && counts.lost >= lost, "{counts:?} {lost}");
    assert_eq!(counts.written, records.len() as u64);
}

#[test]
fn a_kept_digest_shows_that_nothing_up_to_it_was_removed() {
    let (_dir, path) = place();
    for client_id in ["one", "two", "three"] {
        append(&path, &act(client_id), NOW).unwrap();
    }
    let files = [path.clone()];
    let head = verify(&files, None).unwrap().head.unwrap();
    append(&path, &act("four"), NOW).unwrap();
    assert!(verify(&files, Some(head.digest())).unwrap().contains);
    let text = fs::read_to_string(&path).unwrap();
    let shorter: String = text.split_inclusive('\n').take(2).collect();
    fs::write(&path, shorter).unwrap();
    let verdict = verify(&files, Some(head.digest())).unwrap();
    assert!(!verdict.contains && verdict.fault.is_none());
}

#[test]
fn a_place_that_is_none_for_a_log_is_refused() {
    let (dir, path) = place();
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let start = |path: PathBuf| {
        Audit::start(path, AuditLimits::default(), Arc::new(SystemClock)).map(drop).unwrap_err().to_string()
    };
    assert!(start(path.clone()).contains("chmod 600"), "{}", start(path));
    assert!(start(dir.path().join("missing/audit.jsonl")).contains("cannot be written"));
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("elsewhere", &link).unwrap();
    assert!(start(link).contains("cannot be written"));
}

/// Panics so often when the thread that writes asks for the time.
struct Faulty(AtomicU32);

impl Clock for Faulty {
    fn now(&self) -> Timestamp {
        if std::thread::current().name() == Some("jeton-audit") {
            let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            assert!(left.is_err(), "on purpose");
        }
        NOW
    }
}

#[test]
fn a_writer_that_panics_goes_on_and_gives_up_what_stops_it_twice() {
    for (panics, lost) in [(1, 0), (2, 2)] {
        let (_dir, path) = place();
        let clock = Arc::new(Faulty(AtomicU32::new(0)));
        let of_audit: Arc<dyn Clock> = Arc::<Faulty>::clone(&clock);
        let workers = Workers::default();
        let audit = Audit::start_among(&workers, path.clone(), AuditLimits::default(), of_audit).unwrap();
        let patience = Instant::now() + Duration::from_secs(20);
        let wait_until = |holds: &dyn Fn() -> bool| {
            while !holds() {
                assert!(Instant::now() < patience, "it does not go on: {:?}", audit.counts());
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        wait_until(&|| audit.counts().written == 1);
        // Both are in one batch: the thread is told of neither before its tick.
        let mut both = act("one").record(NOW).members().to_vec();
        both.push(b'\n');
        both.extend_from_slice(act("two").record(NOW).members());
        clock.0.store(panics, Ordering::Relaxed);
        audit.writer.add(&both);
        wait_until(&|| workers.panics().iter().sum::<u64>() == u64::from(panics));
        audit.tell(&act("three"));
        audit.close();
        let records = records(&path);
        let of = |event: &str| records.iter().filter(|record| record["event"] == event).count() as u64;
        assert_eq!(audit.counts().lost, lost, "after {panics} panics");
        assert_eq!((of("client_added"), of("server_ended")), (3 - lost, 1), "{records:?}");
        assert_eq!(of("records_lost"), u64::from(lost > 0), "{records:?}");
    }
}
