//! The search of a process in its own memory.

use crate::canary::{Mask, NEEDLE_BYTES, Needle};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

const CHUNK_BYTES: usize = 1 << 20;

/// What to look for, masked all the time.
pub(crate) struct Search {
    needles: Vec<Needle>,
    /// Whether a needle begins with this byte, masked.
    begins: [bool; 256],
}

/// How many stretches are told of.
const MOST_HITS: usize = 50;
/// How far apart hits of one stretch are at most.
const NEAR_BYTES: u64 = 1024;

struct Hit<'a> {
    at: u64,
    needle: &'a Needle,
    mapping: &'a Mapping,
}

impl Hit<'_> {
    fn shown(&self, memory: &File) -> String {
        let mut around = [0; 96];
        memory.read_exact_at(&mut around, self.at.saturating_sub(64)).unwrap();
        let (name, around) = (&self.needle.name, around.escape_ascii());
        format!("{name}, at {:#x} of {}: {around}", self.at, self.mapping.name)
    }
}

/// A place that was written to.
struct Mapping {
    begin: u64,
    end: u64,
    name: String,
}

impl Search {
    /// From `NAME=HIDDEN;...`.
    pub(crate) fn of(hidden: &str) -> Self {
        let needles = hidden.split(';').map(|needle| needle.split_once('=').unwrap());
        let needles: Vec<Needle> = needles
            .map(|(name, hidden)| Needle { name: name.to_owned(), bytes: Mask::masked(hidden) })
            .collect();
        let mut begins = [false; 256];
        for needle in &needles {
            assert_eq!(needle.bytes.len(), NEEDLE_BYTES);
            begins[usize::from(needle.bytes[0])] = true;
        }
        Self { needles, begins }
    }

    /// Every place in the memory that can be written to, one line for each stretch of hits, with what stands before it.
    pub(crate) fn everywhere(&self) -> Vec<String> {
        let memory = File::open("/proc/self/mem").unwrap();
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut hits: Vec<Hit<'_>> = Vec::with_capacity(MOST_HITS);
        let own = chunk.as_ptr() as u64..chunk.as_ptr() as u64 + CHUNK_BYTES as u64;
        let mappings = writable_mappings();
        for mapping in &mappings {
            let mut at = mapping.begin;
            while at < mapping.end {
                let wanted = usize::try_from(mapping.end - at).unwrap().min(CHUNK_BYTES);
                // What is mapped from a device cannot be read.
                let Ok(count) = memory.read_at(&mut chunk[..wanted], at) else { break };
                for (offset, needle) in self.in_chunk(&chunk[..count]) {
                    let found = at + offset as u64;
                    let near =
                        hits.last().is_some_and(|last| (last.at..last.at + NEAR_BYTES).contains(&found));
                    // What was read is in the chunk too, where it is no hit.
                    if !own.contains(&found) && !near && hits.len() < MOST_HITS {
                        hits.push(Hit { at: found, needle, mapping });
                    }
                }
                at += if count == wanted && at + (count as u64) < mapping.end {
                    (count - NEEDLE_BYTES) as u64
                } else {
                    wanted as u64
                };
            }
        }
        // Shown when all is searched, since what is shown is a hit itself.
        hits.iter().map(|hit| hit.shown(&memory)).collect()
    }

    fn in_chunk(&self, chunk: &[u8]) -> Vec<(usize, &Needle)> {
        let mut found = Vec::new();
        for (offset, byte) in chunk.iter().enumerate() {
            if !self.begins[usize::from(byte ^ Mask::BYTE)] {
                continue;
            }
            let rest = &chunk[offset..];
            let is_here = |needle: &&Needle| {
                rest.len() >= NEEDLE_BYTES
                    && rest.iter().zip(&needle.bytes).all(|(byte, masked)| byte ^ Mask::BYTE == *masked)
            };
            found.extend(self.needles.iter().find(is_here).map(|needle| (offset, needle)));
        }
        found
    }
}

fn writable_mappings() -> Vec<Mapping> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mapping = |line: &str| {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next()?, fields.next()?);
        let (begin, end) = range.split_once('-')?;
        let address = |text| u64::from_str_radix(text, 16).unwrap();
        let name = fields.nth(3).unwrap_or("anonymous memory").to_owned();
        rights.starts_with("rw").then(|| Mapping { begin: address(begin), end: address(end), name })
    };
    maps.lines().filter_map(mapping).collect()
}
