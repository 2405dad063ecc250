//! What is sealed into a record: the token with what is needed to go on with it, and the note that goes with a lease.
//!
//! Numbers are big-endian; texts have their length before them, in four bytes.

use crate::key::TokenKey;
use jeton_proto::flight::Sequence;
use jeton_proto::lifecycle::{CachedToken, Life, MAX_LIFETIME, TokenId};
use jeton_proto::secret::Secret;
use jeton_proto::time::{Moment, Timestamp};
use jeton_proto::wire::client_auth::ClientAuthMethod;
use jeton_proto::wire::scope::Scope;
use std::time::Duration;
use zeroize::Zeroizing;

use super::seal::SEAL_OVERHEAD;

const FORMAT: u8 = 1;
const ASSUMED: u8 = 1;
const SCOPED: u8 = 2;
const REJECTING: u8 = 1;
/// The most texts of one kind in an identity; its bytes are bounded by the body's.
const MAX_TEXTS: u32 = 1024;

/// What a record is for: everything that makes one token another than the next. What is derived from it is the
/// record's name, and it is
/// sealed with the token, so that a listing can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) token_endpoint: String,
    pub(crate) client_id: String,
    pub(crate) auth_method: String,
    pub(crate) scope: Option<String>,
    pub(crate) audience: Option<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) parameters: Vec<(String, String)>,
}

impl Identity {
    pub(crate) fn of(
        token_endpoint: &str,
        client_id: &str,
        method: ClientAuthMethod,
        key: &TokenKey,
    ) -> Self {
        // Programs that name the same parameters in another order ask for the same token.
        let mut parameters = key.extra.clone();
        parameters.sort_unstable();
        Self {
            token_endpoint: token_endpoint.to_owned(),
            client_id: client_id.to_owned(),
            auth_method: method.as_str().to_owned(),
            scope: key.scope.as_ref().map(Scope::to_string),
            audience: key.audience.clone(),
            resources: key.resources.clone(),
            parameters,
        }
    }

    /// Unambiguous: two identities that differ have different bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        for text in [&self.token_endpoint, &self.client_id, &self.auth_method] {
            put_text(&mut out, text);
        }
        for optional in [&self.scope, &self.audience] {
            put_count(&mut out, usize::from(optional.is_some()));
            if let Some(text) = optional {
                put_text(&mut out, text);
            }
        }
        put_count(&mut out, self.resources.len());
        self.resources.iter().for_each(|text| put_text(&mut out, text));
        put_count(&mut out, self.parameters.len());
        for (name, value) in &self.parameters {
            put_text(&mut out, name);
            put_text(&mut out, value);
        }
        out
    }

    fn read(input: &mut Input<'_>) -> Option<Self> {
        if input.byte()? != FORMAT {
            return None;
        }
        let (token_endpoint, client_id, auth_method) = (input.text()?, input.text()?, input.text()?);
        let mut optional = || match input.number()? {
            0 => Some(None),
            1 => Some(Some(input.text()?)),
            _ => None,
        };
        let (scope, audience) = (optional()?, optional()?);
        let resources = input.texts(Input::text)?;
        let parameters = input.texts(|input| Some((input.text()?, input.text()?)))?;
        let identity =
            Self { token_endpoint, client_id, auth_method, scope, audience, resources, parameters };
        Some(identity)
    }
}

/// A token as it is kept in a store.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) identity: Identity,
    pub(crate) sequence: Sequence,
    /// When the token was asked for, by the store's clock; `None` when that is not known.
    pub(crate) obtained_by_store: Option<u64>,
    /// When the token was asked for, by the wall clock of who asked.
    pub(crate) obtained_at: Timestamp,
    pub(crate) life: Life,
    pub(crate) granted_scope: Option<Scope>,
    pub(crate) access_token: Secret<String>,
}

impl Entry {
    pub(crate) fn of(
        identity: Identity,
        token: &CachedToken,
        sequence: Sequence,
        obtained_by_store: Option<u64>,
    ) -> Self {
        Self {
            identity,
            sequence,
            obtained_by_store,
            obtained_at: token.obtained_at(),
            life: token.life(),
            granted_scope: token.granted_scope().cloned(),
            access_token: Secret::from(token.access_token()),
        }
    }

