//! Those who want tokens: one by one and in crowds, by every door, with deadlines of their own; some go away.

use crate::api::CallTag;
use crate::clock::millis;
use crate::door::Door;
use crate::event::{Ending, Entry, Event, Failure, LineId};
use crate::fault::FaultKind;
use crate::plan::{Stream, exponential};
use crate::world::{Clients, World};
use fastrand::Rng;
use http::Request;
use jeton::bearer::BearerError;
use jeton::{CachedToken, ErrorCode, TokenError, TokenErrorKind, TokenId};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tower_service::Service as _;

/// Two waits for a token of the manager's default 15 s, two waits of the guard for its keys, and the API itself.
const BEARER_WAIT: Duration = Duration::from_secs(45);

/// One caller, until `until`.
pub async fn caller(world: Arc<World>, number: u8, until: Instant) {
    let mut random = world.plan.stream(Stream::Caller(number));
    loop {
        sleep(exponential(&mut random, world.plan.mean_gap)).await;
        if until <= Instant::now() {
            return;
        }
        let key = random.u8(0..world.plan.keys);
        // Now and then a crowd comes at once.
        let crowd = if random.u8(0..12) == 0 { random.usize(2..16) } else { 1 };
        let mut calls = Vec::new();
        for _ in 0..crowd {
            let call = Call::draw(&mut random, &world, key);
            if crowd == 1 {
                call.make(&world).await;
            } else {
                let world = Arc::clone(&world);
                calls.push(tokio::spawn(async move { call.make(&world).await }));
            }
        }
        for call in calls {
            // A panic has been noted where it happened.
            let _ended = call.await;
        }
    }
}

/// Asks for a token, and goes away after a moment.
pub async fn last_call(world: Arc<World>, key: u8, stays: Duration) {
    let wait = Duration::from_secs(10);
    Call { key, way: Way::Within, wait, stays: Some(stays), shows: false }.make(&world).await;
}

/// Asks a client that is being closed, and once more when it is.
pub async fn late_call(world: Arc<World>, client: Arc<Clients>, key: u8) {
    for wait in [Duration::from_secs(1), Duration::from_secs(8)] {
        sleep(wait / 8).await;
        let call = Call { key, way: Way::AtOnce, wait, stays: None, shows: false };
        call.make_with(&world, &client).await;
    }
}

#[derive(Clone, Copy, Debug)]
enum Way {
    /// The hit path, and waiting when it has nothing.
    AtOnce,
    Within,
    Bearer,
}

/// A call under way: how it ends, and the token that its caller will show to the API.
type Calling<'a> = Pin<Box<dyn Future<Output = (Ending, Option<Shown>)> + Send + 'a>>;

/// A token that a caller shows to the API itself, and the door that it had it from.
struct Shown {
    door: Arc<dyn Door>,
    id: TokenId,
}

/// One call as it was drawn.
#[derive(Clone, Copy, Debug)]
struct Call {
    key: u8,
    way: Way,
    wait: Duration,
    /// How long the caller stays, if it goes away.
    stays: Option<Duration>,
    /// Whether it shows the token to the API itself.
    shows: bool,
}

impl Call {
    fn draw(random: &mut Rng, world: &World, key: u8) -> Self {
        let way = match random.u8(0..10) {
            0..=3 => Way::AtOnce,
            4..=8 => Way::Within,
            _ => Way::Bearer,
        };
        let wait_ms = if random.bool() { random.u64(3_000..20_000) } else { random.u64(0..3_000) };
        let fickle = random.u8(0..8) == 0 && world.weather.chance() > 0.0;
        let stays = fickle.then(|| Duration::from_millis(random.u64(1..120)));
        Self { key, way, wait: Duration::from_millis(wait_ms), stays, shows: random.u8(0..3) == 0 }
    }

    async fn make(self, world: &World) {
        if let Some(client) = world.client() {
            self.make_with(world, &client).await;
        }
    }

    async fn make_with(self, world: &World, client: &Clients) {
        let line = LineId { manager: client.number, key: self.key };
        match self.way {
            Way::AtOnce => {
                let token = client.doors.get(usize::from(self.key)).and_then(|door| door.at_once());
                let token = token.map(|token| world.journal.number_of(token));
                world.journal.record(&Event::AtOnce { line, token });
                if token.is_none() {
                    self.follow(world, line, Entry::Within, self.wait, self.within(world, client)).await;
                }
            }
            Way::Within => {
                self.follow(world, line, Entry::Within, self.wait, self.within(world, client)).await;
            }
            Way::Bearer => {
                self.follow(world, line, Entry::Bearer, BEARER_WAIT, self.bearer(world, client, line)).await;
            }
        }
    }

