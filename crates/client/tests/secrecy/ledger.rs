//! What is written while the test runs.

use std::error::Error;
use std::fmt::{Debug, Write as _};
use std::io::Write;
use std::sync::{Arc, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// What the panics say that the test causes.
pub(crate) const ON_PURPOSE: &str = "on purpose";

/// The log of the process, its panics, and what it shows.
pub(crate) struct Ledger {
    log: Lines,
    panics: Lines,
    shown: Mutex<String>,
}

impl Ledger {
    /// Takes in the log of all crates at every level, by `tracing` and by `log`, and the text of panics.
    pub(crate) fn open() -> Self {
        let (log, panics) = (Lines::default(), Lines::default());
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
        subscriber
            .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
            .with_writer(log.clone())
            .init();
        let (told, before) = (panics.clone(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |info| {
            let text = info.to_string();
            told.clone().write_all(text.as_bytes()).unwrap();
            if !text.contains(ON_PURPOSE) {
                before(info);
            }
        }));
        Self { log, panics, shown: Mutex::default() }
    }

    /// An error in all of its forms, with its causes.
    pub(crate) fn error(&self, error: &(dyn Error + 'static)) {
        let mut cause = Some(error);
        while let Some(error) = cause {
            write!(self.shown.lock().unwrap(), "{error}\n{error:?}\n{error:#?}\n").unwrap();
            cause = error.source();
        }
    }

    /// What has no other form than `Debug`.
    pub(crate) fn debug(&self, value: &dyn Debug) {
        write!(self.shown.lock().unwrap(), "{value:?}\n{value:#?}\n").unwrap();
    }

    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    pub(crate) fn panics(&self) -> String {
        self.panics.text()
    }

    pub(crate) fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
