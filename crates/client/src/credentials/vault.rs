//! `HashiCorp` Vault and `OpenBao`: a field of a secret in a key-value engine, over their HTTP interface.

mod answer;
mod grammar;
mod lease;
mod place;
mod reading;
mod server;
mod session;

pub use place::{KvVersion, VaultPlace};

use super::environment::Surroundings;
use super::place::SecretPlace;
use super::source::{Reread, SecretFuture, SecretReading, SecretSource, SourceFault, SourceFaultKind};
use place::{Login, TOKEN_VARIABLES};
use reading::Reply;
use server::Server;
use session::{Entered, Sessions, Way};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The longest that a read takes: less than the ten seconds after which nobody waits for it, so that it can say what took so long.
const READ_TIMEOUT: Duration = Duration::from_secs(9);
/// Where `vault login` puts its token.
const TOKEN_FILE: &str = ".vault-token";

impl VaultPlace {
    /// Makes ready to read the secret. Nothing is asked before the first read; a read then takes nine seconds at most.
    ///
    /// # Errors
    /// [`SourceFaultKind::Unusable`] when there is no address, or one that a token must not be sent to, when the
    /// certificates cannot be read, or no token is named anywhere; and what opening the places of the options gives.
    pub fn open(&self, around: &Surroundings) -> Result<Arc<dyn SecretSource>, SourceFault> {
        let server = Server::open(self, around)?;
        let way = match &self.login {
            Login::Token { token: Some(token) } => Way::Token(token.open(around)?),
            Login::Token { token: None } => Way::Token(self.token_around(around)?.open(around)?),
            Login::AppRole { mount, role_id, secret_id } => {
                let mut proofs = vec![("role_id", role_id.open(around)?)];
                if let Some(secret_id) = secret_id {
                    proofs.push(("secret_id", secret_id.open(around)?));
                }
                Way::LogIn { mount: mount.clone(), role: None, proofs }
            }
            Login::Kubernetes { mount, role, jwt } => {
                let proofs = vec![("jwt", jwt.open(around)?)];
                Way::LogIn { mount: mount.clone(), role: Some(role.clone()), proofs }
            }
        };
        Ok(Arc::new(VaultSource { place: self.clone(), server, sessions: Sessions::new(way) }))
    }

    /// Where the token is that every tool of Vault would use.
    fn token_around(&self, around: &Surroundings) -> Result<SecretPlace, SourceFault> {
        for name in TOKEN_VARIABLES {
            if around.environment.text(name)?.is_some() {
                return Ok(SecretPlace::Environment(name.to_owned()));
            }
        }
        let home = around.environment.text("HOME")?.map(PathBuf::from);
        let file = home.map(|home| home.join(TOKEN_FILE)).filter(|file| around.directory.join(file).exists());
        file.map(SecretPlace::File).ok_or_else(|| {
            let what = "no token for it is there: set BAO_TOKEN or VAULT_TOKEN, log in by its command line, or use the option \
                        token=, auth=approle or auth=kubernetes";
            SourceFault::new(SourceFaultKind::Unusable, self, what)
        })
    }
}

/// The secret of a place, whose server was found.
struct VaultSource {
    place: VaultPlace,
    server: Server,
    sessions: Sessions,
}

impl SecretSource for VaultSource {
    fn read(&self) -> SecretFuture<'_> {
        Box::pin(self.read_by(Instant::now() + READ_TIMEOUT))
    }

    fn reread(&self) -> Reread {
        Reread::Periodically
    }
}

impl VaultSource {
    async fn read_by(&self, deadline: Instant) -> Result<SecretReading, SourceFault> {
        let session = match self.sessions.enter(&self.server, deadline).await? {
            Entered::Now(session) => session,
            Entered::Before(session) => match self.ask(&session, deadline).await? {
                Reply::Reading(reading) => return Ok(reading),
                Reply::Denied(words) => {
                    // It may have been revoked: once more with another one, where there is another one.
                    self.sessions.leave(&session).await;
                    let next = self.sessions.enter(&self.server, deadline).await?.session();
                    if next.token == session.token {
                        return Err(self.denied(&next, &words));
                    }
                    next
                }
            },
        };
        match self.ask(&session, deadline).await? {
            Reply::Reading(reading) => Ok(reading),
            Reply::Denied(words) => Err(self.denied(&session, &words)),
        }
    }
}
