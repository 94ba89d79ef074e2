//! A room: who is in it, who is the host, who dials whom, and what happens when somebody goes.
//!
//! A pure state machine for one member. It knows links by number, keys that the other side of a link has proven, and moments;
//! it must not know how a link is made, what a code or a URL is, nor the game's messages.
//!
//! The *door* is where somebody is found who knows the room's code; the host has it open. A *contact* is where one member
//! is found. A newcomer knocks at the door, is told who is there, and dials them; the door is for nothing else.
//!
//! ```text
//!            ┌─────────── no answer: again, until the time is over ──────────┐
//!            ▼                                                               │
//!  join ► Knocking ── welcome ──► Entering ── the host's roster has us ──► Open ◄── host
//!            │                       │ the host is gone: knock again        │
//!            │ nobody, or refused    │                                      │ we leave, or are put out
//!            └──────────►  Closed  ◄─┴──────────────────────────────────────┘
//! ```
//!
//! The host alone says who is in: by a roster to every member, at every change. When the host goes, the member with the lowest
//! order takes its place, sends its roster to all it has and opens the door; those who have no link to it dial it. A host's
//! order only ever grows, so `(host, version)` says which of two rosters is newer. One that was left alone by silence may
//! itself be the one that was cut off: it knocks before it goes on by itself.
//!
//! | module | noun |
//! |---|---|
//! | `types` | the values that go in and out |
//! | `wire` | what members say to each other, as bytes |
//! | `door` | knocking, welcoming, and opening the door |
//! | `mesh` | who is linked to whom |
//! | `roster` | who is in |
//! | `leaving`, `succession` | how a member goes, and the host |
//! | `ways` | by which way a message of the game goes |
//! | `timers` | what waits for a moment |

mod door;
mod leaving;
mod mesh;
mod roster;
mod succession;
mod timers;
mod types;
mod ways;
mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::config::Key;
use crate::reason::Reason;
use crate::time::Timestamp;

pub use types::{LinkId, News, Output, RoomConfig, Route};
pub use wire::{Control, Entry, MAX_CONTACT_LEN, MAX_MEMBERS, PassedOn, Roster, Topology};

/// How long a link may stay of somebody who is no member yet, beyond the silence after which we may take it for one.
const STRANGER_TIME: Duration = Duration::from_secs(2);

/// How many of them there may be at once. More are closed.
const MAX_STRANGERS: usize = 64;

/// One member's view of a room.
///
/// Put in what happens by the `handle_` methods, then call [`poll_output`](Self::poll_output) until it answers with a
/// [`Timeout`](Output::Timeout), and again when that has come. `now` must never go backwards.
#[derive(Debug)]
pub struct Room {
    config: RoomConfig,
    topology: Topology,
    max_members: usize,
    stage: Stage,
    /// The game was told that we are in.
    has_opened: bool,
    /// Our own place in the join order.
    order: u32,
    /// The host's.
    host: u32,
    version: u64,
    next_order: u32,
    /// The others.
    members: BTreeMap<u32, Member>,
    links: BTreeMap<LinkId, Link>,
    /// As the host: newcomers that were welcomed and have not dialled yet.
    expected: BTreeMap<u32, (Entry, Timestamp)>,
    /// Rosters of members who think that they are the host now.
    claims: BTreeMap<u32, Roster>,
    /// As the host: who has gone since the last roster.
    gone: Vec<(u32, Reason)>,
    /// When the present host, not us, must have been linked and have spoken.
    host_until: Option<Timestamp>,
    /// When to look again for the others, as one who was left alone by silence.
    seek_at: Option<Timestamp>,
    /// And how long after that again.
    seek_pause: Duration,
    /// The host is another, and the game is told as soon as it knows that one.
    is_host_to_tell: bool,
    is_door_open: bool,
    last_link: u64,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Knocking {
        link: Option<LinkId>,
        retry_at: Option<Timestamp>,
        until: Timestamp,
        /// We are the host of a room in which nobody is left, and go on if nobody is found.
        is_host: bool,
    },
    Entering {
        until: Timestamp,
        knock_until: Timestamp,
    },
    Open,
    Closed,
}

#[derive(Debug)]
struct Member {
    key: Key,
    name: String,
    contact: String,
    /// A link that both sides have admitted.
    link: Option<LinkId>,
    /// The game knows it.
    is_joined: bool,
    /// It has said that it goes.
    is_leaving: bool,
    /// It has gone, as it has said, or we have put it out: nothing more comes of it, and the host will say so.
    is_over: bool,
    /// When the game is told of it even without a link of its own.
    join_at: Option<Timestamp>,
    /// As the host: when it must have dialled us.
    dial_until: Option<Timestamp>,
}

impl Member {
    /// Makes the one that a roster or a newcomer's knock names.
    fn new(entry: Entry, join_at: Option<Timestamp>) -> Self {
        Self {
            key: entry.key,
            name: entry.name,
            contact: entry.contact,
            link: None,
            is_joined: false,
            is_leaving: false,
            is_over: false,
            join_at,
            dial_until: None,
        }
    }
}

