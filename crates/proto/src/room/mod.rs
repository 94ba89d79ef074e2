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

mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::config::Key;
use crate::reason::Reason;
use crate::time::Timestamp;

pub use wire::{Control, Entry, MAX_CONTACT_LEN, MAX_MEMBERS, PassedOn, Roster, Topology};

/// How long a newcomer that was welcomed may take to be heard by the host.
const ENTERING_TIME: Duration = Duration::from_secs(12);

/// How long a direct link between two members may take before the host passes on what they say.
const DIRECT_TIME: Duration = Duration::from_secs(6);

/// How long after a direct link has broken the host passes on: it has most probably lost the same member.
const BROKEN_TIME: Duration = Duration::from_secs(10);

/// How long the next host may take to be linked and say that it is.
const MIGRATION_TIME: Duration = Duration::from_secs(12);

/// How long the next host waits for the others to dial it, who may have tried some before it that are gone as well.
const GATHERING_TIME: Duration = Duration::from_secs(40);

/// How long one who was left alone looks for the others at the door, before it opens the door itself. An old host looks
/// longer, so that of two who have lost each other one opens the door and the other finds it.
const SEEKING_TIME: Duration = Duration::from_secs(3);
const SEEKING_TIME_OF_HOST: Duration = Duration::from_secs(10);

/// How often it looks again, while nobody comes.
const SEEK_AGAIN: Duration = Duration::from_secs(60);

/// How long after a fruitless knock the next comes.
const KNOCK_AGAIN: Duration = Duration::from_secs(1);

/// How long a link may stay of somebody who is no member yet.
const STRANGER_TIME: Duration = Duration::from_secs(10);

