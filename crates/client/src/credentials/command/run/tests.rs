use super::*;
use crate::credentials::environment::Environment;
use rustix::process::test_kill_process;
use std::path::Path;

fn source(line: &str, surroundings: &Surroundings) -> CommandSource {
    CommandSource::new(line.parse().unwrap(), surroundings)
}

fn around(variables: &[(&str, &str)]) -> Surroundings {
    let path = std::env::var("PATH").unwrap();
    let environment: Environment = variables.iter().copied().chain([("PATH", path.as_str())]).collect();
    Surroundings { environment, ..Surroundings::default() }
}

async fn read(line: &str) -> Result<String, SourceFault> {
    let reading = source(line, &around(&[])).read().await?;
    Ok(reading.current.expose().clone())
}

/// The command with less time.
fn hurried(line: &str, within: Duration) -> CommandSource {
    let CommandSource { prepared } = source(line, &around(&[]));
    let prepared = Arc::into_inner(prepared).unwrap();
    CommandSource { prepared: Arc::new(Prepared { within, ..prepared }) }
}

/// The numbers of processes that a command wrote into a file, once they are all there.
async fn written_pids(path: &Path, count: usize) -> Vec<Pid> {
    for _ in 0..2_000 {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let pids: Vec<Pid> = text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect();
        if pids.len() == count && text.ends_with('\n') {
            return pids;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the command did not start");
}

/// That none of them runs any more. One that was orphaned may be a zombie until its new parent looks at it.
async fn gone(pids: &[Pid]) {
    let runs = |pid: &Pid| {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest.starts_with('Z'));
        test_kill_process(*pid).is_ok() && state != Some(true)
    };
    for _ in 0..2_000 {
        if !pids.iter().any(runs) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("of {pids:?} some are left");
}

#[tokio::test]
async fn t32_what_a_command_prints_is_a_secret_without_its_line_break() {
    for (line, expected) in [
        ("printf s", "s"),
        (r"printf 's\n'", "s"),
        (r"printf 's\r\n'", "s"),
        (r"printf 's\n\n'", "s\n"),
        (r#"sh -c 'echo "a  b"; echo canary >&2'"#, "a  b"),
        ("sh -c 'cat; echo s'", "s"),
    ] {
        assert_eq!(read(line).await.as_deref(), Ok(expected), "{line}");
    }
    assert_eq!(source("true", &around(&[])).reread(), Reread::Periodically);
}

#[tokio::test]
async fn t32_a_command_that_gives_no_secret_is_told_of_without_what_it_said() {
    for (line, kind, what) in [
        (
            "sh -c 'echo canary; echo canary >&2; exit 3'",
            SourceFaultKind::Denied,
            "sh: it failed with exit status 3; run",
        ),
        ("sh -c 'kill -9 $$'", SourceFaultKind::Denied, "sh: it was ended by signal 9; run"),
        ("/nowhere/program", SourceFaultKind::Absent, "/nowhere/program: there is no such program"),
        ("no-such-program-here", SourceFaultKind::Absent, "no-such-program-here: there is no such program"),
        ("/etc/passwd", SourceFaultKind::Denied, "/etc/passwd: the user of this process may not run it"),
        ("true", SourceFaultKind::Malformed, "true: it is empty"),
        ("echo", SourceFaultKind::Malformed, "echo: it is empty"),
        (r"printf 'canary\377'", SourceFaultKind::Malformed, "printf: it is not utf-8 text"),
    ] {
        let fault = read(line).await.unwrap_err();
        assert_eq!(fault.kind(), kind, "{line}: {fault}");
        let told = fault.to_string();
        assert!(told.starts_with(&format!("the secret from the command {what}")), "{told}");
        assert!(!told.contains("canary"), "{told}");
    }
}

#[tokio::test]
async fn t32_a_command_that_hangs_is_killed_with_what_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    // The child ignores what asks it kindly to end, and outlives its parent if it can.
    let line = format!(
        "sh -c 'trap \"\" TERM HUP INT; sleep 600 & echo $$ $! | tr \" \" \"\\n\" >{}; wait'",
        pids.display()
    );
    let begun = Instant::now();
    let fault = hurried(&line, Duration::from_secs(1)).read().await.unwrap_err();
    assert_eq!(fault.kind(), SourceFaultKind::Unreachable);
    assert!(fault.to_string().contains("it did not end within 1 s and was killed"), "{fault}");
    assert!(begun.elapsed() < Duration::from_secs(30));
    gone(&written_pids(&pids, 2).await).await;
}

#[tokio::test]
async fn t32_a_command_is_killed_that_has_closed_its_output_or_left_it_to_a_child() {
    let dir = tempfile::tempdir().unwrap();
    for (name, script) in
        [("closed", "echo $$ >{}; echo s; exec >&-; sleep 600"), ("left", "sleep 600 & echo $! >{}")]
    {
        let pids = dir.path().join(name);
        let line = format!("sh -c '{}'", script.replace("{}", &pids.display().to_string()));
        let fault = hurried(&line, Duration::from_secs(1)).read().await.unwrap_err();
        assert_eq!(fault.kind(), SourceFaultKind::Unreachable, "{name}");
        gone(&written_pids(&pids, 1).await).await;
    }
}

#[tokio::test]
async fn t32_a_command_is_killed_when_nobody_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let line = format!("sh -c 'echo $$ >{}; sleep 600'", pids.display());
    let source = Arc::new(source(&line, &around(&[])));
    let reading = {
        let source = Arc::clone(&source);
        tokio::spawn(async move { source.read().await })
    };
    let running = written_pids(&pids, 1).await;
    reading.abort();
    gone(&running).await;
}

#[tokio::test]
async fn t32_a_command_that_prints_megabytes_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let line = format!("sh -c 'echo $$ >{}; exec cat /dev/zero'", pids.display());
    let fault = source(&line, &around(&[])).read().await.unwrap_err();
    assert_eq!(fault.kind(), SourceFaultKind::Malformed);
    assert!(fault.to_string().ends_with("it is longer than 65536 bytes"), "{fault}");
    gone(&written_pids(&pids, 1).await).await;
}

#[tokio::test]
async fn a_command_has_the_environment_without_what_is_withheld() {
    let dir = tempfile::tempdir().unwrap();
    let surroundings = Surroundings {
        withheld_variables: vec!["SECRET".to_owned(), "OTHER".to_owned()],
        directory: dir.path().to_owned(),
        ..around(&[("SECRET", "canary"), ("KEPT", "kept")])
    };
    let printed = source("sh -c 'echo \"$SECRET-$KEPT-$(pwd -P)\"'", &surroundings).read().await.unwrap();
    let expected = format!("-kept-{}", dir.path().canonicalize().unwrap().display());
    assert_eq!(*printed.current.expose(), expected);
    assert!(!format!("{:?}", source("true", &surroundings)).contains("canary"));
    // Nothing is handed on but that: the tests themselves run with more.
    let names = source("env", &surroundings).read().await.unwrap();
    let names: Vec<&str> = names.current.expose().lines().filter_map(|line| line.split('=').next()).collect();
    assert!(
        names.contains(&"PATH") && !names.contains(&"SECRET") && !names.contains(&"CARGO_MANIFEST_DIR"),
        "{names:?}"
    );
}