#[derive(Debug)]
enum Link {
    /// Ours, to the door.
    Knock,
    /// Somebody at our door.
    Visitor { key: Key, name: String, until: Timestamp },
    /// Somebody at our contact whom no roster names yet.
    Stranger { key: Key, until: Timestamp },
    /// Ours, to a member that has not admitted us yet.
    Dialing { order: u32, until: Timestamp },
    /// A member's.
    Member { order: u32 },
}

impl Room {
    /// Begins a room of our own.
    pub fn host(config: RoomConfig) -> Self {
        let mut room = Self::new(config, Stage::Open);
        room.open_door();
        room
    }

    /// Begins to join a room.
    pub fn join(now: Timestamp, config: RoomConfig) -> Self {
        let stage = Stage::Knocking {
            link: None,
            retry_at: Some(now),
            until: now + config.timeout,
            is_host: false,
        };
        Self::new(config, stage)
    }

    fn new(config: RoomConfig, stage: Stage) -> Self {
        Self {
            topology: config.topology,
            max_members: config.max_members.clamp(1, MAX_MEMBERS),
            config,
            stage,
            has_opened: false,
            order: 0,
            host: 0,
            version: 0,
            next_order: 1,
            members: BTreeMap::new(),
            links: BTreeMap::new(),
            expected: BTreeMap::new(),
            claims: BTreeMap::new(),
            gone: Vec::new(),
            host_until: None,
            seek_at: None,
            seek_pause: timers::SEEK_AGAIN,
            is_host_to_tell: false,
            is_door_open: false,
            last_link: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Returns true if we are the host.
    pub fn is_host(&self) -> bool {
        let is_ours = match self.stage {
            Stage::Open => true,
            Stage::Knocking { is_host, .. } => is_host,
            Stage::Entering { .. } | Stage::Closed => false,
        };
        is_ours && self.host == self.order
    }

    /// Returns the host's order, None if it is us or there is none yet.
    pub fn remote_host(&self) -> Option<u32> {
        (self.stage == Stage::Open && self.host != self.order).then_some(self.host)
    }

    /// Returns our own place in the join order.
    pub fn order(&self) -> u32 {
        self.order
    }

    /// Returns true while we are in.
    pub fn is_open(&self) -> bool {
        self.has_opened && self.stage != Stage::Closed
    }

    /// Returns true once it is over.
    pub fn is_closed(&self) -> bool {
        self.stage == Stage::Closed
    }

    /// Returns the orders of the others whom the rosters name, ourselves left out, upwards.
    pub fn members(&self) -> impl Iterator<Item = u32> + '_ {
        self.members
            .iter()
            .filter(|(_, member)| !member.is_over)
            .map(|(order, _)| *order)
    }

    /// Returns the orders of those whom the game was told of, upwards.
    pub fn joined(&self) -> impl Iterator<Item = u32> + '_ {
        self.members
            .iter()
            .filter(|(_, member)| member.is_joined)
            .map(|(order, _)| *order)
    }

    /// Returns who talks to whom directly.
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// Takes in that somebody has called, at the door or at our contact, and returns the link's number.
    pub fn handle_incoming(&mut self, now: Timestamp, is_door: bool, key: Key, name: &str) -> LinkId {
        let link = self.new_link();
        let strangers = self.links.values().filter(|link| !matches!(link, Link::Member { .. }));
        let is_full = strangers.count() >= MAX_STRANGERS;
        if self.stage == Stage::Closed || is_full || key == self.config.key {
            self.send_close(link, if is_full { Reason::Full } else { Reason::Goodbye });
            return link;
        }
        let until = now + self.config.silence + STRANGER_TIME;
        if is_door {
            let name = name.to_owned();
            self.links.insert(link, Link::Visitor { key, name, until });
            if !(self.stage == Stage::Open && self.is_host()) {
                self.close(link, Reason::Goodbye);
            }
            return link;
        }
        self.links.insert(link, Link::Stranger { key, until });
        self.recognise(now, link, key);
        self.send_away(link);
        link
    }

    /// Takes in that a link of ours is made.
    pub fn handle_connected(&mut self, _now: Timestamp, link: LinkId) {
        if matches!(self.links.get(&link), Some(Link::Knock)) {
            let contact = self.config.contact.clone();
            self.send(link, &Control::Knock { contact });
        }
    }

    /// Takes in that a link has ended, or could not be made.
    pub fn handle_gone(&mut self, now: Timestamp, link: LinkId, reason: Reason, detail: &str) {
        match self.links.remove(&link) {
            None | Some(Link::Visitor { .. } | Link::Stranger { .. }) => {}
            Some(Link::Knock) => self.handle_knock_gone(now, reason, detail),
            Some(Link::Dialing { order, .. }) => {
                if order == self.host {
                    self.handle_host_gone(now, None, Reason::NoAnswer, detail);
                } else if let Some(member) = self.members.get_mut(&order) {
                    member.join_at = Some(now);
                }
            }
            Some(Link::Member { order }) => self.handle_member_gone(now, order, link, reason, detail),
        }
    }

