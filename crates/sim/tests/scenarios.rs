//! Every scenario of `testdata/scenarios` against the real client, and what a wrong one is told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use sim::scenario::{self, Scenario, play};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Those with a thousand managers take as long as all the others.
fn is_fleet(path: &Path) -> bool {
    path.file_name().unwrap().to_str().unwrap().starts_with("fleet-")
}

fn all_hold(paths: &[PathBuf]) {
    let outcomes = scenario::play_files(paths);
    let faults: Vec<String> = outcomes.iter().flat_map(scenario::Outcome::faults).collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn every_scenario_goes_as_its_file_says() {
    let paths = scenario::files_in(&scenario::folder()).unwrap();
    let (fleets, others): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| is_fleet(path));
    assert!(others.len() >= 50 && fleets.len() == 3, "{} and {}", others.len(), fleets.len());
    all_hold(&others);
}

#[test]
fn r1_4_a_fleet_with_tokens_of_five_minutes() {
    all_hold(&[scenario::folder().join("fleet-with-tokens-of-five-minutes.toml")]);
}

#[test]
fn r1_4_a_fleet_with_tokens_of_an_hour() {
    all_hold(&[scenario::folder().join("fleet-with-tokens-of-an-hour.toml")]);
}

#[test]
fn r1_4_a_fleet_of_an_hour_after_an_outage() {
    all_hold(&[scenario::folder().join("fleet-of-an-hour-after-an-outage.toml")]);
}

/// A scenario that holds, with a few words replaced.
fn changed(from: &str, to: &str) -> String {
    let path = scenario::folder().join("t24-retry-after-is-obeyed.toml");
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

#[test]
fn an_expectation_that_is_not_met_is_told_with_its_line_and_what_happened() {
    let unmet = |from: &str, to: &str| {
        let played = play(&Scenario::parse("a.toml", &changed(from, to)).unwrap()).unwrap();
        played.unmet.iter().fold(String::new(), |mut told, unmet| {
            writeln!(told, "{unmet}").unwrap();
            told
        })
    };
    assert_eq!(unmet("title", "title"), "", "unchanged it holds");
    for (from, to, told) in [
        ("apart_at_least = \"3s\"", "apart_at_least = \"20s\"", "a.toml:20: the request at "),
        ("at_least = 3\n", "at_least = 300\n", "where at least 300 should be"),
        ("at_least = 3\n", "exactly = 0\n", "where exactly 0 should be"),
        ("at_least = 3\n", "at_least = 3\nin_any_second_at_most = 0\n", "where at most 0 should be"),
        ("retry-after = \"3\"", "retry-after = \"2\"", "after the one before it"),
        (
            "get = \"token\"",
            "get = \"Closed\"",
            "a.toml:24: 1 of the 1 calls of \"later\" from 0s until the end",
        ),
        ("get = \"token\"", "token = 7", "and not token 7"),
        ("get = \"token\"", "life = \"1m\"", "got a life of 1h, and not a life of 1m"),
        ("get = \"token\"", "says = \"no\"", "which does not say \"no\""),
        ("get = \"token\"", "takes_at_least = \"1h\"", "got token 1 "),
        ("get = \"token\"", "retry_after_at_least = \"1s\"", "told to ask again at no time"),
        ("get = \"token\"", "get = \"token\"\nexactly = 2", "1 are as expected, where exactly 2 should be"),
        ("get = \"token\"", "get = \"token\"\nfrom = \"50s\"", "there are no calls of \"later\""),
        ("get = \"token\"", "get = \"token\"\n[[expect.close]]", "no manager was closed"),
    ] {
        let found = unmet(from, to);
        assert!(found.contains(told), "{from} -> {to}: {found}");
    }
}

#[test]
fn a_file_that_is_no_scenario_is_told_with_its_line_and_a_remedy() {
    for (from, to, told) in [
        ("title = ", "titel = ", "a.toml:1: unknown field `titel`, expected one of `title`"),
        ("title = \"after", "title = after", "a.toml:1: "),
        (
            "lasts = \"1m\"",
            "lasts = \"1 minute\"",
            "a.toml:4: \"1 minute\" is no span of time; write whole numbers",
        ),
        ("lasts = \"1m\"", "lasts = \"0s\"", "a.toml:3: the scenario lasts no time; give `lasts`"),
        ("lasts = \"1m\"\n", "", "missing field `lasts`; testdata/scenarios/README.md has the format"),
        (
            "lasts = \"1m\"",
            "lasts = \"40s\"",
            "this step comes after the end; let `lasts` in [given] be longer",
        ),
        (
            "server.answers = 429",
            "server.answers = 99",
            "answers is no final HTTP status; give one from 200 to 599",
        ),
        ("server.answers = 429\n", "", "error and body belong to answers; give the status"),
        ("at = \"45s\"", "at = \"15s\"", "a.toml:16: this step is earlier than the one before it; put"),
        (
            "at = \"30s\"\nserver.grants = \"1h\"",
            "at = \"30s\"",
            "a.toml:12: nothing happens in this step; say what",
        ),
        (
            "server.grants = \"1h\"",
            "server.grants = \"1h\"\nlatency = \"1s\"",
            "a.toml:12: two things happen",
        ),
        (
            "name = \"later\"",
            "name = \"eager\"",
            "a.toml:16: two steps call \"eager\"; give each its own name",
        ),
        ("until = \"30s\"", "until = \"30m\"", "a.toml:9: calls from 0s until 30m; let `every`"),
        ("every = \"100ms\", ", "", "only one of every and until is given; give both, or neither"),
        ("of = \"later\"", "of = \"latter\"", "a.toml:24: no step calls \"latter\"; name the call of a step"),
        (
            "get = \"token\"",
            "get = \"tokens\"",
            "a.toml:24: no call gets \"tokens\"; write \"error\" or one of token",
        ),
        ("get = \"token\"", "", "a.toml:24: nothing is expected of these calls; say what they get"),
        (
            "server.grants = \"1h\"",
            "source_secret = \"a\"",
            "there is no source of secrets; add `secret_from",
        ),
        ("server.grants = \"1h\"", "kill = 7", "there is no manager 7; the first is 1"),
        (
            "server.grants = \"1h\"",
            "store = \"down\"",
            "there is no store; add `store = \"shared\"` to [given]",
        ),
        ("server.grants = \"1h\"", "cancel = \"nobody\"", "no call before this step is named \"nobody\""),
    ] {
        let found = Scenario::parse("a.toml", &changed(from, to)).map(|_| "a scenario".to_owned());
        let found = found.unwrap_or_else(|fault| fault.to_string());
        assert!(found.starts_with("a.toml:") && found.contains(told), "{from} -> {to}: {found}");
    }
}

#[test]
fn the_example_in_the_readme_is_a_scenario_that_holds() {
    let readme = std::fs::read_to_string(scenario::folder().join("README.md")).unwrap();
    let example = readme.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let played = play(&Scenario::parse("README.md", example).unwrap()).unwrap();
    assert!(played.unmet.is_empty(), "{:?}", played.unmet);
    assert!(played.timeline().len() > 5, "{:?}", played.timeline());
}
