//! Hears of commits of others: a connection that listens and nudges whoever watches the store.
//!
//! It makes changes known sooner, and nothing depends on it: whoever watches looks by itself four times a second.

use super::connector::Connector;
use super::fault::Fault;
use super::pause::{Pause, jitter};
use super::statements::CHANNEL;
use super::{Database, within_time};
use crate::store::Listening;
use crate::store::watch::Nudge;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_postgres::AsyncMessage;

/// The longest that it takes to connect and to listen.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// After how much silence the connection is tried, and the longest that the answer takes.
const TRIED_AFTER: Duration = Duration::from_secs(15);
const TRIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Listens until what is returned is dropped.
pub(super) fn start(database: &Database, nudge: Nudge) -> Option<Listening> {
    let connector = Arc::clone(database.connector());
    let task = database.spawn(async move {
        let mut pause = Pause::default();
        loop {
            let Err(fault) = listen(&connector, &nudge, &mut pause).await;
            tracing::debug!(%fault, "changes of others are looked for, not heard of, until the database is back");
            pause.failed(fault, jitter(), Instant::now());
            tokio::time::sleep(pause.left(Instant::now())).await;
        }
    })?;
    Some(Listening(task.abort_handle()))
}

/// Until something is wrong.
async fn listen(
    connector: &Connector,
    nudge: &Nudge,
    pause: &mut Pause,
) -> Result<std::convert::Infallible, Fault> {
    let (client, mut connection) = within_time(START_TIMEOUT, connector.connect()).await?;
    // A burst is one nudge: what does not fit is in what is there.
    let (heard, mut hearing) = mpsc::channel(1);
    let _ends_with_the_client = tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if matches!(message, AsyncMessage::Notification(_)) {
                let _full = heard.try_send(());
            }
        }
    });
    let statement = format!("LISTEN {CHANNEL}");
    within_time(START_TIMEOUT, async { Ok(client.batch_execute(&statement).await?) }).await?;
    pause.over();
    // What was committed before is not told any more.
    nudge.now();
    loop {
        match tokio::time::timeout(TRIED_AFTER, hearing.recv()).await {
            Ok(Some(())) => nudge.now(),
            Ok(None) => return Err(Fault::unreachable(&"the connection that listens was closed")),
            Err(_silence) => {
                within_time(TRIAL_TIMEOUT, async { Ok(client.check_connection().await?) }).await?;
            }
        }
    }
}
