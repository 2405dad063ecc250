//! How a token for the vault is come by, kept, and replaced.

use super::{OpenBao, around, as_root, assert_fault, current, opened};
use crate::support::millis;
use crate::support::socket::{Server, text};
use jeton::credentials::{SecretPlace, SourceFaultKind, VaultPlace};
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PLACE: &str = "vault:secret/a?auth=approle&role_id=file:role-id&secret_id=file:secret-id";

/// A server with a secret, and a role that may read it, whose ids are in files.
struct Rig {
    server: OpenBao,
    files: TempDir,
    around: jeton::credentials::Surroundings,
}

impl Rig {
    fn new(role: &Value) -> Self {
        let (server, files) = (OpenBao::start(), tempfile::tempdir().unwrap());
        let mut around = around(&server.url(), &[]);
        files.path().clone_into(&mut around.directory);
        let rig = Self { server, files, around };
        rig.set_up(role);
        rig
    }

    fn set_up(&self, role: &Value) {
        self.server.put("a", &json!({ "client_secret": "found" }));
        self.server.policy_to_read("reader");
        self.server.post("sys/auth/approle", &json!({ "type": "approle" }));
        self.server.post("auth/approle/role/billing", role);
        let id = self.server.get("auth/approle/role/billing/role-id")["data"]["role_id"].clone();
        fs::write(self.files.path().join("role-id"), id.as_str().unwrap()).unwrap();
        self.new_secret_id();
    }

    fn new_secret_id(&self) {
        let id =
            self.server.post("auth/approle/role/billing/secret-id", &json!({}))["data"]["secret_id"].clone();
        fs::write(self.files.path().join("secret-id"), format!("{}\n", id.as_str().unwrap())).unwrap();
    }

    /// How many tokens there are besides root's.
    fn tokens(&self) -> usize {
        self.accessors().len() - 1
    }

    fn accessors(&self) -> Vec<Value> {
        let (_, answer) = self
            .server
            .try_ask("LIST", "auth/token/accessors", Some(super::ROOT_TOKEN), &Value::Null)
            .unwrap();
        answer["data"]["keys"].as_array().unwrap().clone()
    }

    fn revoke_all(&self) {
        for accessor in self.accessors() {
            let token = self.server.post("auth/token/lookup-accessor", &json!({ "accessor": accessor }));
            if token["data"]["display_name"] != "token" {
                self.server.post("auth/token/revoke-accessor", &json!({ "accessor": accessor }));
            }
        }
    }
}

fn role(token_ttl: &str, token_max_ttl: &str) -> Value {
    json!({ "token_policies": ["reader"], "token_ttl": token_ttl, "token_max_ttl": token_max_ttl })
}

