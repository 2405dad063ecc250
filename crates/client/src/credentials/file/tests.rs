use super::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

fn private(path: &Path, content: impl AsRef<[u8]>) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

async fn told(source: &FileSource) -> String {
    source.read().await.unwrap().current.expose().clone()
}

async fn fault(source: &FileSource) -> (SourceFaultKind, String) {
    let fault = source.read().await.unwrap_err();
    (fault.kind(), fault.to_string())
}

fn pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

#[tokio::test]
async fn t32_a_swap_by_rename_is_seen_by_the_next_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    private(&path, "old\n");
    let source = FileSource::new(&path);
    assert_eq!(source.reread(), Reread::BeforeEachRequest);
    assert_eq!(told(&source).await, "old");
    private(&dir.path().join("next"), "new\r\n");
    fs::rename(dir.path().join("next"), &path).unwrap();
    assert_eq!(told(&source).await, "new");
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_007);
    File::options().write(true).open(&path).unwrap().set_modified(changed).unwrap();
    let since = source.read().await.unwrap().since;
    assert_eq!(since, Some(Timestamp::from_unix_seconds(1_000_000_007)));
}

#[tokio::test]
async fn t32_a_swap_of_a_symlinked_directory_is_seen_by_the_next_read() {
    // As the kubelet does it: secret -> ..data/secret, ..data -> ..<time>, and ..data is replaced by a rename.
    let dir = tempfile::tempdir().unwrap();
    let publish = |version: &str, secret: &str| {
        fs::create_dir(dir.path().join(version)).unwrap();
        private(&dir.path().join(version).join("secret"), secret);
        symlink(version, dir.path().join("..data_tmp")).unwrap();
        fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
    };
    publish("..2026_01_01", "old");
    symlink("..data/secret", dir.path().join("secret")).unwrap();
    let source = FileSource::new(dir.path().join("secret"));
    assert_eq!(told(&source).await, "old");
    publish("..2026_01_02", "new");
    fs::remove_dir_all(dir.path().join("..2026_01_01")).unwrap();
    assert_eq!(told(&source).await, "new");
}

#[tokio::test]
async fn t32_what_is_no_secret_is_a_fault_until_it_is_one_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let source = FileSource::new(&path);
    let at = format!("the secret file {}", path.display());
    assert_eq!(fault(&source).await, (SourceFaultKind::Absent, format!("{at}: it is not there")));
    for (content, what) in [
        (&b""[..], "it is empty"),
        (b"\n", "it is empty"),
        (b"canary\xff", "it is not utf-8 text"),
        (&vec![b'a'; 65_537], "it is longer than 65536 bytes"),
    ] {
        private(&path, content);
        assert_eq!(fault(&source).await, (SourceFaultKind::Malformed, format!("{at}: {what}")));
    }
    private(&path, "s");
    assert_eq!(told(&source).await, "s");
    let directory = FileSource::new(dir.path());
    let expected = format!("the secret file {}: it is a directory", dir.path().display());
    assert_eq!(fault(&directory).await, (SourceFaultKind::Malformed, expected));
    let endless = FileSource::new("/dev/zero");
    assert!(fault(&endless).await.1.ends_with("it is longer than 65536 bytes"));
}

#[tokio::test]
async fn t32_a_pipe_is_read_once_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    pipe(&path);
    let source = FileSource::new(&path);
    // Nobody writes yet: the one who waits can give up, and what comes then is there for the next.
    assert!(tokio::time::timeout(Duration::from_millis(50), source.read()).await.is_err());
    let writer = {
        let path = path.clone();
        std::thread::spawn(move || File::options().write(true).open(path).unwrap().write_all(b"s\n").unwrap())
    };
    assert_eq!(told(&source).await, "s");
    writer.join().unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(told(&source).await, "s", "it was kept");
    assert_eq!(source.reread(), Reread::WhenRefused);
}

/// What is logged on this thread, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_that_everybody_can_read_is_warned_of_once_and_read_without_a_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    private(&path, "canary");
    let source = FileSource::new(&path);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let warnings = tracing::subscriber::with_default(subscriber, || {
        let warnings = || String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let read = || {
            let mut read = pin!(source.read());
            match read.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(read) => assert_eq!(read.unwrap().current.expose(), "canary"),
                Poll::Pending => unreachable!("there is no runtime to wait for"),
            }
        };
        read();
        assert_eq!(warnings(), "");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        read();
        read();
        warnings()
    });
    assert_eq!(warnings.lines().count(), 1, "{warnings}");
    let expected = format!(
        "every user of this machine can read the secret file {0}; run: chmod o-r {0}",
        path.display()
    );
    assert!(warnings.contains(&expected) && !warnings.contains("canary"), "{warnings}");
}