    /// The bytes, with room to seal them in place.
    pub(crate) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let identity = self.identity.to_bytes();
        let scope = self.granted_scope.as_ref().map(Scope::to_string);
        let token = self.access_token.expose();
        let room = 64 + identity.len() + scope.as_ref().map_or(0, String::len) + token.len() + SEAL_OVERHEAD;
        // Room for the whole of it, so that no copy stays behind where the vector grew.
        let mut out = Zeroizing::new(Vec::with_capacity(room));
        let assumed = match self.life {
            Life::Stated(_) => 0,
            Life::Assumed(_) => ASSUMED,
        };
        out.extend_from_slice(&[FORMAT, assumed | if scope.is_some() { SCOPED } else { 0 }]);
        for number in [
            self.sequence.number(),
            self.obtained_by_store.unwrap_or_default(),
            self.obtained_at.as_unix_millis(),
            u64::try_from(self.life.span().as_millis()).unwrap_or(u64::MAX),
        ] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&identity);
        put_text(&mut out, &scope.unwrap_or_default());
        put_text(&mut out, token);
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        let (format, flags) = (input.byte()?, input.byte()?);
        if format != FORMAT || flags & !(ASSUMED | SCOPED) != 0 {
            return None;
        }
        let sequence = Sequence::new(input.long()?);
        let obtained_by_store = Some(input.long()?).filter(|millis| *millis != 0);
        let obtained_at = Timestamp::from_unix_millis(input.long()?);
        let span = Duration::from_millis(input.long()?);
        let life = if flags & ASSUMED == 0 { Life::Stated(span) } else { Life::Assumed(span) };
        let identity = Identity::read(&mut input)?;
        let scope = input.text()?;
        let granted_scope = match flags & SCOPED {
            0 if scope.is_empty() => None,
            0 => return None,
            _ => Some(scope.parse().ok()?),
        };
        let access_token = Secret::new(input.text()?);
        input.0.is_empty().then_some(Self {
            identity,
            sequence,
            obtained_by_store,
            obtained_at,
            life,
            granted_scope,
            access_token,
        })
    }

    /// The token as it is at `now`, when the store's clock shows `store_now`. What has passed of its life is
    /// the most that
    /// either clock tells, so that neither makes it live longer; `None` when nothing is left of it.
    pub(crate) fn token(&self, store_now: u64, now: Moment) -> Option<CachedToken> {
        let by_wall = now.wall().saturating_since(self.obtained_at);
        let by_store =
            self.obtained_by_store.map(|then| Duration::from_millis(store_now.saturating_sub(then)));
        let age = by_wall.max(by_store.unwrap_or_default());
        // Nobody is believed to have been granted more, whoever sealed it.
        let life = of_length(self.life, self.life.span().min(MAX_LIFETIME));
        let left = life.span().checked_sub(age).filter(|left| !left.is_zero())?;
        let (obtained, life) = match now.checked_sub(age) {
            Some(obtained) => (obtained, life),
            // It is older than this boot of the machine.
            None => (now, of_length(life, left)),
        };
        CachedToken::new(self.access_token.clone(), self.granted_scope.clone(), obtained, life).ok()
    }
}

fn of_length(life: Life, span: Duration) -> Life {
    match life {
        Life::Stated(_) => Life::Stated(span),
        Life::Assumed(_) => Life::Assumed(span),
    }
}

/// What goes with a lease, or stays in its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Note {
    /// The token whose rejection the lease was taken for.
    pub(crate) rejected: Option<TokenId>,
    /// Until when the server is to be left alone, by the store's clock.
    pub(crate) paused_until: u64,
    /// Who held the lease and could not reach the server, since somebody last could.
    pub(crate) unreached: Unreached,
}

/// The last two processes that could not reach the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unreached([u32; 2]);

impl Unreached {
    pub(crate) fn is_nobody(self) -> bool {
        self == Self::default()
    }

    /// Those after `who` could not reach it either; and whether two others could not before. That one process cannot, time and
    /// again, tells nothing of the others.
    pub(crate) fn and(self, who: u32) -> (Self, bool) {
        let Self([last, before]) = self;
        if who == last || who == before {
            return (self, false);
        }
        (Self([who, last]), last != 0 && before != 0)
    }
}

