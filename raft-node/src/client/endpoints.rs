//! The nodes that a client talks to.

use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use tonic::Code;
use tonic::transport::{Channel, Endpoint as TonicEndpoint};

use super::error::{ClientError, Failed, reason};
use crate::config::addresses::host_and_port;

/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// One node, and a connection to it that is made when it is first used and again whenever it broke.
#[derive(Clone, Debug)]
pub struct Endpoint {
    url: String,
    channel: Channel,
}

impl Endpoint {
    /// The node at `url`: `http://host:port`, or `host:port` for short.
    ///
    /// Must be called inside a tokio runtime, which will drive the connection.
    pub fn new(url: &str) -> Result<Endpoint, ClientError> {
        let url = EndpointUrl::from_str(url)?.0;
        let channel = channel(&url)?;
        Ok(Endpoint { url, channel })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The connection to it.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }
}

/// A new connection to `url`.
pub(super) fn channel(url: &str) -> Result<Channel, ClientError> {
    let endpoint = TonicEndpoint::from_shared(url.to_owned()).map_err(|error| ClientError::Endpoint {
        endpoint: url.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .connect_lazy())
}

/// The URL of a node, complete with its scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointUrl(pub String);

impl FromStr for EndpointUrl {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<EndpointUrl, ClientError> {
        let refused = |reason: String| ClientError::Endpoint {
            endpoint: text.to_owned(),
            reason,
        };
        if text.starts_with("https://") {
            return Err(refused("this client speaks http only".to_owned()));
        }
        let url = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let address = host_and_port(&url, &["http"]).map_err(|error| refused(error.to_string()))?;
        Ok(EndpointUrl(format!("http://{address}")))
    }
}

/// Connects to each of `urls`, in order.
pub fn open(urls: &[EndpointUrl]) -> Result<Vec<Endpoint>, ClientError> {
    urls.iter().map(|url| Endpoint::new(&url.0)).collect()
}

/// Asks one endpoint after the other until one serves the request, each for at most `timeout`.
///
/// A refusal that would be the same everywhere, such as a key that is too large, ends the search.
pub async fn first_answer<T, F, Fut>(
    endpoints: &[Endpoint],
    timeout: Duration,
    mut ask: F,
) -> Result<T, ClientError>
where
    F: FnMut(Channel) -> Fut,
    Fut: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
{
    let mut failed = Vec::new();
    for endpoint in endpoints {
        let reason = match answer(endpoint, timeout, &mut ask).await {
            Ok(answer) => return Ok(answer),
            Err(status) if is_elsewhere_too(status.code()) => {
                return Err(ClientError::Refused {
                    endpoint: endpoint.url.clone(),
                    message: status.message().to_owned(),
                });
            }
            Err(status) => reason(&status),
        };
        failed.push(Failed {
            endpoint: endpoint.url.clone(),
            reason,
        });
    }
    Err(ClientError::NoAnswer(failed))
}

/// Asks one endpoint, for at most `timeout`.
pub async fn answer<T, F, Fut>(endpoint: &Endpoint, timeout: Duration, ask: F) -> Result<T, tonic::Status>
where
    F: FnOnce(Channel) -> Fut,
    Fut: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
{
    match tokio::time::timeout(timeout, ask(endpoint.channel())).await {
        Ok(result) => result.map(tonic::Response::into_inner),
        Err(_) => Err(tonic::Status::deadline_exceeded(format!(
            "no answer within {} ms",
            timeout.as_millis()
        ))),
    }
}

/// Whether another node would answer the same: the request itself is at fault.
pub(super) fn is_elsewhere_too(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::OutOfRange
            | Code::FailedPrecondition
            | Code::NotFound
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Unimplemented
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::key_value;

    #[test]
    fn an_endpoint_needs_a_host_and_a_port() {
        let parsed = |text: &str| {
            text.parse::<EndpointUrl>()
                .map(|url| url.0)
                .map_err(|error| error.to_string())
        };
        assert_eq!(parsed("127.0.0.1:2379").unwrap(), "http://127.0.0.1:2379");
        assert_eq!(parsed("http://node:1/").unwrap(), "http://node:1");
        assert!(parsed("https://node:1").unwrap_err().contains("http only"));
        assert!(parsed("node").unwrap_err().contains("port"));
        assert!(parsed("ftp://node:1").unwrap_err().contains("http://"));
    }

    #[tokio::test]
    async fn nobody_answers_on_a_closed_port() {
        // Bound and dropped at once: nobody listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let endpoints = [Endpoint::new(&format!("127.0.0.1:{port}")).unwrap()];
        let wanted = key_value::Wanted {
            key: b"k".to_vec(),
            ..key_value::Wanted::default()
        };
        let error = key_value::get(&endpoints, wanted, Duration::from_secs(5))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(&format!("http://127.0.0.1:{port}")), "{error}");
        assert!(error.to_lowercase().contains("refused"), "{error}");
    }
}
