//! The text of a [`VaultPlace`]: `MOUNT/PATH[#FIELD][?OPTION=VALUE&…]`.

use super::super::place::{InvalidPlace, SecretPlace};
use super::place::{KvVersion, Login, VaultPlace};
use std::path::PathBuf;
use std::str::FromStr;

/// The longest text that is taken, in bytes.
const MAX_TEXT_BYTES: usize = 8 * 1024;

const FORM: &str = "write vault:MOUNT/PATH#FIELD?OPTION=VALUE&..., or bao: for vault:";

/// Every option there is, in the order in which they are told.
const OPTIONS: &[&str] = &[
    "address",
    "namespace",
    "ca_file",
    "kv",
    "mount",
    "auth",
    "auth_mount",
    "role",
    "token",
    "role_id",
    "secret_id",
    "jwt",
];

impl VaultPlace {
    /// The secret `path` of the engine mounted at `mount`; either may have slashes in it.
    ///
    /// # Errors
    /// When one of them has no segments, or one that a server would not take by its name: an empty one, `.` or `..`.
    pub fn new(mount: &str, path: &str) -> Result<Self, InvalidPlace> {
        Ok(Self {
            mount: segments("the mount", mount)?,
            path: segments("the path", path)?,
            field: None,
            address: None,
            namespace: None,
            ca_file: None,
            engine: KvVersion::default(),
            login: Login::Token { token: None },
        })
    }
}

impl FromStr for VaultPlace {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(wrong(format!("it is longer than {MAX_TEXT_BYTES} bytes")));
        }
        let (secret, options) = text.split_once('?').map_or((text, None), |(it, rest)| (it, Some(rest)));
        if options.is_some_and(|options| options.contains('#')) {
            return Err(wrong("the field is written before the options; a # in a value is %23"));
        }
        let (whole, field) = secret.split_once('#').map_or((secret, None), |(it, rest)| (it, Some(rest)));
        let mut options = Options::parse(options.unwrap_or_default())?;
        let whole = decoded("the path", whole)?;
        let (mount, path) = match options.take("mount") {
            Some(mount) => behind(&mount, &whole)?,
            None => {
                whole.split_once('/').map(|(mount, path)| (mount.to_owned(), path.to_owned())).ok_or_else(
                    || wrong(format!("it has to name the mount and the path of the secret: {FORM}")),
                )?
            }
        };
        let mut place = Self::new(&mount, &path)?;
        place.field = field.map(|field| named("the field", &decoded("the field", field)?)).transpose()?;
        place.address = options.take("address");
        place.namespace = options.take("namespace");
        place.ca_file = options.take("ca_file").map(PathBuf::from);
        place.engine = match options.take("kv").as_deref() {
            None | Some("2") => KvVersion::Two,
            Some("1") => KvVersion::One,
            Some(_) => return Err(wrong("kv is 1 or 2: the version of the key-value engine")),
        };
        place.login = options.login()?;
        options.end()?;
        Ok(place)
    }
}

/// What is behind `mount` in the whole of it.
fn behind(mount: &str, whole: &str) -> Result<(String, String), InvalidPlace> {
    let mount = mount.trim_matches('/');
    let path = whole.strip_prefix(mount).and_then(|rest| rest.strip_prefix('/'));
    let path = path.ok_or_else(|| wrong("the option mount has to be what the path begins with"))?;
    Ok((mount.to_owned(), path.to_owned()))
}

fn segments(what: &str, text: &str) -> Result<String, InvalidPlace> {
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(wrong(format!("{what} has an empty segment, or one of dots: {FORM}")));
    }
    named(what, text)
}

fn named(what: &str, text: &str) -> Result<String, InvalidPlace> {
    if text.is_empty() {
        return Err(wrong(format!("{what} is empty: {FORM}")));
    }
    if text.chars().any(char::is_control) {
        return Err(wrong(format!("{what} has a control character in it")));
    }
    Ok(text.to_owned())
}