    /// Tells the journal of a call from its beginning to its end, and goes away in between if it was drawn so.
    async fn follow<F, R>(self, world: &World, line: LineId, entry: Entry, wait: Duration, calling: F)
    where
        F: FnOnce(u64) -> R,
        R: Future<Output = (Ending, Option<Shown>)>,
    {
        let call = world.journal.next_call();
        world.journal.record(&Event::CallBegan { call, line, entry, wait_ms: millis(wait) });
        let (ending, shown) = match self.stays {
            None => calling(call).await,
            Some(stays) => timeout(stays, calling(call)).await.unwrap_or_else(|_| {
                world.journal.fault(FaultKind::CancelledCaller);
                (Ending::Cancelled, None)
            }),
        };
        world.journal.record(&Event::CallEnded { call, ending });
        world.usher.line_up(call).await;
        if let Some(token) = shown {
            show(world, line, call, &token);
        }
    }

    fn within<'a>(self, world: &'a World, client: &'a Clients) -> impl FnOnce(u64) -> Calling<'a> + 'a {
        move |call| {
            Box::pin(async move {
                let Some(door) = client.doors.get(usize::from(self.key)) else {
                    return (Ending::Failed(Failure::Other), None);
                };
                match door.within(self.wait).await {
                    Ok(token) => {
                        let number = world.journal.number_of(token.id());
                        world.journal.record(&Event::Given { call, token: number });
                        look_at(world, call, &token);
                        let shown = Shown { door: Arc::clone(door), id: token.id() };
                        (Ending::Token, self.shows.then_some(shown))
                    }
                    Err(error) => (Ending::Failed(failure(world, &error)), None),
                }
            })
        }
    }

    fn bearer<'a>(
        self,
        world: &'a World,
        client: &'a Clients,
        line: LineId,
    ) -> impl FnOnce(u64) -> Calling<'a> + 'a {
        move |call| {
            Box::pin(async move {
                let Some(mut service) = client.bearers.get(usize::from(self.key)).cloned() else {
                    return (Ending::Failed(Failure::Other), None);
                };
                let mut request = Request::new(());
                *request.uri_mut() = http::Uri::from_static("http://localhost/orders");
                request.extensions_mut().insert(CallTag { call, line, sent: Arc::new(AtomicU32::new(0)) });
                if poll_fn(|context| service.poll_ready(context)).await.is_err() {
                    return (Ending::Failed(Failure::Other), None);
                }
                let ending = match service.call(request).await {
                    Ok(response) => Ending::Answered(response.status().as_u16()),
                    Err(BearerError::Token(error)) => Ending::Failed(failure(world, &error)),
                    Err(BearerError::PlainHttp { .. } | BearerError::Inner(_)) => {
                        Ending::Failed(Failure::Other)
                    }
                };
                (ending, None)
            })
        }
    }
}

/// Shows a token to the API itself, and rejects it when that refuses it.
fn show(world: &World, line: LineId, call: u64, token: &Shown) {
    let number = world.journal.number_of(token.id);
    if !world.api.takes(number, call) {
        world.journal.record(&Event::Rejected { line, token: number });
        token.door.reject(token.id);
    }
}

/// Now and then somebody prints the token.
fn look_at(world: &World, call: u64, token: &CachedToken) {
    if call.is_multiple_of(16) {
        world.canaries.look(&world.journal, "Debug of a token", token);
    }
}

fn failure(world: &World, error: &TokenError) -> Failure {
    world.canaries.look(&world.journal, "Debug of an error", error);
    world.journal.remark(error);
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(shown) = cause {
        world.canaries.look(&world.journal, "Display of an error", &format_args!("{shown}"));
        cause = shown.source();
    }
    match error.kind() {
        TokenErrorKind::DeadlinePassed { .. } => Failure::Deadline,
        TokenErrorKind::Refused { error: ErrorCode::InvalidClient, .. } => Failure::InvalidClient,
        _ => Failure::Other,
    }
}
