//! `jeton serve`: the authorization server, until interrupted.

use crate::activation;
use crate::args::ServerArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::notify;
use crate::output;
use crate::settings::{Keeping, Layers};
use jeton_server::{Config, Server, Sockets, StartError, Storage};

/// Serves until SIGINT or SIGTERM, then answers what was begun and ends.
pub(crate) async fn run(args: &ServerArgs, layers: &Layers) -> Result<(), Failure> {
    let config = layers.server(args)?;
    let Keeping { storage, key, .. } = layers.keeping(&args.storage, args.data_dir.as_deref())?;
    let config = Config { storage, key, ..config };
    let mut interrupt = Interrupt::catch()?;
    let sockets = activation::sockets()?;
    let data_dir = config.data_dir.clone();
    let database = match &config.storage {
        Storage::Embedded => None,
        Storage::Postgres(settings) => settings.place().ok(),
    };
    let (server, clients) = tokio::select! {
        started = start(sockets, config) => started?,
        // What it waits for, such as a database that hangs, is left as a kill would leave it.
        () = interrupt.wait() => {
            output::note("ended before it had started");
            return Ok(());
        }
    };
    let addresses = server.local_addrs().iter().map(ToString::to_string);
    output::note(&format!(
        "listening on    {}\nissuer          {}\ntoken endpoint  {}\ndata directory  {}\nclients         {clients}",
        addresses.collect::<Vec<_>>().join(", "),
        server.issuer(),
        server.token_endpoint(),
        data_dir.display(),
    ));
    match database {
        Some(place) => output::note(&format!("registry        {place}")),
        None if clients == 0 => output::note(&format!(
            "hint: add one by: jeton client add NAME --scope \"SCOPES\" --data-dir {}",
            data_dir.display()
        )),
        None => {}
    }
    let metrics: Vec<_> = server.metrics_addrs().iter().map(ToString::to_string).collect();
    if !metrics.is_empty() {
        output::note(&format!("metrics at http://{}/metrics", metrics.join(", ")));
    }
    let admin: Vec<_> = server.admin_addrs().iter().map(ToString::to_string).collect();
    if !admin.is_empty() {
        output::note(&format!("administration at {}, described at /admin/openapi.json", admin.join(", ")));
    }
    notify::tell(notify::READY);
    let shutdown = async {
        interrupt.wait().await;
        notify::tell(notify::STOPPING);
        output::note("ending: open requests are answered, new ones are not taken");
    };
    server.serve(shutdown).await.map_err(|error| Failure::of(ExitCode::Other, &error))
}

/// Opens registry, keys and sockets, on a thread that may block, and counts the clients.
pub(crate) async fn start(sockets: Sockets, config: Config) -> Result<(Server, usize), Failure> {
    let started = tokio::task::spawn_blocking(move || {
        let server = Server::bind_on(sockets, config).map_err(|error| start_failure(&error))?;
        let clients = server.client_count();
        Ok((server, clients))
    });
    started
        .await
        .unwrap_or_else(|error| Err(Failure::new(ExitCode::Other, format!("the start was cut off: {error}"))))
}

fn start_failure(error: &StartError) -> Failure {
    let code = match error {
        StartError::Config(_)
        | StartError::DataDir(_)
        | StartError::Key(_)
        | StartError::Seal(_)
        | StartError::KeyAuthorities(_)
        | StartError::Keyring(_)
        | StartError::Registry(_)
        | StartError::Watch(_)
        | StartError::Tls(_)
        | StartError::Audit(_) => ExitCode::Configuration,
        StartError::Listen(_) | StartError::LocalAddress(_) | StartError::Metadata(_) => ExitCode::Other,
    };
    let failure = Failure::of(code, error);
    match error {
        StartError::Listen(_) => failure.hint("choose where to listen by --listen"),
        StartError::Audit(_) => {
            failure.hint("choose another file by --audit-log, or none by --audit-log off")
        }
        StartError::Config(_)
        | StartError::DataDir(_)
        | StartError::Key(_)
        | StartError::Seal(_)
        | StartError::KeyAuthorities(_)
        | StartError::Keyring(_)
        | StartError::Registry(_)
        | StartError::Watch(_)
        | StartError::Tls(_)
        | StartError::LocalAddress(_)
        | StartError::Metadata(_) => failure,
    }
}
