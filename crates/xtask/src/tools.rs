//! Tools that the tests and checks need: found, else installed, else named so that a person can install them.

use std::path::Path;

use crate::step::{Failure, Step, say};

/// A program that Debian packages provide.
struct SystemTool {
    name: &'static str,
    /// A command line that succeeds exactly when the tool is usable.
    probe: &'static [&'static str],
    packages: &'static [&'static str],
}

/// What the tests start as a person would. The C compiler is for the C sources among the dependencies.
const SYSTEM_TOOLS: &[SystemTool] = &[
    SystemTool { name: "a C compiler", probe: &["cc", "--version"], packages: &["build-essential"] },
    SystemTool { name: "curl", probe: &["curl", "--version"], packages: &["curl"] },
    SystemTool {
        name: "python3 with the venv module",
        probe: &["python3", "-c", "import venv, ensurepip"],
        packages: &["python3", "python3-venv"],
    },
    // The tests start servers of their own, on ports of their own; the one that a package may start is left alone.
    SystemTool {
        name: "redis-server with redis-cli",
        probe: &["sh", "-c", "redis-server --version && redis-cli --version"],
        packages: &["redis-server"],
    },
    SystemTool {
        name: "the programs of a PostgreSQL server",
        probe: &["sh", "-c", "(command -v initdb || ls /usr/lib/postgresql/*/bin/initdb) && psql --version"],
        packages: &["postgresql"],
    },
    // A keyring on a bus of its own, which is not that of anybody's desktop.
    SystemTool {
        name: "dbus-daemon with dbus-send",
        probe: &["sh", "-c", "dbus-daemon --version && command -v dbus-send"],
        packages: &["dbus"],
    },
    SystemTool {
        name: "gnome-keyring-daemon with secret-tool",
        probe: &["sh", "-c", "gnome-keyring-daemon --version && command -v secret-tool"],
        packages: &["gnome-keyring", "libsecret-tools"],
    },
];

/// What libFuzzer, which is C++, is compiled with.
const CPP_COMPILER: &[SystemTool] =
    &[SystemTool { name: "a C++ compiler", probe: &["c++", "--version"], packages: &["build-essential"] }];

/// Sees to every system tool that the tests need.
pub(crate) fn system(root: &Path) -> Result<(), Failure> {
    see_to(SYSTEM_TOOLS, root)
}

/// Sees to a C++ compiler.
pub(crate) fn cpp(root: &Path) -> Result<(), Failure> {
    see_to(CPP_COMPILER, root)
}

/// Missing tools are installed from Debian's packages when this process may do so.
fn see_to(tools: &[SystemTool], root: &Path) -> Result<(), Failure> {
    let missing: Vec<&SystemTool> = tools.iter().filter(|tool| !answers(tool.probe, root)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().flat_map(|tool| tool.packages).copied().collect();
    let names: Vec<&str> = missing.iter().map(|tool| tool.name).collect();
    if !may_install(root) {
        return Err(not_installable(&names, &packages));
    }
    say(&format!("missing: {}", names.join(", ")));
    apt("apt update", root).words("update -q").run()?;
    apt("apt install", root).words("install -y -q --no-install-recommends").arguments(&packages).run()?;
    match missing.iter().find(|tool| !answers(tool.probe, root)) {
        Some(tool) => {
            Err(Failure::new(format!("{} is still missing after its packages were installed", tool.name))
                .hint(format!("this must succeed: {}", tool.probe.join(" "))))
        }
        None => Ok(()),
    }
}

/// `cargo nextest`, at the version that the tests are run with everywhere.
pub(crate) fn nextest(root: &Path) -> Result<(), Failure> {
    cargo_tool("cargo-nextest", "nextest", "0.9.143", root)
}

/// `cargo deny`, at the version whose configuration format deny.toml has.
pub(crate) fn deny(root: &Path) -> Result<(), Failure> {
    cargo_tool("cargo-deny", "deny", "0.20.2", root)
}

/// A version that is there already is used as it is: what a machine ships is what its other projects rely on.
fn cargo_tool(package: &'static str, subcommand: &str, version: &str, root: &Path) -> Result<(), Failure> {
    if answers(&["cargo", subcommand, "--version"], root) {
        return Ok(());
    }
    Step::cargo("install tool", root, "install --locked")
        .argument(format!("{package}@{version}"))
        .hint(format!("`cargo {subcommand}` is needed; any recent version will do"))
        .run()
}

fn answers(command_line: &[&str], root: &Path) -> bool {
    command_line.split_first().is_some_and(|(program, arguments)| {
        Step::new("probe", program, root).arguments(arguments).ask().is_some()
    })
}

fn may_install(root: &Path) -> bool {
    let is_root = Step::new("probe", "id", root).words("-u").ask().as_deref() == Some("0");
    is_root && answers(&["apt-get", "--version"], root)
}

fn apt(name: &'static str, root: &Path) -> Step {
    Step::new(name, "apt-get", root).environment("DEBIAN_FRONTEND", "noninteractive")
}

fn not_installable(names: &[&str], packages: &[&str]) -> Failure {
    Failure::new(format!("this needs {}", names.join(", ")))
        .hint(format!("on Debian: sudo apt-get install {}", packages.join(" ")))
        .hint("elsewhere: install the same programs with the system's own packages, then run this again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_answers_only_when_its_probe_succeeds() {
        let here = Path::new(".");
        assert!(answers(&["sh", "-c", "true"], here));
        assert!(!answers(&["sh", "-c", "false"], here));
        assert!(!answers(&["no-such-program-anywhere"], here));
        assert!(!answers(&[], here));
    }

    #[test]
    fn what_cannot_be_installed_is_named_with_its_packages() {
        let text = not_installable(&["curl"], &["curl", "python3-venv"]).to_string();
        assert!(text.contains("this needs curl"), "{text}");
        assert!(text.contains("apt-get install curl python3-venv"), "{text}");
    }
}
