//! The books on tokens: which was granted when, for how long it is good, which one a client has to have in hand, and
//! what a rejection makes of it (I1, I4, I14).

use super::{Checker, Invariant};
use crate::clock::{BootClock, Moment};
use crate::event::LineId;
use std::collections::VecDeque;

/// How long at most the rejection of a token is not believed that was itself minted for one (decision record 0005).
const MOST_PROBATION_MS: u64 = 60_000;
const LEAST_PROBATION_MS: u64 = 1_000;

/// One grant of a token. A server may grant one token several times.
#[derive(Clone, Copy, Debug)]
pub(super) struct GrantBook {
    pub(super) sent: Moment,
    /// When it arrived; a suspend may lie in between.
    pub(super) came: Moment,
    pub(super) life_ms: u64,
    /// When it arrived, in events.
    pub(super) order: u64,
}

/// What is known of one token.
#[derive(Clone, Debug)]
pub(super) struct TokenBook {
    pub(super) grants: Vec<GrantBook>,
    pub(super) standing: Standing,
    rejection: Rejection,
}

/// What a rejection of a token means to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It counts.
    Ordinary,
    /// The token was minted for a rejection and no API has taken it: it may not count yet.
    OnProbation,
    /// The server gave a rejected token out again: it does not count.
    Reissued,
    /// What the client made of it cannot be told from outside.
    Unclear,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rejection {
    None,
    /// It counts, since this event.
    Since(u64),
    /// It may count.
    Perhaps,
}

/// One line: what its client has to have in hand.
#[derive(Clone, Debug, Default)]
pub(super) struct LineBook {
    /// The token in hand; two when it cannot be told which of them was kept.
    held: Vec<u32>,
    /// The last grant, while nothing has happened since that is a reason to ask again.
    pub(super) undisturbed: Option<Undisturbed>,
    /// The token in hand was rejected, and is not yet replaced.
    pub(super) wants_another: Option<Wanted>,
    /// The first of the requests since the last grant, in events, and when the last of them was sent.
    pub(super) run: Option<(u64, u64)>,
    pub(super) in_air: Vec<u64>,
    /// When requests were sent within the last minute.
    pub(super) sent_ms: VecDeque<u64>,
    newest_given: Option<(u32, u64)>,
}

/// Whether a rejection is a reason to ask for another token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// It counts, since this event.
    Since(u64),
    /// It may not count.
    Perhaps,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Undisturbed {
    pub(super) grant: GrantBook,
    pub(super) token: u32,
    pub(super) after_rejection: bool,
    /// When the token came for the first time, in events.
    pub(super) first_came: u64,
}

impl GrantBook {
    pub(super) fn is_alive_by_wall(&self, now: Moment) -> bool {
        now.wall_ms < self.sent.wall_ms.saturating_add(self.life_ms)
    }

    pub(super) fn is_alive_by_boot(&self, now: Moment) -> bool {
        now.boot_ms < self.sent.boot_ms.saturating_add(self.life_ms)
    }

    /// Good by every clock, and asked for at a time that is not ahead of the clock.
    fn is_surely_alive(&self, now: Moment) -> bool {
        self.is_alive_by_wall(now) && self.is_alive_by_boot(now) && self.sent.wall_ms <= now.wall_ms
    }

    /// How much is left by the clock that leaves least.
    fn left_ms(&self, now: Moment) -> u64 {
        let wall_ms = self.sent.wall_ms.saturating_add(self.life_ms).saturating_sub(now.wall_ms);
        let boot_ms = self.sent.boot_ms.saturating_add(self.life_ms).saturating_sub(now.boot_ms);
        wall_ms.min(boot_ms)
    }
}

impl TokenBook {
    fn is_surely_alive(&self, now: Moment) -> bool {
        self.grants.iter().all(|grant| grant.is_surely_alive(now))
    }

    fn may_be_alive(&self, boot: BootClock, now: Moment) -> bool {
        self.grants.iter().any(|grant| match boot {
            BootClock::Present => grant.is_alive_by_boot(now),
            BootClock::Absent => grant.is_alive_by_wall(now),
        })
    }

    fn is_in_probation(&self, now: Moment) -> bool {
        self.grants.last().is_some_and(|grant| {
            let probation_ms = (grant.life_ms / 4).clamp(LEAST_PROBATION_MS, MOST_PROBATION_MS);
            let until = |came_ms: u64| came_ms.saturating_add(probation_ms + 20_000);
            now.boot_ms < until(grant.came.boot_ms) || now.wall_ms < until(grant.came.wall_ms)
        })
    }
}

