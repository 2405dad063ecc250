//! Looks for secrets and tokens in whatever is printed, and for panics.

use crate::authority::CLIENT_ID;
use crate::event::Event;
use crate::journal::Journal;
use crate::network::PANIC_ON_PURPOSE;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::cell::{Cell, RefCell};
use std::fmt::{self, Write as _};
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once, Weak};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event as LogEvent, Metadata, Subscriber};

/// Every token is a JWT, whose header begins so (a shorter beginning comes up in names of requests, which are random); a body that is
/// no answer has the other in it.
const NEEDLES: &[&str] = &["eyJhbGciOi", "CANARY-BODY", "CANARY-SECRET"];

/// What must not be printed in a world.
#[derive(Clone, Debug)]
pub struct Canaries {
    needles: Arc<Vec<String>>,
}

/// The client secret of this generation.
pub fn secret(generation: u32) -> String {
    format!("{generation:06}-CANARY-SECRET-OF-A-WORLD")
}

/// The generation of a client secret.
pub fn generation_of(secret: &str) -> Option<u32> {
    secret.split('-').next().and_then(|digits| digits.parse().ok())
}

impl Default for Canaries {
    fn default() -> Self {
        Self::new()
    }
}

impl Canaries {
    /// Canaries for all secrets of a world, plain and as HTTP Basic has them: all are of one length and end alike.
    pub fn new() -> Self {
        let mut needles: Vec<String> = NEEDLES.iter().map(|needle| (*needle).to_owned()).collect();
        let basic = STANDARD.encode(format!("{CLIENT_ID}:{}", secret(0)));
        needles.extend(basic.get(basic.len().saturating_sub(20)..).map(str::to_owned));
        Self { needles: Arc::new(needles) }
    }

    /// Whether one of them is in `text`.
    pub fn are_in(&self, text: &str) -> bool {
        self.needles.iter().any(|needle| text.contains(needle.as_str()))
    }

    /// Tells the journal when one of them is in what `shown` prints.
    pub fn look(&self, journal: &Journal, place: &str, shown: &dyn fmt::Debug) {
        if self.are_in(&format!("{shown:?}")) {
            journal.record(&Event::Leaked { place: place.to_owned() });
        }
    }
}

/// A subscriber that reads every span and event of our crates down to TRACE.
#[derive(Debug)]
pub struct LogReader {
    canaries: Canaries,
    journal: Weak<Journal>,
    spans: AtomicU64,
}

impl LogReader {
    /// Reads for `journal`.
    pub fn new(canaries: Canaries, journal: &Arc<Journal>) -> Self {
        Self { canaries, journal: Arc::downgrade(journal), spans: AtomicU64::new(1) }
    }

    fn read(&self, metadata: &Metadata<'_>, text: &str) {
        let Some(journal) = self.journal.upgrade() else {
            return;
        };
        if metadata.is_event() && !metadata.target().starts_with("jeton_server") {
            journal.remark(&text);
        }
        if self.canaries.are_in(text) {
            let place = format!("the log: {} at {}", metadata.target(), metadata.level());
            journal.record(&Event::Leaked { place });
        }
    }
}

thread_local! {
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
    static IN_A_WORLD: Cell<bool> = const { Cell::new(false) };
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _written = write!(self.0, "{}={value:?} ", field.name());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push_str(field.name());
        self.0.push_str(value);
    }
}

fn written(visit: impl FnOnce(&mut Fields<'_>)) -> String {
    TEXT.with_borrow_mut(|text| {
        text.clear();
        visit(&mut Fields(text));
        text.clone()
    })
}

impl Subscriber for LogReader {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("jeton")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.read(span.metadata(), &written(|fields| span.record(fields)));
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let text = written(|fields| values.record(fields));
        if self.canaries.are_in(&text)
            && let Some(journal) = self.journal.upgrade()
        {
            journal.record(&Event::Leaked { place: "a field of a span".to_owned() });
        }
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &LogEvent<'_>) {
        self.read(event.metadata(), &written(|fields| event.record(fields)));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Counts the panics of this thread while it lives, without a word on standard error.
#[derive(Debug)]
pub struct PanicWatch(());

impl PanicWatch {
    /// Begins to watch this thread.
    pub fn begin() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                if IN_A_WORLD.get() {
                    PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
                } else {
                    before(info);
                }
            }));
        });
        IN_A_WORLD.set(true);
        PANICS.with_borrow_mut(Vec::clear);
        Self(())
    }

    /// Tells the journal of panics that nobody made on purpose.
    pub fn tell(&self, journal: &Journal) {
        for message in PANICS.with_borrow_mut(std::mem::take) {
            if !message.contains(PANIC_ON_PURPOSE) {
                journal.record(&Event::Panicked { message });
            }
        }
    }
}

impl Drop for PanicWatch {
    fn drop(&mut self) {
        IN_A_WORLD.set(false);
    }
}
