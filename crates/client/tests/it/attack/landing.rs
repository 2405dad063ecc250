//! A flight lands while the application's own subscriber and recorder look on.

use crate::attack::within;
use crate::support::{Behaviour, Endpoint, VirtualClock, builder_with_clock, key, secs};
use jeton::TokenHandle;
use std::sync::{Arc, OnceLock};
use tokio::runtime::Builder;
use tokio::time::sleep;

/// Ships what it is told with a token of the very key that it is told of.
struct Shipper(Arc<OnceLock<TokenHandle>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Shipper {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if let (tracing::Level::WARN, Some(handle)) = (*event.metadata().level(), self.0.get()) {
            let _ready = handle.authorization();
            handle.prefetch();
        }
    }
}

#[test]
fn t13_a_subscriber_that_asks_for_a_token_itself_does_not_lock_the_key() {
    let requests = within(secs(30), || {
        use tracing_subscriber::layer::SubscriberExt as _;
        let handle = Arc::new(OnceLock::new());
        let subscriber = tracing_subscriber::registry().with(Shipper(Arc::clone(&handle)));
        let _told = tracing::subscriber::set_default(subscriber);
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let endpoint = Endpoint::granting(60);
            let manager = builder_with_clock(&endpoint, VirtualClock::with_boot_clock()).build().unwrap();
            handle.set(manager.handle(&key()).unwrap()).unwrap();
            manager.token(&key()).await.unwrap();
            endpoint.set(Behaviour::Break);
            sleep(secs(600)).await;
            assert!(manager.token(&key()).await.is_err());
            endpoint.requests()
        })
    });
    assert!(requests < 60, "{requests} requests");
}
