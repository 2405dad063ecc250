//! Links are not followed, and nobody else is let in (trap T31).

use super::process::{Process, is_child, say};
use super::{body_of, files_in, home, name, put, replace};
use jeton::store::{FileStore, SharedStore, StoreDirError, StoreFaultKind, Swap};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn t31_a_directory_that_is_a_link_anothers_or_open_to_others_is_refused() {
    let home = home();
    let (cache, link) = (home.path().join("cache"), home.path().join("link"));
    FileStore::open(&cache).unwrap();
    symlink(&cache, &link).unwrap();
    for path in
        [link.clone(), home.path().join("link/"), home.path().join("link/."), home.path().join("./link//")]
    {
        let error = FileStore::open(&path).unwrap_err();
        assert!(matches!(error, StoreDirError::Link(_)), "{error}");
        assert!(error.to_string().contains("symbolic link"), "{error}");
    }
    let dangling = home.path().join("dangling");
    symlink(home.path().join("nowhere"), &dangling).unwrap();
    assert!(FileStore::open(&dangling).is_err());
    assert!(!home.path().join("nowhere").exists());
    for open in [0o750, 0o705, 0o770, 0o701, 0o777, 0o1777] {
        fs::set_permissions(&cache, Permissions::from_mode(open)).unwrap();
        let error = FileStore::open(&cache).unwrap_err();
        assert!(matches!(error, StoreDirError::Mode { .. }), "{error}");
        assert!(error.to_string().contains("chmod 700"), "{error}");
    }
    let file = home.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(FileStore::open(&file), Err(StoreDirError::NoDirectory(_))));
    assert!(matches!(FileStore::open(file.join("below")), Err(StoreDirError::Io { .. })));
    // For root another's is one that was given away, for everybody else the root's.
    let others = if rustix::process::geteuid().is_root() {
        let given = home.path().join("given");
        fs::create_dir(&given).unwrap();
        fs::set_permissions(&given, Permissions::from_mode(0o700)).unwrap();
        chown(&given, Some(65_534), None).unwrap();
        given
    } else {
        "/".into()
    };
    let error = FileStore::open(&others).unwrap_err();
    assert!(matches!(error, StoreDirError::Owner { .. }), "{error}");
}

#[tokio::test]
async fn t31_a_directory_that_was_opened_to_others_or_made_a_link_later_is_a_fault() {
    let home = home();
    let (cache, away) = (home.path().join("cache"), home.path().join("away"));
    let store = FileStore::open(&cache).unwrap();
    replace(&store, &name(7), "mine").await.unwrap();
    fs::rename(&cache, &away).unwrap();
    symlink(&away, &cache).unwrap();
    assert_eq!(store.load(&name(7)).await.unwrap_err().kind(), StoreFaultKind::Denied);
    let fault = store.compare_and_swap(&name(7), None, put("again")).await.unwrap_err();
    assert_eq!(fault.kind(), StoreFaultKind::Denied);
    assert!(fault.to_string().contains("symbolic link"), "{fault}");
    fs::remove_file(&cache).unwrap();
    fs::create_dir(&cache).unwrap();
    fs::set_permissions(&cache, Permissions::from_mode(0o755)).unwrap();
    assert_eq!(store.load(&name(7)).await.unwrap_err().kind(), StoreFaultKind::Denied);
    fs::set_permissions(&cache, Permissions::from_mode(0o700)).unwrap();
    replace(&store, &name(7), "anew").await.unwrap();
    assert_eq!(body_of(&store, &name(7)).await.unwrap(), "anew");
}

#[tokio::test]
async fn t31_a_link_in_the_place_of_a_record_is_neither_read_nor_written_through() {
    let home = home();
    let cache = home.path().join("cache");
    let store = FileStore::open(&cache).unwrap();
    let (record, elsewhere) = (cache.join(name(7).to_string()), home.path().join("elsewhere"));
    // A record that would be good, were it not behind a link.
    replace(&store, &name(7), "behind a link").await.unwrap();
    fs::rename(&record, &elsewhere).unwrap();
    let before = fs::read(&elsewhere).unwrap();
    symlink(&elsewhere, &record).unwrap();
    symlink(&elsewhere, cache.join("next-0")).unwrap();
    assert!(store.load(&name(7)).await.unwrap().record.is_none());
    replace(&store, &name(7), "mine").await.unwrap();
    assert_eq!(fs::read(&elsewhere).unwrap(), before);
    assert!(fs::symlink_metadata(&record).unwrap().is_file());
    assert_eq!(body_of(&store, &name(7)).await.unwrap(), "mine");
    // Nor is it removed through.
    fs::remove_file(&record).unwrap();
    symlink(&elsewhere, &record).unwrap();
    assert!(store.remove(&name(7)).await.unwrap());
    assert_eq!((record.exists(), fs::read(&elsewhere).unwrap()), (false, before));
}

