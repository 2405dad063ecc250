//! `jeton client`: the clients of the server, in its data directory, whether it runs or not.

use super::audit::tell;
use crate::args::{AddClientArgs, ClientCommand, ClientCommandArgs};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::lifespan::Lifespan;
use crate::moment;
use crate::output::{self, Format};
use crate::settings::Layers;
use jeton::{Scope, Secret};
use jeton_proto::issuance::{ClientSettings, ClientStatus};
use jeton_server::audit::Event;
use jeton_server::{ClientRecord, DamagedClient, Registry, RegistryError};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

/// How long a running server may take to see a change. A command that takes something away ends after that, so that
/// whoever reads its last line can rely on it.
const SEEN_AFTER: Duration = Duration::from_millis(400);

/// Does what is asked, and says in which data directory.
pub(crate) fn run(args: &ClientCommandArgs, layers: &Layers) -> Result<(), Failure> {
    let data_dir = layers.data_dir(args.data_dir.as_deref())?;
    match &args.command {
        ClientCommand::Add(added) => add(added, layers, &data_dir, args.output),
        ClientCommand::List => list(&data_dir, args.output),
        ClientCommand::Disable(client) => {
            change(&client.name, layers, &data_dir, args.output, &Change::Disable)
        }
        ClientCommand::Enable(client) => {
            change(&client.name, layers, &data_dir, args.output, &Change::Enable)
        }
        ClientCommand::Remove(client) => {
            change(&client.name, layers, &data_dir, args.output, &Change::Remove)
        }
    }
}

fn add(args: &AddClientArgs, layers: &Layers, data_dir: &Path, format: Format) -> Result<(), Failure> {
    let settings = settings_of(args)?;
    let registry = Registry::open(data_dir).map_err(|error| registry_failure(&error, data_dir))?;
    // The file is made before the client: a secret that cannot be written down would be lost.
    let mut secret_file = args.secret_file.as_deref().map(NewFile::create).transpose()?;
    let secret = registry.add(settings.clone()).map_err(|error| registry_failure(&error, data_dir))?;
    let print = || match format {
        Format::Text => output::line(secret.expose()),
        Format::Json => output::json(&added_document(&settings, &secret, args, data_dir)),
    };
    let handed_over = match &mut secret_file {
        Some(file) => file.keep(&secret),
        None => print().map_err(|_| {
            let message = "the secret cannot be written to stdout, so no client was added";
            Failure::new(ExitCode::Other, message)
        }),
    };
    if let Err(failure) = handed_over {
        // Nobody has the secret, and nobody can have it any more.
        let removed = registry.remove(&settings.client_id);
        let undone = removed.map_err(|error| registry_failure(&error, data_dir));
        return Err(undone.err().unwrap_or(failure));
    }
    tell(layers, data_dir, Event::ClientAdded, &settings.client_id)?;
    output::note(&format!(
        "client {} added in {}; its secret is shown this once and cannot be read again",
        settings.client_id,
        data_dir.display()
    ));
    let Some(path) = &args.secret_file else { return Ok(()) };
    output::note(&format!("the secret is in {}", path.display()));
    match format {
        Format::Text => Ok(()),
        Format::Json => print(),
    }
}

fn settings_of(args: &AddClientArgs) -> Result<ClientSettings, Failure> {
    let usage =
        |flag: &str, error: &dyn std::fmt::Display| Failure::new(ExitCode::Usage, format!("{flag}: {error}"));
    let scope = |flag, text: &str| text.parse::<Scope>().map_err(|error| usage(flag, &error));
    let lifetime = args.token_lifetime.parse::<Lifespan>();
    if let Some(odd) = args.name.chars().find(|character| !is_unreserved(*character)) {
        let message = format!("NAME: a client id may have letters, digits and -._~ and not {odd:?}");
        return Err(Failure::new(ExitCode::Usage, message).hint(
            "many clients do not encode what else there is before they send it (RFC 6749 section 2.3.1)",
        ));
    }
    Ok(ClientSettings {
        allowed_scope: scope("--scope", &args.scopes.join(" "))?,
        default_scope: args
            .default_scope
            .as_deref()
            .map(|text| scope("--default-scope", text))
            .transpose()?,
        audiences: args.audiences.clone(),
        token_lifetime: lifetime.map_err(|error| usage("--token-lifetime", &error))?.0,
        ..ClientSettings::new(&args.name)
    })
}

/// The characters that mean themselves in every encoding (RFC 3986 §2.3).
const fn is_unreserved(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '.' | '_' | '~')
}

/// The names of RFC 7591 §3.2.1, where it has them.
fn added_document(
    settings: &ClientSettings,
    secret: &Secret<String>,
    args: &AddClientArgs,
    data_dir: &Path,
) -> Value {
    let mut document = settings_document(settings);
    if let Some(fields) = document.as_object_mut() {
        let (name, value) = match &args.secret_file {
            Some(path) => ("client_secret_file", path.to_string_lossy().into_owned()),
            None => ("client_secret", secret.expose().clone()),
        };
        fields.insert(name.to_owned(), Value::String(value));
        // Zero: it does not expire.
        fields.insert("client_secret_expires_at".to_owned(), json!(0));
        fields.insert("data_dir".to_owned(), json!(data_dir.to_string_lossy()));
    }
    document
}

fn settings_document(settings: &ClientSettings) -> Value {
    json!({
        "client_id": settings.client_id,
        "grant_types": ["client_credentials"],
        "scope": settings.allowed_scope.to_string(),
        "default_scope": settings.default_scope.as_ref().map(ToString::to_string),
        "audience": settings.audiences,
        "token_lifetime_seconds": settings.token_lifetime.as_secs(),
        "status": status_name(settings.status),
    })
}