impl Checker {
    /// A token was given to a caller that began at `began`, in events.
    pub(super) fn given_out(&mut self, line: LineId, token: u32, began: u64) {
        let Some(book) = self.tokens.get(&(line, token)) else {
            self.violated(Invariant::NoDeadToken, format!("{line} gave out token {token}, never granted"));
            return;
        };
        let (alive, rejection) = (book.may_be_alive(self.rules.boot, self.now), book.rejection);
        let granted = book.grants.first().map_or(0, |grant| grant.order);
        if !alive {
            let seen = format!("{line} gave out token {token}, granted as {:?}", book.grants.last());
            self.violated(Invariant::NoDeadToken, seen);
        }
        if let Rejection::Since(order) = rejection
            && order < began
        {
            let seen = format!("{line} gave out token {token}, which it knew to be rejected");
            self.violated(Invariant::OneForcedMint, seen);
        }
        self.never_older(line, token, granted, began);
    }

    /// What was given out may not be older than what was given out before, while that is good.
    fn never_older(&mut self, line: LineId, token: u32, granted: u64, began: u64) {
        let newest = self.line(line).newest_given;
        if let Some((newest, given)) = newest
            && newest != token
            && given < began
            && self.tokens.get(&(line, newest)).is_some_and(|book| {
                let is_newer = book.grants.first().is_some_and(|grant| grant.order > granted);
                is_newer && book.is_surely_alive(self.now) && book.rejection == Rejection::None
            })
        {
            let seen = format!("{line} gave out token {token} after the newer token {newest}");
            self.violated(Invariant::NeverOlder, seen);
        }
        let order = self.order;
        self.line(line).newest_given = Some((token, order));
    }

    /// The token that the client of `line` has to have, with what is left of it: only when that is beyond doubt.
    pub(super) fn must_have(&self, line: LineId) -> Option<(u32, u64)> {
        let held = &self.lines.get(&line)?.held;
        let mut least = None;
        for token in held {
            let book = self.tokens.get(&(line, *token))?;
            if !book.is_surely_alive(self.now) || book.rejection != Rejection::None {
                return None;
            }
            let left_ms = book.grants.iter().map(|grant| grant.left_ms(self.now)).min()?;
            if least.is_none_or(|(_, least_ms)| left_ms < least_ms) {
                least = Some((*token, left_ms));
            }
        }
        least
    }

    /// Whether any grant of the token has ended by any clock.
    pub(super) fn has_ended(&self, line: LineId, token: u32) -> bool {
        let grants = self.tokens.get(&(line, token)).into_iter().flat_map(|book| &book.grants);
        let now = self.now;
        grants.into_iter().any(|grant| !grant.is_alive_by_wall(now) || !grant.is_alive_by_boot(now))
    }

    /// The part of the life of `token` in which callers may be made to wait.
    pub(super) fn margin_ms(&self, line: LineId, token: u32) -> u64 {
        let lives = self.tokens.get(&(line, token)).into_iter().flat_map(|book| &book.grants);
        let longest_ms = lives.map(|grant| grant.life_ms).max().unwrap_or(0);
        self.rules.mandatory_margin_ms.min(longest_ms / 10)
    }

    /// A token arrived for `line`. `forced` says whether it was asked for because of a rejection.
    pub(super) fn granted(&mut self, line: LineId, token: u32, grant: GrantBook, forced: Forced) {
        let now = self.now;
        let known = self.tokens.get(&(line, token)).map(|book| book.rejection);
        let standing = match (forced, known) {
            (Forced::No, None | Some(Rejection::None)) => Standing::Ordinary,
            (Forced::Yes, None | Some(Rejection::None)) => Standing::OnProbation,
            (Forced::Yes, Some(Rejection::Since(_))) => Standing::Reissued,
            (Forced::No, Some(Rejection::Since(_)))
            | (Forced::Perhaps, _)
            | (Forced::No | Forced::Yes, Some(Rejection::Perhaps)) => Standing::Unclear,
        };
        let rejection = match standing {
            Standing::Ordinary | Standing::OnProbation | Standing::Reissued => Rejection::None,
            Standing::Unclear if known.is_none() => Rejection::None,
            Standing::Unclear => Rejection::Perhaps,
        };
        let book = self.tokens.entry((line, token)).or_insert_with(|| TokenBook {
            grants: Vec::new(),
            standing,
            rejection,
        });
        let again = !book.grants.is_empty();
        let remembered = book.is_surely_alive(now);
        book.grants.push(grant);
        book.rejection = rejection;
        // A token that comes again keeps its standing, unless it comes for its rejection, or as a new one to a client whose
        // clock leaves it in doubt.
        if !again || standing == Standing::Reissued || standing == Standing::Unclear {
            book.standing = standing;
        } else if !remembered {
            book.standing = Standing::Unclear;
        }
        let first_came = book.grants.first().map_or(self.order, |grant| grant.order);
        let useful = grant.is_surely_alive(now);
        self.adopt(line, token, grant);
        let book = self.line(line);
        let certain = book.held.len() == 1 && standing != Standing::Unclear;
        let after_rejection = book.wants_another.is_some();
        book.undisturbed =
            (useful && certain).then_some(Undisturbed { grant, token, after_rejection, first_came });
        if !grant.is_alive_by_wall(now) || !grant.is_alive_by_boot(now) {
            // It came too late to be of use: the flight may go on, for the reason that it had.
            book.wants_another = book.wants_another.map(|_| Wanted::Perhaps);
            return;
        }
        if standing != Standing::Unclear || known.is_none() {
            book.wants_another = None;
        }
        book.run = None;
    }

