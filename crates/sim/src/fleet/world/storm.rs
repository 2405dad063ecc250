//! What goes wrong in a fleet: storms, and calms between them.

use super::{LAST_CALM, LAST_CALM_LIVES, Post, StoreMood, World, lock};
use crate::clock::millis;
use crate::fleet::issuer::Mood;
use crate::fleet::plan::Storms;
use crate::fleet::process::Process;
use crate::fleet::shelf::Mischief;

impl World<'_> {
    pub(super) fn is_all(&self) -> bool {
        self.around.plan.storms == Storms::All
    }

    fn last_storm_ms(&self) -> u64 {
        let plan = self.around.plan;
        let calm = plan.life * LAST_CALM_LIVES + LAST_CALM;
        millis(plan.lasts.saturating_sub(calm))
    }

    /// Something happens, or the weather turns; and the next after a while.
    pub(super) fn incident(&mut self) {
        let life_ms = millis(self.around.plan.life);
        if self.now_ms >= self.last_storm_ms() {
            return self.calm();
        }
        if self.now_ms >= self.storm_until_ms {
            if self.stormy {
                self.calm();
                let calm_ms = 45_000 + life_ms * self.random.u64(1..4);
                return self.in_ms(calm_ms, Post::Incident);
            }
            self.stormy = true;
            self.storm_until_ms = self.now_ms + self.random.u64(5_000..60_000 + 2 * life_ms);
        }
        match self.around.plan.storms {
            Storms::None => self.revoke(),
            Storms::Kills if self.random.u8(0..3) == 0 => self.revoke(),
            Storms::Kills => self.kill(),
            Storms::Store => self.trouble(13),
            Storms::All => self.trouble(16),
        }
        let next_ms = match self.random.u8(0..3) {
            0 => self.random.u64(0..500),
            1 => self.random.u64(0..8_000),
            _ => self.random.u64(0..life_ms),
        };
        self.in_ms(next_ms, Post::Incident);
    }

    fn trouble(&mut self, kinds: u8) {
        match self.random.u8(0..kinds) {
            0 => self.revoke(),
            1 | 2 => self.kill(),
            3 => self.freeze(),
            4 => self.store_mood(StoreMood::Down),
            5 => self.store_mood(StoreMood::Silent),
            6 => {
                let ms = self.random.u64(100..1_500);
                self.store_mood(StoreMood::Slow { ms });
            }
            7 => {
                let percent = self.random.u32(5..60);
                self.store_mood(StoreMood::Flaky { percent });
            }
            8 => {
                let mood = if self.random.bool() { StoreMood::ReadOnly } else { StoreMood::Well };
                self.store_mood(mood);
            }
            9 => self.cut_off(),
            10 => self.mischief(),
            11 => self.store_clock(),
            12 => self.wall_clock(),
            13 => self.server(Mood::Failing),
            14 => {
                let seconds = self.random.u64(1..20);
                self.server(Mood::Throttling { seconds });
            }
            _ => {
                let mood = if self.random.bool() { Mood::Well } else { Mood::Silent };
                self.server(mood);
            }
        }
    }

    /// The end of a storm.
    fn calm(&mut self) {
        self.tell(&|| "calm".to_owned());
        self.stormy = false;
        let now_ms = self.now_ms;
        if self.mood != StoreMood::Well {
            self.mood = StoreMood::Well;
            self.judge.troubled(now_ms, 0);
        }
        let issuer = std::sync::Arc::clone(self.around.issuer);
        if std::mem::take(&mut lock(&issuer).mood) != Mood::Well {
            self.judge.server_troubled(now_ms, 0);
        }
        self.cut_off_until_ms.iter_mut().for_each(|until_ms| *until_ms = 0);
        let mut stepped = false;
        for (number, (process, off_ms)) in self.processes.iter().zip(&mut self.off_ms).enumerate() {
            if off_ms.abs() > 500 {
                stepped = true;
                self.judge.stepped_back(number, now_ms);
                if let Some(process) = process {
                    process.clock.step(-*off_ms);
                }
                *off_ms = 0;
            }
        }
        if stepped {
            // What was asked for by a wrong clock is in doubt until it is over.
            self.judge.troubled(now_ms, millis(self.around.plan.life));
        }
    }

    /// APIs refuse the newest token of a key, now and then.
    fn revoke(&mut self) {
        let key = self.random.u8(0..self.around.plan.keys);
        let issuer = std::sync::Arc::clone(self.around.issuer);
        let mut issuer = lock(&issuer);
        let life_ms = millis(self.around.plan.life);
        let newest = issuer.grants_of(key).next();
        // One that is hardly out is on probation.
        let ripe = newest.filter(|(_, grant)| self.now_ms > grant.asked_ms + life_ms / 3 && !grant.revoked);
        let Some((number, _)) = ripe else { return };
        issuer.revoke(number);
        drop(issuer);
        self.judge.revoked(key, self.now_ms);
        self.fault("token revoked");
        self.tell(&|| format!("token {number} of key {key} is revoked"));
    }

    fn kill(&mut self) {
        let process = self.random.usize(0..self.around.plan.processes);
        let Some(there) = self.processes.get_mut(process) else { return };
        if there.take().is_none() {
            return;
        }
        if let Some(frozen) = self.frozen.get_mut(process) {
            *frozen = false;
        }
        self.judge.killed(process, self.now_ms);
        self.fault("process killed");
        self.tell(&|| format!("p{process} is killed"));
        let after_ms = if self.random.bool() { 0 } else { self.random.u64(0..10_000) };
        self.in_ms(after_ms, Post::Restart { process });
    }

    pub(super) fn restart(&mut self, process: usize) -> Result<(), String> {
        let Some(incarnation) = self.incarnations.get_mut(process) else { return Ok(()) };
        *incarnation += 1;
        let off_ms = self.off_ms.get(process).copied().unwrap_or_default();
        let begun = Process::start(&self.around, (process, *incarnation), self.now_ms, off_ms)?;
        if let Some(there) = self.processes.get_mut(process) {
            *there = Some(begun);
        }
        Ok(())
    }

    fn freeze(&mut self) {
        let process = self.random.usize(0..self.around.plan.processes);
        let is_there = self.processes.get(process).is_some_and(Option::is_some);
        let Some(frozen) = self.frozen.get_mut(process).filter(|frozen| is_there && !**frozen) else {
            return;
        };
        *frozen = true;
        let span_ms =
            if self.random.bool() { self.random.u64(100..4_000) } else { self.random.u64(3_000..60_000) };
        self.judge.troubled(self.now_ms, span_ms);
        self.fault("process held still");
        self.tell(&|| format!("p{process} is held still for {span_ms} ms"));
        self.in_ms(span_ms, Post::Thaw { process });
    }

    pub(super) fn thaw(&mut self, process: usize) {
        let Some(frozen) = self.frozen.get_mut(process).filter(|frozen| **frozen) else { return };
        *frozen = false;
        self.judge.thawed(process, self.now_ms);
        self.tell(&|| format!("p{process} goes on"));
        if let Some(there) = self.processes.get(process).and_then(Option::as_ref) {
            there.thaw(self.now_ms);
        }
    }

    fn store_mood(&mut self, mood: StoreMood) {
        self.tell(&|| format!("the store is {mood:?}"));
        self.mood = mood;
        self.judge.troubled(self.now_ms, 0);
    }

    fn cut_off(&mut self) {
        let process = self.random.usize(0..self.around.plan.processes);
        let until_ms = self.now_ms + self.random.u64(1_000..60_000);
        if let Some(cut_off) = self.cut_off_until_ms.get_mut(process) {
            *cut_off = until_ms;
        }
        self.judge.troubled(until_ms, 0);
        self.fault("process cut off from the store");
    }

    fn mischief(&mut self) {
        let (name, mischief) = match self.random.u8(0..5) {
            0 => ("failover, writes lost", Mischief::Failover { writes: self.random.usize(1..4) }),
            1 => ("everything lost", Mischief::Flush),
            2 => ("older records put back", Mischief::PutBack { writes: self.random.usize(0..6) }),
            3 => ("records exchanged", Mischief::Exchange),
            _ => ("bit flipped", Mischief::Flip { bit: self.random.usize(0..4_000) }),
        };
        self.fault(name);
        self.tell(&|| name.to_owned());
        self.shelf.suffer(mischief);
        self.judge.troubled(self.now_ms, 0);
    }

    fn store_clock(&mut self) {
        let step_ms = self.random.u64(1..millis(self.around.plan.life));
        let back = self.random.bool();
        let by_ms = i64::try_from(step_ms).unwrap_or_default();
        self.shelf.step_clock(if back { -by_ms } else { by_ms });
        if back {
            self.judge.store_stepped_back(self.now_ms);
        }
        self.fault("store's clock stepped");
        self.tell(&|| format!("the store's clock steps by {by_ms} ms, back: {back}"));
        self.judge.troubled(self.now_ms, 2 * step_ms + millis(self.around.plan.life));
    }

    fn wall_clock(&mut self) {
        let process = self.random.usize(0..self.around.plan.processes);
        let by_ms = self.random.i64(-60_000..60_000);
        let Some(there) = self.processes.get(process).and_then(Option::as_ref) else { return };
        there.clock.step(by_ms);
        if let Some(off_ms) = self.off_ms.get_mut(process) {
            *off_ms += by_ms;
        }
        if by_ms < 0 {
            self.judge.stepped_back(process, self.now_ms);
        }
        self.fault("wall clock stepped");
        self.tell(&|| format!("the wall clock of p{process} steps by {by_ms} ms"));
        self.judge.troubled(self.now_ms, millis(self.around.plan.life));
    }

    fn server(&mut self, mood: Mood) {
        let issuer = std::sync::Arc::clone(self.around.issuer);
        lock(&issuer).mood = mood;
        self.tell(&|| format!("the server is {mood:?}"));
        self.judge.server_troubled(self.now_ms, 0);
    }
}
