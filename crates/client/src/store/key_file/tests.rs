//! Key files: made once, for all who begin together, and never replaced.

use super::*;
use crate::store::seal::Part;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::Barrier;

fn sealed_by(ring: &KeyRing) -> Vec<u8> {
    ring.seal(&ring.name(b"a"), Part::Body, Zeroizing::new(b"canary".to_vec())).unwrap()
}

fn opens(ring: &KeyRing, sealed: &[u8]) -> bool {
    ring.open(&ring.name(b"a"), Part::Body, sealed).is_ok()
}

fn put(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn it_is_made_on_first_use_for_its_owner_alone_and_read_from_then_on() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a/b/keys");
    let first = KeyRing::from_key_file(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::metadata(home.path().join("a")).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_dir(home.path().join("a/b")).unwrap().count(), 1, "nothing is left beside it");
    let second = KeyRing::from_key_file(&path).unwrap();
    assert_eq!(first.name(b"a"), second.name(b"a"));
    assert!(opens(&second, &sealed_by(&first)));
    let other = KeyRing::from_key_file(home.path().join("other")).unwrap();
    assert_ne!(first.name(b"a"), other.name(b"a"));
}

#[test]
fn all_who_make_it_at_once_end_with_the_same_keys() {
    for _ in 0..20 {
        let home = tempfile::tempdir().unwrap();
        let (path, begin) = (home.path().join("keys"), Barrier::new(8));
        let rings: Vec<KeyRing> = std::thread::scope(|scope| {
            let make = || {
                begin.wait();
                KeyRing::from_key_file(&path).unwrap()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let sealed = sealed_by(&rings[0]);
        assert!(rings.iter().all(|ring| ring.name(b"a") == rings[0].name(b"a") && opens(ring, &sealed)));
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }
}

#[test]
fn r2_2_its_keys_are_replaced_one_step_at_a_time() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("keys");
    let ring = |lines: &str| {
        put(&path, &format!("# mine\n\njeton-keys 1\n names {}\n{lines}", "9".repeat(64)));
        KeyRing::from_key_file(&path).unwrap()
    };
    let (one, two) = ("1".repeat(64), "2".repeat(64));
    let before = ring(&format!("seal {one}\n"));
    let announced = ring(&format!("seal {one}\nolder {two}\n"));
    let changed = ring(&format!("seal\t{two}\r\nolder {one}\n"));
    let after = ring(&format!("seal {two}"));
    assert_eq!(before.name(b"a"), after.name(b"a"));
    assert!(opens(&announced, &sealed_by(&changed)) && opens(&changed, &sealed_by(&before)));
    assert!(opens(&after, &sealed_by(&changed)) && !opens(&after, &sealed_by(&before)));
}

#[test]
fn a_damaged_one_is_named_and_neither_told_nor_replaced() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("keys");
    let (key, canary) = ("1".repeat(64), "c4n4ry".repeat(10));
    let damaged = [
        (String::new(), "it is empty"),
        ("# a comment\n".to_owned(), "it is empty"),
        (format!("jeton-keys 2\nseal {key}\n"), "line 1 is not `jeton-keys 1`"),
        ("jeton-keys 1\n".to_owned(), "it has no line `seal`"),
        (format!("jeton-keys 1\nseal {key}\n"), "it has no line `names`"),
        (format!("jeton-keys 1\nseal {canary}\n"), "line 2 has no key of 64 hexadecimal digits"),
        (format!("jeton-keys 1\n\nseal {}\n", "1".repeat(63)), "line 3 has no key of 64 hexadecimal digits"),
        (format!("jeton-keys 1\nseal {}\n", "A".repeat(43)), "line 2 has no key of 64 hexadecimal digits"),
        (format!("jeton-keys 1\nseal\nnames {key}\n"), "line 2 has no key of 64 hexadecimal digits"),
        (format!("jeton-keys 1\nseal {key}\nseal {key}\n"), "line 3 has a second key where one may be"),
        (format!("jeton-keys 1\n{canary} {key}\n"), "line 2 is none of `seal`, `names` and `older`"),
        (format!("jeton-keys 1\n{}", "#\n".repeat(9000)), "it has more than 16384 bytes"),
    ];
    for (text, expected) in damaged {
        put(&path, &text);
        let error = KeyRing::from_key_file(&path).unwrap_err();
        let told = error.to_string();
        assert!(matches!(error, KeyFileError::Damaged { .. }), "{told}");
        assert!(told.contains(expected) && told.contains(path.to_str().unwrap()), "{told}");
        assert!(!told.contains("c4n4ry") && !format!("{error:?}").contains("c4n4ry"), "{told}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(KeyRing::from_key_file(&path).unwrap_err().to_string().contains("it is no text"));
}

#[test]
fn every_line_that_is_cut_short_is_damage() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("keys");
    KeyRing::from_key_file(&path).unwrap();
    let whole = fs::read_to_string(&path).unwrap();
    // 43 of these digits would be a key in base64.
    let whole = format!("{}names {}\n", whole.split("names").next().unwrap(), "0".repeat(64));
    // Without its last line end it is whole all the same.
    for length in 0..whole.len() - 1 {
        put(&path, whole.get(..length).unwrap());
        assert!(
            matches!(KeyRing::from_key_file(&path), Err(KeyFileError::Damaged { .. })),
            "{length} bytes of it"
        );
    }
}

#[test]
fn what_is_open_to_others_a_link_or_no_file_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("keys");
    KeyRing::from_key_file(&path).unwrap();
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o777] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = KeyRing::from_key_file(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::Mode { mode: told, .. } if told == mode), "{error}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(KeyRing::from_key_file(&path).is_ok(), "who may not write it may use it");
    let link = home.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(matches!(KeyRing::from_key_file(&link), Err(KeyFileError::Link(_))));
    let dangling = home.path().join("dangling");
    symlink(home.path().join("nowhere"), &dangling).unwrap();
    assert!(matches!(KeyRing::from_key_file(&dangling), Err(KeyFileError::Link(_))));
    assert!(!home.path().join("nowhere").exists());
    for no_file in [home.path().to_path_buf(), PathBuf::from("/"), PathBuf::from("/dev/null")] {
        let error = KeyRing::from_key_file(&no_file).unwrap_err();
        assert!(matches!(error, KeyFileError::NoFile(_)), "{error}");
    }
    let error = KeyRing::from_key_file("/dev/null/keys").unwrap_err();
    assert!(matches!(error, KeyFileError::Io { .. }), "{error}");
}
