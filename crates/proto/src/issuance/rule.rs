//! The rules by which token requests are refused, each with the clause behind it and what to do about it.
//!
//! What a caller is told stays uniform; the rule stands in the audit log, where `jeton explain` finds it.

macro_rules! rules {
    ($($variant:ident: $id:literal, $rfc:literal, $explanation:literal, $advice:literal;)*) => {
        /// Why a token request was refused, exactly. It is for the log of the server and never for its answer.
        #[allow(clippy::doc_markdown, reason = "the doc comments are shown to people too, where backticks are noise")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Rule {
            $(#[doc = $explanation] $variant,)*
        }

        impl Rule {
            /// Every rule.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in the audit log, which stays as it is for ever.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Self::$variant => $id,)* }
            }

            /// The clause of a standard behind it.
            #[must_use]
            pub const fn rfc(self) -> &'static str {
                match self { $(Self::$variant => $rfc,)* }
            }

            /// What was wrong, for people.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$variant => $explanation,)* }
            }

            /// What to do about it.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)* }
            }
        }
    };
}

// One line a rule: name, id, clause, what was wrong, what to do.
rules! {
    HeadMalformed: "head_malformed", "RFC 9112 section 3.2", "the head of the request can be read in two ways", "look for a proxy that adds or doubles the headers Host or Transfer-Encoding";
    MethodNotAllowed: "method_not_allowed", "RFC 6749 section 3.2", "the token endpoint was asked by another method than POST", "let the client send a POST request";
    BodyTooLong: "body_too_long", "RFC 9110 section 15.5.14", "the request body is longer than the limit", "let the client send the parameters of a token request alone";
    BodySlow: "body_slow", "RFC 9110 section 15.5.9", "the request body did not arrive in time", "look at the network between the client and this server";
    BodyBroken: "body_broken", "RFC 9112 section 8", "the request body did not arrive whole", "look at the network, and at the Content-Length that the client sends";
    ContentType: "content_type", "RFC 6749 appendix B", "the request body is no form", "let the client send Content-Type: application/x-www-form-urlencoded, once";
    FormMalformed: "form_malformed", "RFC 6749 section 3.2", "the form cannot be read, or a parameter is in it twice", "see the reason for the parameter, and send each parameter once, in UTF-8";
    TwoMethods: "two_methods", "RFC 6749 section 2.3", "the client authenticates in more than one way at once", "send the credential in the header, in the body, or as an assertion, and in one of them alone";
    TwoAuthorizations: "two_authorizations", "RFC 9110 section 5.3", "there is more than one Authorization header", "look for a proxy or a library that adds one to that of the client";
    ClientIdMismatch: "client_id_mismatch", "RFC 6749 section 2.3.1", "the client_id in the body is not the one of the credential", "leave the client_id out of the body, or send the same one";
    ClientIdMissing: "client_id_missing", "RFC 6749 section 2.3.1", "there is a client_secret without a client_id", "send the client_id beside the client_secret";
    BasicMalformed: "basic_malformed", "RFC 6749 section 2.3.1", "the Authorization header is no Basic credential", "encode id and secret as forms are, join them by a colon, and encode that in base64";
    NoCredential: "no_credential", "RFC 6749 section 5.2", "the client did not authenticate", "give the client its id and secret; see whether a proxy removes the Authorization header";
    AssertionUnsupported: "assertion_unsupported", "RFC 7523 section 2.2", "the client_assertion_type is none that this server takes", "let the client send the type of RFC 7523, urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    AssertionIncomplete: "assertion_incomplete", "RFC 7521 section 4.2", "there is a client_assertion without its type, or the type without it", "let the client send both";
    AssertionInvalid: "assertion_invalid", "RFC 7523 section 3", "the client assertion is malformed, for somebody else, out of its time, or its signature is wrong", "see the reason; aud must be the issuer identifier of this server, and exp at most 300 s ahead";
    AssertionUsed: "assertion_used", "RFC 7523 section 3", "the client assertion was used before", "let the client make a new one, with a jti of its own, for each request, a repeated one too; if it does, somebody has copied it";
    AssertionUndecided: "assertion_undecided", "RFC 7523 section 3", "it cannot be told now whether the client assertion was used before, or by which key it is", "see the reason; the client may try again with a new assertion";
    KeyUnknown: "key_unknown", "RFC 7523 section 3", "the client has no key like the one that the assertion is signed with", "compare the kid and alg of the assertion with the keys that are registered; client_secret_jwt wants a secret that is kept sealed";
    WorkloadUntrusted: "workload_untrusted", "RFC 7521 section 4.2", "the token of another issuer is not one that the client trusts", "compare its iss, sub and other claims with the workload identities of the client";
    CertificateWrong: "certificate_wrong", "RFC 8705 section 2", "the certificate of the connection is not that of the client", "compare its names or thumbprint with what is registered, and its authority with those that the server was given";
    ClientUnknown: "client_unknown", "RFC 6749 section 5.2", "there is no client with this id", "compare the client id with those of: jeton client list";
    SecretWrong: "secret_wrong", "RFC 6749 section 2.3.1", "the client is there, and none of its secrets is the one that was sent", "compare where the client takes its secret from with where the last one was put; a lost secret cannot be read again";
    SecretNotYet: "secret_not_yet", "RFC 6749 section 5.2", "the secret is right, and not in force yet", "use the one before it, or wait; see the times by: jeton client list";
    SecretExpired: "secret_expired", "RFC 6749 section 5.2", "the secret is right, and has expired", "give the client its newer secret, or rotate it";
    ClientDisabled: "client_disabled", "RFC 6749 section 5.2", "the secret is right, and the client is disabled", "if it is to have tokens again: jeton client enable NAME";
    GrantTypeMissing: "grant_type_missing", "RFC 6749 section 4.4.2", "there is no grant_type", "send grant_type=client_credentials";
    GrantTypeUnsupported: "grant_type_unsupported", "RFC 6749 section 5.2", "the grant is another one than client_credentials", "let the client use the client credentials grant; users do not log in here";
    ScopeMalformed: "scope_malformed", "RFC 6749 section 3.3", "the scope is not written as scopes are", "write scope tokens of printable ASCII without quotation mark and backslash, divided by one space each";
    ScopeNotAllowed: "scope_not_allowed", "RFC 6749 section 3.3", "the client may not have a scope that it asked for", "ask for less, or register the scope for the client";
    TargetNotAllowed: "target_not_allowed", "RFC 8707 section 2", "the client may not have tokens for a resource or audience that it asked for", "ask for another one, or register the audience for the client";
    TooManyRequests: "too_many_requests", "RFC 6585 section 4", "the client makes more token requests than it may", "let the client keep each token for its life; if it needs that many, raise server.client_requests_per_second";
    TooManyFailures: "too_many_failures", "RFC 6585 section 4", "too many authentications from this address failed before this one", "mend the caller that sends a wrong credential; a right one is let in at any time";
    MintPerCall: "mint_per_call", "RFC 6585 section 4", "the client asks for a new token while the last one is good, again and again", "let the client keep each token for its life, and share it among its processes";
    TokenOfOther: "token_of_other", "RFC 7009 section 2.1", "the token to be revoked was issued to another client", "let that client revoke it, or register the scope jeton:revoke for this one";
    RevocationShareUsed: "revocation_share_used", "RFC 7009 section 2.2.1", "the client has as many revoked tokens that have not expired as there is room left for those of all others", "disable the client if it should not revoke so many; a client with the scope jeton:revoke can revoke its tokens all the same";
    RevocationNotStored: "revocation_not_stored", "RFC 7009 section 2.2.1", "the registry could not store in time that the token is revoked", "see the log of the server for what is wrong with the registry, and revoke the token again";
    ServerFailed: "server_failed", "RFC 9110 section 15.6.1", "the server failed", "see the reason and the log of the server; if it goes on, report it";
    Unspecified: "unspecified", "RFC 6749 section 5.2", "no rule is told for this refusal", "see the error code and the reason";
}

impl Rule {
    /// The rule with this id.
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.id() == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_an_id_of_its_own_a_clause_and_words() {
        for (index, rule) in Rule::ALL.iter().enumerate() {
            assert_eq!(Rule::parse(rule.id()), Some(*rule));
            assert_eq!(Rule::ALL.iter().position(|other| other.id() == rule.id()), Some(index), "{rule:?}");
            assert!(rule.rfc().starts_with("RFC ") && !rule.advice().is_empty(), "{rule:?}");
            assert!(!rule.explanation().ends_with('.') && !rule.advice().ends_with('.'), "{rule:?}");
            assert!(rule.id().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{rule:?}");
        }
        assert_eq!(Rule::parse("SECRET_WRONG"), None);
    }
}
