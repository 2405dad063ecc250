//! Secrets in AWS Secrets Manager, through the SDK of AWS over this crate's own HTTP exchange.

mod connection;
mod contents;
mod fault;
mod place;

pub use place::AwsPlace;

use super::environment::Surroundings;
use super::source::{Reread, SecretFuture, SecretReading, SecretSource, SourceFault, SourceFaultKind};
use crate::http::{EndpointUrl, ReqwestExchange};
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::imds;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueOutput;
use connection::Connections;
use jeton_proto::secret::Secret;
use jeton_proto::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
const OPERATION_TIMEOUT: Duration = Duration::from_secs(8);
/// A read with all that comes before it: the region, the credentials, a role that has to be taken on. Less than what the caller
/// waits, so that what is told is what happened here.
const READ_TIMEOUT: Duration = Duration::from_secs(9);
const ATTEMPTS: u32 = 2;
/// The metadata service of a machine is near, or it is not there and nobody answers at all.
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);
const METADATA_ATTEMPTS: u32 = 1;

const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";

/// A secret in AWS Secrets Manager.
struct AwsSource {
    place: AwsPlace,
    connections: Connections,
    /// Made at the first read, and made anew after AWS refused its credentials: files with credentials are read once by each.
    client: Mutex<Option<Client>>,
}

impl AwsPlace {
    /// Opens the place: nothing is read and nobody is asked yet.
    ///
    /// # Errors
    /// [`SourceFaultKind::Unusable`] for an `endpoint` to which no secret may be sent, and for certificate authorities that
    /// cannot be read.
    pub fn open(&self, surroundings: &Surroundings) -> Result<Arc<dyn SecretSource>, SourceFault> {
        let unusable = |what: String| SourceFault::new(SourceFaultKind::Unusable, self, what);
        if let Some(endpoint) = &self.endpoint {
            EndpointUrl::parse(endpoint, &surroundings.plain_http)
                .map_err(|error| unusable(format!("the option endpoint: {error}")))?;
        }
        let exchange = ReqwestExchange::new(&surroundings.tls_roots, CONNECT_TIMEOUT)
            .map_err(|error| unusable(error.to_string()))?;
        let connections = Connections::new(Arc::new(exchange), surroundings.plain_http.clone());
        Ok(Arc::new(AwsSource { place: self.clone(), connections, client: Mutex::default() }))
    }
}

impl SecretSource for AwsSource {
    fn read(&self) -> SecretFuture<'_> {
        let read = async {
            let late = || {
                let what = format!(
                    "neither AWS nor what gives credentials for it answered within {} s",
                    READ_TIMEOUT.as_secs()
                );
                SourceFault::new(SourceFaultKind::Unreachable, &self.place, what)
            };
            timeout(READ_TIMEOUT, self.reading()).await.unwrap_or_else(|_elapsed| Err(late()))
        };
        // At TRACE the SDK writes down what it sends and gets, the secret with it. What went wrong is in the fault.
        Box::pin(read.with_subscriber(Dispatch::none()))
    }

    fn reread(&self) -> Reread {
        Reread::Periodically
    }
}

impl AwsSource {
    async fn reading(&self) -> Result<SecretReading, SourceFault> {
        let client = self.client().await?;
        let (current, previous) =
            tokio::join!(self.version(&client, CURRENT), self.version(&client, PREVIOUS));
        if current.as_ref().is_err_and(|fault| fault.kind() == SourceFaultKind::Denied) {
            *self.client.lock().await = None;
        }
        let (current, since) = current?;
        // Most secrets have none, and some policies show the current version alone.
        let previous = previous.ok().map(|(secret, _)| secret).filter(|previous| *previous != current);
        Ok(SecretReading { current, previous, since })
    }

    /// The secret of the version with this label, and when that was made.
    async fn version(
        &self,
        client: &Client,
        label: &str,
    ) -> Result<(Secret<String>, Option<Timestamp>), SourceFault> {
        let asked = client.get_secret_value().secret_id(&self.place.secret_id).version_stage(label);
        let answer = asked.send().await.map_err(|error| fault::of(&self.place, &error))?;
        let since = made_at(&answer);
        let secret = contents::secret(&self.place, answer)?;
        Ok((secret, since))
    }

    async fn client(&self) -> Result<Client, SourceFault> {
        let mut client = self.client.lock().await;
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let config = self.config().await;
        if config.region().is_none() {
            let what = "no region is known: write it as aws:NAME?region=REGION, or set AWS_REGION or the region of the profile";
            return Err(SourceFault::new(SourceFaultKind::Unusable, &self.place, what));
        }
        Ok(client.insert(Client::new(&config)).clone())
    }

    /// What the SDK finds in the environment and in its files, within our bounds.
    async fn config(&self) -> SdkConfig {
        let profile = self.place.profile.as_deref();
        let provider = ProviderConfig::default().with_http_client(self.connections.clone());
        let metadata = imds::Client::builder()
            .configure(&provider)
            .max_attempts(METADATA_ATTEMPTS)
            .connect_timeout(METADATA_TIMEOUT)
            .read_timeout(METADATA_TIMEOUT)
            .build();
        let region = self.region(&provider, metadata.clone()).await;
        let provider = provider.with_region(region.clone());
        let credentials = DefaultCredentialsChain::builder().configure(provider).imds_client(metadata);
        let credentials = match profile {
            Some(profile) => credentials.profile_name(profile),
            None => credentials,
        };
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(OPERATION_TIMEOUT)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(self.connections.clone())
            .credentials_provider(credentials.region(region.clone()).build().await)
            .region(region)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            // An answer comes whole and within the time of an attempt, or not at all.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(profile) = profile {
            loader = loader.profile_name(profile);
        }
        if let Some(endpoint) = &self.place.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        loader.load().await
    }

    /// The option, the region in an ARN, and then what the SDK would look for.
    async fn region(&self, provider: &ProviderConfig, metadata: imds::Client) -> Option<Region> {
        let mut profile = ProfileFileRegionProvider::builder().configure(provider);
        if let Some(name) = &self.place.profile {
            profile = profile.profile_name(name);
        }
        let metadata = ImdsRegionProvider::builder().configure(provider).imds_client(metadata).build();
        RegionProviderChain::first_try(self.place.region().map(Region::new))
            .or_else(EnvironmentVariableRegionProvider::new())
            .or_else(profile.build())
            .or_else(metadata)
            .region()
            .await
    }
}

fn made_at(answer: &GetSecretValueOutput) -> Option<Timestamp> {
    let millis = answer.created_date()?.to_millis().ok()?;
    u64::try_from(millis).ok().map(Timestamp::from_unix_millis)
}
