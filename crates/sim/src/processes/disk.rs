//! Processes that can write no file.

use super::Broken;
use super::bench::{Bench, Gathering, lane_scope};
use super::crew::Crew;
use super::depot::Kind;
use super::endpoint::Terms;
use super::findings::Findings;
use super::line::Ahead;
use super::monotonic::Monotonic;
use std::path::Path;
use std::time::Duration;

/// A limit of no bytes for each file, which the kernel holds the workers to; it is told by an error rather than by SIGXFSZ.
const NO_FILES: [&str; 4] = ["sh", "-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"];
const LIMITED: usize = 3;
const TASKS: usize = 10;

/// Processes that may write nothing have their tokens all the same, and those that may are not disturbed by them.
pub async fn play(program: &Path) -> Result<Findings, Broken> {
    let mut findings = Findings::new(format!("{LIMITED} processes that can write no file"));
    let terms = Terms { life_seconds: 3600, latency: Duration::from_millis(20) };
    let bench = Bench::set_up(program, Kind::File, terms).await?;
    let part = bench.part(0, 1, Ahead::OnDemand);
    let scope = lane_scope(0, 0);

    let mut limited = Crew::of(program).through(&NO_FILES);
    limited.start_all(LIMITED, &part).await?;
    let alone = burst(&mut limited, &mut findings).await?;
    let requests = bench.endpoint.requests(&scope);
    findings.figure("their token requests", requests);
    findings.figure("warnings", alone.ill.len());
    findings.expect(requests == LIMITED, || format!("{LIMITED} processes asked {requests} times"));
    findings.expect(alone.ill.len() == LIMITED, || format!("{} of {LIMITED} warned", alone.ill.len()));

    // What was begun by them is in nobody's way.
    let mut free = Crew::of(program);
    free.start_all(LIMITED, &part).await?;
    let shared = burst(&mut free, &mut findings).await?;
    let requests = bench.endpoint.requests(&scope) - requests;
    findings.figure("token requests of as many others", requests);
    findings.expect(requests == 1, || format!("those that can write asked {requests} times"));
    findings.expect(shared.ill.is_empty(), || format!("those that can write warned: {:?}", shared.ill));

    // What others wrote can be read.
    let mut readers = Crew::of(program).through(&NO_FILES);
    readers.start_all(LIMITED, &part).await?;
    let read = burst(&mut readers, &mut findings).await?;
    findings.expect(read.serials() == shared.serials(), || "what was shared was not read".to_owned());
    bench.search(&mut findings).await?;
    for crew in [limited, free, readers] {
        crew.dismiss().await?;
    }
    Ok(findings)
}

async fn burst(crew: &mut Crew, findings: &mut Findings) -> Result<Gathering, Broken> {
    let mut gathering = Gathering::begin(crew, 0, TASKS, Monotonic::default()).await?;
    gathering.finish(crew, None).await?;
    gathering.failed.iter().for_each(|failure| findings.fault(failure.as_str()));
    let wanted = crew.count() * TASKS;
    findings.expect(gathering.answered() == wanted, || {
        format!("{} of {wanted} tasks have a token", gathering.answered())
    });
    Ok(gathering)
}