    /// Takes in that nothing is heard by a link for a while.
    pub fn handle_lost(&mut self, link: LinkId, reason: Reason, time_left: Duration) {
        if let Some(order) = self.joined_by(link) {
            self.tell(News::Lost {
                order,
                reason,
                time_left,
            });
        }
    }

    /// Takes in that a link is heard again.
    pub fn handle_resumed(&mut self, link: LinkId, after: Duration) {
        if let Some(order) = self.joined_by(link) {
            self.tell(News::Resumed { order, after });
        }
    }

    /// Takes in a control message. One that may not be closes its link.
    pub fn handle_control(&mut self, now: Timestamp, link: LinkId, bytes: &[u8]) {
        let Some(state) = self.links.get(&link) else { return };
        let Ok(control) = Control::parse(bytes) else {
            return self.handle_violation(now, link);
        };
        match (state, control) {
            (Link::Visitor { key, name, .. }, Control::Knock { contact }) => {
                let (key, name) = (*key, name.clone());
                self.handle_knock(
                    now,
                    link,
                    Entry {
                        order: 0,
                        key,
                        name,
                        contact,
                    },
                );
            }
            (Link::Knock, Control::Welcome { order, roster }) => self.handle_welcome(now, link, order, roster),
            (Link::Dialing { order, .. }, Control::Admit) => {
                let order = *order;
                self.attach(now, link, order);
            }
            // Who dials us and whom no roster names has nothing to say but that it goes again.
            (Link::Stranger { .. }, Control::Leave) => self.close(link, Reason::Goodbye),
            // The roster may come before the word that lets us in: it lets us in as well.
            (Link::Dialing { order, .. }, Control::Roster(roster)) => {
                let order = *order;
                self.attach(now, link, order);
                self.handle_roster(now, link, order, roster);
            }
            (Link::Member { order }, Control::Roster(roster)) => {
                let order = *order;
                self.handle_roster(now, link, order, roster);
            }
            (Link::Member { order }, Control::Leave) => {
                let order = *order;
                self.handle_leave(order);
            }
            (Link::Member { order } | Link::Dialing { order, .. }, Control::Out { reason, detail })
                if *order == self.host =>
            {
                self.handle_out(now, reason, &detail);
            }
            // Nobody else can put us out: it is the sender that will not talk to us.
            (Link::Member { .. } | Link::Dialing { .. }, Control::Out { .. }) => {
                self.send_close(link, Reason::Goodbye);
                self.handle_gone(now, link, Reason::Goodbye, "");
            }
            (Link::Member { .. }, Control::Admit) => {}
            _ => self.handle_violation(now, link),
        }
    }

    /// Takes in that something came by a link that cannot be read.
    pub fn handle_broken(&mut self, now: Timestamp, link: LinkId) {
        self.handle_violation(now, link);
    }

    /// Returns what to do next, handling what is due first.
    pub fn poll_output(&mut self, now: Timestamp) -> Output {
        if self.outputs.is_empty() {
            self.handle_timers(now);
        }
        match self.outputs.pop_front() {
            Some(output) => output,
            None => Output::Timeout(self.next_time()),
        }
    }

    fn host_link(&self) -> Option<LinkId> {
        self.members.get(&self.host)?.link
    }

    fn joined_by(&self, link: LinkId) -> Option<u32> {
        match self.links.get(&link) {
            Some(Link::Member { order }) if self.members.get(order)?.is_joined => Some(*order),
            _ => None,
        }
    }

    fn new_link(&mut self) -> LinkId {
        self.last_link += 1;
        LinkId(self.last_link)
    }

    fn tell(&mut self, news: News) {
        self.outputs.push_back(Output::News(news));
    }

    fn send(&mut self, link: LinkId, control: &Control) {
        let bytes = control.emit();
        self.outputs.push_back(Output::Send { link, bytes });
    }

    fn close(&mut self, link: LinkId, reason: Reason) {
        self.links.remove(&link);
        self.send_close(link, reason);
    }

    fn send_close(&mut self, link: LinkId, reason: Reason) {
        self.outputs.push_back(Output::Close { link, reason });
    }
}

/// Returns true if a contact is of the kind that we have ourselves: a room does not make its members dial anything else.
fn is_alike(contact: &str, own: &str) -> bool {
    let scheme = |url: &str| url.split_once("://").map(|(scheme, _)| scheme.to_owned());
    contact.len() <= MAX_CONTACT_LEN && scheme(contact).is_some() && scheme(contact) == scheme(own)
}

/// Returns true for what silence ends in.
fn is_silence(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::TimedOut
            | Reason::LinkClosed
            | Reason::Restarted
            | Reason::NoAnswer
            | Reason::UnknownHost
            | Reason::Internal
    )
}
