//! Where a server keeps its clients, and under which key.

use super::super::{Found, Layers, Name, Secrets};
use crate::args::StorageArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use jeton::Secret;
use jeton::credentials::{SecretPlace, SecretSource};
use jeton_server::{
    DatabasePassword, PasswordFuture, PostgresSettings, Registry, RegistryError, ServerKey, Storage,
};
use std::path::PathBuf;
use std::sync::Arc;

const DATABASE: Name =
    Name { file: "server.database", environment: "JETON_SERVER_DATABASE", flag: "--database" };
const DATABASE_PASSWORD: Name = Name {
    file: "server.database_password",
    environment: "JETON_SERVER_DATABASE_PASSWORD",
    flag: "--database-password",
};
const KEY: Name = Name { file: "server.key", environment: "JETON_SERVER_KEY", flag: "--server-key" };
const PREVIOUS_KEY: Name = Name {
    file: "server.previous_key",
    environment: "JETON_SERVER_PREVIOUS_KEY",
    flag: "--previous-server-key",
};

/// Where the clients are, and the key that was given for them.
#[derive(Debug)]
pub(crate) struct Keeping {
    pub(crate) data_dir: PathBuf,
    pub(crate) storage: Storage,
    pub(crate) key: Option<ServerKey>,
}

impl Keeping {
    /// Opens the registry that is there; what is missing is made.
    pub(crate) fn registry(&self) -> Result<Registry, RegistryError> {
        Registry::open_in(&self.storage, &self.data_dir, self.key.as_ref())
    }

    /// Whether there can be a registry without making one.
    pub(crate) fn is_there(&self) -> bool {
        match self.storage {
            Storage::Embedded => self.data_dir.exists(),
            Storage::Postgres(_) => true,
        }
    }

    /// Where the clients are, for people.
    pub(crate) fn place(&self) -> String {
        match &self.storage {
            Storage::Embedded => self.data_dir.display().to_string(),
            Storage::Postgres(settings) => settings.place().unwrap_or_default(),
        }
    }

    /// The member of a JSON document that tells the place.
    pub(crate) fn member(&self) -> &'static str {
        match self.storage {
            Storage::Embedded => "data_dir",
            Storage::Postgres(_) => "database",
        }
    }
}

/// What is set for it. Nothing is read yet.
pub(super) struct KeepingSettings {
    database: Option<Found<String>>,
    password: Option<Found<SecretPlace>>,
    key: Option<Found<SecretPlace>>,
    previous_key: Option<Found<SecretPlace>>,
}

impl Layers {
    /// Where the clients of a server are, and the key, which is read.
    pub(crate) fn keeping(&self, args: &StorageArgs, data_dir: Option<&str>) -> Result<Keeping, Failure> {
        let KeepingSettings { database, password, key, previous_key } = self.keeping_settings(args)?;
        let places: Vec<&SecretPlace> =
            [&password, &key, &previous_key].into_iter().flatten().map(|found| &found.value).collect();
        let secrets = self.secrets(&places);
        let read = |found: &Found<SecretPlace>| read_key(found, &secrets);
        let key = key.as_ref().map(read).transpose()?;
        let previous = previous_key.as_ref().map(read).transpose()?;
        let key = match (key, previous) {
            (Some(key), Some(previous)) => Some(key.with_previous(&previous)),
            (key, _) => key,
        };
        let password = password.map(|found| secrets.open(&found)).transpose()?;
        let password = password.map(|source| Arc::new(AtPlace(source)) as Arc<dyn DatabasePassword>);
        let storage = match database {
            None => Storage::Embedded,
            Some(database) => Storage::Postgres(PostgresSettings { url: database.value, password }),
        };
        Ok(Keeping { data_dir: self.data_dir(data_dir)?, storage, key })
    }

    /// What is set for it, which is checked and holds together.
    pub(super) fn keeping_settings(&self, args: &StorageArgs) -> Result<KeepingSettings, Failure> {
        let file = &self.file.content.server;
        let database = self.text(&DATABASE, args.database.as_deref(), file.database.as_ref())?;
        let password = args.database_password.as_deref();
        let password = self.text(&DATABASE_PASSWORD, password, file.database_password.as_ref())?;
        let password = password.map(place).transpose()?;
        let key = self.text(&KEY, args.server_key.as_deref(), file.key.as_ref())?.map(place).transpose()?;
        match (&database, &password) {
            (Some(database), _) => {
                let checked = PostgresSettings::new(&database.value).place();
                checked.map_err(|error| database.origin.fault(&error))?;
            }
            (None, Some(password)) => {
                return Err(password.origin.fault(&"it goes with a database, and none is set"));
            }
            (None, None) => {}
        }
        let previous = args.previous_server_key.as_deref();
        let previous_key = self.text(&PREVIOUS_KEY, previous, file.previous_key.as_ref())?;
        let previous_key = previous_key.map(place).transpose()?;
        if let (None, Some(previous)) = (&key, &previous_key) {
            return Err(previous
                .origin
                .fault(&"it goes with the server key that takes its place, and none is set"));
        }
        check_standard_input(&[&password, &key, &previous_key])?;
        Ok(KeepingSettings { database, password, key, previous_key })
    }
}

/// Standard input has one text.
fn check_standard_input(places: &[&Option<Found<SecretPlace>>]) -> Result<(), Failure> {
    let places = places.iter().filter_map(|place| place.as_ref());
    let mut from_input = places.filter(|found| found.value.reads_standard_input());
    match (from_input.next(), from_input.next()) {
        (Some(_), Some(second)) => {
            let what = "the password of the database, the server key and the one before it cannot both be read from standard input";
            Err(second.origin.fault(&what))
        }
        (Some(_) | None, _) => Ok(()),
    }
}

/// The place that is named.
fn place(text: Found<String>) -> Result<Found<SecretPlace>, Failure> {
    Ok(Found { value: text.parse()?, origin: text.origin })
}

fn read_key(found: &Found<SecretPlace>, secrets: &Secrets) -> Result<ServerKey, Failure> {
    let text = read_now(found, secrets)?;
    ServerKey::from_text(&text).ok_or_else(|| {
        let message = format!(
            "{}: {}: a server key is 32 bytes, written as 64 hexadecimal digits or as base64",
            found.origin, found.value
        );
        Failure::new(ExitCode::Configuration, message).hint("make one by: openssl rand -hex 32")
    })
}

/// Reads a secret on a thread of its own: commands that administer the registry wait for it with everything else.
fn read_now(found: &Found<SecretPlace>, secrets: &Secrets) -> Result<Secret<String>, Failure> {
    let cut_off = |error: &dyn std::fmt::Display| {
        Failure::new(ExitCode::Other, format!("{}: reading it was cut off: {error}", found.value))
    };
    let read = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| cut_off(&error))?.block_on(secrets.read(found))
    };
    std::thread::scope(|scope| scope.spawn(read).join().unwrap_or_else(|_| Err(cut_off(&"the thread ended"))))
}

/// The password at a place, which is read for each connection.
struct AtPlace(Arc<dyn SecretSource>);

impl DatabasePassword for AtPlace {
    fn read(&self) -> PasswordFuture<'_> {
        Box::pin(async { Ok(self.0.read().await?.current) })
    }
}
