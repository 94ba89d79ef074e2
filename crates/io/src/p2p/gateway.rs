//! Whether the router opens ports when it is asked, by UPnP, PCP or NAT-PMP: what iroh does on its own for every tunnel, asked
//! for once so that somebody can be told. Nothing goes further than the local network, and no port is opened.

use std::io;

use portmapper::{Client, Config, ProbeError};

/// What a router answers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gateway {
    /// By UPnP.
    pub upnp: bool,
    /// By PCP (RFC 6887).
    pub pcp: bool,
    /// By NAT-PMP (RFC 6886).
    pub nat_pmp: bool,
}

/// Asks the router. None if there is none by IPv4. Blocks for a second or so.
pub fn ask_gateway() -> io::Result<Option<Gateway>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        let client = Client::new(Config::default());
        client.probe().await
    });
    runtime.shutdown_background();
    match answer.map_err(io::Error::other)? {
        Ok(found) => Ok(Some(Gateway {
            upnp: found.upnp,
            pcp: found.pcp,
            nat_pmp: found.nat_pmp,
        })),
        Err(ProbeError::NoGateway { .. } | ProbeError::Ipv6Gateway { .. }) => Ok(None),
        Err(error) => Err(io::Error::other(error)),
    }
}
