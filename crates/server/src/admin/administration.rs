//! The API as a server has it: where it is had, and what it works on.

use super::{Admin, listener};
use crate::audit::Audit;
use crate::config::{InvalidConfig, Listen};
use crate::http::Face;
use crate::issuer::Issuer;
use crate::keyring::SigningKeys;
use crate::listen::{self, ListenError};
use crate::registry::Registry;
use crate::server::StartError;
use crate::server_key::ServerKey;
use crate::store::StoreLocation;
use crate::tls::Tls;
use jeton_proto::verification::Expectations;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What is at hand of it before there is an issuer.
#[derive(Debug)]
pub(crate) struct Unopened {
    listeners: Vec<TcpListener>,
    location: StoreLocation,
    key: ServerKey,
}

impl Unopened {
    /// Opens its sockets, where it is to be had.
    pub(crate) fn bind(
        at: Option<&Listen>,
        location: &StoreLocation,
        key: &ServerKey,
    ) -> Result<Option<Self>, ListenError> {
        let Some(at) = at else { return Ok(None) };
        Ok(Some(Self { listeners: listen::bind(at)?, location: location.clone(), key: key.clone() }))
    }

    /// The API for the issuer behind `face`.
    pub(crate) fn before(
        self,
        face: &Arc<Face<Issuer>>,
        audit: Option<Audit>,
    ) -> Result<Administration, StartError> {
        let issuer = face.endpoint();
        let clock = || Arc::clone(&issuer.clock.0);
        let registry = Registry::over(&self.location, &self.key, clock())?;
        let keys = SigningKeys::over(&self.location, &self.key, clock())?;
        let expectations = Expectations::new(issuer.url.as_str(), [issuer.url.as_str()]);
        // An issuer that was checked is not empty.
        let expectations = expectations.map_err(|_| InvalidConfig::Issuer)?;
        let admin = Admin::new(Arc::clone(face), registry, keys, expectations, audit);
        Ok(Administration { listeners: self.listeners, admin: Arc::new(admin) })
    }
}

/// The administrative API, and where it is had.
#[derive(Debug)]
pub(crate) struct Administration {
    listeners: Vec<TcpListener>,
    admin: Arc<Admin>,
}

impl Administration {
    /// Where it is had.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Answers, in a task, until `ending` says so. Over TLS where the server has a certificate.
    pub(crate) fn serve(
        self,
        tls: Option<Arc<Tls>>,
        ending: watch::Receiver<bool>,
    ) -> io::Result<JoinHandle<()>> {
        let listeners = self.listeners.into_iter().map(listen::into_async).collect::<io::Result<Vec<_>>>()?;
        let drain_timeout: Duration = self.admin.face.limits().drain_timeout;
        Ok(tokio::spawn(listener::serve(listeners, tls, self.admin, ending, drain_timeout)))
    }
}