impl Note {
    pub(crate) fn to_bytes(self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(64));
        let flags = if self.rejected.is_some() { REJECTING } else { 0 };
        out.extend_from_slice(&[FORMAT, flags]);
        self.unreached.0.iter().for_each(|who| out.extend_from_slice(&who.to_be_bytes()));
        out.extend_from_slice(&self.paused_until.to_be_bytes());
        out.extend_from_slice(&self.rejected.map(|id| *id.bytes()).unwrap_or_default());
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        let (format, flags) = (input.byte()?, input.byte()?);
        let unreached = Unreached([input.number()?, input.number()?]);
        if format != FORMAT || flags & !REJECTING != 0 {
            return None;
        }
        let paused_until = input.long()?;
        let (id, rest) = input.0.split_first_chunk()?;
        let rejected = (flags == REJECTING).then(|| TokenId::from_bytes(*id));
        rest.is_empty().then_some(Self { rejected, paused_until, unreached })
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Bytes that are being read.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*chunk)
    }

    fn byte(&mut self) -> Option<u8> {
        self.chunk::<1>().map(|[byte]| byte)
    }

    fn number(&mut self) -> Option<u32> {
        self.chunk().map(u32::from_be_bytes)
    }

    fn long(&mut self) -> Option<u64> {
        self.chunk().map(u64::from_be_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok().map(str::to_owned)
    }

    fn texts<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.number().filter(|count| *count <= MAX_TEXTS)?;
        (0..count).map(|_| read(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        let key = TokenKey::scope("b a").unwrap().with_resource("https://api").with_parameter("x", "1");
        Identity::of("https://as/token", "billing", ClientAuthMethod::ClientSecretBasic, &key)
    }

    fn entry() -> Entry {
        Entry {
            identity: identity(),
            sequence: Sequence::new(7),
            obtained_by_store: Some(1_000_000),
            obtained_at: Timestamp::from_unix_millis(2_000_000),
            life: Life::Stated(Duration::from_secs(300)),
            granted_scope: Some("a".parse().unwrap()),
            access_token: Secret::from("canary"),
        }
    }

    #[test]
    fn an_entry_is_read_as_it_was_written_and_no_part_of_it_is_one() {
        let written = entry().to_bytes();
        let read = Entry::from_bytes(&written).unwrap();
        assert_eq!(read.to_bytes(), written);
        assert_eq!((&read.identity, read.sequence, read.life), (&identity(), Sequence::new(7), entry().life));
        for length in 0..written.len() {
            assert!(Entry::from_bytes(&written[..length]).is_none(), "{length}");
        }
        let mut longer = written.to_vec();
        longer.push(0);
        assert!(Entry::from_bytes(&longer).is_none());
    }

    #[test]
    fn whatever_the_bytes_are_reading_them_ends() {
        let written = entry().to_bytes();
        for position in 0..written.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = written.to_vec();
                changed[position] = value;
                let _read = Entry::from_bytes(&changed);
                let _note = Note::from_bytes(&changed);
            }
        }
    }

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let rejecting =
            Note { rejected: Some(TokenId::of("canary")), paused_until: 5, unreached: Unreached([3, 4]) };
        for note in [Note::default(), rejecting, Note { rejected: None, ..rejecting }] {
            let written = note.to_bytes();
            assert_eq!(Note::from_bytes(&written), Some(note));
            assert_eq!(Note::from_bytes(&written[1..]), None);
        }
    }

    #[test]
    fn three_processes_that_cannot_reach_the_server_tell_that_nobody_can_and_one_alone_never_does() {
        let mut alone = Unreached::default();
        for _ in 0..10 {
            let told;
            (alone, told) = alone.and(7);
            assert!(!told && !alone.is_nobody());
        }
        let (two, told) = alone.and(8);
        assert!(!told && !two.and(7).1 && !two.and(8).1);
        let (three, told) = two.and(9);
        assert!(told && !three.and(8).1, "who was among the last two says nothing new");
        assert!(three.and(7).1);
    }

    #[test]
    fn t20_identities_that_differ_anywhere_differ_in_their_bytes() {
        let of = |endpoint: &str, client: &str, key: TokenKey| {
            Identity::of(endpoint, client, ClientAuthMethod::ClientSecretBasic, &key).to_bytes()
        };
        let scope = |scope: &str| TokenKey::scope(scope).unwrap();
        let all = [
            of("https://as", "a", TokenKey::default()),
            of("https://as", "b", TokenKey::default()),
            of("https://a", "sa", TokenKey::default()),
            of("https://as", "a", scope("")),
            of("https://as", "a", scope("a")),
            of("https://as", "a", scope("a b")),
            of("https://as", "a", TokenKey::default().with_audience("a")),
            of("https://as", "a", TokenKey::default().with_resource("a")),
            of("https://as", "a", TokenKey::default().with_resource("a").with_resource("b")),
            of("https://as", "a", TokenKey::default().with_parameter("a", "b")),
            of("https://as", "a", TokenKey::default().with_parameter("a", "").with_parameter("b", "")),
            Identity::of("https://as", "a", ClientAuthMethod::ClientSecretPost, &TokenKey::default())
                .to_bytes(),
        ];
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        let both =
            |one: &str, two: &str| TokenKey::default().with_parameter(one, "1").with_parameter(two, "1");
        assert_eq!(of("https://as", "a", both("x", "y")), of("https://as", "a", both("y", "x")));
    }

    #[test]
    fn t28_adopting_never_lengthens_a_life_whichever_clock_is_wrong() {
        let now = |wall: u64| Moment::new(Timestamp::from_unix_millis(wall), Some(Duration::from_secs(9999)));
        let left = |store_now: u64, wall: u64| {
            entry().token(store_now, now(wall)).map(|token| token.left(now(wall)).as_secs())
        };
        assert_eq!(left(1_000_000, 2_000_000), Some(300));
        assert_eq!(left(1_100_000, 2_100_000), Some(200));
        assert_eq!(left(1_100_000, 2_000_000), Some(200), "the reader's clock is behind");
        assert_eq!(left(1_000_000, 2_100_000), Some(200), "the store's clock stepped back");
        assert_eq!(left(0, 0), Some(300), "both stepped back");
        assert_eq!(left(1_300_000, 2_000_000), None);
        assert_eq!(left(1_000_000, 2_300_000), None);
        let endless = Entry { life: Life::Stated(Duration::MAX), ..entry() };
        let endless = endless.token(1_000_000, now(2_000_000)).unwrap();
        assert_eq!(endless.left(now(2_000_000)), MAX_LIFETIME);
        let booted = Moment::new(Timestamp::from_unix_millis(2_100_000), Some(Duration::from_secs(5)));
        let token = entry().token(1_100_000, booted).unwrap();
        assert_eq!((token.left(booted).as_secs(), token.expires_at().as_unix_millis()), (200, 2_300_000));
    }
}
