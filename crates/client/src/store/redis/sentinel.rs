//! Who is the master: its sentinels know.

use super::address::Address;
use super::connection::Connection;
use super::dialler::{Dialler, Driver};
use super::fault::{self, error_in};
use super::followers::Followers;
use crate::store::{StoreFault, StoreFaultKind};
use ::redis::{Cmd, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// The longest that one sentinel is asked, so that a dead one does not use up the time for the others.
const SENTINEL_WITHIN: Duration = Duration::from_millis(400);

/// The sentinels of a master.
pub(super) struct Sentinels {
    addresses: Vec<Address>,
    master_name: String,
    dialler: Dialler,
    /// The one that told the master last, or the one behind those that did not or told a wrong one.
    first: AtomicUsize,
}

impl Sentinels {
    pub(super) fn new(addresses: Vec<Address>, master_name: String, dialler: Dialler) -> Self {
        Self { addresses, master_name, dialler, first: AtomicUsize::new(0) }
    }

    pub(super) fn master_name(&self) -> &str {
        &self.master_name
    }

    /// Connects to the master.
    pub(super) async fn master(
        &self,
        dialler: &Dialler,
        followers: Option<Arc<Followers>>,
    ) -> Result<(Connection, Driver), StoreFault> {
        let (index, address) = self.find().await?;
        let (connection, driver) = Connection::open(dialler, &address, followers).await?;
        let role = asked(&connection, ::redis::cmd("ROLE")).await?;
        if let Some(error) = error_in(&role) {
            return Err(fault::refused(connection.server(), error));
        }
        let is_master = matches!(&role, Value::Array(role)
            if matches!(role.first(), Some(Value::BulkString(word)) if word == b"master"));
        if !is_master {
            // The sentinels have yet to find out, or the server has.
            let detail = format!("{address}: it is not the master that the sentinels took it for");
            return Err(StoreFault::new(StoreFaultKind::Unwritable, detail));
        }
        self.first.store(index, Ordering::Relaxed);
        Ok((connection, driver))
    }

    /// Asks one after the other, beginning with the one that answered last.
    async fn find(&self) -> Result<(usize, Address), StoreFault> {
        let first = self.first.load(Ordering::Relaxed);
        let mut last = fault::unreachable(&self.master_name, "there is no sentinel to ask");
        for turn in 0..self.addresses.len() {
            let index = (first + turn) % self.addresses.len();
            let Some(sentinel) = self.addresses.get(index) else {
                continue;
            };
            let found = match timeout(SENTINEL_WITHIN, self.told_by(sentinel)).await {
                Ok(found) => found,
                Err(_) => Err(fault::timed_out(&sentinel.to_string(), "no answer", SENTINEL_WITHIN)),
            };
            // Until it proves right: one that is cut off from the others goes on telling the old master.
            self.first.store(index + 1, Ordering::Relaxed);
            match found {
                Ok(address) => return Ok((index, address)),
                Err(fault) => last = fault,
            }
        }
        Err(StoreFault::new(
            last.kind(),
            format!("no sentinel tells the master; the last: {}", last.detail()),
        ))
    }

    async fn told_by(&self, sentinel: &Address) -> Result<Address, StoreFault> {
        let (connection, _driver) = Connection::open(&self.dialler, sentinel, None).await?;
        let mut command = ::redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master_name);
        let answer = asked(&connection, command).await?;
        if let Some(error) = error_in(&answer) {
            return Err(fault::refused(connection.server(), error));
        }
        match &answer {
            Value::Nil => {
                let detail = format!("{sentinel}: it knows no master `{}`", self.master_name);
                Err(StoreFault::new(StoreFaultKind::Denied, detail))
            }
            Value::Array(parts) => address_in(sentinel, parts).ok_or_else(|| {
                fault::malformed(connection.server(), "the master's address cannot be understood")
            }),
            _ => Err(fault::malformed(connection.server(), "the master's address cannot be understood")),
        }
    }
}

fn address_in(sentinel: &Address, parts: &[Value]) -> Option<Address> {
    let [Value::BulkString(host), Value::BulkString(port)] = parts else {
        return None;
    };
    let port = std::str::from_utf8(port).ok()?.parse().ok()?;
    Address::beside(sentinel, std::str::from_utf8(host).ok()?, port)
}

async fn asked(connection: &Connection, command: Cmd) -> Result<Value, StoreFault> {
    let answers = connection.ask(vec![command]).await?;
    answers.into_iter().next().ok_or_else(|| fault::malformed(connection.server(), "there is no answer"))
}
