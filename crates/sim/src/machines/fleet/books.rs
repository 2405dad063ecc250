//! What is known of the store, the server and the flights, and whether it is lawful.

use super::hand::{Flying, Luck};
use super::law::FleetLaw;
use super::store::{Record, Sealed};
use crate::machines::findings::Findings;
use crate::machines::law::Violation;
use jeton_proto::flight::End;
use jeton_proto::lifecycle::{MintReason, TokenId};
use std::collections::{HashMap, HashSet, VecDeque};

/// How many of the newest tokens of a key may be in the hands of processes at once: one may be in its advisory window when the
/// next two are rejected.
const MOST_SHARED: usize = 4;

/// A token as the server granted it.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    /// For which key.
    pub key: usize,
    /// When it was asked for.
    pub asked_ms: u64,
    /// When it was granted.
    pub born_ms: u64,
    /// When it dies.
    pub dies_at_ms: u64,
}

#[derive(Debug, Default)]
struct Page {
    /// The last tokens that were shared, the newest first.
    shared: VecDeque<TokenId>,
    /// The tokens that were taken out because they were rejected.
    replaced: HashSet<TokenId>,
    tally: Tally,
}

/// Token requests of one key, and what may excuse them.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    granted: u64,
    shared: u64,
    excused: u64,
}

/// The books of one world.
#[derive(Debug)]
pub struct Books {
    findings: Findings<FleetLaw>,
    pages: Vec<Page>,
    granted: HashMap<TokenId, Granted>,
    rejected: HashMap<(usize, u32), Vec<TokenId>>,
    longest_ms: u64,
    /// When any clock last stepped: what was granted before may be taken for over by anybody.
    stepped_ms: u64,
    order: Order,
}

/// Whether the places of tokens tell which is newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Kept,
    /// The store went back, by its clock or in what it has: a process may have seen a newer one than is there.
    Lost,
}

impl Books {
    /// Books of a world in which no flight may take longer than `longest_ms`.
    pub fn new(keys: usize, longest_ms: u64) -> Self {
        Self {
            findings: Findings::default(),
            pages: std::iter::repeat_with(Page::default).take(keys).collect(),
            granted: HashMap::new(),
            rejected: HashMap::new(),
            longest_ms,
            stepped_ms: 0,
            order: Order::Kept,
        }
    }

    /// A step has begun.
    pub fn step(&mut self, at_ms: u64) {
        self.findings.step(at_ms);
    }

    /// The steps so far.
    pub fn steps(&self) -> u64 {
        self.findings.steps()
    }

    /// What did not hold.
    pub fn into_violations(self) -> Vec<Violation<FleetLaw>> {
        self.findings.into_violations()
    }

    /// The server granted a token.
    pub fn granted(&mut self, id: TokenId, granted: Granted) {
        self.granted.insert(id, granted);
        if let Some(page) = self.pages.get_mut(granted.key) {
            page.tally.granted += 1;
        }
    }

    /// A clock stepped, of a process or of the store.
    pub fn clock_stepped(&mut self, now_ms: u64) {
        self.stepped_ms = now_ms.saturating_add(1);
    }

    /// Whether a clock stepped since this token was asked for, so that processes may disagree about what is left of it.
    pub fn is_in_doubt(&self, id: TokenId) -> bool {
        self.granted.get(&id).is_some_and(|granted| granted.asked_ms < self.stepped_ms)
    }

    /// Something happened that may cost one more token of this key than are shared.
    pub fn excuse(&mut self, key: usize) {
        if let Some(page) = self.pages.get_mut(key) {
            page.tally.excused += 1;
        }
    }

    /// The store lost something of this key, or somebody changed it.
    pub fn lost(&mut self, key: usize) {
        self.order = Order::Lost;
        if let Some(page) = self.pages.get_mut(key) {
            page.replaced.clear();
        }
    }

    /// A process' caller rejected a token.
    pub fn rejected(&mut self, process: usize, incarnation: u32, id: TokenId) {
        self.rejected.entry((process, incarnation)).or_default().push(id);
    }

