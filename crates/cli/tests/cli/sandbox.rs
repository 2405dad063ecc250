//! `jeton sandbox`: the proof, the command that runs against it, and its end.

use crate::process::{Ended, Home, Running, eventually, finish, is_alive};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::process::Command;

fn assert_cleared(home: &Home) {
    let left: Vec<_> = std::fs::read_dir(home.tmp()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "temporary files stay: {left:?}");
}

#[test]
fn the_proof_shows_one_token_request_for_200_concurrent_callers() {
    let home = Home::new();
    let ended = home.run(&["sandbox", "--exec", "true"]);
    let lines: Vec<_> = ended.done().lines().collect();
    assert_eq!(lines.len(), 5, "{ended}");
    assert!(lines.iter().all(|line| line.starts_with("ok ")), "{ended}");
    assert!(lines[0].contains("200 concurrent callers") && lines[0].contains("1 token request;"), "{ended}");
    assert!(lines[2].contains("nobody waited"), "{ended}");
    assert!(!ended.stdout.contains('\u{1b}'), "no colours but on a terminal");
    assert_cleared(&home);
}

#[test]
fn the_proof_is_json_for_programs() {
    let home = Home::new();
    let ended = home.run(&["sandbox", "--exec", "exit 7", "--callers", "50", "--output", "json"]);
    assert_eq!(ended.code, 7, "{ended}");
    let steps: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(names, ["mint", "reuse", "renewal", "401", "guard"]);
    assert!(steps.iter().all(|step| step["ok"] == true), "{ended}");
    assert_eq!((&steps[0]["callers"], &steps[0]["token_requests"]), (&json!(50), &json!(1)));
    assert_eq!((&steps[1]["gets"], &steps[1]["token_requests"]), (&json!(10_000), &json!(0)));
    assert_eq!((&steps[2]["gets_that_waited"], &steps[2]["token_requests"]), (&json!(0), &json!(2)));
    assert!(steps[2]["renewed_before_expiry_ms"].as_u64().unwrap() > 0);
    assert_eq!((&steps[3]["answered_200"], &steps[3]["token_requests"]), (&json!(50), &json!(1)));
    let statuses: Vec<_> =
        steps[4]["answers"].as_array().unwrap().iter().map(|answer| &answer["status"]).collect();
    assert_eq!(statuses, [401, 401, 403, 200]);
}

/// Runs a command against a sandbox that proves nothing.
fn exec(home: &Home, command: &str) -> Ended {
    home.run(&["sandbox", "--no-proof", "--exec", command])
}

#[test]
fn the_exit_code_is_that_of_the_command() {
    let home = Home::new();
    assert_eq!(exec(&home, "exit 7").code, 7);
    assert_eq!(exec(&home, "kill -9 $$").code, 137);
    assert_eq!(exec(&home, "no-such-program-anywhere").code, 127);
    assert_eq!(exec(&home, "echo only this").done(), "only this\n");
    assert_cleared(&home);
}

