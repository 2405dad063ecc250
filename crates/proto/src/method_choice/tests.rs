use super::*;
use AssertionAlgorithm::{EdDsa, Es256, Hs256, Ps256, Rs256};
use ClientAuthMethod::{
    ClientSecretBasic, ClientSecretJwt, ClientSecretPost, PrivateKeyJwt, SelfSignedTlsClientAuth,
    TlsClientAuth,
};
use proptest::prelude::*;
use proptest::sample::subsequence;

const RSA: HeldCredential<'static> = HeldCredential::PrivateKey(&[Rs256, Ps256]);
const EC: HeldCredential<'static> = HeldCredential::PrivateKey(&[Es256]);

fn metadata(methods: Option<&[&str]>, algorithms: Option<&[&str]>) -> AuthorizationServerMetadata {
    let document = serde_json::json!({
        "issuer": "i", "token_endpoint": "t",
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
    });
    AuthorizationServerMetadata::parse(document.to_string().as_bytes(), "i").unwrap()
}

fn chosen(
    methods: &[&str],
    algorithms: Option<&[&str]>,
    having: &[HeldCredential<'_>],
) -> Result<(ClientAuthMethod, Option<AssertionAlgorithm>), String> {
    choose_method(&metadata(Some(methods), algorithms), having)
        .map(|chosen| (chosen.method, chosen.algorithm))
        .map_err(|error| error.to_string())
}

#[test]
fn a_secret_goes_by_basic_where_that_is_offered() {
    let all = ClientAuthMethod::ALL.map(ClientAuthMethod::as_str);
    let secret = [HeldCredential::Secret];
    assert_eq!(chosen(&all, None, &secret), Ok((ClientSecretBasic, None)));
    assert_eq!(
        chosen(&["client_secret_jwt", "client_secret_post"], None, &secret),
        Ok((ClientSecretPost, None))
    );
    assert_eq!(chosen(&["client_secret_jwt"], None, &secret), Ok((ClientSecretJwt, Some(Hs256))));
    let unlisted = choose_method(&metadata(None, None), &secret).unwrap();
    assert_eq!(unlisted.method, ClientSecretBasic, "RFC 8414 section 2");
}

#[test]
fn a_key_signs_the_best_that_the_server_takes() {
    let key = ["private_key_jwt"];
    assert_eq!(chosen(&key, Some(&["RS256", "PS256"]), &[RSA]), Ok((PrivateKeyJwt, Some(Ps256))));
    assert_eq!(chosen(&key, Some(&["ES256", "RS256"]), &[RSA]), Ok((PrivateKeyJwt, Some(Rs256))));
    assert_eq!(chosen(&key, None, &[RSA]), Ok((PrivateKeyJwt, Some(Rs256))));
    assert_eq!(chosen(&key, None, &[HeldCredential::PrivateKey(&[EdDsa])]), Ok((PrivateKeyJwt, Some(EdDsa))));
}

#[test]
fn a_certificate_goes_by_whichever_mutual_tls_there_is() {
    let certificate = [HeldCredential::Certificate];
    let both = ["self_signed_tls_client_auth", "tls_client_auth"];
    assert_eq!(chosen(&both, None, &certificate), Ok((TlsClientAuth, None)));
    assert_eq!(chosen(&both[..1], None, &certificate), Ok((SelfSignedTlsClientAuth, None)));
}

#[test]
fn what_does_not_fit_is_told_with_both_sides() {
    let refused =
        |methods: &[&str], algorithms, having: &[_]| chosen(methods, algorithms, having).unwrap_err();
    assert_eq!(
        refused(&["tls_client_auth", "none\n"], None, &[HeldCredential::Secret, EC]),
        "the server offers the methods tls_client_auth, none?; the client has a client secret, a private key"
    );
    assert_eq!(
        refused(&["private_key_jwt"], Some(&["ES256", "EdDSA"]), &[RSA]),
        "the server takes private_key_jwt signed with ES256, EdDSA; the key of the client signs RS256, PS256"
    );
    assert_eq!(
        refused(&["client_secret_jwt"], Some(&["HS512"]), &[HeldCredential::Secret]),
        "the server takes client_secret_jwt signed with HS512; the key of the client signs HS256"
    );
    assert_eq!(refused(&[], None, &[]), "the server offers the methods (none); the client has nothing");
    let unlisted = choose_method(&metadata(None, None), &[EC]).unwrap_err().to_string();
    assert_eq!(unlisted, "the server offers the methods client_secret_basic; the client has a private key");
    let long = "x".repeat(10_000);
    assert!(refused(&[&long], None, &[EC]).len() < 300);
}

#[test]
fn a_key_whose_algorithms_do_not_fit_leaves_it_to_the_secret() {
    let methods = ["private_key_jwt", "client_secret_post"];
    let having = [RSA, HeldCredential::Secret];
    assert_eq!(chosen(&methods, Some(&["ES256"]), &having), Ok((ClientSecretPost, None)));
}

proptest! {
    #[test]
    fn what_is_chosen_is_offered_and_had_whatever_the_order(
        methods in subsequence(ClientAuthMethod::ALL.to_vec(), 0..=6),
        algorithms in proptest::option::of(subsequence(AssertionAlgorithm::ALL.to_vec(), 0..=5)),
        having in subsequence(vec![HeldCredential::Secret, RSA, EC, HeldCredential::Certificate], 0..=4),
    ) {
        let method_names: Vec<_> = methods.iter().map(|method| method.as_str()).collect();
        let algorithm_names: Option<Vec<_>> =
            algorithms.as_ref().map(|listed| listed.iter().map(|one| one.as_str()).collect());
        let metadata = metadata(Some(&method_names), algorithm_names.as_deref());
        let chosen = choose_method(&metadata, &having);
        let mut turned = having.clone();
        turned.reverse();
        let other = choose_method(&metadata, &turned);
        prop_assert_eq!(chosen.as_ref().map(|one| one.method).ok(), other.map(|one| one.method).ok());
        match chosen {
            Ok(ChosenMethod { method, algorithm }) => {
                prop_assert!(methods.contains(&method));
                prop_assert!(having.iter().any(|held| held.is_for(method)));
                let signed = matches!(method, PrivateKeyJwt | ClientSecretJwt);
                prop_assert_eq!(algorithm.is_some(), signed);
                if let (Some(algorithm), Some(listed)) = (algorithm, &algorithms) {
                    prop_assert!(listed.contains(&algorithm));
                }
            }
            Err(NoMethod::Algorithm { .. }) => prop_assert!(algorithms.is_some()),
            Err(NoMethod::Method { .. }) => {
                prop_assert!(!methods.iter().any(|method| having.iter().any(|held| held.is_for(*method))));
            }
        }
    }
}