    /// A flight takes the lease, over what was there.
    pub fn leased(&mut self, flying: &Flying, before: Option<&Record>, now_ms: u64, store_ms: u64) {
        let is_lawful = flying.luck == Luck::Disturbed;
        let rejects = flying.rejects;
        if let Some(record) = before {
            // Who rejected a token waits for nobody whose flight may have begun before that (trap T9).
            let follows =
                record.is_leased(store_ms) && (rejects.is_none() || record.note.rejected == rejects);
            let law = if rejects.is_some() { FleetLaw::OneForcedMint } else { FleetLaw::OneMint };
            self.findings.unless(is_lawful || !follows, law, || {
                format!("process {} takes the lease of another for key {}", flying.process, flying.key)
            });
            let is_paused = Self::is_paused(record, flying.key, store_ms);
            self.findings.unless(is_lawful || !is_paused, FleetLaw::SharedPause, || {
                format!("process {} is to leave the server alone, and takes the lease", flying.process)
            });
        }
        let serving = before.and_then(|record| self.serving(record, flying, now_ms, store_ms));
        let law = if rejects.is_some() { FleetLaw::OneForcedMint } else { FleetLaw::OneMint };
        self.findings.unless(is_lawful || serving.is_none(), law, || {
            format!("process {} takes the lease for key {} over {serving:?}", flying.process, flying.key)
        });
        if let (Some(id), Some(page)) = (rejects, self.pages.get_mut(flying.key)) {
            page.replaced.insert(id);
        }
    }

    /// The token of the record, if a flight that asks for another one does so for nothing.
    fn serving(&self, record: &Record, flying: &Flying, now_ms: u64, store_ms: u64) -> Option<TokenId> {
        let body = record.body.as_ref().filter(|body| body.place == flying.key)?;
        let granted = self.granted.get(&body.id)?;
        let half_ms = granted.born_ms + (granted.dies_at_ms - granted.born_ms) / 2;
        let is_rejected = self.rejected.get(&(flying.process, flying.incarnation));
        let is_rejected = is_rejected.is_some_and(|rejected| rejected.contains(&body.id));
        let is_older = self.order == Order::Lost && body.sequence <= flying.newest;
        let is_clear = granted.asked_ms >= self.stepped_ms && !is_rejected && !is_older;
        (record.body_end_ms > store_ms && now_ms < half_ms && is_clear).then_some(body.id)
    }

    /// A flight asks the server without a lease.
    pub fn alone(&mut self, flying: &Flying, there: Option<&Record>, store_ms: u64) {
        let (process, key) = (flying.process, flying.key);
        let is_lawful = flying.luck == Luck::Disturbed;
        self.findings
            .unless(is_lawful, FleetLaw::OneMint, || format!("process {process} asks alone for key {key}"));
        let paused = there.is_some_and(|record| Self::is_paused(record, key, store_ms));
        self.findings.unless(is_lawful || !paused, FleetLaw::SharedPause, || {
            format!("process {process} is to leave the server alone, and asks it alone")
        });
    }

    fn is_paused(record: &Record, key: usize, store_ms: u64) -> bool {
        record.note.place == key && record.note.pause_end_ms > store_ms
    }

    /// A flight waits for another.
    pub fn follows(&mut self, flying: &Flying, at_most_ms: u64) {
        let left_ms = flying.told_left_ms.unwrap_or_default();
        self.findings.unless(at_most_ms <= left_ms, FleetLaw::LeaseEnds, || {
            format!("a lease lasts {left_ms} ms more, and process {} waits {at_most_ms} ms", flying.process)
        });
    }

    /// A token was put into the store, over what was there.
    pub fn shared(&mut self, flying: &Flying, new: &Sealed, before: Option<&Record>, store_ms: u64) {
        let there =
            before.filter(|record| record.body_end_ms > store_ms).and_then(|record| record.body.as_ref());
        if let Some(old) = there.filter(|old| old.place == flying.key) {
            let counted_ms = flying.leased_by_store_ms.unwrap_or(store_ms);
            // A store whose clock stepped back has nothing to count by for those who cannot read what is there.
            let is_lawful = old.sequence < new.sequence || old.sequence.number() > counted_ms;
            self.findings.unless(is_lawful, FleetLaw::NewestStays, || {
                format!("process {} puts {:?} over {:?}", flying.process, new.sequence, old.sequence)
            });
        }
        let Some(page) = self.pages.get_mut(flying.key) else { return };
        page.shared.push_front(new.id);
        page.shared.truncate(MOST_SHARED);
        page.tally.shared += 1;
    }

