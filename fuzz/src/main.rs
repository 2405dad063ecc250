//! The driver. Built by `cargo xtask fuzz` it is a libFuzzer program for the target that `JETON_FUZZ_TARGET` names;
//! built in any other way it repeats inputs: `cargo run -p fuzz -- TARGET FILE...`.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
mod libfuzzer {
    use fuzz::Target;
    use std::io::Write as _;
    use std::sync::LazyLock;

    static TARGET: LazyLock<Option<Target>> =
        LazyLock::new(|| Target::named(&std::env::var("JETON_FUZZ_TARGET").ok()?));

    libfuzzer_sys::fuzz_target!(|input: &[u8]| {
        let broken = match TARGET.as_ref() {
            Some(target) => (target.check)(input).err().map(|broken| broken.to_string()),
            None => Some("JETON_FUZZ_TARGET names no target".to_owned()),
        };
        if let Some(broken) = broken {
            let _unheard = writeln!(std::io::stderr().lock(), "broken promise: {broken}");
            // What libFuzzer takes for a finding is the end of its process.
            std::process::abort();
        }
    });
}

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    use std::io::Write as _;
    use std::process::ExitCode;

    let mut stdout = std::io::stdout().lock();
    let mut arguments = std::env::args().skip(1);
    let Some(target) = arguments.next().and_then(|name| fuzz::Target::named(&name)) else {
        let names: Vec<&str> = fuzz::TARGETS.iter().map(|target| target.name).collect();
        let _unheard =
            writeln!(stdout, "usage: cargo run -p fuzz -- TARGET FILE...\ntargets: {}", names.join(", "));
        return ExitCode::from(2);
    };
    let mut code = ExitCode::SUCCESS;
    for path in arguments {
        let told = match std::fs::read(&path).map(|input| (target.check)(&input)) {
            Ok(Ok(())) => "holds".to_owned(),
            Ok(Err(broken)) => format!("broken promise: {broken}"),
            Err(error) => error.to_string(),
        };
        if told != "holds" {
            code = ExitCode::FAILURE;
        }
        let _unheard = writeln!(stdout, "{path}: {told}");
    }
    code
}
