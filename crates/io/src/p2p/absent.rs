//! The port of a netplay that was built without the feature `p2p`: there never is one.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use netplay_proto::{ConnectionId, Key, Timestamp};

use super::{Arrival, Contact, Terms, Way};
use crate::local::Rouse;

const ABSENT: &str =
    "this netplay was built without p2p; build it with the Cargo feature \"p2p\", which is on by default";

pub(crate) fn check_id(_text: &str) -> Result<Key, String> {
    Err(ABSENT.to_owned())
}

pub(crate) fn id_of(_secret: &Key) -> String {
    String::new()
}

/// A port that cannot be opened.
pub(crate) struct Port(Infallible);

impl Port {
    pub(crate) fn listen(_terms: &Terms, _rouse: Rouse) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, ABSENT))
    }

    pub(crate) fn open(_terms: &Terms, _rouse: Rouse) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, ABSENT))
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        match self.0 {}
    }

    pub(crate) fn has_reached_relay(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn dial(&self, _caller: ConnectionId, _contact: &Contact) {
        match self.0 {}
    }

    pub(crate) fn receive(&self) -> Option<Arrival> {
        match self.0 {}
    }

    pub(crate) fn send(&self, _number: u32, _bytes: &[u8], _size: usize) -> usize {
        match self.0 {}
    }

    pub(crate) fn is_sweep_due(&self, _now: Timestamp) -> bool {
        match self.0 {}
    }

    pub(crate) fn sweep(&self, _now: Timestamp, _used: &BTreeSet<u32>) {
        match self.0 {}
    }

    pub(crate) fn cut(&self) {
        match self.0 {}
    }

    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        match self.0 {}
    }

    pub(crate) fn way(&self, _number: u32) -> Option<Way> {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    use crate::url::Url;

    #[test]
    fn the_scheme_is_known_and_said_to_be_left_out() {
        let error = Url::parse("play+p2p://").unwrap_err().to_string();
        assert!(error.contains("built without p2p"), "{error}");
    }
}
