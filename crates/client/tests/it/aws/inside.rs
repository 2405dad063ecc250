//! A test that runs itself again in a process of its own: the SDK reads the environment of its process, which a test may not change.

use std::any::type_name;
use std::process::Command;

/// Which test the process was started for.
const MARK: &str = "JETON_TEST_INSIDE";

/// Runs `inside` in a process with these variables of AWS and no others, and with a home that is empty.
pub(crate) fn with_environment<T: Future<Output = ()>, I: FnOnce() -> T>(
    variables: &[(&str, &str)],
    inside: I,
) {
    let name = type_name::<I>().split_once("::").unwrap().1;
    let name = name.strip_suffix("::{{closure}}").unwrap_or(name);
    if std::env::var_os(MARK).is_some_and(|mark| mark == name) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return runtime.block_on(inside());
    }
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture"]).env(MARK, name);
    for (variable, _) in std::env::vars_os() {
        let is_of_aws = variable.to_string_lossy().starts_with("AWS_");
        // A proxy that the environment names is not for loopback.
        if is_of_aws || variable.to_string_lossy().to_ascii_lowercase().ends_with("_proxy") {
            command.env_remove(variable);
        }
    }
    command.env("HOME", home.path()).env("USERPROFILE", home.path()).envs(variables.iter().copied());
    let ended = command.output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(
        ended.status.success() && said.contains("1 passed"),
        "{name}: {}\n{said}\n{complained}",
        ended.status
    );
}