#[tokio::test(flavor = "multi_thread")]
async fn app_role_logs_in_once_for_many_reads_and_again_when_the_token_is_revoked() {
    let rig = Rig::new(&role("1h", "2h"));
    let source = opened(PLACE, &rig.around);
    let reads: Vec<_> = (0..50)
        .map(|_| {
            let source = Arc::clone(&source);
            tokio::spawn(async move { current(&source).await })
        })
        .collect();
    for read in reads {
        assert_eq!(read.await.unwrap(), "found");
    }
    assert_eq!(rig.tokens(), 1, "fifty reads are one login");

    rig.revoke_all();
    assert_eq!(rig.tokens(), 0);
    let reads: Vec<_> = (0..50)
        .map(|_| {
            let source = Arc::clone(&source);
            tokio::spawn(async move { current(&source).await })
        })
        .collect();
    for read in reads {
        assert_eq!(read.await.unwrap(), "found");
    }
    assert_eq!(rig.tokens(), 1, "fifty reads with a revoked token are one login");

    // The secret id is replaced too: it is read again for each login.
    rig.server.post(
        "auth/approle/role/billing/secret-id/destroy",
        &json!({
            "secret_id": fs::read_to_string(rig.files.path().join("secret-id")).unwrap().trim(),
        }),
    );
    rig.revoke_all();
    assert_fault(
        &source,
        SourceFaultKind::Denied,
        &["the login at auth/approle was refused", "role_id and secret_id"],
    )
    .await;
    rig.new_secret_id();
    assert_eq!(current(&source).await, "found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_a_secret_id_and_a_method_mounted_elsewhere_are_used() {
    let rig = Rig::new(&role("1h", "2h"));
    rig.server.post("sys/auth/teams/a", &json!({ "type": "approle" }));
    rig.server.post(
        "auth/teams/a/role/billing",
        &json!({ "bind_secret_id": false, "secret_id_bound_cidrs": ["127.0.0.1/32"], "token_bound_cidrs": ["127.0.0.1/32"], "policies": ["reader"] }),
    );
    let id = rig.server.get("auth/teams/a/role/billing/role-id")["data"]["role_id"].clone();
    fs::write(rig.files.path().join("role-id"), id.as_str().unwrap()).unwrap();
    let source = opened("vault:secret/a?auth=approle&auth_mount=teams/a&role_id=file:role-id", &rig.around);
    assert_eq!(current(&source).await, "found");
    let source = opened("vault:secret/a?auth=approle&auth_mount=other&role_id=file:role-id", &rig.around);
    assert_fault(
        &source,
        SourceFaultKind::Denied,
        &["the login at auth/other was refused", "option auth_mount"],
    )
    .await;
}

/// Reads for `span`, twice a second, and gives how many tokens were made and how many are left.
async fn reads_for(rig: &Rig, span: Duration) -> usize {
    let source = opened(PLACE, &rig.around);
    let until = Instant::now() + span;
    let mut seen = std::collections::BTreeSet::new();
    while Instant::now() < until {
        assert_eq!(current(&source).await, "found");
        seen.extend(rig.accessors().into_iter().filter_map(|it| it.as_str().map(str::to_owned)));
        tokio::time::sleep(millis(500)).await;
    }
    seen.len() - 1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_token_is_renewed_for_as_long_as_it_can_be() {
    let rig = Rig::new(&role("4s", "1h"));
    assert_eq!(reads_for(&rig, Duration::from_secs(10)).await, 1, "ten seconds with a token of four");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_met_its_longest_life_is_replaced_by_another_login() {
    let rig = Rig::new(&role("3s", "5s"));
    let tokens = reads_for(&rig, Duration::from_secs(12)).await;
    assert!((3..=5).contains(&tokens), "{tokens} tokens of five seconds in twelve");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_token_is_renewed_and_its_end_is_told() {
    let rig = Rig::new(&role("1h", "2h"));
    let properties = json!({ "policies": ["reader"], "ttl": "3s", "explicit_max_ttl": "1h" });
    let file = rig.files.path().join("token");
    fs::write(&file, rig.server.token(&properties)).unwrap();
    let source = opened("vault:secret/a?token=file:token", &rig.around);
    let until = Instant::now() + Duration::from_secs(8);
    while Instant::now() < until {
        assert_eq!(current(&source).await, "found");
        tokio::time::sleep(millis(500)).await;
    }
    let token = fs::read_to_string(&file).unwrap();
    rig.server.post("auth/token/revoke", &json!({ "token": token }));
    for _ in 0..3 {
        assert_fault(&source, SourceFaultKind::Denied, &["the token is not accepted", "put another one"])
            .await;
    }
    // Whoever writes another one there need not restart anything.
    fs::write(&file, rig.server.token(&properties)).unwrap();
    assert_eq!(current(&source).await, "found");
    fs::write(&file, rig.server.token(&properties)).unwrap();
    rig.revoke_all();
    assert_eq!(current(&source).await, "found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_found_where_every_tool_looks_for_it() {
    let rig = Rig::new(&role("1h", "2h"));
    let token = rig.server.token(&json!({ "policies": ["reader"], "type": "batch", "ttl": "1h" }));
    let home = rig.files.path().to_str().unwrap();
    let (url, place) = (rig.server.url(), "vault:secret/a");
    let nowhere = place.parse::<SecretPlace>().unwrap().open(&around(&url, &[("HOME", home)])).err().unwrap();
    assert!(nowhere.to_string().contains("no token for it is there"), "{nowhere}");
    fs::write(rig.files.path().join(".vault-token"), &token).unwrap();
    assert_eq!(current(&opened(place, &around(&url, &[("HOME", home)]))).await, "found");
    let wrong = [("HOME", home), ("VAULT_TOKEN", "s.wrong")];
    let both = opened(place, &around(&url, &wrong));
    assert_fault(&both, SourceFaultKind::Denied, &["the token is not accepted"]).await;
    let named = [("HOME", home), ("BAO_TOKEN", &*token), ("VAULT_TOKEN", "s.wrong")];
    assert_eq!(current(&opened(place, &around(&url, &named))).await, "found");
    let typed =
        VaultPlace::new("secret", "a").unwrap().address(&url).token(SecretPlace::Environment("T".to_owned()));
    let source = typed.open(&around("http://127.0.0.1:1", &[("T", &token)])).unwrap();
    assert_eq!(current(&source).await, "found");
}

/// A Kubernetes that knows one service account. The server asks it whether a token is good.
async fn kubernetes() -> Server {
    Server::start(|_, request, body| {
        let review: Value = serde_json::from_slice(body).unwrap();
        let is_good = review["spec"]["token"].as_str().unwrap().ends_with("-good");
        let is_asked = request.uri().path() == "/apis/authentication.k8s.io/v1/tokenreviews"
            && request.headers()["authorization"] == "Bearer reviewer";
        if !is_asked {
            return text(403, "{}");
        }
        let user = json!({ "username": "system:serviceaccount:shop:billing", "uid": "u1" });
        let status = if is_good {
            json!({ "authenticated": true, "user": user, "audiences": ["kubernetes"] })
        } else {
            json!({ "authenticated": false })
        };
        text(
            201,
            json!({ "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": status })
                .to_string(),
        )
    })
    .await
}

fn service_account_token(signature: &str) -> String {
    use base64::Engine as _;
    let encoded = |value: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    let account = json!({ "namespace": "shop", "serviceaccount": { "name": "billing", "uid": "u1" } });
    let claims = json!({
        "iss": "kubernetes", "sub": "system:serviceaccount:shop:billing", "aud": ["kubernetes"], "exp": 4_000_000_000_u64, "iat": 1_700_000_000, "nbf": 1_700_000_000,
        "kubernetes.io": account,
    });
    format!("{}.{}.{signature}", encoded(&json!({ "alg": "RS256", "kid": "k" })), encoded(&claims))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_logs_in_with_the_token_of_its_service_account() {
    let rig = Rig::new(&role("1h", "2h"));
    let kubernetes = kubernetes().await;
    // It wants to know by whom its Kubernetes is certified, and does not ask over plain http.
    let ca = rcgen::generate_simple_self_signed(["kubernetes".to_owned()]).unwrap().cert.pem();
    rig.server.post("sys/auth/kubernetes", &json!({ "type": "kubernetes" }));
    rig.server.post(
        "auth/kubernetes/config",
        &json!({ "kubernetes_host": kubernetes.url(""), "token_reviewer_jwt": "reviewer", "kubernetes_ca_cert": ca, "disable_local_ca_jwt": true }),
    );
    let role = json!({
        "bound_service_account_names": ["billing"], "bound_service_account_namespaces": ["shop"], "token_policies": ["reader"],
        "token_ttl": "1h",
    });
    rig.server.post("auth/kubernetes/role/billing", &role);
    let place = "vault:secret/a?auth=kubernetes&role=billing&jwt=file:jwt";
    let source = opened(place, &rig.around);
    let file = rig.files.path().join("jwt");

    assert_fault(&source, SourceFaultKind::Absent, &["its jwt", "it is not there"]).await;
    fs::write(&file, service_account_token("signed-bad")).unwrap();
    assert_fault(&source, SourceFaultKind::Denied, &["the login at auth/kubernetes was refused", "the jwt"])
        .await;
    // What the kubelet puts there in its place is read at the next login.
    fs::write(&file, service_account_token("signed-good")).unwrap();
    assert_eq!(current(&source).await, "found");
    assert!(kubernetes.requests() >= 2);
    let other = opened(&place.replace("role=billing", "role=other"), &rig.around);
    assert_fault(&other, SourceFaultKind::Denied, &["check the role and the jwt"]).await;
    let typed =
        VaultPlace::new("secret", "a").unwrap().kubernetes("billing").open(&as_root(&rig.server)).unwrap();
    assert_fault(&typed, SourceFaultKind::Absent, &["/var/run/secrets/kubernetes.io/serviceaccount/token"])
        .await;
}
