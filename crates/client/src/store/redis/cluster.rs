//! Which node of a cluster has a key: the cluster tells, at the beginning and whenever it was asked at the wrong place.

use super::address::Address;
use super::connection::Connection;
use super::dialler::Dialler;
use super::fault::{self, error_in};
use super::followers::Followers;
use super::link::{Link, Place, Route};
use super::slot::{self, SlotMap};
use crate::store::{StoreFault, StoreFaultKind};
use crate::sync::{Mutex, lock};
use ::redis::{Cmd, ServerError, Value};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// The most nodes that one command is sent to.
const MOST_REDIRECTIONS: usize = 5;
/// The longest that one node is asked for the map.
const MAP_WITHIN: Duration = Duration::from_millis(400);
/// The least time between two looks at the map.
const MAP_KEPT: Duration = Duration::from_millis(250);
/// The most nodes that are kept in mind.
const MAX_NODES: usize = 1024;

/// A cluster.
pub(super) struct Cluster {
    seeds: Vec<Address>,
    dialler: Arc<Dialler>,
    followers: Arc<Followers>,
    state: Mutex<Known>,
    /// What came of the last look at the map; `None` before the first.
    looked: watch::Sender<Option<Result<(), StoreFault>>>,
    is_looking: AtomicBool,
}

#[derive(Default)]
struct Known {
    map: Option<SlotMap>,
    /// What redirections told since the map was drawn.
    moved: HashMap<u16, Address>,
    nodes: HashMap<Address, Arc<Link>>,
}

/// Where a command is to go instead.
enum Redirection {
    /// From now on.
    Moved(Address),
    /// This once.
    Ask(Address),
}

impl Cluster {
    /// Does nothing yet.
    pub(super) fn new(seeds: Vec<Address>, dialler: Arc<Dialler>, followers: Arc<Followers>) -> Arc<Self> {
        Arc::new(Self {
            seeds,
            dialler,
            followers,
            state: Mutex::default(),
            looked: watch::Sender::new(None),
            is_looking: AtomicBool::new(false),
        })
    }

    pub(super) fn seeds(&self) -> &[Address] {
        &self.seeds
    }

    /// The connection to the node that has `key`.
    pub(super) async fn connection(self: &Arc<Self>, key: &[u8]) -> Result<Connection, StoreFault> {
        let owner = self.owner(slot::of(key)).await?;
        self.connected(&owner).await
    }

    /// Asks the node that has `key`, wherever the cluster says that this is.
    pub(super) async fn ask(
        self: &Arc<Self>,
        key: &[u8],
        commands: impl Fn() -> Vec<Cmd>,
    ) -> Result<(Connection, Vec<Value>), StoreFault> {
        let slot = slot::of(key);
        let mut address = self.owner(slot).await?;
        let mut is_asking = false;
        let mut refusal = None;
        for _ in 0..MOST_REDIRECTIONS {
            let connection = self.connected(&address).await?;
            let mut batch = commands();
            if is_asking {
                // Holds for one command; the second of a load has no key, and is answered anywhere.
                batch.insert(0, ::redis::cmd("ASKING"));
            }
            let mut answers = connection.ask(batch).await.inspect_err(|_| self.refresh())?;
            if is_asking && !answers.is_empty() {
                answers.remove(0);
            }
            let Some(error) = answers.first().and_then(error_in) else {
                return Ok((connection, answers));
            };
            match redirection(&address, error) {
                Some(Redirection::Moved(owner)) => {
                    lock(&self.state).moved.insert(slot, owner.clone());
                    self.refresh();
                    (address, is_asking) = (owner, false);
                }
                Some(Redirection::Ask(importer)) => (address, is_asking) = (importer, true),
                None => {
                    if matches!(fault::code(error), "READONLY" | "CLUSTERDOWN" | "MASTERDOWN" | "LOADING") {
                        self.refresh();
                    }
                    return Ok((connection, answers));
                }
            }
            refusal = Some(fault::refused(connection.server(), error));
        }
        let last = refusal.map(|fault| fault.detail().to_owned()).unwrap_or_default();
        Err(StoreFault::new(
            StoreFaultKind::Unwritable,
            format!("the cluster sends in circles; the last: {last}"),
        ))
    }

    async fn connected(self: &Arc<Self>, address: &Address) -> Result<Connection, StoreFault> {
        // Another node may have taken its place.
        self.link(address)?.connection().await.inspect_err(|_| self.refresh())
    }

