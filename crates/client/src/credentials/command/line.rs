//! The words of a command: quoted as for a shell, and run by none.

use crate::credentials::place::InvalidPlace;
use std::fmt;
use std::str::{Chars, FromStr};

/// The longest text of a command, in bytes.
const MAX_LINE_BYTES: usize = 8 * 1024;

/// A program and its arguments.
///
/// The text is split into words at blanks and line breaks, and may be quoted as in a POSIX shell: `'…'` keeps all that is in it, `"…"` all but
/// `\"`, `\\`, `\$` and `` \` ``, and a backslash the character behind it. There is no shell: what one would act on, such as
/// `$HOME`, `~`, `*` or `|`, is refused unless it is quoted. For a shell one writes `sh -c '…'`.
///
/// ```
/// use jeton::credentials::CommandLine;
///
/// let line: CommandLine = "pass show 'my client'".parse()?;
/// assert_eq!((line.program(), line.arguments()), ("pass", &["show".to_owned(), "my client".to_owned()][..]));
/// assert!("pass show x | head -n1".parse::<CommandLine>().is_err());
/// # Ok::<(), jeton::credentials::InvalidPlace>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct CommandLine {
    program: String,
    arguments: Vec<String>,
}

impl CommandLine {
    /// The program: a path, or a name that is looked for in `PATH`.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Its arguments.
    #[must_use]
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }
}

impl FromStr for CommandLine {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let mut words = words(text).map_err(|what| InvalidPlace::form("cmd", what))?.into_iter();
        match words.next() {
            Some(program) if !program.is_empty() => Ok(Self { program, arguments: words.collect() }),
            Some(_) | None => {
                Err(InvalidPlace::form("cmd", "the program is missing; write cmd:PROGRAM ARGUMENT ..."))
            }
        }
    }
}

/// The program alone: it is what helps, and arguments may be secrets.
impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the command {}", self.program)
    }
}

impl fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandLine").field("program", &self.program).finish_non_exhaustive()
    }
}

const SHELL: &str =
    "there is no shell that would act on one of its characters; quote it, or write cmd:sh -c '...'";
const OPEN: &str = "a quotation or a backslash has no end";
const ASSIGNMENT: &str = "no variable can be set before the program; write cmd:env NAME=VALUE PROGRAM ...";

/// The words of `text`, which are those that a shell would make of it; but a line break is a blank.
fn words(text: &str) -> Result<Vec<String>, &'static str> {
    if text.len() > MAX_LINE_BYTES {
        return Err("a command has at most 8192 bytes; write a longer one into a file");
    }
    if text.contains('\0') {
        return Err("no command has nul in it");
    }
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => single_quoted(&mut rest, word.get_or_insert_default())?,
            '"' => double_quoted(&mut rest, word.get_or_insert_default())?,
            '\\' => match rest.next().ok_or(OPEN)? {
                '\n' => {}
                escaped => word.get_or_insert_default().push(escaped),
            },
            '$' | '`' | '|' | '&' | ';' | '<' | '>' | '(' | ')' | '*' | '?' | '[' => return Err(SHELL),
            '~' | '#' if word.is_none() => return Err(SHELL),
            '=' if words.is_empty() => return Err(ASSIGNMENT),
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    Ok(words)
}

fn single_quoted(rest: &mut Chars<'_>, word: &mut String) -> Result<(), &'static str> {
    loop {
        match rest.next().ok_or(OPEN)? {
            '\'' => return Ok(()),
            quoted => word.push(quoted),
        }
    }
}

fn double_quoted(rest: &mut Chars<'_>, word: &mut String) -> Result<(), &'static str> {
    loop {
        match rest.next().ok_or(OPEN)? {
            '"' => return Ok(()),
            '$' | '`' => return Err(SHELL),
            '\\' => match rest.next().ok_or(OPEN)? {
                '\n' => {}
                escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                plain => word.extend(['\\', plain]),
            },
            quoted => word.push(quoted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// What a shell makes of it.
    fn by_a_shell(text: &str) -> Vec<String> {
        let script = format!("printf '%s\\0' {text}");
        let printed = Command::new("sh").arg("-c").arg(script).output().unwrap();
        assert!(printed.status.success(), "{text}: {printed:?}");
        let printed = String::from_utf8(printed.stdout).unwrap();
        printed.split_terminator('\0').map(str::to_owned).collect()
    }

    #[test]
    fn t32_words_are_those_that_a_shell_makes() {
        for (text, expected) in [
            ("a", &["a"][..]),
            ("  a \t b c  ", &["a", "b", "c"]),
            ("a 'b  c' d", &["a", "b  c", "d"]),
            (r#"a "b  'c'" d"#, &["a", "b  'c'", "d"]),
            (r#"a "\"\\\$\`\n" d"#, &["a", r#""\$`\n"#, "d"]),
            (r"a\ b \'c \\ \$HOME \~", &["a b", "'c", r"\", "$HOME", "~"]),
            (r#"a'b'"c"d '' "" e"#, &["abcd", "", "", "e"]),
            ("a\\\nb \"c\\\nd\"", &["ab", "cd"]),
            ("a b~c d#e --f=g {h,i} !", &["a", "b~c", "d#e", "--f=g", "{h,i}", "!"]),
            ("a '$HOME `x` | *'", &["a", "$HOME `x` | *"]),
            ("é 'ü\u{a0}' \u{a0}", &["é", "ü\u{a0}", "\u{a0}"]),
        ] {
            assert_eq!(words(text).unwrap(), expected, "{text}");
            assert_eq!(by_a_shell(text), expected, "{text}");
        }
    }

    #[test]
    fn t32_what_only_a_shell_can_do_is_refused() {
        for canary in [
            "a $canary",
            "a `canary`",
            "a | canary",
            "a; canary",
            "a & canary",
            "a <canary",
            "a >canary",
            "a (canary)",
            "a canary*",
            "a canary?",
            "a [canary]",
            "~/canary",
            "a ~canary",
            "a #canary",
            "a \"$canary\"",
            "a \"`canary\"",
        ] {
            assert_eq!(words(canary), Err(SHELL), "{canary}");
        }
        for open in ["a 'canary", "a \"canary", "a canary\\", "a \"canary\\"] {
            assert_eq!(words(open), Err(OPEN), "{open}");
        }
        assert_eq!(words("a\nb\n").unwrap(), ["a", "b"], "a line break ends no command, as there is but one");
        assert_eq!(words("A=canary b"), Err(ASSIGNMENT));
        assert!(words("a\0").is_err());
        assert!(
            words(&"a".repeat(MAX_LINE_BYTES)).is_ok() && words(&"a".repeat(MAX_LINE_BYTES + 1)).is_err()
        );
        for no_program in ["", " ", "''", "\"\" a"] {
            let told = no_program.parse::<CommandLine>().unwrap_err().to_string();
            assert!(told.starts_with("cmd: the program is missing"), "{told}");
        }
    }

    #[test]
    fn t34_arguments_are_not_told() {
        let line: CommandLine = "vault login token=canary".parse().unwrap();
        assert!(!format!("{line:?} {line}").contains("canary"));
        assert_eq!(line.to_string(), "the command vault");
    }
}
