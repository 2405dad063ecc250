//! One command of a run: named, timed, and on failure told how to run it alone.

use std::{
    fmt::{self, Write as _},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Instant,
};

/// A command line with its working folder and the environment that it adds.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    name: &'static str,
    program: String,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    folder: PathBuf,
    hint: Option<String>,
}

impl Step {
    /// A step called `name` that runs `program` in `folder`.
    pub(crate) fn new(name: &'static str, program: &str, folder: &Path) -> Self {
        Self {
            name,
            program: program.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: folder.to_owned(),
            hint: None,
        }
    }

    /// `cargo` with these words.
    pub(crate) fn cargo(name: &'static str, root: &Path, words: &str) -> Self {
        Self::new(name, "cargo", root).words(words)
    }

    /// Appends arguments, split at white space.
    pub(crate) fn words(mut self, words: &str) -> Self {
        self.arguments.extend(words.split_whitespace().map(str::to_owned));
        self
    }

    /// Appends one argument as it is.
    pub(crate) fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Appends arguments as they are.
    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Sets a variable of the environment for this step.
    pub(crate) fn environment(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// What to do when the step fails, beyond running it alone.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Runs the step with the streams of this process, and prints its name and time.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        say(&format!("\n== {}: {self}", self.name));
        let begun = Instant::now();
        let status = self.command().status().map_err(|error| self.not_started(&error))?;
        let seconds = begun.elapsed().as_secs_f64();
        self.judge(status)?;
        say(&format!("== {}: done in {seconds:.1} s", self.name));
        Ok(())
    }

    /// Runs the step without a word and gives its standard output, or `None` when it cannot start or fails.
    pub(crate) fn ask(&self) -> Option<String> {
        let output = self.command().stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command
    }

    fn not_started(&self, error: &io::Error) -> Failure {
        self.explain(Failure::new(format!(
            "step `{}` could not start `{}`: {error}",
            self.name, self.program
        )))
    }

    fn judge(&self, status: ExitStatus) -> Result<(), Failure> {
        if status.success() {
            return Ok(());
        }
        let failure = Failure::new(format!("step `{}` failed: {status}", self.name));
        Err(self.explain(failure.hint(format!("run it alone: {self}"))))
    }

    fn explain(&self, failure: Failure) -> Failure {
        match &self.hint {
            Some(hint) => failure.hint(hint.clone()),
            None => failure,
        }
    }
}

/// The command line as one would type it in the root of the repository.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.environment {
            write!(f, "{name}={} ", quoted(value))?;
        }
        f.write_str(&quoted(&self.program))?;
        for argument in &self.arguments {
            write!(f, " {}", quoted(argument))?;
        }
        Ok(())
    }
}

/// Why a run ended, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    what: String,
    hints: Vec<String>,
}

impl Failure {
    /// A failure without advice yet.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hints: Vec::new() }
    }

    /// A file or folder could not be used.
    pub(crate) fn file(verb: &str, path: &Path, error: &io::Error) -> Self {
        Self::new(format!("cannot {verb} {}: {error}", path.display()))
    }

    /// Adds one line of advice.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        for hint in &self.hints {
            write!(f, "\n  {hint}")?;
        }
        Ok(())
    }
}

/// Prints a line to standard output. A closed pipe is the reader's choice and no failure of ours.
pub(crate) fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).ok();
}

/// Prints a failure to standard error.
pub(crate) fn complain(failure: &Failure) {
    let mut text = String::new();
    write!(text, "\nxtask: {failure}").ok();
    writeln!(io::stderr().lock(), "{text}").ok();
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@,+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(program: &str) -> Step {
        Step::new("sample", program, Path::new("."))
    }

    #[test]
    fn a_step_is_shown_as_one_would_type_it() {
        let shown =
            step("cargo").words("doc  --no-deps").argument("it's").environment("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(shown.to_string(), r"RUSTDOCFLAGS='-D warnings' cargo doc --no-deps 'it'\''s'");
    }

    #[test]
    fn a_failed_step_says_what_failed_and_how_to_run_it_alone() {
        let failure =
            step("sh").arguments(&["-c", "exit 7"]).hint("drink water").run().unwrap_err().to_string();
        assert!(failure.contains("step `sample` failed"), "{failure}");
        assert!(failure.contains('7'), "{failure}");
        assert!(failure.contains("run it alone: sh -c 'exit 7'"), "{failure}");
        assert!(failure.contains("drink water"), "{failure}");
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let failure = step("no-such-program-anywhere").run().unwrap_err().to_string();
        assert!(failure.contains("could not start `no-such-program-anywhere`"), "{failure}");
        assert_eq!(step("no-such-program-anywhere").ask(), None);
    }

    #[test]
    fn a_question_gives_the_trimmed_answer_only_on_success() {
        assert_eq!(step("sh").arguments(&["-c", "echo ' v1 '"]).ask().as_deref(), Some("v1"));
        assert_eq!(step("sh").arguments(&["-c", "echo v1; exit 1"]).ask(), None);
    }
}
