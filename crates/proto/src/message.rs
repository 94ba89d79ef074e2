//! What a game sends, how it is to be delivered, and the events that come back.

use std::fmt;
use std::time::Duration;

use crate::address::Path;
use crate::config::Key;
use crate::payload::Payload;
use crate::reason::Reason;
use crate::wire::Seat;

/// How a message is delivered, by two booleans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delivery {
    /// May be lost; never sent again. Reliable otherwise.
    pub is_lossy: bool,
    /// Reliable: in the order of sending. Lossy: a message older than one already delivered is dropped.
    pub is_ordered: bool,
}

impl Delivery {
    /// Every message, once, in the order of sending: each channel its own line.
    pub const RELIABLE: Self = Self {
        is_lossy: false,
        is_ordered: true,
    };
    /// Every message, once, as it arrives.
    pub const RELIABLE_UNORDERED: Self = Self {
        is_lossy: false,
        is_ordered: false,
    };
    /// The newest wins.
    pub const LOSSY: Self = Self {
        is_lossy: true,
        is_ordered: true,
    };
    /// Whatever arrives, as it arrives.
    pub const LOSSY_UNORDERED: Self = Self {
        is_lossy: true,
        is_ordered: false,
    };
}

/// What the bytes of a message mean to the layer above: 0–15, carried along and never interpreted here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(u8);

impl Kind {
    /// Bytes as they are.
    pub const BYTES: Self = Self(0);
    /// UTF-8 text.
    pub const TEXT: Self = Self(1);
    /// A plain value as MessagePack.
    pub const VALUE: Self = Self(2);
    /// A typed message: the name of its type, a hash of its fields, and their values.
    pub const TYPED: Self = Self(3);
    /// An event for the pygame queue of the other side.
    pub const REMOTE_EVENT: Self = Self(4);
    /// A message that wants an answer.
    pub const QUESTION: Self = Self(5);
    /// The answer to one.
    pub const ANSWER: Self = Self(6);
    /// Says that typed messages of a name are not taken.
    pub const REFUSAL: Self = Self(7);
    /// What members of a room say to each other beside the game; see [`room::Control`](crate::room::Control).
    pub const ROOM: Self = Self(8);
    /// To the host of a room: a message for another member.
    pub const PASS_ON: Self = Self(9);
    /// From the host of a room: a message of another member.
    pub const PASSED_ON: Self = Self(10);

    /// Makes a kind from its number; None above 15.
    pub const fn from_number(number: u8) -> Option<Self> {
        if number < 16 { Some(Self(number)) } else { None }
    }

    /// Returns the number, 0–15.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// One message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The channel, 0–255. Channels never wait for each other.
    pub channel: u8,
    /// How it is delivered.
    pub delivery: Delivery,
    /// What the bytes mean to the layer above.
    pub kind: Kind,
    /// The bytes: at most [`Limits::message_size`](crate::Limits) when reliable, [`MAX_LOSSY_SIZE`] when lossy.
    pub data: Payload,
}

/// For those who send the same to several; the bytes are shared.
impl From<&Message> for Message {
    fn from(message: &Message) -> Self {
        message.clone()
    }
}

/// The largest reliable message, in bytes.
pub const MAX_RELIABLE_SIZE: usize = 16 * 1024 * 1024;

/// The least that a side may give as the largest reliable message it accepts, in bytes.
pub const MIN_MESSAGE_SIZE: usize = 64 * 1024;

/// The largest lossy message, in bytes.
pub const MAX_LOSSY_SIZE: usize = 64 * 1024;

/// Whether a connection that is made has a past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It has none.
    New,
    /// We came back to the seat that we had; [`Event::Resumed`] follows.
    Resumed,
    /// The remote side knows nothing of what was: it is as new. What had been sent and not acknowledged is gone.
    Restarted,
}

/// What happened on a connection. See [`Endpoint::poll_event`](crate::Endpoint::poll_event).
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The handshake is done: messages flow.
    Connected {
        /// Who it is, and where. Boxed, so that the one event that is rare does not make the many long.
        remote: Box<RemoteSide>,
        /// True if the remote side called us.
        is_incoming: bool,
        /// Whether there is a past.
        origin: Origin,
    },
    /// A message arrived, whole.
    Message {
        /// The channel, 0–255.
        channel: u8,
        /// How it was sent.
        delivery: Delivery,
        /// What the bytes mean to the layer above.
        kind: Kind,
        /// Counts up from 0 per connection, channel and delivery.
        sequence_id: u64,
        /// The bytes.
        data: Payload,
    },
    /// Nothing was heard for [`Limits::lost_after`](crate::Limits), or the stream has ended and there is no other yet; the
    /// connection goes on trying.
    Lost {
        /// Why: [`Reason::TimedOut`], [`Reason::LinkClosed`] or [`Reason::Restarted`].
        reason: Reason,
        /// How long it will go on trying before it ends.
        time_left: Duration,
    },
    /// What goes to the remote side takes another way than before, below the path in use.
    Route {
        /// True if it goes from machine to machine, false if through a relay.
        is_direct: bool,
    },
    /// The remote side is heard again after [`Event::Lost`].
    Resumed {
        /// How long nothing had been heard.
        after: Duration,
        /// It is another run of the same program: it has the seat and knows nothing of what was.
        is_restarted: bool,
    },
    /// Something happened in a room. No endpoint tells it; it is here so that all that a game is told is one type.
    Room(Box<RoomEvent>),
    /// The connection ended, or could not be made. The last event of a connection.
    Disconnected {
        /// Why.
        reason: Reason,
        /// More, for a person to read: the remote side's own words on a goodbye, or the number that was wrong. May be empty.
        detail: String,
    },
}

/// What a finished handshake tells of the remote side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSide {
    /// The name it gave itself; not unique, not verified.
    pub name: String,
    /// Its static public key.
    pub key: Key,
    /// The path in use.
    pub path: Path,
    /// Where we may come back to with the same key, see [`Connect::seat`](crate::Connect); None if the remote side called us.
    pub seat: Option<Seat>,
}

/// Something that happened in a room.
#[derive(Clone, Debug, PartialEq)]
pub struct RoomEvent {
    /// The room's number.
    pub room: u64,
    /// What happened.
    pub what: RoomChange,
}

/// What happened in a room.
#[derive(Clone, Debug, PartialEq)]
pub enum RoomChange {
    /// We are in.
    Opened,
    /// The peer is in.
    Joined {
        /// Its place in the join order.
        order: u32,
        /// Its name.
        name: String,
        /// Its key.
        key: Key,
        /// It is the host.
        is_host: bool,
    },
    /// The peer is in no longer.
    Left {
        /// Why.
        reason: Reason,
        /// More, for a person.
        detail: String,
    },
    /// Another is the host now: the peer, or we.
    Host {
        /// It is us.
        is_host: bool,
    },
    /// It is over for us, or never began.
    Ended {
        /// Why.
        reason: Reason,
        /// More, for a person.
        detail: String,
    },
}

/// Why a message was not accepted for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// There is no such connection, or it has ended.
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
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => write!(f, "the connection is closed"),
            Self::NotConnected => write!(f, "the connection is not made yet"),
            Self::TooLarge { size, limit } => {
                write!(f, "message is {size} bytes, at most {limit} can be sent this way")
            }
        }
    }
}

impl std::error::Error for SendError {}
