//! What a worker's log tells of the shared store.

use super::tell;
use crate::processes::line::{Health, Report};
use crate::processes::monotonic::Monotonic;
use std::fmt::{self, Write as _};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Tells the coordinator when the store is said not to work, and when it is said to work again.
#[derive(Debug)]
pub(super) struct StoreLog;

#[derive(Default)]
struct Words {
    text: String,
    of_the_store: bool,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.of_the_store |= field.name() == "store";
        // Writing to a string does not fail.
        let _written = write!(self.text, "{}={value:?} ", field.name());
    }
}

impl Subscriber for StoreLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("jeton") && *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut words = Words::default();
        event.record(&mut words);
        if words.of_the_store {
            let health = if *event.metadata().level() == Level::WARN { Health::Ill } else { Health::Well };
            tell(&Report::StoreIs { health, at: Monotonic::now(), why: words.text });
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
