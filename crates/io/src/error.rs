//! What a caller of this crate can have done wrong, or the machine refused, in words that say what to do.
//!
//! What the network does wrong is never here: that arrives as an event.

use std::fmt;
use std::io;

/// Why `listen` or `connect` was refused.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The URL cannot be used.
    Url(UrlError),
    /// The listener could not be opened.
    Listen(ListenError),
    /// An option has a value that is not allowed; the text names it and the limit.
    Option(String),
    /// A message cannot be sent so.
    Send(SendError),
    /// The network has been closed.
    Closed,
    /// The operating system refused something every network needs: a thread, a socket, randomness.
    System(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => error.fmt(f),
            Self::Listen(error) => error.fmt(f),
            Self::Option(text) => f.write_str(text),
            Self::Send(error) => error.fmt(f),
            Self::Closed => f.write_str("the network is closed; make a new one"),
            Self::System(error) => write!(f, "the operating system refused to start networking: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<UrlError> for Error {
    fn from(error: UrlError) -> Self {
        Self::Url(error)
    }
}

impl From<ListenError> for Error {
    fn from(error: ListenError) -> Self {
        Self::Listen(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// Why a URL cannot be used: which part, and what is allowed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlError {
    /// The URL as it was given.
    pub url: String,
    /// The part that is wrong: "scheme", "host", "port", "path", "query option" or "fragment".
    pub part: &'static str,
    /// What is wrong with it and what is allowed.
    pub problem: String,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {:?}: {}", self.part, self.url, self.problem)
    }
}

impl std::error::Error for UrlError {}

/// Why a listener could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenError {
    /// The URL as it was given.
    pub url: String,
    /// The kind of failure.
    pub kind: ListenErrorKind,
    /// What the operating system said; may be empty.
    pub detail: String,
}

/// The kinds of failure of a `listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenErrorKind {
    /// Something listens there already.
    InUse,
    /// This machine does not have that address.
    NoSuchAddress,
    /// The operating system does not allow it to this user.
    NotPermitted,
    /// The host's name has no address.
    UnknownHost,
    /// Anything else; the detail says what.
    Other,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {:?}: ", self.url)?;
        match self.kind {
            ListenErrorKind::InUse => {
                f.write_str("something listens there already; close the other program, or choose another port (0 takes any free one)")
            }
            ListenErrorKind::NoSuchAddress => {
                f.write_str("this machine does not have that address; use 0.0.0.0 or * to listen on every address it has")
            }
            ListenErrorKind::NotPermitted => {
                f.write_str("the operating system does not permit it; ports below 1024 often need more rights, choose a higher one")
            }
            ListenErrorKind::UnknownHost => {
                f.write_str("that name has no address; use 0.0.0.0 or * to listen on every address of this machine")
            }
            ListenErrorKind::Other => f.write_str("the operating system refused"),
        }?;
        if self.detail.is_empty() {
            Ok(())
        } else {
            write!(f, " ({})", self.detail)
        }
    }
}

impl std::error::Error for ListenError {}

impl ListenError {
    /// Makes the error for what the operating system answered.
    pub(crate) fn from_io(url: &str, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::AddrInUse => ListenErrorKind::InUse,
            io::ErrorKind::AddrNotAvailable => ListenErrorKind::NoSuchAddress,
            io::ErrorKind::PermissionDenied => ListenErrorKind::NotPermitted,
            _ => ListenErrorKind::Other,
        };
        Self {
            url: url.to_owned(),
            kind,
            detail: error.to_string(),
        }
    }
}

/// Why a message was not accepted for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// There is no such peer, or it has ended.
    Closed,
    /// The connection is not made yet, and a lossy message does not wait.
    NotConnected,
    /// The message is larger than its delivery allows.
    TooLarge {
        /// The size of the message, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The message is larger than a bare datagram can be.
    DatagramTooLarge {
        /// The size of the message, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A plain value was sent to a peer that does not speak netplay.
    NotBytes {
        /// What it speaks, such as "tcp".
        scheme: &'static str,
    },
    /// A channel was named that this peer's protocol does not have.
    NoChannel {
        /// What it speaks.
        scheme: &'static str,
        /// The channel.
        channel: u8,
        /// The last one it has.
        last: u8,
    },
    /// A stream cannot lose anything.
    NotLossy {
        /// What it speaks.
        scheme: &'static str,
    },
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the connection is closed"),
            Self::NotConnected => f.write_str("the connection is not made yet"),
            Self::TooLarge { size, limit } => {
                write!(f, "message is {size} bytes, at most {limit} can be sent this way")
            }
            Self::DatagramTooLarge { size, limit } => {
                write!(
                    f,
                    "message is {size} bytes, a udp:// datagram may be {limit}; send it in parts"
                )
            }
            Self::NotBytes { scheme } => write!(
                f,
                "a {scheme}:// peer does not speak netplay and can be sent bytes or str only; encode the value, or leave such peers out by exclude="
            ),
            Self::NoChannel { scheme, channel, last } if *last == 0 => {
                write!(
                    f,
                    "channel is {channel}, but {scheme}:// has no channels; leave it at 0"
                )
            }
            Self::NoChannel { scheme, channel, last } => {
                write!(f, "channel is {channel}, {scheme}:// has 0 to {last}")
            }
            Self::NotLossy { scheme } => {
                write!(
                    f,
                    "lossy=True, but a {scheme}:// stream loses nothing; send it with lossy=False"
                )
            }
        }
    }
}

impl std::error::Error for SendError {}

impl From<netplay_proto::SendError> for SendError {
    fn from(error: netplay_proto::SendError) -> Self {
        match error {
            netplay_proto::SendError::Closed => Self::Closed,
            netplay_proto::SendError::NotConnected => Self::NotConnected,
            netplay_proto::SendError::TooLarge { size, limit } => Self::TooLarge { size, limit },
        }
    }
}
