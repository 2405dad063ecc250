//! One request in an audit log.

use super::files::MAX_LINE_BYTES;
use serde_json::Value;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::PathBuf;

/// The record of the request with this id, newest file first; `None` when there is none.
///
/// The lines are read and not verified.
pub fn find_request(files: &[PathBuf], request_id: &str) -> io::Result<Option<Value>> {
    let wanted = format!("\"request_id\":{}", Value::from(request_id));
    for path in files.iter().rev() {
        let mut reader = BufReader::with_capacity(1024 * 1024, File::open(path)?);
        let mut line = Vec::new();
        loop {
            line.clear();
            if (&mut reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if !contains(&line, wanted.as_bytes()) {
                continue;
            }
            // The text may stand in a member that a caller filled.
            let record: Option<Value> = serde_json::from_slice(&line).ok();
            if let Some(record) = record.filter(|record| record["request_id"] == request_id) {
                return Ok(Some(record));
            }
        }
    }
    Ok(None)
}

fn contains(line: &[u8], wanted: &[u8]) -> bool {
    line.windows(wanted.len()).any(|window| window == wanted)
}
