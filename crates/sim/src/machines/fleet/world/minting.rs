//! Token requests: on their way, at the server, and back.

use super::{Event, MINT_MS, Reply, World};
use crate::machines::fleet::books::Granted;
use crate::machines::fleet::engine::FleetEngine;
use crate::machines::fleet::hand::Luck;
use crate::machines::fleet::setting::Storm;
use crate::machines::fleet::trouble::FleetTrouble;
use crate::machines::fleet::world::Season;
use jeton_proto::flight;
use jeton_proto::lifecycle::{CachedToken, TokenId};
use jeton_proto::secret::Secret;
use std::sync::Arc;
use std::time::Duration;

impl<E: FleetEngine> World<E> {
    pub(super) fn mint(&mut self, serial: u64) {
        self.outcome.requests += 1;
        let Some(process) = self.flights.get(&serial).map(|flying| flying.process) else { return };
        let asked = self.reading(process);
        let (now_ms, store_ms) = (self.now_ms, self.store.clock_ms(self.now_ms));
        let (patience_ms, lease_ms) = (self.setting.patience_ms, self.setting.lease_ms);
        let Some(flying) = self.flights.get_mut(&serial) else { return };
        flying.asked = Some((asked, now_ms));
        if flying.flight.fence().is_some() {
            let mut after_ms = lease_ms / 3;
            if self.season == Season::Storm
                && self.setting.storm == Storm::Everything
                && self.rng.u32(0..8) == 0
            {
                after_ms += self.rng.u64(0..lease_ms);
                self.outcome.troubles.add(FleetTrouble::LateProlonging);
                flying.luck = Luck::Disturbed;
            }
            self.in_ms(after_ms, Event::Prolong { serial });
        } else {
            let waited = now_ms - flying.begun_ms >= patience_ms;
            let troubled_ms = self.troubled_ms.get(flying.key).copied().unwrap_or_default();
            let troubled_ms = self.overlong_until_ms.max(troubled_ms + lease_ms + MINT_MS);
            if waited && troubled_ms >= flying.begun_ms {
                flying.luck = Luck::Disturbed;
            }
            let there = self.store.record(flying.key, now_ms);
            self.books.alone(flying, there, store_ms);
        }
        let way_ms = self.rng.u64(5..100);
        self.in_ms(way_ms, Event::AtServer { serial });
    }

    pub(super) fn at_server(&mut self, serial: u64) {
        let Some(flying) = self.flights.get(&serial) else { return };
        let (key, asked) = (flying.key, flying.asked);
        let mut way_ms = self.rng.u64(5..100);
        let fails = self.season == Season::Storm && self.rng.u32(0..100) < self.mint_faults;
        let reply = match fails.then(|| self.rng.u32(0..4)) {
            Some(kind @ 0..=1) => {
                let pause_ms = (kind == 0).then(|| self.rng.u64(1000..60_000));
                way_ms += if self.rng.bool() { self.rng.u64(0..MINT_MS - 100) } else { 0 };
                let trouble = if kind == 0 { FleetTrouble::MintPaused } else { FleetTrouble::MintFailed };
                self.troubled(key, trouble);
                Reply::Failed { pause_ms }
            }
            slow => {
                if slow.is_some() {
                    way_ms += self.rng.u64(0..MINT_MS - 200);
                    self.troubled(key, FleetTrouble::SlowMint);
                }
                self.minted += 1;
                let text: Arc<str> = format!("token-{}", self.minted).into();
                let (born_ms, id) = (self.now_ms, TokenId::of(&text));
                let asked_ms = asked.map_or(born_ms, |(_, asked_ms)| asked_ms);
                let granted = Granted { key, asked_ms, born_ms, dies_at_ms: born_ms + self.setting.life_ms };
                self.books.granted(id, granted);
                Reply::Granted(text)
            }
        };
        self.in_ms(way_ms, Event::FromServer { serial, reply });
    }

    pub(super) fn back_from_server(&mut self, serial: u64, reply: Reply) {
        let Some(flying) = self.flights.get_mut(&serial) else { return };
        let Some((asked, _)) = flying.asked else { return };
        let event = match reply {
            Reply::Failed { pause_ms } => {
                flight::Event::MintFailed { pause: pause_ms.map(Duration::from_millis) }
            }
            Reply::Granted(text) => {
                let life = Duration::from_millis(self.setting.life_ms);
                let Ok(token) = CachedToken::new(Secret::from(&*text), None, asked.moment(), life) else {
                    return;
                };
                flight::Event::Minted(Arc::new(token))
            }
        };
        if flying.prolonging {
            flying.held_back = Some(event);
        } else {
            self.drive(serial, event);
        }
    }
}
