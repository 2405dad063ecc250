//! What the flags set for a client.

use crate::args::{Clearable, CredentialFlags, SettingFlags};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::lifespan::Lifespan;
use jeton::Scope;
use jeton_proto::issuance::{
    CertificateThumbprint, ClientCredentials, ClientKeys, ClientSettings, MAX_CLIENT_JWKS_BYTES, TlsSubject,
    WorkloadTrust,
};
use jeton_proto::jose::jws::Algorithm;
use jeton_server::certificate_thumbprint;
use std::fmt::Display;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

/// The longest certificate file that is read, in bytes.
const MAX_CERTIFICATE_BYTES: usize = 64 * 1024;

/// What the flags say; `None` and empty lists leave things as they are.
#[derive(Debug, Default)]
pub(super) struct Flags {
    scope: Option<Scope>,
    default_scope: Option<Scope>,
    audiences: Vec<String>,
    token_lifetime: Option<Duration>,
    signing_algorithm: Option<Algorithm>,
    labels: Vec<(String, String)>,
    keys: Option<ClientKeys>,
    tls_subject: Option<TlsSubject>,
    certificates: Vec<CertificateThumbprint>,
    workloads: Vec<WorkloadTrust>,
}

impl Flags {
    /// Reads the flags, and the files that they name.
    pub(super) fn read(settings: &SettingFlags, credentials: &CredentialFlags) -> Result<Self, Failure> {
        let scope = |flag, text: &str| text.parse::<Scope>().map_err(|error| usage(flag, &error));
        let lifetime = settings.token_lifetime.as_deref().map(|text| {
            text.parse::<Lifespan>().map(|span| span.0).map_err(|error| usage("--token-lifetime", &error))
        });
        let algorithm = settings.signing_algorithm.as_deref().map(|name| {
            let names = Algorithm::ALL.map(Algorithm::as_str).join(", ");
            Algorithm::parse(name)
                .ok_or_else(|| usage("--signing-algorithm", &format!("it is one of {names}")))
        });
        let jwks = credentials
            .jwks
            .as_deref()
            .map(|path| read_file("--jwks", path, MAX_CLIENT_JWKS_BYTES).map(ClientKeys::Inline));
        let jwks_uri = credentials.jwks_uri.clone().map(ClientKeys::Url);
        Ok(Self {
            scope: match settings.scopes.as_slice() {
                [] => None,
                scopes => Some(scope("--scope", &scopes.join(" "))?),
            },
            default_scope: settings
                .default_scope
                .as_deref()
                .map(|text| scope("--default-scope", text))
                .transpose()?,
            audiences: settings.audiences.clone(),
            token_lifetime: lifetime.transpose()?,
            signing_algorithm: algorithm.transpose()?,
            labels: settings.labels.iter().map(|text| label(text)).collect::<Result<_, _>>()?,
            keys: jwks.transpose()?.or(jwks_uri),
            tls_subject: tls_subject(credentials),
            certificates: credentials
                .certificates
                .iter()
                .map(|path| certificate(path))
                .collect::<Result<_, _>>()?,
            workloads: credentials.workloads.iter().map(|text| workload(text)).collect::<Result<_, _>>()?,
        })
    }

    /// Sets what the flags say. Lists of credentials grow, the other lists are replaced.
    pub(super) fn put_on(&self, settings: &mut ClientSettings, credentials: &mut ClientCredentials) {
        if let Some(scope) = &self.scope {
            settings.allowed_scope = scope.clone();
        }
        if let Some(scope) = &self.default_scope {
            settings.default_scope = Some(scope.clone());
        }
        if !self.audiences.is_empty() {
            settings.audiences.clone_from(&self.audiences);
        }
        if let Some(lifetime) = self.token_lifetime {
            settings.token_lifetime = lifetime;
        }
        if let Some(algorithm) = self.signing_algorithm {
            settings.signing_algorithm = Some(algorithm);
        }
        settings.labels.extend(self.labels.iter().cloned());
        if let Some(keys) = &self.keys {
            credentials.keys = Some(keys.clone());
        }
        if let Some(subject) = &self.tls_subject {
            credentials.tls_subject = Some(subject.clone());
        }
        for print in &self.certificates {
            if !credentials.certificates.contains(print) {
                credentials.certificates.push(*print);
            }
        }
        credentials.workloads.extend(self.workloads.iter().cloned());
    }
}

/// Takes something from a client.
pub(super) fn clear(what: Clearable, settings: &mut ClientSettings, credentials: &mut ClientCredentials) {
    match what {
        Clearable::Scope => {
            settings.allowed_scope = Scope::empty();
            settings.default_scope = None;
        }
        Clearable::DefaultScope => settings.default_scope = None,
        Clearable::Audience => settings.audiences.clear(),
        Clearable::SigningAlgorithm => settings.signing_algorithm = None,
        Clearable::Labels => settings.labels.clear(),
        Clearable::Jwks => credentials.keys = None,
        Clearable::TlsSubject => credentials.tls_subject = None,
        Clearable::Certificates => credentials.certificates.clear(),
        Clearable::Workloads => credentials.workloads.clear(),
    }
}

/// The failure of a flag with a value that is none.
pub(super) fn usage(flag: &str, what: &dyn Display) -> Failure {
    Failure::new(ExitCode::Usage, format!("{flag}: {what}"))
}

