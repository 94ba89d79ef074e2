//! What `listen()` and `connect()` ask for alike: a URL, how we are called, and a relay. It must not know sockets.

use std::net::SocketAddr;

use netplay_proto::config::MAX_NAME_LEN;

use crate::error::{Error, UrlError};
use crate::p2p::Relays;
use crate::url::{Scheme, Url};

/// What was asked for, once it makes sense in itself.
pub(super) struct Asked<'a> {
    text: &'a str,
    pub(super) url: Url,
    /// What the option says, which goes before what the URL says.
    relays: Option<Relays>,
}

impl<'a> Asked<'a> {
    /// Reads the URL and the options that both calls have.
    pub(super) fn new(text: &'a str, name: &str, version: &str, relay: Option<&str>) -> Result<Self, Error> {
        let url = Url::parse(text)?;
        check_names(name, version)?;
        if relay.is_some() && url.scheme != Scheme::PlayP2p {
            return Err(Error::Option(format!(
                "relay is for play+p2p:// URLs; {}:// has none",
                url.scheme.name()
            )));
        }
        let relays = relay.map(Relays::parse).transpose().map_err(Error::Option)?;
        Ok(Self { text, url, relays })
    }

    /// Returns the URL as it was given.
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// Returns the relays to use, where the URL names these ones. Who names addresses needs no relay.
    pub(super) fn relays(&self, of_url: Option<&Relays>, addresses: &[SocketAddr]) -> Relays {
        match self.relays.as_ref().or(of_url) {
            Some(relays) => relays.clone(),
            None if addresses.is_empty() => Relays::Public,
            None => Relays::None,
        }
    }

    /// Returns the error that a part of the URL is not for this call.
    pub(super) fn refuse(&self, part: &'static str, problem: &str) -> Error {
        let (url, problem) = (self.text.to_owned(), problem.to_owned());
        UrlError { url, part, problem }.into()
    }
}

/// Says so if a name or a version is too long.
pub(super) fn check_names(name: &str, version: &str) -> Result<(), Error> {
    for (what, text) in [("name", name), ("version", version)] {
        let len = text.len();
        if len > MAX_NAME_LEN {
            return Err(Error::Option(format!(
                "{what} is {len} bytes of UTF-8, it may be {MAX_NAME_LEN}"
            )));
        }
    }
    Ok(())
}
