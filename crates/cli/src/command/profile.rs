//! `jeton profile`: the tables `[client.NAME]` of the settings file.

mod check;
mod rendering;
mod report;

use crate::args::{ListProfilesArgs, ProfileCommand, ProfileCommandArgs};
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::settings::{ClientLayers, Layers, ProfileName, ProfileSummary};
use serde_json::{Value, json};

/// Does what is asked.
pub(crate) async fn run(args: &ProfileCommandArgs, layers: &Layers) -> Result<(), Failure> {
    match &args.command {
        ProfileCommand::List(args) => list(args, layers),
        ProfileCommand::Check(args) => check::run(args, layers).await,
    }
}

fn list(args: &ListProfilesArgs, layers: &Layers) -> Result<(), Failure> {
    layers.sound()?;
    let Some(path) = layers.settings_file() else { return Err(layers.no_settings_file()) };
    let profiles: Vec<ProfileSummary> = layers.profiles().map(|profile| profile.summary()).collect();
    let is_damaged = |profile: &ClientLayers<'_>| layers.faults_in_file(profile.name()).next().is_some();
    let damaged = layers.profiles().filter(is_damaged).filter_map(|profile| profile.name());
    let damaged: Vec<&str> = damaged.map(ProfileName::as_str).collect();
    if !damaged.is_empty() {
        let names = damaged.join(", ");
        output::note(&format!("warning: not all of {names} can be read; run: jeton profile check"));
    }
    match args.output.output {
        Format::Text => {
            let noun = if profiles.len() == 1 { "profile" } else { "profiles" };
            output::note(&format!("{} {noun} in {}", profiles.len(), path.display()));
            output::result(rendering::table(&profiles))
        }
        Format::Json => {
            let profiles: Vec<Value> = profiles.iter().map(rendering::summary).collect();
            output::json(&json!({ "settings_file": path.to_string_lossy(), "profiles": profiles }))
        }
    }
}
