//! Why a connection ended: one list for the wire, the events and the documentation.

use std::fmt;

/// Why a connection ended or could not be made. The number travels in close chunks and refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// This side closed it.
    Closed,
    /// The other side closed it; its own words may follow.
    Goodbye,
    /// Nothing was heard for too long.
    TimedOut,
    /// Nobody answered at that address.
    NoAnswer,
    /// The host's name could not be resolved.
    UnknownHost,
    /// The listener has as many peers as it may.
    Full,
    /// The listener wants a password, or another one.
    WrongPassword,
    /// The two games have different versions.
    WrongVersion,
    /// The two sides speak different protocol versions.
    WrongProtocol,
    /// The server has another key than the one remembered or pinned.
    KeyChanged,
    /// The other side broke the rules of the protocol, or sent something that cannot be read.
    BadData,
    /// The other side did not take what was sent to it; the queue was full.
    TooSlow,
    /// A fault of netplay's own, contained.
    Internal,
    /// A message waited for the connection that the other side turned out not to accept, for its size.
    TooLarge,
    /// The listener has banned this address or key.
    Banned,
    /// The other side sent far more than it may, for long.
    TooFast,
    /// The stream that carried it has ended.
    LinkClosed,
    /// The other side does not know the connection any more: it is a new process, or has given it up.
    Restarted,
    /// No game of that name was seen on the local network.
    NoGame,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 19] = [
        Self::Closed,
        Self::Goodbye,
        Self::TimedOut,
        Self::NoAnswer,
        Self::UnknownHost,
        Self::Full,
        Self::WrongPassword,
        Self::WrongVersion,
        Self::WrongProtocol,
        Self::KeyChanged,
        Self::BadData,
        Self::TooSlow,
        Self::Internal,
        Self::TooLarge,
        Self::Banned,
        Self::TooFast,
        Self::LinkClosed,
        Self::Restarted,
        Self::NoGame,
    ];

    /// Returns the name a game sees.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Goodbye => "goodbye",
            Self::TimedOut => "timeout",
            Self::NoAnswer => "no answer",
            Self::UnknownHost => "unknown host",
            Self::Full => "full",
            Self::WrongPassword => "wrong password",
            Self::WrongVersion => "wrong version",
            Self::WrongProtocol => "wrong protocol",
            Self::KeyChanged => "key changed",
            Self::BadData => "bad data",
            Self::TooSlow => "too slow",
            Self::Internal => "internal",
            Self::TooLarge => "too large",
            Self::Banned => "banned",
            Self::TooFast => "too fast",
            Self::LinkClosed => "link closed",
            Self::Restarted => "restarted",
            Self::NoGame => "no such game",
        }
    }

    /// Returns the number that stands for it on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Goodbye => 1,
            Self::TimedOut => 2,
            Self::NoAnswer => 3,
            Self::UnknownHost => 4,
            Self::Full => 5,
            Self::WrongPassword => 6,
            Self::WrongVersion => 7,
            Self::WrongProtocol => 8,
            Self::KeyChanged => 9,
            Self::BadData => 10,
            Self::TooSlow => 11,
            Self::Internal => 12,
            Self::TooLarge => 13,
            Self::Banned => 14,
            Self::TooFast => 15,
            Self::LinkClosed => 16,
            Self::Restarted => 17,
            Self::NoGame => 18,
        }
    }

    /// Returns the reason that a remote side gives: one that is its to give, or a plain goodbye.
    pub(crate) fn from_remote(number: u8) -> Self {
        match Self::from_number(number) {
            Some(
                reason @ (Self::Full
                | Self::WrongPassword
                | Self::WrongVersion
                | Self::WrongProtocol
                | Self::BadData
                | Self::TooSlow
                | Self::TooLarge
                | Self::Banned
                | Self::TooFast),
            ) => reason,
            _ => Self::Goodbye,
        }
    }

    /// Returns the reason for a number, None for one that this version does not know.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.number() == number)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