#[tokio::test]
async fn t31_a_link_in_the_place_of_a_lock_is_a_fault() {
    let home = home();
    let cache = home.path().join("cache");
    let store = FileStore::open(&cache).unwrap();
    let elsewhere = home.path().join("elsewhere");
    symlink(&elsewhere, cache.join("lock-0")).unwrap();
    let fault = store.compare_and_swap(&name(7), None, put("mine")).await.unwrap_err();
    assert_eq!(fault.kind(), StoreFaultKind::Denied);
    assert!(fault.to_string().contains("lock-0"), "{fault}");
    assert!(!elsewhere.exists());
    // The other locks do their work.
    replace(&store, &name(0x17), "mine").await.unwrap();
}

#[tokio::test]
async fn what_is_no_file_is_no_record_and_makes_nobody_wait() {
    let home = home();
    let cache = home.path().join("cache");
    let store = FileStore::open(&cache).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, cache.join(name(1).to_string()), 0o600.into()).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(cache.join(name(2).to_string())).unwrap();
    for number in [1, 2] {
        assert!(store.load(&name(number)).await.unwrap().record.is_none());
        replace(&store, &name(number), "mine").await.unwrap();
        assert_eq!(body_of(&store, &name(number)).await.unwrap(), "mine");
    }
    // A directory is not replaced, and says so.
    fs::create_dir(cache.join(name(3).to_string())).unwrap();
    let reading = store.load(&name(3)).await;
    assert!(reading.is_ok_and(|reading| reading.record.is_none()));
    let fault = store.compare_and_swap(&name(3), None, put("mine")).await.unwrap_err();
    assert_eq!(fault.kind(), StoreFaultKind::Unwritable);
    assert!(!cache.join("next-0").exists());
    // What is larger than any record is none.
    let large = fs::File::create(cache.join(name(4).to_string())).unwrap();
    large.set_len(1 << 40).unwrap();
    assert!(store.load(&name(4)).await.unwrap().record.is_none());
    replace(&store, &name(4), "mine").await.unwrap();
}

const UMASK_TEST: &str = "store::file::links::t31_modes_are_0700_and_0600_whatever_the_mask";

#[test]
fn t31_modes_are_0700_and_0600_whatever_the_mask() {
    if let Some(directory) = is_child() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = FileStore::open(directory.join("made/cache")).unwrap();
            replace(&store, &name(7), "mine").await.unwrap();
            assert!(store.load(&name(7)).await.unwrap().record.is_some());
            jeton::store::KeyRing::from_key_file(directory.join("made/keys")).unwrap();
        });
        return say("done");
    }
    for mask in ["000", "022", "077", "0277"] {
        let home = home();
        let child = Process::under(&format!("umask {mask}"), UMASK_TEST, home.path());
        // Without the right to write in what it has just made, nobody but root can go on.
        if mask == "0277" && !rustix::process::geteuid().is_root() {
            drop(child);
            continue;
        }
        assert_eq!(child.ends_well(), ["done"]);
        let made = home.path().join("made");
        if mask != "0277" {
            assert_eq!((mode(&made), mode(&made.join("cache"))), (0o700, 0o700), "{mask}");
        }
        assert_eq!(files_in(&made.join("cache")).len(), 2);
        assert_eq!(mode(&made.join("cache").join(name(7).to_string())), 0o600, "{mask}");
        assert_eq!(mode(&made.join("cache/lock-0")) & 0o177, 0, "{mask}");
        assert_eq!(mode(&made.join("keys")), 0o600, "{mask}");
    }
}

#[tokio::test]
async fn t31_a_file_that_was_cut_or_changed_is_absent_and_is_replaced() {
    let home = home();
    let store = FileStore::open(home.path().join("cache")).unwrap();
    let file = store.directory().join(name(7).to_string());
    replace(&store, &name(7), "mine").await.unwrap();
    let whole = fs::read(&file).unwrap();
    for position in 0..whole.len() {
        let mut changed = whole.clone();
        changed[position] ^= 1 << (position % 8);
        for damaged in [&whole[..position], &changed] {
            fs::write(&file, damaged).unwrap();
            assert!(store.load(&name(7)).await.unwrap().record.is_none(), "{position}");
        }
        if position % 16 == 0 {
            let there = store.compare_and_swap(&name(7), Some(super::version()), put("again")).await.unwrap();
            assert!(matches!(there, Swap::Conflict(reading) if reading.record.is_none()));
            replace(&store, &name(7), "again").await.unwrap();
            assert_eq!(body_of(&store, &name(7)).await.unwrap(), "again");
        }
    }
    // One record in the place of another is none either.
    replace(&store, &name(8), "another").await.unwrap();
    fs::copy(store.directory().join(name(8).to_string()), &file).unwrap();
    assert!(store.load(&name(7)).await.unwrap().record.is_none());
}
