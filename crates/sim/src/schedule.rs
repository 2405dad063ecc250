//! When what happens: calm, storms with their incidents, long outages.

use crate::canary::secret;
use crate::event::Event;
use crate::fault::FaultKind;
use crate::plan::{Stream, exponential};
use crate::weather::Outage;
use crate::world::World;
use fastrand::Rng;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

/// What happens in a storm besides what befalls requests.
#[derive(Clone, Copy, Debug)]
enum Incident {
    StepForward,
    StepBack,
    Suspend,
    SecretLearntLate,
    SecretLearntEarly,
    UnauthorizedStorm,
    Revocation,
}

const INCIDENTS: &[Incident] = &[
    Incident::StepForward,
    Incident::StepBack,
    Incident::Suspend,
    Incident::SecretLearntLate,
    Incident::SecretLearntEarly,
    Incident::UnauthorizedStorm,
    Incident::Revocation,
];

/// Makes the weather until `until`, and calm from then on.
pub async fn weather(world: Arc<World>, until: Instant) {
    let mut random = world.plan.stream(Stream::Schedule);
    // Only one secret is changed at a time; the lock has the last generation in it.
    let generation = Arc::new(Mutex::new(0));
    if random.u8(0..5) > 0 {
        calm(&world, &mut random).await;
    }
    while Instant::now() < until {
        storm(&world, &mut random, &generation).await;
        if random.u8(0..4) == 0 {
            outage(&world, &mut random, until).await;
        }
        calm(&world, &mut random).await;
    }
    world.journal.record(&Event::CalmBegan);
}

async fn calm(world: &World, random: &mut Rng) {
    world.journal.record(&Event::CalmBegan);
    sleep(Duration::from_mins(2) + exponential(random, Duration::from_mins(18))).await;
    world.journal.record(&Event::CalmEnded);
}

async fn storm(world: &Arc<World>, random: &mut Rng, generation: &Arc<Mutex<u32>>) {
    world.weather.set_chance(world.plan.storm_chance);
    let lasts = Duration::from_secs(random.u64(180..1200));
    let incidents: Vec<_> = (0..random.usize(3..8))
        .filter_map(|_| {
            let incident = *INCIDENTS.get(random.usize(0..INCIDENTS.len()))?;
            let after = lasts.mul_f64(random.f64());
            let happening = happen(
                Arc::clone(world),
                incident,
                after,
                Rng::with_seed(random.u64(..)),
                Arc::clone(generation),
            );
            Some(tokio::spawn(happening))
        })
        .collect();
    sleep(lasts).await;
    for incident in incidents {
        // A panic has been noted where it happened.
        let _ended = incident.await;
    }
    world.weather.set_chance(0.0);
}

async fn outage(world: &World, random: &mut Rng, until: Instant) {
    let kinds = [Outage::Refusing, Outage::Silent, Outage::Failing];
    let minutes = if random.u8(0..6) == 0 { random.u64(120..600) } else { random.u64(3..60) };
    let ends = (Instant::now() + Duration::from_mins(minutes)).min(until);
    world.weather.set_outage(kinds.get(random.usize(0..kinds.len())).copied());
    tokio::time::sleep_until(ends).await;
    world.weather.set_outage(None);
}

async fn happen(
    world: Arc<World>,
    incident: Incident,
    after: Duration,
    mut random: Rng,
    generation: Arc<Mutex<u32>>,
) {
    sleep(after).await;
    let clock = world.journal.clock();
    let seconds = |random: &mut Rng, range: std::ops::Range<u64>| Duration::from_secs(random.u64(range));
    match incident {
        Incident::StepForward => {
            clock.step(step_ms(&mut random));
            world.journal.fault(FaultKind::StepForward);
        }
        Incident::StepBack => {
            clock.step(-step_ms(&mut random));
            world.journal.fault(FaultKind::StepBack);
        }
        Incident::Suspend => {
            clock.suspend(step_ms(&mut random).unsigned_abs());
            world.journal.fault(FaultKind::Suspend);
        }
        Incident::SecretLearntLate => {
            let mut generation = generation.lock().await;
            *generation += 1;
            world.weather.set_secret_fault(Some(FaultKind::SecretLearntLate));
            rotate(&world, *generation);
            sleep(seconds(&mut random, 10..300)).await;
            learn(&world, *generation, &mut random);
            world.weather.set_secret_fault(None);
        }
        Incident::SecretLearntEarly => {
            let mut generation = generation.lock().await;
            *generation += 1;
            world.weather.set_secret_fault(Some(FaultKind::SecretLearntEarly));
            learn(&world, *generation, &mut random);
            sleep(seconds(&mut random, 5..120)).await;
            rotate(&world, *generation);
            world.weather.set_secret_fault(None);
        }
        Incident::UnauthorizedStorm => {
            world.weather.set_refuse_all(true);
            sleep(seconds(&mut random, 20..240)).await;
            world.weather.set_refuse_all(false);
        }
        Incident::Revocation => {
            world.authority.forget_issued();
            for token in world.journal.newest_tokens(u32::from(world.plan.keys)) {
                world.weather.revoke(token);
            }
        }
    }
}

fn rotate(world: &World, generation: u32) {
    if let Err(error) = world.authority.rotate_secret(&secret(generation)) {
        world.journal.record(&Event::Panicked { message: error.to_string() });
    }
}

/// Mostly while it runs; now and then by a restart.
fn learn(world: &World, generation: u32, random: &mut Rng) {
    if random.u8(0..4) > 0 {
        world.learn_secret(generation);
    } else if let Err(error) = world.restart(generation) {
        world.journal.record(&Event::Panicked { message: error.to_string() });
    }
}

/// From half a second to three hours, small ones as likely as large ones.
fn step_ms(random: &mut Rng) -> i64 {
    let seconds = 0.5 * (21_600.0_f64).powf(random.f64());
    i64::try_from(Duration::from_secs_f64(seconds).as_millis()).unwrap_or(i64::MAX)
}