const fn status_name(status: ClientStatus) -> &'static str {
    match status {
        ClientStatus::Enabled => "enabled",
        ClientStatus::Disabled => "disabled",
    }
}

fn list(data_dir: &Path, format: Format) -> Result<(), Failure> {
    let listing = open_existing(data_dir)?.list().map_err(|error| registry_failure(&error, data_dir))?;
    for DamagedClient { client_id, fault } in &listing.damaged {
        output::note(&format!("client {client_id} cannot be read and has no tokens: {fault}"));
    }
    let clients = listing.clients;
    match format {
        Format::Text => {
            let noun = if clients.len() == 1 { "client" } else { "clients" };
            output::note(&format!("{} {noun} in {}", clients.len(), data_dir.display()));
            output::result(table(&clients))
        }
        Format::Json => {
            let clients: Vec<_> = clients.iter().map(record_document).collect();
            output::json(&json!({ "data_dir": data_dir.to_string_lossy(), "clients": clients }))
        }
    }
}

fn record_document(record: &ClientRecord) -> Value {
    let mut document = settings_document(&record.settings);
    if let Some(fields) = document.as_object_mut() {
        fields.insert("client_id_issued_at".to_owned(), json!(record.created_at.as_unix_seconds()));
    }
    document
}

/// One line for each client, in columns.
fn table(clients: &[ClientRecord]) -> String {
    if clients.is_empty() {
        return String::new();
    }
    let id_width = clients.iter().map(|record| record.settings.client_id.len()).max().unwrap_or(0).max(9);
    let mut table =
        format!("{:<id_width$}  {:<8}  {:<10}  {:<8}  SCOPE\n", "CLIENT ID", "STATUS", "ADDED", "LIFETIME");
    for record in clients {
        let settings = &record.settings;
        let row = format!(
            "{:<id_width$}  {:<8}  {:<10}  {:<8}  {}",
            settings.client_id,
            status_name(settings.status),
            moment::date(record.created_at),
            Lifespan(settings.token_lifetime).to_string(),
            settings.allowed_scope,
        );
        table.push_str(row.trim_end());
        table.push('\n');
    }
    table
}

enum Change {
    Disable,
    Enable,
    Remove,
}

fn change(
    client_id: &str,
    layers: &Layers,
    data_dir: &Path,
    format: Format,
    change: &Change,
) -> Result<(), Failure> {
    let registry = open_existing(data_dir)?;
    let (done, what, event) = match change {
        Change::Disable => (registry.disable(client_id), "disabled", Event::ClientDisabled),
        Change::Enable => (registry.enable(client_id), "enabled", Event::ClientEnabled),
        Change::Remove => (registry.remove(client_id), "removed", Event::ClientRemoved),
    };
    done.map_err(|error| registry_failure(&error, data_dir))?;
    tell(layers, data_dir, event, client_id)?;
    std::thread::sleep(SEEN_AFTER);
    output::note(&format!("client {client_id} {what} in {}", data_dir.display()));
    match format {
        Format::Text => Ok(()),
        Format::Json => output::json(&json!({
            "client_id": client_id,
            "status": what,
            "data_dir": data_dir.to_string_lossy(),
        })),
    }
}

/// A registry that is there: to look into one must not make one.
fn open_existing(data_dir: &Path) -> Result<Registry, Failure> {
    if !data_dir.exists() {
        let message = format!("there is no data directory {}", data_dir.display());
        return Err(Failure::new(ExitCode::Other, message).hint(
            "name the one of the server by --data-dir, or add a first client by: jeton client add NAME",
        ));
    }
    Registry::open(data_dir).map_err(|error| registry_failure(&error, data_dir))
}

fn registry_failure(error: &RegistryError, data_dir: &Path) -> Failure {
    match error {
        RegistryError::NoSuchClient { .. } => {
            Failure::new(ExitCode::Other, format!("{error} in {}", data_dir.display()))
                .hint("see which there are by: jeton client list")
        }
        RegistryError::ClientExists { .. }
        | RegistryError::NoSuchSecret { .. }
        | RegistryError::SecretsInForce { .. }
        | RegistryError::Damaged { .. }
        | RegistryError::Contended { .. }
        | RegistryError::TooManyClients
        | RegistryError::Random => Failure::of(ExitCode::Other, error),
        RegistryError::Settings(_) => Failure::of(ExitCode::Usage, error),
        RegistryError::File(_)
        | RegistryError::Key(_)
        | RegistryError::Store(_)
        | RegistryError::ForeignKey => Failure::of(ExitCode::Configuration, error),
    }
}

/// A file that was not there before; it is removed again unless it is kept.
struct NewFile<'a> {
    path: &'a Path,
    file: File,
    kept: bool,
}

impl<'a> NewFile<'a> {
    fn create(path: &'a Path) -> Result<Self, Failure> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        match file {
            Ok(file) => Ok(Self { path, file, kept: false }),
            Err(error) => {
                let message = format!("the secret file {} cannot be made: {error}", path.display());
                Err(Failure::new(ExitCode::Other, message)
                    .hint("no client was added; name a file that is not there yet"))
            }
        }
    }

    fn keep(&mut self, secret: &Secret<String>) -> Result<(), Failure> {
        let written = self.file.write_all(secret.expose().as_bytes());
        let written = written.and_then(|()| self.file.write_all(b"\n")).and_then(|()| self.file.sync_all());
        written.map_err(|error| {
            let message = format!("the secret file {} cannot be written: {error}", self.path.display());
            Failure::new(ExitCode::Other, message).hint("no client was added")
        })?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if !self.kept {
            let _already_gone = std::fs::remove_file(self.path);
        }
    }
}
