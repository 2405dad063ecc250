//! Profiles: the tables `[client.NAME]` of the settings file, and the layers as one client sees them.
//!
//! A setting comes from the flags, the environment, the profile, and the top of the settings file, in this order. Of a profile, the
//! settings that say who asks come from the flags and the settings file alone: a variable that is there for another
//! purpose would mix two clients, the id of one and the secret of another.

mod summary;

pub(crate) use summary::ProfileSummary;

use super::file::{FileFault, Profile};
use super::section::{CLIENT_SECRET, ClientSection, KNOWN, PlaceOfSecret, Says, Setting, Value};
use super::{Found, Layers, Name, Origin, found};
use crate::args::IdentityArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use jeton::credentials::SecretPlace;
use std::fmt;
use std::str::FromStr;
use toml::Spanned;

/// By what a profile is chosen.
pub(super) const PROFILE: Name = Name { file: "client", environment: "JETON_CLIENT", flag: "--client" };

/// How many names are told of those that are there.
const MAX_NAMES_TOLD: usize = 20;

/// The name of a profile: 1 to 64 letters of ASCII, digits and `._-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProfileName(String);

impl ProfileName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ProfileName {
    type Err = InvalidProfileName;

    fn from_str(text: &str) -> Result<Self, InvalidProfileName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidProfileName)
        }
    }
}

/// A text that is no name of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a profile has 1 to 64 letters, digits and ._-")]
pub(crate) struct InvalidProfileName;

/// Where settings of a client stand together, the nearest first: what is nearer wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Section {
    Flags,
    Variables,
    /// The table of the profile.
    Profile,
    /// The top of the settings file.
    Top,
}

impl Section {
    pub(super) const ALL: [Self; 4] = [Self::Flags, Self::Variables, Self::Profile, Self::Top];
    pub(super) const IN_FILE: [Self; 2] = [Self::Profile, Self::Top];
}

/// The layers as one client sees them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientLayers<'a> {
    pub(super) layers: &'a Layers,
    profile: Option<(&'a ProfileName, &'a Profile)>,
}

impl Layers {
    /// The layers of the client that is meant: those of a profile, where one is chosen.
    pub(crate) fn chosen(&self, args: &IdentityArgs) -> Result<ClientLayers<'_>, Failure> {
        let chosen = match &args.client {
            Some(name) => Some(found(name.clone(), Origin::Flag(PROFILE.flag))),
            None => self
                .environment
                .text(PROFILE.environment)?
                .map(|name| found(name, Origin::Environment(PROFILE.environment))),
        };
        let Some(chosen) = chosen else { return Ok(self.without_profile()) };
        let layers = self.profile(&chosen)?;
        layers.keep_apart_from_variables(&chosen.origin)?;
        Ok(layers)
    }

    /// The layers of who chooses no profile.
    pub(crate) const fn without_profile(&self) -> ClientLayers<'_> {
        ClientLayers { layers: self, profile: None }
    }

    /// The layers of the profile that is named, if nothing is wrong with its table.
    fn profile(&self, named: &Found<String>) -> Result<ClientLayers<'_>, Failure> {
        let layers = self.profile_as_it_is(named)?;
        let its_own = |name: &Option<ProfileName>| name.as_ref() == layers.name();
        match self.file.faults.iter().find(|fault| its_own(&fault.profile)) {
            Some(fault) => Err(fault.failure.clone()),
            None => Ok(layers),
        }
    }

    /// The layers of a profile that the argument NAME names, whatever is wrong with its table.
    pub(crate) fn profile_by_argument(&self, name: &str) -> Result<ClientLayers<'_>, Failure> {
        self.profile_as_it_is(&found(name.to_owned(), Origin::Flag("NAME")))
    }

    fn profile_as_it_is(&self, named: &Found<String>) -> Result<ClientLayers<'_>, Failure> {
        let name: ProfileName = named.parse()?;
        let Some(path) = self.file.path() else { return Err(self.no_settings_file()) };
        let profile = self.file.content.profiles.get_key_value(&name);
        let unknown = || {
            let what = format!("there is no profile {name} in {}", path.display());
            named.origin.fault(&what).hint(self.names_told())
        };
        profile.map(|profile| ClientLayers { layers: self, profile: Some(profile) }).ok_or_else(unknown)
    }

    /// The layers of each profile, in the order of their names.
    pub(crate) fn profiles(&self) -> impl Iterator<Item = ClientLayers<'_>> {
        let profiles = self.file.content.profiles.iter();
        profiles.map(|profile| ClientLayers { layers: self, profile: Some(profile) })
    }

    fn names_told(&self) -> String {
        let names = &self.file.content.profiles;
        let told: Vec<&str> = names.keys().take(MAX_NAMES_TOLD).map(ProfileName::as_str).collect();
        match names.len().saturating_sub(told.len()) {
            0 if told.is_empty() => "it has none; a profile is a table [client.NAME]".to_owned(),
            0 => format!("there are {}", told.join(", ")),
            others => format!("there are {} and {others} more", told.join(", ")),
        }
    }
}

