//! The hit path allocates nothing. A test of its own binary, since it counts every allocation of the process.

use bytes::Bytes;
use http::{Request, Response};
use jeton::http::{ExchangeFuture, ExchangeLimits, HttpExchange};
use jeton::{Secret, TokenKey, TokenManager};
use std::sync::Arc;

struct OneToken;

impl HttpExchange for OneToken {
    fn exchange(&self, _: Request<Bytes>, _: ExchangeLimits) -> ExchangeFuture<'_> {
        let body = r#"{"access_token":"one","token_type":"Bearer","expires_in":3600}"#;
        Box::pin(async move { Ok(Response::new(Bytes::from_static(body.as_bytes()))) })
    }
}

#[test]
fn the_hit_path_allocates_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let handle = runtime.block_on(async {
        let manager = TokenManager::builder("https://as.example/token", "allocations")
            .client_secret(Secret::from("allocations"))
            .exchange(Arc::new(OneToken))
            .build()
            .unwrap();
        let handle = manager.handle(&TokenKey::default()).unwrap();
        handle.token().await.unwrap();
        handle
    });
    // The first read on a thread registers it with the guard's list.
    assert!(handle.get_with(|_| ()).is_some());
    let counted = allocation_counter::measure(|| {
        for _ in 0..1000 {
            assert!(handle.get_with(jeton::CachedToken::expires_at).is_some());
            assert!(handle.authorization().is_some());
        }
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
    let counts = allocation_counter::measure(|| drop(std::hint::black_box(vec![1_u8])));
    assert_eq!(counts.count_total, 1, "the counter counts");
}