/// How many of them there may be at once. More are closed.
const MAX_STRANGERS: usize = 64;

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

    /// Returns how a message gets to a member.
    pub fn route(&self, order: u32) -> Route {
        let Some(member) = self.members.get(&order).filter(|member| member.is_joined) else {
            return Route::None;
        };
        if let Some(link) = member.link {
            return Route::Direct(link);
        }
        match self.host_link() {
            Some(link) => Route::PassedOn(link),
            None => Route::Wait,
        }
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
        let until = now + STRANGER_TIME;
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
            (Link::Member { order } | Link::Dialing { order, .. }, Control::Out { reason }) if *order == self.host => {
                self.handle_out(now, reason);
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

    /// Takes in that a message of the game came by a link, and returns whose it is; None if it is to be dropped.
    pub fn handle_message(&mut self, now: Timestamp, link: LinkId) -> Option<u32> {
        if let Some(Link::Dialing { order, .. }) = self.links.get(&link) {
            // It sends to us, so it has admitted us; its word is only on another channel.
            let order = *order;
            self.attach(now, link, order);
        }
        self.joined_by(link)
    }

    /// Takes in that a message was passed on to us by a link; returns true if it is to be believed.
    pub fn handle_passed_on(&mut self, now: Timestamp, link: LinkId, from: u32) -> bool {
        let Some(Link::Member { order }) = self.links.get(&link) else {
            return false;
        };
        if *order != self.host || self.stage != Stage::Open {
            return false;
        }
        match self.members.get(&from) {
            Some(member) if from != self.host && !member.is_over => {
                if !member.is_joined {
                    self.announce(now, from);
                }
                true
            }
            _ => false,
        }
    }

    /// Takes in that something came by a link that cannot be read.
    pub fn handle_broken(&mut self, now: Timestamp, link: LinkId) {
        self.handle_violation(now, link);
    }

    /// As the host: returns from whom a message to be passed on comes and by which link it goes; None if it may not.
    pub fn may_pass_on(&self, link: LinkId, to: u32) -> Option<(u32, LinkId)> {
        let from = match self.links.get(&link) {
            Some(Link::Member { order }) if self.is_host() => *order,
            _ => return None,
        };
        let link = self.members.get(&to).filter(|member| !member.is_over)?.link?;
        (from != to).then_some((from, link))
    }

    /// Puts a member out, as the host; anybody else only stops to talk to it.
    pub fn expel(&mut self, now: Timestamp, order: u32, reason: Reason, detail: &str) {
        if self.is_host() {
            self.remove(now, order, reason, detail);
        } else if let Some(member) = self.members.get_mut(&order) {
            member.is_over = true;
            self.part(order, reason, detail);
        }
    }

    /// Leaves, with a word to everybody.
    pub fn leave(&mut self) {
        if self.stage == Stage::Closed {
            return;
        }
        let links: Vec<(LinkId, bool)> = self
            .links
            .iter()
            .map(|(id, link)| (*id, matches!(link, Link::Member { .. } | Link::Dialing { .. })))
            .collect();
        for (link, is_member) in links {
            if is_member {
                self.send(link, &Control::Leave);
            }
        }
        self.end(Reason::Closed, "");
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

    // ── joining ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    fn handle_knock_gone(&mut self, now: Timestamp, why: Reason, detail: &str) {
        let Stage::Knocking {
            link, retry_at, until, ..
        } = &mut self.stage
        else {
            return;
        };
        *link = None;
        let is_vain = matches!(
            why,
            Reason::NoAnswer
                | Reason::UnknownHost
                | Reason::TimedOut
                | Reason::LinkClosed
                | Reason::KeyChanged
                | Reason::Goodbye
                | Reason::Restarted
                | Reason::Internal
        );
        if is_vain {
            // A room whose host has just gone has no door for a while.
            *retry_at = Some((now + KNOCK_AGAIN).min(*until));
            return;
        }
        if self.is_host() {
            self.go_on_alone();
        } else {
            self.end(why, detail);
        }
    }

    fn handle_knock(&mut self, now: Timestamp, link: LinkId, mut entry: Entry) {
        if !(self.stage == Stage::Open && self.is_host()) {
            return self.close(link, Reason::Goodbye);
        }
        if !is_alike(&entry.contact, &self.config.contact) {
            return self.handle_violation(now, link);
        }
        // Who comes again has lost what it had.
        let known = self.members.iter().find(|(_, member)| member.key == entry.key);
        if let Some(order) = known.map(|(order, _)| *order) {
            self.remove(now, order, Reason::Restarted, "");
        }
        self.expected.retain(|_, (other, _)| other.key != entry.key);
        if 1 + self.members.len() + self.expected.len() >= self.max_members {
            return self.close(link, Reason::Full);
        }
        entry.order = self.next_order;
        self.next_order += 1;
        let welcome = Control::Welcome {
            order: entry.order,
            roster: self.roster(),
        };
        self.send(link, &welcome);
        let key = entry.key;
        self.expected.insert(entry.order, (entry, now + ENTERING_TIME));
        // It may have dialled already, if it comes again.
        self.recognise_all(now, key);
    }

    fn handle_welcome(&mut self, now: Timestamp, link: LinkId, order: u32, roster: Roster) {
        let Stage::Knocking { until, .. } = self.stage else {
            return self.close(link, Reason::Goodbye);
        };
        let is_sound = roster.members.iter().all(|entry| {
            entry.order < order && entry.key != self.config.key && is_alike(&entry.contact, &self.config.contact)
        });
        if !is_sound {
            return self.handle_violation(now, link);
        }
        self.close(link, Reason::Goodbye);
        self.expected.clear();
        (self.order, self.host, self.version) = (order, roster.host, roster.version);
        self.topology = roster.topology;
        self.max_members = usize::from(roster.max_members);
        self.next_order = order + 1;
        self.stage = Stage::Entering {
            until: now + ENTERING_TIME,
            knock_until: until.max(now + ENTERING_TIME),
        };
        for entry in roster.members {
            self.add(now, entry);
        }
    }

    /// Takes in a member that a roster names: it is dialled, or dials us.
    fn add(&mut self, now: Timestamp, entry: Entry) {
        let order = entry.order;
        let is_host = order == self.host;
        let is_direct = self.topology == Topology::Mesh || is_host;
        // Newcomers dial those who are there.
        let is_ours_to_dial = is_direct && order < self.order;
        let join_at = match self.topology {
            _ if is_host => None,
            Topology::Star => Some(now),
            // The one that is dialled waits a little longer, so that both mostly come to the same.
            Topology::Mesh if is_ours_to_dial => Some(now + DIRECT_TIME),
            Topology::Mesh => Some(now + DIRECT_TIME + Duration::from_secs(2)),
        };
        let key = entry.key;
        let member = Member {
            key,
            name: entry.name,
            contact: entry.contact,
            link: None,
            is_joined: false,
            is_leaving: false,
            is_over: false,
            join_at,
            dial_until: None,
        };
        self.members.insert(order, member);
        if is_ours_to_dial {
            self.dial(now, order);
        }
        self.recognise_all(now, key);
    }

    fn dial(&mut self, now: Timestamp, order: u32) {
        let is_dialing = |link: &Link| matches!(link, Link::Dialing { order: other, .. } if *other == order);
        if self.links.values().any(is_dialing) {
            return;
        }
        let Some(member) = self.members.get(&order) else { return };
        let (contact, key) = (member.contact.clone(), member.key);
        let link = self.new_link();
        let until = now
            + if order == self.host {
                MIGRATION_TIME
            } else {
                DIRECT_TIME
            };
        self.links.insert(link, Link::Dialing { order, until });
        self.outputs.push_back(Output::Dial { link, contact, key });
    }

    /// Looks whether those who have called and were strangers have this key, which is known now.
    fn recognise_all(&mut self, now: Timestamp, key: Key) {
        let is_it = |link: &Link| matches!(link, Link::Stranger { key: other, .. } if *other == key);
        let found: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| is_it(link))
            .map(|(id, _)| *id)
            .collect();
        for link in found {
            self.recognise(now, link, key);
        }
    }

    /// Lets in the one with this key at a link, if it is a member or expected to become one.
    fn recognise(&mut self, now: Timestamp, link: LinkId, key: Key) {
        let expected = self.expected.iter().find(|(_, (entry, _))| entry.key == key);
        if let Some(order) = expected.map(|(order, _)| *order)
            && let Some((entry, _)) = self.expected.remove(&order)
        {
            if matches!(self.stage, Stage::Knocking { .. }) {
                // We are not alone any more.
                self.go_on_alone();
            }
            let member = Member {
                key,
                name: entry.name,
                contact: entry.contact,
                link: None,
                is_joined: false,
                is_leaving: false,
                is_over: false,
                join_at: None,
                dial_until: None,
            };
            self.members.insert(order, member);
            self.send(link, &Control::Admit);
            self.attach(now, link, order);
            self.broadcast();
            return;
        }
        let known = self.members.iter().find(|(_, member)| member.key == key);
        let Some((order, member)) = known else { return };
        let order = *order;
        if member.is_over || member.link.is_some() || matches!(self.stage, Stage::Knocking { .. }) {
            // A second link would only mean that two orders of messages mix.
            return self.close(link, Reason::Goodbye);
        }
        if member.is_joined && !self.is_host() && order != self.host {
            // It takes us for the host already, and we may be soon; until then the game has it by way of the old one.
            return;
        }
        self.send(link, &Control::Admit);
        self.attach(now, link, order);
        if self.is_host() {
            let roster = self.roster();
            self.send(link, &Control::Roster(roster));
        }
    }

    /// As the host, who alone knows who is in: tells a stranger that it is not, so that it knocks.
    fn send_away(&mut self, link: LinkId) {
        let is_settled = self.stage == Stage::Open && self.is_host();
        if is_settled && matches!(self.links.get(&link), Some(Link::Stranger { .. })) {
            let reason = Reason::TimedOut;
            self.send(link, &Control::Out { reason });
            self.close(link, Reason::Goodbye);
        }
    }

    /// A link has become that of a member.
    fn attach(&mut self, now: Timestamp, link: LinkId, order: u32) {
        let host = self.host;
        let Some(member) = self.members.get_mut(&order).filter(|member| !member.is_over) else {
            return self.close(link, Reason::Goodbye);
        };
        // A peer that the game has met by way of the host stays so, unless the way is new for all: two ways mix up the order.
        let is_too_late = member.is_joined && order != host && host != self.order;
        if member.link.is_some() || is_too_late {
            return self.close(link, Reason::Goodbye);
        }
        member.link = Some(link);
        member.dial_until = None;
        member.join_at = None;
        self.links.insert(link, Link::Member { order });
        self.announce(now, order);
        if order == self.host {
            // Those whom only the host can reach.
            self.announce_due(now);
        }
    }

    /// Tells the game of a member, as soon as the game knows that we are in.
    fn announce(&mut self, _now: Timestamp, order: u32) {
        if self.stage != Stage::Open {
            return;
        }
        let Some(member) = self.members.get_mut(&order) else {
            return;
        };
        if member.is_joined || member.is_over {
            return;
        }
        member.is_joined = true;
        member.join_at = None;
        let news = News::Joined {
            order,
            key: member.key,
            name: member.name.clone(),
            contact: member.contact.clone(),
        };
        self.tell(news);
    }

    fn announce_due(&mut self, now: Timestamp) {
        if self.stage != Stage::Open || self.host_link().is_none() {
            return;
        }
        let is_due = |member: &Member| member.join_at.is_some_and(|at| at <= now);
        let due: Vec<u32> = self
            .members
            .iter()
            .filter(|(_, member)| is_due(member) && member.link.is_none())
            .map(|(order, _)| *order)
            .collect();
        for order in due {
            // What is still being dialled comes too late.
            self.close_dials(order);
            self.announce(now, order);
        }
    }

    // ── rosters ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    fn roster(&self) -> Roster {
        let own = Entry {
            order: self.order,
            key: self.config.key,
            name: self.config.name.clone(),
            contact: self.config.contact.clone(),
        };
        let mut members: Vec<Entry> = self
            .members
            .iter()
            .filter(|(_, member)| !member.is_over)
            .map(|(order, member)| Entry {
                order: *order,
                key: member.key,
                name: member.name.clone(),
                contact: member.contact.clone(),
            })
            .collect();
        members.push(own);
        members.sort_by_key(|entry| entry.order);
        Roster {
            host: self.host,
            version: self.version,
            topology: self.topology,
            max_members: self.max_members as u8,
            members,
            gone: self.gone.clone(),
        }
    }

    /// As the host: tells everybody who is in.
    fn broadcast(&mut self) {
        self.version += 1;
        let control = Control::Roster(self.roster());
        let links: Vec<LinkId> = self.members.values().filter_map(|member| member.link).collect();
        for link in links {
            self.send(link, &control);
        }
        self.gone.clear();
    }

    fn handle_roster(&mut self, now: Timestamp, link: LinkId, from: u32, roster: Roster) {
        if self.stage == Stage::Closed || !matches!(self.links.get(&link), Some(Link::Member { .. })) {
            return;
        }
        let is_sound = roster.host == from
            && roster.members.iter().all(|entry| {
                is_alike(&entry.contact, &self.config.contact)
                    && (entry.key == self.config.key) == (entry.order == self.order)
            });
        if !is_sound {
            return self.handle_violation(now, link);
        }
        if from == self.host {
            self.host_until = None;
            if roster.version > self.version || matches!(self.stage, Stage::Entering { .. }) {
                self.apply(now, roster);
            }
        } else if from > self.host && !self.is_host() {
            // It has lost the host, and we not yet.
            self.claims.insert(from, roster);
        }
    }

    /// Takes over what the host says.
    fn apply(&mut self, now: Timestamp, roster: Roster) {
        self.version = roster.version;
        if !roster.members.iter().any(|entry| entry.order == self.order) {
            let reason = roster.gone.iter().find(|(order, _)| *order == self.order);
            let reason = reason.map_or(Reason::TimedOut, |(_, reason)| *reason);
            return self.handle_out(now, reason);
        }
        let is_named = |order: u32, key: Key| {
            let mut entries = roster.members.iter();
            entries.any(|entry| entry.order == order && entry.key == key)
        };
        let missing: Vec<u32> = self
            .members
            .iter()
            .filter(|(order, member)| !is_named(**order, member.key))
            .map(|(order, _)| *order)
            .collect();
        for order in missing {
            let reason = roster.gone.iter().find(|(other, _)| *other == order);
            let reason = reason.map_or(Reason::TimedOut, |(_, reason)| *reason);
            self.part(order, local_reason(reason), "");
            self.members.remove(&order);
            self.claims.remove(&order);
        }
        self.topology = roster.topology;
        self.max_members = usize::from(roster.max_members);
        if self.stage != Stage::Open {
            self.stage = Stage::Open;
            if self.has_opened {
                self.tell(News::Host { order: Some(self.host) });
            } else {
                self.has_opened = true;
                self.tell(News::Opened);
            }
        }
        for entry in roster.members {
            self.next_order = self.next_order.max(entry.order + 1);
            if entry.order != self.order && !self.members.contains_key(&entry.order) {
                self.add(now, entry);
            }
        }
        // Those who were linked before we were in.
        let linked: Vec<u32> = self
            .members
            .iter()
            .filter(|(_, member)| member.link.is_some())
            .map(|(order, _)| *order)
            .collect();
        for order in linked {
            self.announce(now, order);
        }
        self.announce_due(now);
    }

    // ── going ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

    fn handle_member_gone(&mut self, now: Timestamp, order: u32, link: LinkId, reason: Reason, detail: &str) {
        let is_leaving = self.members.get(&order).is_some_and(|member| member.is_leaving);
        let reason = if is_leaving { Reason::Goodbye } else { reason };
        if self.is_host() {
            self.remove_gone(now, order, Some(link), reason, detail);
        } else if order == self.host {
            self.handle_host_gone(now, Some(link), reason, detail);
        } else {
            self.part_gone(order, Some(link), reason, detail);
            if let Some(member) = self.members.get_mut(&order) {
                member.is_over |= is_leaving;
                member.join_at = Some(now + BROKEN_TIME);
            }
        }
    }

    /// The end of the link follows, when what was said before has arrived: the word is on a channel of its own.
    fn handle_leave(&mut self, order: u32) {
        if let Some(member) = self.members.get_mut(&order) {
            member.is_leaving = true;
        }
    }

    /// The host says that we are no member any more.
    fn handle_out(&mut self, now: Timestamp, reason: Reason) {
        match reason {
            // It has lost us, and we may find our way back.
            Reason::TimedOut | Reason::LinkClosed | Reason::Restarted | Reason::NoAnswer => self.start_over(now),
            other => self.end(Reason::Goodbye, &format!("the host has closed our place: {other}")),
        }
    }

    /// Knocks anew, as one who is in no longer.
    fn start_over(&mut self, now: Timestamp) {
        let orders: Vec<u32> = self.members.keys().copied().collect();
        for order in orders {
            self.part(order, Reason::TimedOut, "");
        }
        self.drop_everything();
        self.stage = Stage::Knocking {
            link: None,
            retry_at: Some(now + KNOCK_AGAIN),
            until: now + self.config.timeout,
            is_host: false,
        };
    }

    /// As the host: takes a member out and tells everybody.
    fn remove(&mut self, now: Timestamp, order: u32, reason: Reason, detail: &str) {
        let Some(member) = self.members.get(&order) else { return };
        let link = member.link;
        if let Some(link) = link {
            self.send(link, &Control::Out { reason });
            self.links.remove(&link);
            self.send_close(link, Reason::Goodbye);
        }
        self.remove_gone(now, order, link, reason, detail);
    }

    /// The same, where the link is gone already.
    fn remove_gone(&mut self, now: Timestamp, order: u32, link: Option<LinkId>, reason: Reason, detail: &str) {
        self.part_gone(order, link, reason, detail);
        self.members.remove(&order);
        self.gone.push((order, reason));
        self.gone.truncate(MAX_MEMBERS);
        self.broadcast();
        if self.members.is_empty() && reason != Reason::Goodbye && self.stage == Stage::Open && is_silence(reason) {
            self.seek(now, SEEKING_TIME_OF_HOST);
        }
    }

    /// Tells the game that a member is gone, closing its link.
    fn part(&mut self, order: u32, reason: Reason, detail: &str) {
        let link = self.members.get(&order).and_then(|member| member.link);
        if let Some(link) = link {
            self.links.remove(&link);
            self.send_close(link, Reason::Goodbye);
        }
        self.part_gone(order, link, reason, detail);
    }

    fn part_gone(&mut self, order: u32, link: Option<LinkId>, reason: Reason, detail: &str) {
        self.close_dials(order);
        let Some(member) = self.members.get_mut(&order) else {
            return;
        };
        member.link = None;
        member.join_at = None;
        if std::mem::take(&mut member.is_joined) {
            let detail = detail.to_owned();
            self.tell(News::Left {
                order,
                link,
                reason,
                detail,
            });
        }
    }

    fn handle_host_gone(&mut self, now: Timestamp, link: Option<LinkId>, reason: Reason, detail: &str) {
        if let Stage::Entering { knock_until, .. } = self.stage {
            self.drop_everything();
            self.stage = Stage::Knocking {
                link: None,
                retry_at: Some(now + KNOCK_AGAIN),
                until: knock_until,
                is_host: false,
            };
            return;
        }
        if self.stage != Stage::Open || self.is_host() {
            return;
        }
        let is_put_out = !is_silence(reason) && reason != Reason::Goodbye;
        if is_put_out {
            return self.end(reason, detail);
        }
        self.host_until = None;
        let old = self.host;
        self.part_gone(old, link, reason, detail);
        self.members.remove(&old);
        self.claims.remove(&old);
        self.gone.push((old, reason));
        let next = self.members().next().unwrap_or(self.order).min(self.order);
        self.host = next;
        if next == self.order {
            return self.become_host(now, reason);
        }
        self.tell(News::Host { order: Some(next) });
        // Its rosters count from its own beginning, whatever the old host has told us and not it.
        self.version = 0;
        self.host_until = Some(now + MIGRATION_TIME);
        if let Some(roster) = self.claims.remove(&next) {
            self.host_until = None;
            // Its versions follow on those of the host before.
            self.apply(now, roster);
        }
        let has_link = self.members.get(&next).is_some_and(|member| member.link.is_some());
        if !has_link && self.host == next && self.stage == Stage::Open {
            self.dial(now, next);
        }
    }

    fn become_host(&mut self, now: Timestamp, reason: Reason) {
        self.claims.clear();
        self.expected.clear();
        let over: Vec<u32> = self
            .members
            .iter()
            .filter(|(_, member)| member.is_over)
            .map(|(order, _)| *order)
            .collect();
        for order in over {
            self.members.remove(&order);
            self.gone.push((order, Reason::Goodbye));
        }
        for member in self.members.values_mut() {
            member.join_at = None;
            if member.link.is_none() {
                member.dial_until = Some(now + GATHERING_TIME);
            }
        }
        // Numbers of members that the old host has welcomed and not told us of are not given again.
        self.next_order = self.next_order.max(self.order + 1) + MAX_MEMBERS as u32;
        self.tell(News::Host { order: None });
        self.broadcast();
        // They may have dialled us before we knew.
        let keys: Vec<Key> = self.members.values().map(|member| member.key).collect();
        for key in keys {
            self.recognise_all(now, key);
        }
        let rest: Vec<LinkId> = self.links.keys().copied().collect();
        for link in rest {
            self.send_away(link);
        }
        if self.members.is_empty() && is_silence(reason) {
            self.seek(now, SEEKING_TIME);
        } else {
            self.open_door();
        }
    }

    /// Looks at the door for the others, as one who may have been cut off.
    fn seek(&mut self, now: Timestamp, time: Duration) {
        if self.is_door_open {
            self.is_door_open = false;
            self.outputs.push_back(Output::CloseDoor);
        }
        self.stage = Stage::Knocking {
            link: None,
            retry_at: Some(now + KNOCK_AGAIN),
            until: now + time,
            is_host: true,
        };
    }

    fn go_on_alone(&mut self) {
        let knocks: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| matches!(link, Link::Knock))
            .map(|(id, _)| *id)
            .collect();
        for link in knocks {
            self.close(link, Reason::Goodbye);
        }
        self.stage = Stage::Open;
        self.open_door();
    }

    fn open_door(&mut self) {
        if !self.is_door_open {
            self.is_door_open = true;
            self.outputs.push_back(Output::OpenDoor);
        }
    }

    /// Takes in that the door is open. A room of our own is open when its door is, for the first time.
    pub fn handle_door_open(&mut self) {
        if !self.has_opened && self.stage == Stage::Open {
            self.has_opened = true;
            self.tell(News::Opened);
        }
    }

    /// Takes in that the door cannot be opened: a room that has never been open ends.
    pub fn handle_door_failed(&mut self, detail: &str) {
        if !self.has_opened {
            self.end(Reason::Internal, detail);
        }
    }

    fn drop_everything(&mut self) {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.close(link, Reason::Goodbye);
        }
        self.members.clear();
        self.expected.clear();
        self.claims.clear();
        self.gone.clear();
        self.host_until = None;
        if self.is_door_open {
            self.is_door_open = false;
            self.outputs.push_back(Output::CloseDoor);
        }
    }

    fn end(&mut self, reason: Reason, detail: &str) {
        let orders: Vec<u32> = self.members.keys().copied().collect();
        for order in orders {
            self.part(order, reason, "");
        }
        self.drop_everything();
        self.stage = Stage::Closed;
        let detail = detail.to_owned();
        self.tell(News::Ended { reason, detail });
    }

    fn handle_violation(&mut self, now: Timestamp, link: LinkId) {
        self.send_close(link, Reason::BadData);
        // One that breaks the rules is not talked to again, be it by way of the host.
        if let Some(Link::Member { order }) = self.links.get(&link)
            && let Some(member) = self.members.get_mut(order)
        {
            member.is_over = *order != self.host;
        }
        let is_knock = matches!(self.links.get(&link), Some(Link::Knock));
        let reason = if is_knock { Reason::BadData } else { Reason::LinkClosed };
        self.handle_gone(now, link, reason, "it broke the rules of the room");
    }

    // ── small things ───────────────────────────────────────────────────────────────────────────────────────────────────────

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

    fn close_dials(&mut self, order: u32) {
        let is_dial = |link: &Link| matches!(link, Link::Dialing { order: other, .. } if *other == order);
        let dials: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| is_dial(link))
            .map(|(id, _)| *id)
            .collect();
        for link in dials {
            self.close(link, Reason::Goodbye);
        }
    }

    fn handle_timers(&mut self, now: Timestamp) {
        let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        match self.stage {
            Stage::Knocking { until, is_host, .. } if until <= now => {
                if is_host {
                    self.go_on_alone();
                    self.seek_at = Some(now + SEEK_AGAIN);
                } else {
                    self.end(Reason::NoRoom, "nobody has a room open under this code");
                }
            }
            Stage::Knocking {
                link: None, retry_at, ..
            } if is_due(retry_at) => {
                let knock = self.new_link();
                self.links.insert(knock, Link::Knock);
                if let Stage::Knocking { link, retry_at, .. } = &mut self.stage {
                    (*link, *retry_at) = (Some(knock), None);
                }
                self.outputs.push_back(Output::Knock { link: knock });
            }
            Stage::Entering { until, .. } if until <= now => {
                self.handle_host_gone(now, None, Reason::NoAnswer, "");
            }
            _ => {}
        }
        let overdue = |link: &Link| match link {
            Link::Visitor { until, .. } | Link::Stranger { until, .. } | Link::Dialing { until, .. } => *until <= now,
            Link::Knock | Link::Member { .. } => false,
        };
        let links: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| overdue(link))
            .map(|(id, _)| *id)
            .collect();
        for link in links {
            self.send_close(link, Reason::Goodbye);
            self.handle_gone(now, link, Reason::NoAnswer, "it did not answer");
        }
        self.expected.retain(|_, (_, until)| *until > now);
        if is_due(self.seek_at) {
            self.seek_at = None;
            if self.is_host() && self.stage == Stage::Open && self.members.is_empty() && self.expected.is_empty() {
                self.seek(now, SEEKING_TIME);
            }
        }
        if is_due(self.host_until) {
            let link = self.host_link();
            if let Some(link) = link {
                self.links.remove(&link);
                self.send_close(link, Reason::Goodbye);
            }
            self.handle_host_gone(now, link, Reason::TimedOut, "it did not take over");
        }
        if self.is_host() {
            let late: Vec<u32> = self
                .members
                .iter()
                .filter(|(_, member)| is_due(member.dial_until))
                .map(|(order, _)| *order)
                .collect();
            for order in late {
                self.remove(now, order, Reason::TimedOut, "it did not find the new host");
            }
        }
        self.announce_due(now);
    }

    fn next_time(&self) -> Option<Timestamp> {
        let stage = match self.stage {
            Stage::Knocking { retry_at, until, .. } => Some(retry_at.map_or(until, |at| at.min(until))),
            Stage::Entering { until, .. } => Some(until),
            Stage::Open | Stage::Closed => None,
        };
        let links = self.links.values().filter_map(|link| match link {
            Link::Visitor { until, .. } | Link::Stranger { until, .. } | Link::Dialing { until, .. } => Some(*until),
            Link::Knock | Link::Member { .. } => None,
        });
        let expected = self.expected.values().map(|(_, until)| *until);
        let is_host = self.is_host();
        let can_announce = self.stage == Stage::Open && self.host_link().is_some();
        let members = self.members.values().flat_map(|member| {
            let join_at = member.join_at.filter(|_| can_announce && member.link.is_none());
            [join_at, member.dial_until.filter(|_| is_host)]
        });
        let all = links.chain(expected).chain(members.flatten());
        all.chain(stage).chain(self.host_until).chain(self.seek_at).min()
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

/// Returns the reason why the host says that somebody has gone, as the game is told: one that another member closed is not ours.
fn local_reason(reason: Reason) -> Reason {
    if reason == Reason::Closed {
        Reason::Goodbye
    } else {
        reason
    }
}
