//! Who follows which record, and over which connection the server tells of it.

use super::connection::Connection;
use crate::store::StoreFault;
use crate::sync::{Mutex, lock};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// Those who follow, by channel.
#[derive(Default)]
pub(super) struct Followers {
    channels: Mutex<HashMap<Box<[u8]>, Followed>>,
    /// What the server may go on telling over a connection, though nobody follows it there any more.
    left: Mutex<Vec<(Box<[u8]>, Connection)>>,
    /// There is something to settle: somebody left, or a connection came or went.
    unsettled: Notify,
}

struct Followed {
    changes: watch::Sender<()>,
    told_over: ToldOver,
}

/// How far the subscription of a channel has got.
enum ToldOver {
    Nothing,
    /// The server may have been asked over this connection.
    Asked(Connection),
    /// It confirmed.
    Confirmed(Connection),
}

impl ToldOver {
    fn connection(&self) -> Option<&Connection> {
        match self {
            Self::Nothing => None,
            Self::Asked(connection) | Self::Confirmed(connection) => Some(connection),
        }
    }
}

/// What a subscription keeps, so that the channel is left with the last of them.
pub(super) struct Following {
    followers: Arc<Followers>,
}

impl Drop for Following {
    fn drop(&mut self) {
        // The receiver is gone by now.
        self.followers.unsettled.notify_one();
    }
}

impl Followers {
    /// One more follower of `channel`.
    pub(super) fn join(self: &Arc<Self>, channel: &[u8]) -> (watch::Receiver<()>, Following) {
        let mut channels = lock(&self.channels);
        let followed = channels
            .entry(channel.into())
            .or_insert_with(|| Followed { changes: watch::Sender::new(()), told_over: ToldOver::Nothing });
        (followed.changes.subscribe(), Following { followers: Arc::clone(self) })
    }

    /// Wakes the followers of `channel`.
    pub(super) fn wake(&self, channel: &[u8]) {
        if let Some(followed) = lock(&self.channels).get(channel) {
            followed.changes.send_replace(());
        }
    }

    /// Wakes everyone, since messages may have been missed, and has what is open settled.
    pub(super) fn unsettled(&self) {
        for followed in lock(&self.channels).values() {
            followed.changes.send_replace(());
        }
        self.unsettled.notify_one();
    }

    /// Ends when there is something to settle.
    pub(super) async fn to_settle(&self) {
        self.unsettled.notified().await;
    }

    /// Has `channel` told over `connection`; done when the server confirmed it.
    pub(super) async fn settle(&self, channel: &[u8], connection: &Connection) -> Result<(), StoreFault> {
        let _turn = connection.turn().await;
        let before = {
            let mut channels = lock(&self.channels);
            let Some(followed) = channels.get_mut(channel) else {
                return Ok(());
            };
            if matches!(&followed.told_over, ToldOver::Confirmed(over) if over.is(connection)) {
                return Ok(());
            }
            // Told before the server is: whoever is dropped while it waits leaves a trace to clean up by.
            std::mem::replace(&mut followed.told_over, ToldOver::Asked(connection.clone()))
        };
        // In a cluster, a node that handed the slot over goes on telling.
        if let Some(elsewhere) = before.connection().filter(|before| !before.is(connection)) {
            lock(&self.left).push((channel.into(), elsewhere.clone()));
            self.unsettled.notify_one();
        }
        connection.subscribe(channel).await?;
        if let Some(followed) = lock(&self.channels).get_mut(channel) {
            followed.told_over = ToldOver::Confirmed(connection.clone());
            // What was published while there was no connection was told to nobody.
            match before {
                ToldOver::Nothing => {}
                ToldOver::Asked(_) | ToldOver::Confirmed(_) => {
                    followed.changes.send_replace(());
                }
            }
        }
        Ok(())
    }

    /// The channels that somebody follows.
    pub(super) fn followed(&self) -> Vec<Box<[u8]>> {
        let channels = lock(&self.channels);
        let followed = channels.iter().filter(|(_, followed)| followed.changes.receiver_count() > 0);
        followed.map(|(channel, _)| channel.clone()).collect()
    }

    /// Leaves the channels that nobody follows any more.
    pub(super) async fn leave(&self) {
        lock(&self.channels).retain(|channel, followed| {
            let is_followed = followed.changes.receiver_count() > 0;
            if !is_followed && let Some(connection) = followed.told_over.connection() {
                lock(&self.left).push((channel.clone(), connection.clone()));
            }
            is_followed
        });
        let left = std::mem::take(&mut *lock(&self.left));
        for (channel, connection) in left {
            let _turn = connection.turn().await;
            // Somebody may have come since.
            let is_followed = lock(&self.channels).get(&channel).is_some_and(|followed| {
                followed.told_over.connection().is_some_and(|over| over.is(&connection))
            });
            if !is_followed {
                // On a connection that is over there is nothing to leave.
                let _answer = connection.unsubscribe(&channel).await;
            }
        }
    }
}
