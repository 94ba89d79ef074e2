//! The values that go in and out of a [`Room`](super::Room): what a member is, news, what to do, ways. No behaviour.

use std::time::Duration;

use super::wire::Topology;
use crate::config::Key;
use crate::reason::Reason;
use crate::time::Timestamp;

/// Names a link of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// What a member is, and what a host wants.
#[derive(Clone, Debug)]
pub struct RoomConfig {
    /// Our own key, which every link of ours proves.
    pub key: Key,
    /// Our name.
    pub name: String,
    /// Where we can be dialled.
    pub contact: String,
    /// For a host: who talks to whom directly.
    pub topology: Topology,
    /// For a host: how many there may be, ourselves included.
    pub max_members: usize,
    /// For a newcomer, how long to go on knocking.
    pub timeout: Duration,
    /// How long a link is kept by which nothing is heard. Members notice at most so much later than each other that one is gone,
    /// so whoever has noticed waits a little longer for the others.
    pub silence: Duration,
}

/// Something for the game.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// We are in.
    Opened,
    /// Somebody can be talked to from now on.
    Joined {
        /// Its place in the join order.
        order: u32,
        /// Its key.
        key: Key,
        /// Its name.
        name: String,
        /// Where it can be dialled.
        contact: String,
    },
    /// Somebody is in no longer, or its link has broken and [`Joined`](Self::Joined) follows by way of the host.
    Left {
        /// Which member.
        order: u32,
        /// The link that it had: what came by it comes before this.
        link: Option<LinkId>,
        /// Why.
        reason: Reason,
        /// More, for a person.
        detail: String,
    },
    /// Another is the host now.
    Host {
        /// Which member; None for ourselves.
        order: Option<u32>,
    },
    /// Nothing is heard of a member for a while.
    Lost {
        /// Which member.
        order: u32,
        /// Why.
        reason: Reason,
        /// How long until it is given up.
        time_left: Duration,
    },
    /// It is heard again.
    Resumed {
        /// Which member.
        order: u32,
        /// How long nothing was heard.
        after: Duration,
    },
    /// It is over for us, or never began. The last news.
    Ended {
        /// Why.
        reason: Reason,
        /// More, for a person.
        detail: String,
    },
}

/// What the caller is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Dial the door.
    Knock {
        /// The link that comes of it.
        link: LinkId,
    },
    /// Dial a member, which must prove this key.
    Dial {
        /// The link that comes of it.
        link: LinkId,
        /// Where.
        contact: String,
        /// Whose key.
        key: Key,
    },
    /// Send a control message, reliably and in order.
    Send {
        /// On which link.
        link: LinkId,
        /// What.
        bytes: Vec<u8>,
    },
    /// Close a link, after what was sent. It is not spoken of again, but for a [`News::Left`].
    Close {
        /// Which.
        link: LinkId,
        /// Why, for the other side.
        reason: Reason,
    },
    /// Open the door, as many times as it takes, until [`Output::CloseDoor`].
    OpenDoor,
    /// Close it.
    CloseDoor,
    /// Tell the game.
    News(News),
    /// Nothing more to do until something is put in, or this moment.
    Timeout(Option<Timestamp>),
}

/// How a message gets to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// By a link of its own.
    Direct(LinkId),
    /// By this link to the host, which passes it on.
    PassedOn(LinkId),
    /// The host is being replaced: reliable messages wait.
    Wait,
    /// It is no member, or not announced yet.
    None,
}