#[test]
fn r5_9_curl_gets_a_token_and_calls_the_api_with_the_variables_of_the_sandbox() {
    finish({
        let mut curl = Command::new("curl");
        curl.arg("--version");
        curl
    })
    .done();
    let home = Home::new();
    let ended = exec(
        &home,
        r#"set -e
        answer=$(curl -sS --fail -d grant_type=client_credentials -d client_id="$CLIENT_ID" \
            --data-urlencode client_secret="$CLIENT_SECRET" "$TOKEN_URL")
        token=$(printf %s "$answer" | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
        curl -sS --fail -H "Authorization: Bearer $token" "$API_URL"
        curl -sS -o answer -w ' %{http_code}' "$API_URL"
        curl -sS -o answer -w ' %{http_code}' -X POST -H "Authorization: Bearer $token" "$JETON_API_URL"
        curl -sS "$JETON_ISSUER/.well-known/oauth-authorization-server" | grep -q "\"token_endpoint\":\"$JETON_TOKEN_URL\""
        "#,
    );
    let output = ended.done();
    assert!(output.contains("\"caller\":\"sandbox\"") && output.ends_with(" 401 201"), "{ended}");
}

#[test]
fn the_settings_of_the_person_do_not_reach_the_command() {
    let home = Home::new();
    home.write(".config/jeton/jeton.toml", "audience = \"https://other.example\"\n");
    let jeton = env!("CARGO_BIN_EXE_jeton");
    let mut command =
        home.jeton(&["sandbox", "--no-proof", "--exec", &format!("'{jeton}' token --output json")]);
    command.env("JETON_CLIENT_SECRET_FILE", "/absent").env("JETON_RESOURCE", "https://other.example");
    assert_eq!(finish(command).json()["scope"], "orders:read orders:write");
}

#[test]
fn the_lines_to_paste_work_when_they_are_pasted() {
    let home = Home::new();
    let output = home.path().join("output");
    let mut command = home.jeton(&["sandbox", "--no-proof"]);
    command.stdin(std::process::Stdio::null());
    let mut command = redirected(command, &output);
    let mut child = command.spawn().unwrap();
    let said = || std::fs::read_to_string(&output).unwrap_or_default();
    eventually("the lines to paste", || said().contains("ctrl-c to stop"));
    let said = said();
    let (_, rest) = said.split_once("paste into another terminal:").unwrap();
    let (script, _) = rest.split_once("in rust").unwrap();
    let mut shell = Command::new("sh");
    shell
        .args(["-ec", script])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", home.path());
    let pasted = finish(shell);
    assert!(pasted.done().contains("200 OK") && pasted.stdout.contains("\"caller\":\"sandbox\""), "{pasted}");
    assert!(pasted.stdout.contains("verified with the keys of"), "{pasted}");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_cleared(&home);
}

fn redirected(mut command: Command, path: &std::path::Path) -> Command {
    command.stdout(std::fs::File::create(path).unwrap());
    command
}

#[test]
fn a_signal_ends_the_command_and_all_that_it_started() {
    let home = Home::new();
    let pids = home.path().join("pids");
    let script =
        format!("sleep 600 & echo $! $$ > '{0}.part'; mv '{0}.part' '{0}'; wait; true", pids.display());
    let mut command = home.jeton(&["sandbox", "--no-proof", "--exec", &script]);
    command.stdin(std::process::Stdio::null());
    let running = Running::start(command);
    eventually("the start of the command", || pids.exists());
    let started = std::fs::read_to_string(&pids).unwrap();
    let started: Vec<i32> = started.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(started.len(), 2);
    running.signal(Signal::TERM);
    let ended = running.end();
    assert_eq!(ended.code, 143, "{ended}");
    for pid in started {
        eventually("the end of the command", || !is_alive(pid));
    }
    assert_cleared(&home);
}

#[test]
fn a_signal_ends_the_proof_and_the_sandbox() {
    let home = Home::new();
    let mut command = home.jeton(&["sandbox"]);
    command.stdin(std::process::Stdio::null());
    let running = Running::start(command);
    eventually("the data directory", || std::fs::read_dir(home.tmp()).unwrap().count() > 0);
    // Long enough to be in the proof, which takes several seconds.
    std::thread::sleep(std::time::Duration::from_secs(1));
    running.signal(Signal::INT);
    let ended = running.end();
    assert_eq!(ended.code, 1, "{ended}");
    assert!(ended.stderr.contains("interrupted"), "{ended}");
    assert_cleared(&home);
}

#[test]
fn the_sandbox_stays_on_this_machine_and_says_what_it_was_told() {
    let home = Home::new();
    home.run(&["sandbox", "--listen", "0.0.0.0:0"]).failed(2, &["loopback"]);
    home.run(&["sandbox", "--listen", "nonsense"]).failed(2, &["--listen"]);
    let quiet = home.run(&[
        "sandbox",
        "--no-proof",
        "--quiet",
        "--listen",
        "127.0.0.1:0",
        "--exec",
        "echo $JETON_ISSUER",
    ]);
    assert!(quiet.done().starts_with("http://127.0.0.1:"), "{quiet}");
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    home.run(&["sandbox", "--no-proof", "--listen", &address]).failed(1, &["holds the port"]);
    assert_cleared(&home);
}