/// The options that nobody has taken yet.
struct Options(Vec<(&'static str, String)>);

impl Options {
    fn parse(text: &str) -> Result<Self, InvalidPlace> {
        let mut options: Vec<(&'static str, String)> = Vec::new();
        for option in text.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let name = *OPTIONS.iter().find(|known| **known == name).ok_or_else(|| unknown(name))?;
            if options.iter().any(|(taken, _)| *taken == name) {
                return Err(wrong(format!("the option {name} is there twice")));
            }
            options.push((name, named(&format!("the option {name}"), &decoded(name, value)?)?));
        }
        Ok(Self(options))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(it, _)| *it == name)?;
        Some(self.0.swap_remove(at).1)
    }

    fn place(&mut self, name: &'static str) -> Result<Option<Box<SecretPlace>>, InvalidPlace> {
        let place = self.take(name).map(|text| text.parse::<SecretPlace>());
        let place = place.transpose().map_err(|error| wrong(format!("{name}: {error}")))?;
        Ok(place.map(Box::new))
    }

    fn needed<T>(name: &str, auth: &str, value: Option<T>) -> Result<T, InvalidPlace> {
        value.ok_or_else(|| wrong(format!("auth={auth} wants the option {name}")))
    }

    fn auth_mount(&mut self, default: &str) -> Result<String, InvalidPlace> {
        self.take("auth_mount").map_or_else(|| Ok(default.to_owned()), |it| segments("auth_mount", &it))
    }

    fn login(&mut self) -> Result<Login, InvalidPlace> {
        match self.take("auth").as_deref() {
            None | Some("token") => Ok(Login::Token { token: self.place("token")? }),
            Some(auth @ Login::APP_ROLE) => Ok(Login::AppRole {
                mount: self.auth_mount(Login::APP_ROLE)?,
                role_id: Self::needed("role_id", auth, self.place("role_id")?)?,
                secret_id: self.place("secret_id")?,
            }),
            Some(auth @ Login::KUBERNETES) => Ok(Login::Kubernetes {
                mount: self.auth_mount(Login::KUBERNETES)?,
                role: Self::needed("role", auth, self.take("role"))?,
                jwt: self.place("jwt")?.unwrap_or_else(|| Box::new(Login::jwt_of_the_pod())),
            }),
            Some(_) => Err(wrong("auth is token, approle or kubernetes")),
        }
    }

    /// Nothing that was written is passed over.
    fn end(self) -> Result<(), InvalidPlace> {
        let Some((name, _)) = self.0.first() else {
            return Ok(());
        };
        let auth = match *name {
            "role" | "jwt" => "auth=kubernetes",
            "role_id" | "secret_id" => "auth=approle",
            "auth_mount" => "auth=approle or auth=kubernetes",
            _ => "auth=token",
        };
        Err(wrong(format!("the option {name} belongs to {auth}")))
    }
}

/// Only what looks like a name is told again: the rest may be a secret.
fn unknown(name: &str) -> InvalidPlace {
    let is_name =
        (1..=20).contains(&name.len()) && name.bytes().all(|it| it.is_ascii_lowercase() || it == b'_');
    let which = if is_name { format!("the option {name}") } else { "an option".to_owned() };
    wrong(format!("{which} is not known; there are {}", OPTIONS.join(", ")))
}

/// `%XX` is a byte (RFC 3986 §2.1); a `+` is a plus.
fn decoded(what: &str, text: &str) -> Result<String, InvalidPlace> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || rest.next().and_then(|it| char::from(it).to_digit(16));
        let byte = if byte == b'%' {
            digit().zip(digit()).and_then(|(high, low)| u8::try_from(16 * high + low).ok())
        } else {
            Some(byte)
        };
        bytes.push(byte.ok_or_else(|| {
            wrong(format!("{what} has a % that is not followed by two hexadecimal digits"))
        })?);
    }
    String::from_utf8(bytes).map_err(|_| wrong(format!("{what} is not utf-8 text")))
}

