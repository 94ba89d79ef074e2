//! Numbers to look at.

use std::time::Duration;

/// Numbers about one connection since it was made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConnectionStats {
    /// Smoothed round trip; zero before the first measurement.
    pub rtt: Duration,
    /// Mean deviation of the round trip.
    pub jitter: Duration,
    /// Share of our packets lost lately, 0.0–1.0.
    pub loss: f64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets received that authenticated.
    pub packets_received: u64,
    /// Packets we sent that were declared lost.
    pub packets_lost: u64,
    /// UDP payload bytes sent.
    pub bytes_sent: u64,
    /// UDP payload bytes received in packets that authenticated.
    pub bytes_received: u64,
    /// Reliable messages or fragments sent again because they were lost.
    pub resent: u64,
    /// Copies of small reliable messages sent against loss; a sum of several counts for each of them.
    pub copied: u64,
    /// Messages that were lost, and made from the sum of several.
    pub recovered: u64,
    /// Reliable bytes accepted by `send` and not acknowledged yet, with 64 for each message.
    pub queued_bytes: usize,
    /// Messages delivered to the game.
    pub messages_received: u64,
    /// Lossy messages dropped by us because a queue was full, sending or receiving.
    pub lossy_dropped: u64,
    /// Lossy messages given up unfinished: some of their fragments came, and before the others did, a newer message was whole or
    /// too many were unfinished.
    pub lossy_unfinished: u64,
    /// Lossy messages dropped because the remote side sent more than it may, see [`IncomingRate`](crate::IncomingRate).
    pub over_rate: u64,
    /// Packets with our connection id that did not authenticate or had arrived before.
    pub bad_packets: u64,
    /// How often the keys were renewed.
    pub keys_renewed: u64,
    /// How often the remote side had forgotten us and began anew.
    pub restarts: u64,
}

/// Numbers about an endpoint since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointStats {
    /// Datagrams that could not be read or belonged to no connection.
    pub bad_datagrams: u64,
    /// First packets answered with a cookie.
    pub cookies_sent: u64,
    /// Handshakes refused, for any reason.
    pub refused: u64,
    /// Handshakes not answered because their host has begun too many, see [`HandshakeRate`](crate::HandshakeRate).
    pub handshakes_limited: u64,
    /// Handshakes given up unfinished because newer ones needed their place.
    pub handshakes_displaced: u64,
    /// Datagrams of handshakes not sent because too many waited already.
    pub handshakes_dropped: u64,
    /// Handshakes refused and connections closed because of a ban.
    pub banned: u64,
    /// Connections closed because the remote side broke the rules.
    pub violations: u64,
    /// Connections closed because the remote side sent far more than it may.
    pub too_fast: u64,
}