    /// A flight goes on: not for too long.
    pub fn patience(&mut self, flying: &Flying, now_ms: u64) {
        let took_ms = now_ms.saturating_sub(flying.begun_ms).saturating_sub(flying.frozen_ms);
        self.findings.unless(took_ms <= self.longest_ms, FleetLaw::Patience, || {
            format!("a flight of process {} takes {took_ms} ms", flying.process)
        });
    }

    /// A flight adopted a token that its process believes to live for `left_ms`, by clocks that have gone on soundly since
    /// `sound_since_ms`.
    pub fn adopted(&mut self, flying: &Flying, id: TokenId, left_ms: u64, now_ms: u64, sound_since_ms: u64) {
        let Flying { process, incarnation, key, .. } = *flying;
        let Some(granted) = self.granted.get(&id).copied() else {
            return self.findings.unless(false, FleetLaw::RightKey, || format!("{id} was never granted"));
        };
        self.findings.unless(granted.key == key, FleetLaw::RightKey, || {
            format!("process {process} adopts a token of key {} for key {key}", granted.key)
        });
        let end_ms = now_ms.saturating_add(left_ms);
        let is_longer = end_ms > granted.dies_at_ms && granted.asked_ms >= sound_since_ms;
        self.findings.unless(!is_longer, FleetLaw::NeverLonger, || {
            format!("process {process} believes {id} {} ms too long", end_ms - granted.dies_at_ms)
        });
        let own = self.rejected.get(&(process, incarnation)).is_some_and(|ids| ids.contains(&id));
        self.findings.unless(!own, FleetLaw::RejectedStaysAway, || {
            format!("process {process} adopts {id}, which it rejected")
        });
    }

    /// A record was written: no token is in it that was taken out before, unless somebody put it back.
    pub fn not_replaced(&mut self, key: usize, record: Option<&Record>) {
        let Some(page) = self.pages.get(key) else { return };
        let back = record.and_then(|record| record.body.as_ref()).map(|body| body.id);
        let back = back.filter(|id| page.replaced.contains(id));
        self.findings.unless(back.is_none(), FleetLaw::RejectedStaysAway, || {
            format!("{back:?} was taken out, and is in the store again")
        });
    }

    /// A flight ended, and this is what the store has.
    pub fn ended(&mut self, flying: &Flying, end: &End, there: Option<&Record>, now_ms: u64, store_ms: u64) {
        self.patience(flying, now_ms);
        let is_lawful = flying.luck == Luck::Disturbed;
        let holds =
            there.is_some_and(|record| record.is_leased(store_ms) && flying.lease == Some(record.version));
        self.findings.unless(is_lawful || !holds, FleetLaw::LeaseEnds, || {
            format!("a flight of process {} is over, and has the lease", flying.process)
        });
        let unshared = matches!(end, End::Minted { published: None, .. } | End::Adopted { .. })
            && flying.asked.is_some();
        if unshared {
            self.findings.unless(is_lawful, FleetLaw::OneMorePerKill, || {
                format!("process {} shares no token of key {}", flying.process, flying.key)
            });
            self.excuse(flying.key);
        }
    }

    /// At the end every token that was granted was shared, or has an excuse.
    pub fn tallied(&mut self) {
        for (key, page) in self.pages.iter().enumerate() {
            let Tally { granted, shared, excused } = page.tally;
            self.findings.unless(granted <= shared + excused, FleetLaw::OneMorePerKill, || {
                format!("{granted} tokens of key {key}, {shared} of them shared, and {excused} excuses")
            });
        }
    }

    /// Everything has been well for long: which token has this process?
    pub fn recovered(&mut self, process: usize, key: usize, token: Option<TokenId>) {
        let Some(page) = self.pages.get(key) else { return };
        let (shared, holds) = (&page.shared, token.is_some_and(|token| page.shared.contains(&token)));
        self.findings.unless(holds, FleetLaw::SharedAgain, || {
            format!("process {process} has {token:?} for key {key}, where {shared:?} are shared")
        });
    }

    /// At the end no flight is left.
    pub fn left(&mut self, flights: usize) {
        self.findings.unless(flights == 0, FleetLaw::Ends, || format!("{flights} flights never end"));
    }

    /// Whether a flight for this reason takes a token out.
    pub fn takes_out(reason: MintReason) -> bool {
        match reason {
            MintReason::Forced => true,
            MintReason::Early | MintReason::Needed => false,
        }
    }
}
