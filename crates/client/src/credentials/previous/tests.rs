use super::*;
use crate::credentials::file::FileSource;
use crate::credentials::source::SourceFaultKind;
use jeton_proto::secret::Secret;
use std::future::{pending, ready};

/// What a read brings; `None` is that it never ends.
struct Stub {
    read: Option<Result<SecretReading, SourceFault>>,
    reread: Reread,
}

impl SecretSource for Stub {
    fn read(&self) -> SecretFuture<'_> {
        match self.read.clone() {
            Some(read) => Box::pin(ready(read)),
            None => Box::pin(pending()),
        }
    }

    fn reread(&self) -> Reread {
        self.reread
    }
}

fn stub(read: Option<Result<SecretReading, SourceFault>>) -> Arc<Stub> {
    Arc::new(Stub { read, reread: Reread::WhenRefused })
}

fn holding(secret: &str) -> Arc<Stub> {
    stub(Some(Ok(SecretReading::new(Secret::from(secret)))))
}

fn failing(kind: SourceFaultKind) -> Arc<Stub> {
    stub(Some(Err(SourceFault::new(kind, "x", "y"))))
}

#[tokio::test(start_paused = true)]
async fn the_previous_secret_is_worth_nothing_but_itself() {
    let new = || holding("new");
    let told = async |previous: Arc<Stub>| {
        let reading = WithPrevious::new(new(), previous).read().await.unwrap();
        assert_eq!(reading.current.expose(), "new");
        reading.previous.map(|previous| previous.expose().clone())
    };
    assert_eq!(told(holding("old")).await.as_deref(), Some("old"));
    assert_eq!(told(holding("new")).await, None, "the same twice is one");
    for kind in [SourceFaultKind::Absent, SourceFaultKind::Denied, SourceFaultKind::Malformed] {
        assert_eq!(told(failing(kind)).await, None);
    }
    assert_eq!(told(stub(None)).await, None, "one that hangs is not waited for");
    let current = WithPrevious::new(failing(SourceFaultKind::Denied), holding("old"));
    assert_eq!(current.read().await.unwrap_err().kind(), SourceFaultKind::Denied);
}

#[tokio::test]
async fn t32_an_empty_file_is_no_previous_secret() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("previous");
    let source = WithPrevious::new(holding("new"), Arc::new(FileSource::new(&path)));
    for (content, expected) in
        [(None, None), (Some(""), None), (Some("old\n"), Some("old")), (Some("\n"), None)]
    {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let previous = source.read().await.unwrap().previous;
        assert_eq!(previous.as_ref().map(|previous| previous.expose().as_str()), expected);
        assert_eq!(*lock(&source.told), None, "nothing is wrong with that");
    }
    std::fs::write(&path, b"\xff").unwrap();
    assert_eq!(source.read().await.unwrap().previous, None);
    assert!(lock(&source.told).as_ref().is_some_and(|fault| fault.to_string().contains("utf-8")));
}

#[test]
fn a_look_that_costs_something_is_not_taken_more_often_than_it_wants() {
    use Reread::{BeforeEachRequest, Periodically, WhenRefused};
    for (current, previous, both) in [
        (BeforeEachRequest, BeforeEachRequest, BeforeEachRequest),
        (BeforeEachRequest, WhenRefused, BeforeEachRequest),
        (BeforeEachRequest, Periodically, Periodically),
        (Periodically, BeforeEachRequest, Periodically),
        (WhenRefused, BeforeEachRequest, WhenRefused),
    ] {
        let stub = |reread| Arc::new(Stub { read: None, reread });
        assert_eq!(WithPrevious::new(stub(current), stub(previous)).reread(), both);
    }
}
