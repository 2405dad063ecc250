//! A number that measures something has its unit at the end of its name. A `Duration` brings its own.

use proc_macro2::Ident;
use syn::{
    Field, FnArg, GenericArgument, ImplItemConst, ItemConst, ItemStatic, Pat, PathArguments, TraitItemConst,
    Type,
    visit::{self, Visit},
};

use super::{Finding, source::Source};

/// Words that measure: a number called so leaves open what it counts.
const MEASURES: &[&str] = &[
    "timeout", "interval", "delay", "lifetime", "ttl", "age", "duration", "size", "length", "latency",
    "elapsed", "period", "skew", "leeway", "cooldown", "wait", "expiry",
];

const NUMBERS: &[&str] =
    &["u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize", "f32", "f64"];

/// Types around one number that do not say what it counts either.
const WRAPPERS: &[&str] = &["Option", "Cell", "NonZero", "Saturating", "Wrapping"];

/// Finds constants, fields and parameters whose number has no unit. Tests are free.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut numbers = Numbers { source, findings: Vec::new() };
    numbers.visit_file(&source.file);
    numbers.findings
}

struct Numbers<'a> {
    source: &'a Source<'a>,
    findings: Vec<Finding>,
}

impl Numbers<'_> {
    fn judge(&mut self, name: &Ident, kind: &Type) {
        let span = name.span();
        let lower = name.to_string().to_lowercase();
        let ends_in_measure = lower.rsplit('_').next().is_some_and(|word| MEASURES.contains(&word));
        if ends_in_measure && is_number(kind) && !self.source.is_test(span.start().line) {
            let what = format!("the number `{name}` has no unit");
            let remedy = "end its name with the unit (_ms, _seconds, _bytes, _items), or make it a Duration";
            self.findings.push(self.source.finding(span, what, remedy));
        }
    }
}

impl<'ast> Visit<'ast> for Numbers<'_> {
    fn visit_item_const(&mut self, item: &'ast ItemConst) {
        self.judge(&item.ident, &item.ty);
        visit::visit_item_const(self, item);
    }

    fn visit_impl_item_const(&mut self, item: &'ast ImplItemConst) {
        self.judge(&item.ident, &item.ty);
        visit::visit_impl_item_const(self, item);
    }

    fn visit_trait_item_const(&mut self, item: &'ast TraitItemConst) {
        self.judge(&item.ident, &item.ty);
        visit::visit_trait_item_const(self, item);
    }

    fn visit_item_static(&mut self, item: &'ast ItemStatic) {
        self.judge(&item.ident, &item.ty);
        visit::visit_item_static(self, item);
    }

    fn visit_field(&mut self, field: &'ast Field) {
        if let Some(name) = &field.ident {
            self.judge(name, &field.ty);
        }
        visit::visit_field(self, field);
    }

    fn visit_fn_arg(&mut self, argument: &'ast FnArg) {
        if let FnArg::Typed(typed) = argument
            && let Pat::Ident(pattern) = typed.pat.as_ref()
        {
            self.judge(&pattern.ident, &typed.ty);
        }
        visit::visit_fn_arg(self, argument);
    }
}

fn is_number(kind: &Type) -> bool {
    let path = match kind {
        Type::Path(path) => &path.path,
        Type::Reference(reference) => return is_number(&reference.elem),
        // `syn::Type` is open for kinds to come; none of them is a number.
        _ => return false,
    };
    let Some(last) = path.segments.last() else {
        return false;
    };
    let name = last.ident.to_string();
    if NUMBERS.contains(&name.as_str()) {
        return true;
    }
    let plain = name.strip_prefix("Atomic").or_else(|| name.strip_prefix("NonZero")).unwrap_or_default();
    if NUMBERS.contains(&plain.to_lowercase().as_str()) {
        return true;
    }
    match &last.arguments {
        PathArguments::AngleBracketed(arguments) if WRAPPERS.contains(&name.as_str()) => arguments
            .args
            .iter()
            .any(|argument| matches!(argument, GenericArgument::Type(inner) if is_number(inner))),
        PathArguments::AngleBracketed(_) | PathArguments::Parenthesized(_) | PathArguments::None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let source = Source::parse("crates/x/src/a.rs", text).unwrap();
        check(&source).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_number_without_unit_is_found_wherever_it_stands() {
        assert_eq!(lines("\nconst POLL_INTERVAL: u64 = 5;"), [2]);
        assert_eq!(lines("static CACHE_SIZE: AtomicUsize = AtomicUsize::new(0);"), [1]);
        assert_eq!(lines("struct A {\n ttl: i64,\n max_age: Option<u32>,\n wait: NonZeroU8 }"), [2, 3, 4]);
        assert_eq!(lines("enum A { B { lifetime: std::num::NonZero<u64> } }"), [1]);
        assert_eq!(lines("fn a(timeout: f64, delay: &u64) {}"), [1, 1]);
        assert_eq!(lines("trait A { const SKEW: u64; fn b(&self, length: usize); }"), [1, 1]);
        assert_eq!(lines("impl A { const SKEW: u64 = 1; }"), [1]);
    }

    #[test]
    fn a_unit_a_type_that_brings_one_and_other_words_are_fine() {
        assert!(lines("const POLL_INTERVAL_MS: u64 = 5; const POLL_INTERVAL: Duration = D;").is_empty());
        assert!(lines("struct A { max_age_seconds: u32, page: u64, message: usize, len: usize }").is_empty());
        assert!(lines("fn age(timeout: Option<Duration>, delay: impl Fn(u64)) -> u64 { 0 }").is_empty());
        assert!(lines("#[cfg(test)] mod tests { const SIZE: usize = 1; }").is_empty());
    }
}