    /// It cannot be told whether the client took the token in.
    pub(super) fn doubt(&mut self, line: LineId, token: u32) {
        if let Some(book) = self.tokens.get_mut(&(line, token)) {
            book.rejection = Rejection::Perhaps;
        }
        self.line(line).undisturbed = None;
    }

    /// Whether no clock did anything but go on since the tokens in hand came.
    pub(super) fn is_in_step(&self, line: LineId) -> bool {
        let held = self.lines.get(&line).into_iter().flat_map(|book| &book.held);
        let mut grants =
            held.filter_map(|token| self.tokens.get(&(line, *token))).flat_map(|book| &book.grants);
        grants.all(|grant| self.stepped < grant.order)
    }

    /// Which token is in hand now: the one that lives longer, as long as the old one is good.
    fn adopt(&mut self, line: LineId, token: u32, grant: GrantBook) {
        let now = self.now;
        let held = self.lines.get(&line).map(|book| book.held.clone()).unwrap_or_default();
        let kept = match held.as_slice() {
            [old] if *old != token => match self.tokens.get(&(line, *old)) {
                Some(book) if book.rejection == Rejection::None => Self::outlives(book, grant, now),
                Some(_) | None => Outlives::No,
            },
            [] | [_] => Outlives::No,
            [_, ..] => Outlives::Perhaps,
        };
        let book = self.line(line);
        match kept {
            Outlives::Yes => {}
            Outlives::No => book.held = vec![token],
            Outlives::Perhaps => {
                book.held = held.last().copied().filter(|old| *old != token).into_iter().collect();
                book.held.push(token);
            }
        }
    }

    fn outlives(old: &TokenBook, new: GrantBook, now: Moment) -> Outlives {
        let Some(last) = old.grants.last() else {
            return Outlives::No;
        };
        let dead = !last.is_alive_by_wall(now) && !last.is_alive_by_boot(now);
        let end = |grant: &GrantBook| {
            (
                grant.sent.wall_ms.saturating_add(grant.life_ms),
                grant.sent.boot_ms.saturating_add(grant.life_ms),
            )
        };
        let ((old_wall, old_boot), (new_wall, new_boot)) = (end(last), end(&new));
        if dead || (new_wall > old_wall && new_boot > old_boot) {
            Outlives::No
        } else if old.is_surely_alive(now) && new_wall <= old_wall && new_boot <= old_boot {
            Outlives::Yes
        } else {
            Outlives::Perhaps
        }
    }

    pub(super) fn rejected(&mut self, line: LineId, token: u32) {
        let order = self.order;
        let is_held = self.line(line).held.contains(&token);
        let now = self.now;
        let Some(book) = self.tokens.get_mut(&(line, token)) else {
            return;
        };
        let rejection = match book.standing {
            Standing::Reissued => return,
            Standing::OnProbation if book.is_in_probation(now) => Rejection::Perhaps,
            Standing::Unclear => Rejection::Perhaps,
            // A token that is not in hand any more is not to be had again either.
            Standing::Ordinary | Standing::OnProbation => Rejection::Since(order),
        };
        if matches!(book.rejection, Rejection::Since(_)) {
            return;
        }
        book.rejection = rejection;
        // By a wall clock alone, a token that was over comes to life again when that steps back.
        let in_doubt = !is_held && self.rules.boot == BootClock::Absent && self.stepped_back > 0;
        let line = self.line(line);
        if in_doubt {
            line.wants_another = line.wants_another.or(Some(Wanted::Perhaps));
        }
        if is_held {
            line.undisturbed = None;
            line.wants_another = match (line.wants_another, rejection) {
                (Some(wanted @ Wanted::Since(_)), _) => Some(wanted),
                (_, Rejection::Since(order)) => Some(Wanted::Since(order)),
                (wanted, Rejection::None | Rejection::Perhaps) => wanted.or(Some(Wanted::Perhaps)),
            };
        }
    }

    pub(super) fn accepted(&mut self, line: LineId, token: u32) {
        let is_held = self.line(line).held.contains(&token);
        if let Some(book) = self.tokens.get_mut(&(line, token))
            && is_held
            && book.standing == Standing::OnProbation
        {
            book.standing = Standing::Ordinary;
        }
    }
}

/// Whether a request was made because a token was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forced {
    Yes,
    No,
    /// The rejection came between two tries of one flight.
    Perhaps,
}

#[derive(Clone, Copy)]
enum Outlives {
    Yes,
    No,
    Perhaps,
}
