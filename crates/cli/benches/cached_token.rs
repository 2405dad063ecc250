//! What `jeton token` takes when its token is kept, as a whole process, beside its limit in the same run: `/bin/true`.
//! Target: at most 5 times the limit. With the secret in a variable of the environment the process replaces itself once
//! more, which is shown with it; the target is for both.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot set itself up ends"
)]
#![allow(clippy::print_stdout, reason = "its result is what it prints")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 400;
const LIMIT: f64 = 5.0;
/// About as long as a token of RFC 9068 is.
const TOKEN_BYTES: usize = 700;

fn main() {
    let home = tempfile::tempdir().expect("a directory");
    std::fs::write(home.path().join("secret"), "canary-secret").expect("a file");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/token", listener.local_addr().expect("an address"));
    let server = std::thread::spawn(move || answer_once(&listener));
    let by_file = || jeton(home.path(), &url, ("JETON_CLIENT_SECRET_FILE", "secret"));
    let by_variable = || jeton(home.path(), &url, ("JETON_CLIENT_SECRET", "canary-secret"));
    let first = by_file().stdout(Stdio::piped()).output().expect("the program starts");
    assert_eq!(first.stdout.len(), TOKEN_BYTES + 1, "{}", String::from_utf8_lossy(&first.stderr));
    server.join().expect("the server answered");
    // From here on there is no server: a token can only come from the cache.
    let commands: [&dyn Fn() -> Command; 3] = [&|| Command::new("/bin/true"), &by_file, &by_variable];
    let mut spans = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for (command, spans) in commands.iter().zip(&mut spans) {
            spans.push(time(command()));
        }
    }
    let [truth, file, variable] = spans.map(median);
    println!("/bin/true                             {:8.2} ms", millis(truth));
    for (name, span) in [("secret in a file", file), ("secret in a variable", variable)] {
        let ratio = span.as_secs_f64() / truth.as_secs_f64();
        let verdict = if ratio <= LIMIT { "within" } else { "OVER" };
        println!(
            "jeton token, {name:<22}   {:8.2} ms   {ratio:.2} times, {verdict} {LIMIT:.0}",
            millis(span)
        );
    }
}

fn jeton(home: &Path, url: &str, secret: (&str, &str)) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jeton"));
    command.arg("token").env_clear().env("HOME", home).current_dir(home).env(secret.0, secret.1);
    command.env("JETON_TOKEN_URL", url).env("JETON_CLIENT_ID", "billing").stdout(Stdio::null());
    command
}

/// From before it is started until it has ended.
fn time(mut command: Command) -> Duration {
    let begun = Instant::now();
    let status = command.stdin(Stdio::null()).stderr(Stdio::inherit()).status().expect("the program starts");
    let span = begun.elapsed();
    assert!(status.success(), "{command:?} failed: {status}");
    span
}

fn answer_once(listener: &TcpListener) {
    let (stream, _) = listener.accept().expect("a request");
    let mut reader = BufReader::new(&stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        match line.trim_end().strip_prefix("content-length: ") {
            Some(text) => length = text.parse().expect("a number"),
            None if line == "\r\n" => break,
            None => {}
        }
    }
    reader.read_exact(&mut vec![0; length]).expect("a body");
    let token = "t".repeat(TOKEN_BYTES);
    let body = format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":3600}}"#);
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    (&stream).write_all(format!("{head}{body}").as_bytes()).expect("an answer");
}

fn median(mut spans: Vec<Duration>) -> Duration {
    spans.sort_unstable();
    spans[spans.len() / 2]
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}