    async fn owner(self: &Arc<Self>, slot: u16) -> Result<Address, StoreFault> {
        if !lock(&self.state).has_map() {
            // In the background, since whoever asks may have less time than the first nodes take to time out.
            self.refresh();
            let mut looked = self.looked.subscribe();
            let looked = looked.wait_for(Option::is_some).await;
            if let Ok(Some(Err(fault))) = looked.as_deref() {
                return Err(fault.clone());
            }
        }
        let owner = lock(&self.state).owner(slot);
        owner.ok_or_else(|| {
            self.refresh();
            StoreFault::new(StoreFaultKind::Unwritable, format!("no node of the cluster has slot {slot}"))
        })
    }

    fn link(&self, address: &Address) -> Result<Arc<Link>, StoreFault> {
        let mut state = lock(&self.state);
        if state.nodes.len() >= MAX_NODES && !state.nodes.contains_key(address) {
            return Err(StoreFault::new(StoreFaultKind::Malformed, "the cluster tells of ever more nodes"));
        }
        let link = state.nodes.entry(address.clone()).or_insert_with(|| {
            Arc::new(Link::new(Route {
                dialler: Arc::clone(&self.dialler),
                place: Place::Fixed(address.clone()),
                followers: Arc::clone(&self.followers),
            }))
        });
        Ok(Arc::clone(link))
    }

    /// Has the map drawn anew, in the background.
    fn refresh(self: &Arc<Self>) {
        if self.is_looking.swap(true, Ordering::AcqRel) {
            return;
        }
        let looking = Looking(Arc::clone(self));
        tokio::spawn(async move {
            let looked = looking.0.look_around().await;
            if let Err(fault) = &looked {
                tracing::debug!(%fault, "the map of the cluster is not to be had");
            }
            looking.0.looked.send_replace(Some(looked));
            sleep(MAP_KEPT).await;
        });
    }

    /// Asks the nodes for the map, those that are connected first.
    async fn look_around(&self) -> Result<(), StoreFault> {
        let mut addresses: Vec<Address> = {
            let state = lock(&self.state);
            let (up, down): (Vec<_>, Vec<_>) =
                state.nodes.iter().partition(|(_, link)| link.connected().is_some());
            up.into_iter().chain(down).map(|(address, _)| address.clone()).collect()
        };
        addresses
            .extend(self.seeds.iter().filter(|seed| !addresses.contains(seed)).cloned().collect::<Vec<_>>());
        let mut last = fault::unreachable("the cluster", "there is no node to ask");
        for address in &addresses {
            let drawn = match timeout(MAP_WITHIN, self.map_of(address)).await {
                Ok(drawn) => drawn,
                Err(_) => Err(fault::timed_out(&address.to_string(), "no answer", MAP_WITHIN)),
            };
            match drawn {
                Ok(map) => {
                    lock(&self.state).learn(map, address);
                    self.followers.unsettled();
                    return Ok(());
                }
                Err(fault) => last = fault,
            }
        }
        Err(StoreFault::new(
            last.kind(),
            format!("no node tells the map of the cluster; the last: {}", last.detail()),
        ))
    }

    async fn map_of(&self, address: &Address) -> Result<SlotMap, StoreFault> {
        let connection = self.link(address)?.connection().await?;
        let mut command = ::redis::cmd("CLUSTER");
        command.arg("SLOTS");
        let answer = connection.ask(vec![command]).await?.into_iter().next();
        if let Some(error) = answer.as_ref().and_then(error_in) {
            return Err(fault::refused(connection.server(), error));
        }
        answer.and_then(|answer| SlotMap::drawn(address, &answer)).ok_or_else(|| {
            fault::malformed(connection.server(), "its map of the cluster cannot be understood")
        })
    }
}

impl Known {
    fn has_map(&self) -> bool {
        self.map.is_some()
    }

    fn owner(&self, slot: u16) -> Option<Address> {
        self.moved.get(&slot).or_else(|| self.map.as_ref()?.owner(slot)).cloned()
    }

    /// Forgets the nodes that are in the map no more, with their connections.
    fn learn(&mut self, map: SlotMap, told_by: &Address) {
        self.moved.clear();
        self.nodes.retain(|address, _| address == told_by || map.has(address));
        self.map = Some(map);
    }
}

/// Allows the next look, also when the runtime of this one ended.
struct Looking(Arc<Cluster>);

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.is_looking.store(false, Ordering::Release);
    }
}

fn redirection(from: &Address, error: &ServerError) -> Option<Redirection> {
    let target = || Address::told_by(from, error.details()?.split(' ').nth(1)?);
    match error.code() {
        "MOVED" => target().map(Redirection::Moved),
        "ASK" => target().map(Redirection::Ask),
        _ => None,
    }
}
