//! As whom relays see this machine: QUIC address discovery, asked of several relays from one and the same port. It must not know
//! what follows from that: whoever compares can tell what kind of router is between.
//!
//! iroh asks the same for itself, but its report ends with the first answers, and with two relays that may be one of each family,
//! which says nothing.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_core::Stream;
use iroh::RelayMode;
use iroh::tls::{CaTlsConfig, default_provider};
use iroh_relay::quic::{QUIC_ADDR_DISC_CLOSE_CODE, QUIC_ADDR_DISC_CLOSE_REASON, QuicClient};
use noq::Endpoint;
use tokio::task::JoinSet;
use url::Url;

use super::node::{certificate, quic_port};
use super::terms::{OwnRelay, Relays};

/// What one relay says by UDP, over one family of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The relay's URL.
    pub relay: String,
    /// Where it was asked.
    pub remote: SocketAddr,
    /// From where it was asked; None if this machine knows no way there.
    pub local: Option<SocketAddr>,
    /// From where it came to the relay, and how long the answer took; None without an answer.
    pub seen: Option<(SocketAddr, Duration)>,
}

/// Asks these relays, or with None the public ones, over each family that they have. One whose name has no address says nothing.
pub fn sights(relays: Option<&[String]>, timeout: Duration) -> io::Result<Vec<Sight>> {
    let until = Instant::now() + timeout;
    let relays = match relays {
        Some(texts) => texts
            .iter()
            .map(|text| own(text))
            .collect::<io::Result<Vec<OwnRelay>>>()?,
        None => RelayMode::Default
            .relay_map()
            .urls::<Vec<_>>()
            .into_iter()
            .map(|url| OwnRelay {
                url: Url::from(url),
                certificate: None,
            })
            .collect(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sights = runtime.block_on(look(relays, until));
    // A name that is still looked up is not waited for.
    runtime.shutdown_background();
    Ok(sights)
}

fn own(text: &str) -> io::Result<OwnRelay> {
    let fail = |problem| io::Error::new(io::ErrorKind::InvalidInput, problem);
    match Relays::parse(text).map_err(fail)? {
        Relays::Own(relay) => Ok(relay),
        Relays::Public | Relays::None => Err(fail(format!("relay={text} names no relay"))),
    }
}

async fn look(relays: Vec<OwnRelay>, until: Instant) -> Vec<Sight> {
    let mut names = JoinSet::new();
    for relay in relays {
        names.spawn(async move {
            let found = tokio::time::timeout_at(until.into(), addresses(&relay.url)).await;
            (relay, found.unwrap_or_default())
        });
    }
    let known = names.join_all().await;
    let mut asked = JoinSet::new();
    for is_ipv4 in [true, false] {
        let of_family: Vec<(OwnRelay, SocketAddr)> = known
            .iter()
            .filter_map(|(relay, found)| {
                let address = found.iter().find(|address| address.is_ipv4() == is_ipv4)?;
                Some((relay.clone(), *address))
            })
            .collect();
        // Who asks on this machine only is not to be noticed outside.
        let is_local = of_family.iter().all(|(_, remote)| remote.ip().is_loopback());
        let endpoint = bind(is_ipv4, is_local).ok();
        for (relay, remote) in of_family {
            asked.spawn(ask(endpoint.clone(), relay, remote, until));
        }
    }
    let mut sights = asked.join_all().await;
    sights.sort_by(|one, other| (&one.relay, one.remote).cmp(&(&other.relay, other.remote)));
    sights
}

async fn addresses(relay: &Url) -> Vec<SocketAddr> {
    match tokio::net::lookup_host((name(relay), quic_port(relay))).await {
        Ok(found) => found.collect(),
        Err(_) => Vec::new(),
    }
}

/// Returns the relay's name, or its address without brackets.
fn name(relay: &Url) -> &str {
    let host = relay.host_str().unwrap_or_default();
    host.trim_matches(['[', ']']).trim_end_matches('.')
}

fn bind(is_ipv4: bool, is_local: bool) -> io::Result<Endpoint> {
    let ip = match (is_ipv4, is_local) {
        (true, true) => Ipv4Addr::LOCALHOST.into(),
        (true, false) => Ipv4Addr::UNSPECIFIED.into(),
        (false, true) => Ipv6Addr::LOCALHOST.into(),
        (false, false) => Ipv6Addr::UNSPECIFIED.into(),
    };
    Endpoint::client(SocketAddr::new(ip, 0))
}

/// Asks one relay.
async fn ask(endpoint: Option<Endpoint>, relay: OwnRelay, remote: SocketAddr, until: Instant) -> Sight {
    let local = endpoint.as_ref().and_then(|endpoint| local(endpoint, remote));
    let mut sight = Sight {
        relay: relay.url.as_str().trim_end_matches('/').to_owned(),
        remote,
        local,
        seen: None,
    };
    if let Some(endpoint) = endpoint.filter(|_| local.is_some())
        && let Ok(Some(seen)) = tokio::time::timeout_at(until.into(), seen(endpoint, &relay, remote)).await
    {
        sight.seen = Some(seen);
    }
    sight
}

/// Returns the address from which this endpoint reaches another; None if it knows no way there. Sends nothing.
fn local(endpoint: &Endpoint, remote: SocketAddr) -> Option<SocketAddr> {
    let own = endpoint.local_addr().ok()?;
    let probe = UdpSocket::bind((own.ip(), 0)).ok()?;
    probe.connect(remote).ok()?;
    Some(SocketAddr::new(probe.local_addr().ok()?.ip(), own.port()))
}

async fn seen(endpoint: Endpoint, relay: &OwnRelay, remote: SocketAddr) -> Option<(SocketAddr, Duration)> {
    let began = Instant::now();
    let roots = if relay.is_plain() || relay.certificate.is_some() {
        certificate(relay.certificate)
    } else {
        CaTlsConfig::default()
    };
    let client = QuicClient::new(endpoint, roots.client_config(default_provider()).ok()?);
    let connection = client.create_conn(remote, name(&relay.url)).await.ok()?;
    let mut observed = pin!(connection.observed_external_addr());
    let address = poll_fn(|context| observed.as_mut().poll_next(context)).await?;
    let taken = began.elapsed();
    connection.close(QUIC_ADDR_DISC_CLOSE_CODE, QUIC_ADDR_DISC_CLOSE_REASON);
    Some((SocketAddr::new(address.ip().to_canonical(), address.port()), taken))
}