fn wrong(what: impl Into<String>) -> InvalidPlace {
    InvalidPlace::Form { form: "vault", what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> VaultPlace {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn refused(text: &str) -> String {
        text.parse::<VaultPlace>().unwrap_err().to_string()
    }

    fn variable(name: &str) -> SecretPlace {
        SecretPlace::Environment(name.to_owned())
    }

    #[test]
    fn the_first_segment_is_the_mount_unless_it_is_said() {
        for (text, mount, path, field) in [
            ("secret/billing", "secret", "billing", None),
            ("secret/billing/oauth#key", "secret", "billing/oauth", Some("key")),
            ("secret/billing/oauth/", "secret", "billing/oauth", None),
            ("teams/a/kv/billing#key?mount=teams/a/kv", "teams/a/kv", "billing", Some("key")),
            ("teams/a/kv/billing?mount=/teams/a/", "teams/a", "kv/billing", None),
            ("secret/a%20b%2Fc%3Fd%23e#f%25", "secret", "a b/c?d#e", Some("f%")),
            ("secret/a+b/é", "secret", "a+b/é", None),
        ] {
            let place = parsed(text);
            assert_eq!((&*place.mount, &*place.path, place.field.as_deref()), (mount, path, field), "{text}");
        }
    }

    #[test]
    fn every_option_has_its_place() {
        let place = parsed(
            "secret/a?address=https://vault:8200&namespace=team/a&ca_file=ca%26.pem&kv=1&auth=kubernetes&auth_mount=k8s/b\
             &role=billing&jwt=env:JWT",
        );
        let login = Login::Kubernetes {
            mount: "k8s/b".to_owned(),
            role: "billing".to_owned(),
            jwt: Box::new(variable("JWT")),
        };
        let expected =
            VaultPlace::new("secret", "a").unwrap().address("https://vault:8200").namespace("team/a");
        let expected = expected.ca_file("ca&.pem").engine(KvVersion::One);
        assert_eq!(place, VaultPlace { login, ..expected });

        assert_eq!(parsed("secret/a?auth=token").login, Login::Token { token: None });
        assert_eq!(
            parsed("secret/a?token=env:T").login,
            Login::Token { token: Some(Box::new(variable("T"))) }
        );
        let login =
            Login::AppRole { mount: "approle".to_owned(), role_id: Box::new(variable("R")), secret_id: None };
        assert_eq!(parsed("secret/a?auth=approle&role_id=env:R").login, login);
        let kubernetes = VaultPlace::new("secret", "a").unwrap().kubernetes("r");
        assert_eq!(parsed("secret/a?auth=kubernetes&role=r"), kubernetes);
    }

    #[test]
    fn what_is_no_place_is_refused_with_what_to_do() {
        for (text, what) in [
            ("", "write vault:MOUNT/PATH"),
            ("secret", "write vault:MOUNT/PATH"),
            ("secret/", "the path has an empty segment"),
            ("/a", "the mount has an empty segment"),
            ("secret//a", "the path has an empty segment"),
            ("secret/../sys/mounts", "one of dots"),
            ("secret/%2E%2E/sys", "one of dots"),
            ("secret/a%0Ab", "control character"),
            ("secret/a#", "the field is empty"),
            ("secret/a%2", "not followed by two hexadecimal digits"),
            ("secret/a%+1", "not followed by two hexadecimal digits"),
            ("secret/a%FF", "not utf-8"),
            ("secret/a?kv=2#field", "before the options"),
            ("secret/a?mount=other", "what the path begins with"),
            ("secret/ab?mount=secret/a", "what the path begins with"),
            ("secret/a?kv=3", "kv is 1 or 2"),
            ("secret/a?auth=ldap", "auth is token, approle or kubernetes"),
            ("secret/a?addres=x", "the option addres is not known; there are address, namespace"),
            ("secret/a?kv=1&kv=1", "kv is there twice"),
            ("secret/a?namespace", "the option namespace is empty"),
            ("secret/a?auth=approle", "auth=approle wants the option role_id"),
            ("secret/a?auth=kubernetes", "auth=kubernetes wants the option role"),
            ("secret/a?role_id=env:R", "the option role_id belongs to auth=approle"),
            ("secret/a?auth=approle&role_id=env:R&role=x", "the option role belongs to auth=kubernetes"),
            ("secret/a?auth=kubernetes&role=x&token=env:T", "the option token belongs to auth=token"),
            ("secret/a?auth_mount=x", "auth_mount belongs to auth=approle or auth=kubernetes"),
        ] {
            assert!(refused(text).contains(what), "{text}: {}", refused(text));
        }
        assert!(refused(&format!("secret/{}", "a".repeat(9000))).contains("longer than 8192 bytes"));
    }

    #[test]
    fn t34_a_secret_written_down_is_refused_and_not_told_again() {
        for text in [
            "secret/a?token=s.canary",
            "secret/a?auth=approle&role_id=canary",
            "secret/a?auth=approle&role_id=env:R&secret_id=canary-1",
            "secret/a?auth=kubernetes&role=r&jwt=canary.canary.canary",
        ] {
            let refusal = refused(text);
            assert!(refusal.contains("it must say where the secret is"), "{refusal}");
            assert!(!refusal.contains("canary"), "{refusal}");
        }
        for text in ["secret/a?s.canary", "secret/a?canary-1", "secret/a?%63anary=1"] {
            assert!(!refused(text).contains("canary"), "{}", refused(text));
        }
    }
}