fn label(text: &str) -> Result<(String, String), Failure> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| usage("--label", &"it is written NAME=VALUE, such as team=billing"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn read_file(flag: &str, path: &Path, most_bytes: usize) -> Result<String, Failure> {
    let fault = |what: &dyn Display| usage(flag, &format!("{}: {what}", path.display()));
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| fault(&error))?;
    file.take(most_bytes as u64 + 1).read_to_string(&mut text).map_err(|error| fault(&error))?;
    if text.len() > most_bytes {
        return Err(fault(&format!("it is longer than {most_bytes} bytes")));
    }
    Ok(text)
}

fn certificate(path: &Path) -> Result<CertificateThumbprint, Failure> {
    let pem = read_file("--certificate", path, MAX_CERTIFICATE_BYTES)?;
    certificate_thumbprint(&pem).ok_or_else(|| {
        usage("--certificate", &format!("{}: it must have one certificate, as PEM", path.display()))
    })
}

fn tls_subject(flags: &CredentialFlags) -> Option<TlsSubject> {
    let subjects = [
        flags.tls_subject_dn.clone().map(TlsSubject::DistinguishedName),
        flags.tls_san_dns.clone().map(TlsSubject::Dns),
        flags.tls_san_uri.clone().map(TlsSubject::Uri),
        flags.tls_san_ip.clone().map(TlsSubject::Ip),
        flags.tls_san_email.clone().map(TlsSubject::Email),
    ];
    subjects.into_iter().flatten().next()
}

/// `issuer=URL,audience=URI,subject=TEXT,claim.NAME=TEXT,jwks_uri=URL`. A part that begins with none of these names belongs to the value
/// before it: a subject may have commas.
fn workload(text: &str) -> Result<WorkloadTrust, Failure> {
    const FORM: &str = "it is written issuer=URL,audience=URI,subject=TEXT,claim.NAME=TEXT";
    let fault = |what: &str| usage("--workload", &format!("{what}; {FORM}"));
    let mut parts: Vec<(String, String)> = Vec::new();
    for part in text.split(',') {
        let member = part.split_once('=').filter(|(name, _)| {
            matches!(*name, "issuer" | "audience" | "subject" | "jwks_uri") || name.starts_with("claim.")
        });
        match (member, parts.last_mut()) {
            (Some((name, value)), _) => parts.push((name.to_owned(), value.to_owned())),
            (None, Some((_, value))) => {
                value.push(',');
                value.push_str(part);
            }
            (None, None) => return Err(fault("it begins with another name")),
        }
    }
    let mut take = |wanted: &str| {
        let at = parts.iter().position(|(name, _)| name == wanted)?;
        Some(parts.remove(at).1)
    };
    let trust = WorkloadTrust {
        issuer: take("issuer").ok_or_else(|| fault("the issuer is missing"))?,
        audience: take("audience").ok_or_else(|| fault("the audience is missing"))?,
        subject: take("subject"),
        keys: take("jwks_uri").map(ClientKeys::Url),
        claims: Vec::new(),
    };
    let claims = parts.into_iter().map(|(name, value)| match name.strip_prefix("claim.") {
        Some(claim) => Ok((claim.to_owned(), value)),
        None => Err(fault(&format!("{name} is there twice"))),
    });
    Ok(WorkloadTrust { claims: claims.collect::<Result<_, _>>()?, ..trust })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_written_in_one_word() {
        let trust = workload(
            "issuer=https://ci.example,audience=https://as.example,subject=CN=a,O=b,claim.ref=refs/heads/main,claim.k8s/ns=x",
        )
        .unwrap();
        assert_eq!(trust.issuer, "https://ci.example");
        assert_eq!(trust.subject.as_deref(), Some("CN=a,O=b"));
        assert_eq!(trust.claims.len(), 2);
        assert_eq!(trust.claims[1], ("k8s/ns".to_owned(), "x".to_owned()));
        for bad in ["", "x=1", "issuer=https://a", "issuer=https://a,audience=b,issuer=https://c"] {
            assert!(workload(bad).unwrap_err().message().unwrap().contains("--workload"), "{bad}");
        }
    }

    #[test]
    fn lists_of_credentials_grow_and_the_others_are_replaced() {
        let (mut settings, mut credentials) = (ClientSettings::new("a"), ClientCredentials::default());
        let flags = |audience: &str, workload: &str| {
            let settings = SettingFlags { audiences: vec![audience.to_owned()], ..SettingFlags::default() };
            let credentials =
                CredentialFlags { workloads: vec![workload.to_owned()], ..CredentialFlags::default() };
            Flags::read(&settings, &credentials).unwrap()
        };
        flags("a", "issuer=https://a,audience=b,subject=c").put_on(&mut settings, &mut credentials);
        flags("b", "issuer=https://d,audience=b,subject=c").put_on(&mut settings, &mut credentials);
        assert_eq!((settings.audiences.len(), credentials.workloads.len()), (1, 2));
        clear(Clearable::Workloads, &mut settings, &mut credentials);
        clear(Clearable::Audience, &mut settings, &mut credentials);
        assert_eq!((settings, credentials), (ClientSettings::new("a"), ClientCredentials::default()));
    }
}