impl<'a> ClientLayers<'a> {
    /// The name of the profile, if it is one.
    pub(crate) fn name(&self) -> Option<&'a ProfileName> {
        self.profile.map(|(name, _)| name)
    }

    /// A setting that is one text.
    pub(super) fn text(
        &self,
        setting: &Setting<String>,
        flag: Option<&str>,
    ) -> Result<Option<Found<String>>, Failure> {
        if let Some(value) = flag {
            return Ok(Some(found(value.to_owned(), Origin::Flag(setting.name.flag))));
        }
        let variable = self.variable(setting)?;
        Ok(variable.or_else(|| self.in_file(setting)))
    }

    /// A setting that is one text, with the nearest section that has it.
    pub(super) fn nearest<T: Value + Clone>(
        &self,
        setting: &Setting<T>,
        flag: Option<&str>,
    ) -> Result<Option<(Section, Found<String>)>, Failure> {
        for section in Section::ALL {
            if let Some(found) = self.text_in(section, setting, flag)? {
                return Ok(Some((section, found)));
            }
        }
        Ok(None)
    }

    /// A setting that is one text, as one section has it.
    pub(super) fn text_in<T: Value + Clone>(
        &self,
        section: Section,
        setting: &Setting<T>,
        flag: Option<&str>,
    ) -> Result<Option<Found<String>>, Failure> {
        let in_file = match section {
            Section::Flags => {
                return Ok(flag.map(|text| found(text.to_owned(), Origin::Flag(setting.name.flag))));
            }
            Section::Variables => return self.variable(setting),
            Section::Profile => self.in_profile(setting),
            Section::Top => self.at_the_top(setting),
        };
        Ok(in_file.and_then(|held| Some(found(held.value.text()?.to_owned(), held.origin))))
    }

    /// The place of a secret, as one section has it.
    pub(super) fn place_in(
        &self,
        section: Section,
        setting: &Setting<PlaceOfSecret>,
        flag: Option<&str>,
    ) -> Result<Option<Found<SecretPlace>>, Failure> {
        let in_file = match section {
            Section::Flags | Section::Variables => {
                let text = self.text_in(section, setting, flag)?;
                return text.map(|text| Ok(found(text.parse()?, text.origin))).transpose();
            }
            Section::Profile => self.in_profile(setting),
            Section::Top => self.at_the_top(setting),
        };
        Ok(in_file.map(|held| found(held.value.0, held.origin)))
    }

    /// A setting that is a list; in the environment its items are divided by `separators`.
    pub(super) fn list(
        &self,
        setting: &Setting<Vec<String>>,
        flags: &[String],
        separators: &[char],
    ) -> Result<Option<Found<Vec<String>>>, Failure> {
        if !flags.is_empty() {
            return Ok(Some(found(flags.to_owned(), Origin::Flag(setting.name.flag))));
        }
        if let Some(Found { value, origin }) = self.variable(setting)? {
            let items = value.split(separators).filter(|item| !item.is_empty());
            return Ok(Some(found(items.map(str::to_owned).collect(), origin)));
        }
        Ok(self.in_file(setting))
    }

    /// A setting as its variable has it, where that counts.
    pub(super) fn variable<T>(&self, setting: &Setting<T>) -> Result<Option<Found<String>>, Failure> {
        if self.profile.is_some() && setting.says == Says::WhoAsks {
            return Ok(None);
        }
        let name = setting.name.environment;
        let value = self.layers.environment.text(name)?;
        Ok(value.map(|value| found(value, Origin::Environment(name))))
    }

    /// A setting as the settings file has it: in the profile, or else at the top.
    pub(super) fn in_file<T: Clone>(&self, setting: &Setting<T>) -> Option<Found<T>> {
        self.in_profile(setting).or_else(|| self.at_the_top(setting))
    }

    /// A setting as the profile has it.
    pub(super) fn in_profile<T: Clone>(&self, setting: &Setting<T>) -> Option<Found<T>> {
        let (_, profile) = self.profile?;
        (setting.held)(&profile.section).map(|value| self.placed(&setting.name, value))
    }

    /// A setting as the top of the settings file has it.
    pub(super) fn at_the_top<T: Clone>(&self, setting: &Setting<T>) -> Option<Found<T>> {
        let top = &self.layers.file.content.top;
        (setting.held)(top).map(|value| self.placed(&setting.name, value))
    }

    fn placed<T: Clone>(&self, name: &Name, spanned: &Spanned<T>) -> Found<T> {
        found(spanned.get_ref().clone(), self.layers.file.origin(name.file, spanned.span()))
    }

    /// That a setting without a default is not there, or why it could not be read.
    pub(super) fn missing(&self, what: &str, name: &Name) -> Failure {
        let Some((profile, Profile { span, .. })) = self.profile else {
            return super::missing(what, name);
        };
        let mut faults = self.layers.file.faults.iter();
        let unread = |fault: &&FileFault| {
            fault.profile.as_ref() == Some(profile) && fault.key.as_deref() == Some(name.file)
        };
        if let Some(fault) = faults.find(unread) {
            return fault.failure.clone();
        }
        let place = self.layers.file.origin(PROFILE.file, span.clone());
        let hint = format!(
            "give {}, or write {} in [client.{profile}] or at the top of the file",
            name.flag, name.file
        );
        let ignored = match self.layers.environment.text(name.environment) {
            Ok(None) => String::new(),
            Ok(Some(_)) | Err(_) => format!("; {} does not count for a profile", name.environment),
        };
        place.fault(&format!("in [client.{profile}] {what} is not set")).hint(hint + &ignored)
    }

    /// That no variable says who asks, besides the profile. One that says the same does no harm, and neither does one that the
    /// profile names. A flag wins over the others, as everywhere; two variables that do not fit together are refused.
    fn keep_apart_from_variables(&self, chosen_by: &Origin) -> Result<(), Failure> {
        let mut passed_over = Vec::new();
        for known in KNOWN.iter().filter(|known| known.says == Says::WhoAsks) {
            let variable = known.name.environment;
            let Some(value) = self.layers.environment.text(variable)? else { continue };
            if self.known_in_file(known.text) != Some(&value) && !self.names_variable(variable) {
                passed_over.push(variable);
            }
        }
        let Some(name) = self.name().filter(|_| !passed_over.is_empty()) else { return Ok(()) };
        match chosen_by {
            Origin::Flag(_) => {
                let (all, verb) = (passed_over.join(", "), if passed_over.len() == 1 { "is" } else { "are" });
                output::note(&format!("warning: {all} {verb} not used: --client {name} says who asks"));
                Ok(())
            }
            Origin::Environment(_) | Origin::File { .. } => {
                let all = passed_over.join(", ");
                let verb = if passed_over.len() == 1 { "says" } else { "say" };
                let message = format!(
                    "JETON_CLIENT names the profile {name}, and {all} {verb} something else of who asks"
                );
                Err(Failure::new(ExitCode::Configuration, message)
                    .hint(format!("unset JETON_CLIENT, or unset {all}{}", by_name(&passed_over))))
            }
        }
    }

    fn known_in_file<T>(&self, held: impl Fn(&'a ClientSection) -> Option<T>) -> Option<T> {
        let of_profile = self.profile.and_then(|(_, profile)| held(&profile.section));
        of_profile.or_else(|| held(&self.layers.file.content.top))
    }

    /// Whether what says who asks is in this variable, as the settings file has it.
    fn names_variable(&self, variable: &str) -> bool {
        let mut known = KNOWN.iter().filter(|known| known.says == Says::WhoAsks);
        known.any(|known| self.known_in_file(|section| (known.names)(section, variable)) == Some(true))
    }
}

/// How a profile uses the variable that holds a secret, if that one was passed over.
fn by_name(passed_over: &[&str]) -> String {
    let variable = CLIENT_SECRET.name.environment;
    if !passed_over.contains(&variable) {
        return String::new();
    }
    format!("; a profile takes its secret from there by client_secret = \"env:{variable}\"")
}
