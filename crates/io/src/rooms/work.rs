//! What a room needs that takes time: its keys, its listeners, its calls. Runs on threads of its own, never the game's.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use netplay_proto::room::{LinkId, MAX_CONTACT_LEN, Room, RoomConfig, Topology};
use netplay_proto::{Identity, Key, Limits, Reason};

use super::{Means, Role, RoomId, code::Code, pinned};
use crate::error::{Error, UrlError};
use crate::keys::generate_key;
use crate::network::Network;
use crate::p2p::{Relays, endpoint_id};
use crate::shared::Shared;
use crate::types::{ConnectOptions, ListenOptions, ListenerId};
use crate::url::{Host, Place, Scheme, Url};

/// How long nothing is heard by a link before the game is told, and how long after that it is given up. Shorter than between
/// client and server, since a room without its host stands still.
const LOST_AFTER: Duration = Duration::from_secs(3);
const GRACE: Duration = Duration::from_secs(5);

/// The same through routers, where a relay that was started again, or another way than the one that broke, is found within it.
const GRACE_P2P: Duration = Duration::from_secs(12);

/// How long a knock or a dial may take.
const DIAL_TIME: Duration = Duration::from_secs(8);

/// How long a room of our own tries to open its door before it fails, and how long it waits between two tries.
const DOOR_TIME: Duration = Duration::from_secs(3);
const DOOR_AGAIN: Duration = Duration::from_millis(300);

/// How long it waits for a relay to let it in, and how long between two looks: before, nobody could find it.
const RELAY_TIME: Duration = Duration::from_secs(12);
const RELAY_LOOK: Duration = Duration::from_millis(30);

/// How long anybody else tries: the port may be in the hands of a host that is just going.
const LATER_DOOR_TIME: Duration = Duration::from_secs(60);

/// The terms of a room that is hosted or joined.
#[derive(Clone, Debug)]
pub struct RoomOptions {
    /// The game's name: a code means another room in another app.
    pub app: String,
    /// The code.
    pub code: Code,
    /// Our name, told to the others.
    pub name: String,
    /// The game's version; others are refused.
    pub version: String,
    /// What one must know beside the code.
    pub password: Option<String>,
    /// For a host: how many may be in it, ourselves included.
    pub max_members: usize,
    /// For a host: whether all goes through the host.
    pub is_star: bool,
    /// For a newcomer: how long to go on knocking.
    pub timeout: Duration,
    /// How members are found.
    pub way: Way,
}

/// How the members of a room, and its door, are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Through routers, by `play+p2p://`: the endpoint of the door comes of the code.
    P2p {
        /// The URL of the relay to use; None for the public ones.
        relay: Option<String>,
    },
    /// By URLs that are given: where we can be dialled, and the door. For tests, and for those who have their own network.
    Urls {
        /// Such as `play+udp://127.0.0.1:0`, or `local://` for a name made by chance.
        contact: String,
        /// Such as `play+udp://127.0.0.1:5555`, the same for all.
        door: String,
    },
}

impl Way {
    /// Returns the way by a door that is given, or else through routers by a relay that is given, or else by the public ones.
    pub fn new(door: Option<String>, relay: Option<String>) -> Result<Self, Error> {
        let Some(door) = door else {
            if let Some(relay) = &relay
                && Relays::parse(relay).map_err(Error::Option)? == Relays::None
            {
                let problem = "a room needs a relay: its members know nothing of each other but the code";
                return Err(Error::Option(problem.to_owned()));
            }
            return Ok(Self::P2p { relay });
        };
        if relay.is_some() {
            return Err(Error::Option("a room whose door is given uses no relay".to_owned()));
        }
        let parsed = Url::parse(&door)?;
        let contact = match (&parsed.place, parsed.scheme) {
            (Place::Local(_), _) => "local://".to_owned(),
            (
                Place::Net {
                    host: Host::Ip(_),
                    port,
                },
                Scheme::PlayUdp | Scheme::PlayTcp,
            ) if *port != 0 => parsed.with_port(0),
            _ => {
                let problem =
                    "a door is a local:// URL, or play+udp:// or play+tcp:// with an address and a port".to_owned();
                let (url, part) = (door, "scheme");
                return Err(UrlError { url, part, problem }.into());
            }
        };
        Ok(Self::Urls { contact, door })
    }
}

/// Something to be done where blocking hurts nobody.
pub(crate) enum Work {
    /// Makes the keys, opens the contact, and begins.
    Begin {
        room: RoomId,
        options: Box<RoomOptions>,
        is_host: bool,
    },
    Dial {
        room: RoomId,
        link: LinkId,
        url: String,
        key: Key,
    },
    OpenDoor {
        room: RoomId,
    },
}

impl Work {
    pub(crate) fn dial(room: RoomId, link: LinkId, url: String, key: Key) -> Self {
        Self::Dial { room, link, url, key }
    }

    /// Does it, if the network is still there. Blocks.
    pub(crate) fn run(self, shared: &Weak<Shared>) {
        match self {
            Self::Begin { room, options, is_host } => begin(shared, room, *options, is_host),
            Self::Dial { room, link, url, key } => {
                if let Some(shared) = shared.upgrade() {
                    dial(&shared, room, link, &url, key);
                }
            }
            Self::OpenDoor { room } => open_door(shared, room),
        }
    }
}

fn limits(is_p2p: bool) -> Limits {
    Limits {
        lost_after: LOST_AFTER,
        grace: if is_p2p { GRACE_P2P } else { GRACE },
        ..Limits::default()
    }
}

fn begin(weak: &Weak<Shared>, room: RoomId, options: RoomOptions, is_host: bool) {
    let keys = options.code.keys(&options.app, options.password.as_deref());
    let Some(shared) = weak.upgrade() else { return };
    let result = open_contact(&shared, room, &options, keys);
    let mut driver = shared.lock();
    let now = shared.now();
    let is_wanted = driver.rooms.begun.remove(&room);
    match result {
        Ok((contact, means)) if is_wanted => {
            let config = RoomConfig {
                key: means.identity.public_key(),
                name: options.name,
                contact,
                topology: if options.is_star {
                    Topology::Star
                } else {
                    Topology::Mesh
                },
                max_members: options.max_members,
                timeout: options.timeout,
                silence: LOST_AFTER + limits(means.endpoint.is_some()).grace,
            };
            let machine = if is_host {
                Room::host(config)
            } else {
                Room::join(now, config)
            };
            driver.begin_room(now, room, machine, means);
        }
        Ok(_) => {
            driver.close_room_slots(now, room);
            driver.fail_room(room, Reason::Closed, "");
        }
        Err(error) => driver.fail_room(room, Reason::Internal, &error.to_string()),
    }
    shared.publish(&driver);
    drop(driver);
    shared.rouse();
}

/// Opens where we can be dialled. Returns the contact and what else the room needs.
fn open_contact(
    shared: &Arc<Shared>,
    room: RoomId,
    options: &RoomOptions,
    keys: super::code::RoomKeys,
) -> Result<(String, Means), Error> {
    let (contact, door, endpoint, relay) = match &options.way {
        Way::Urls { contact, door } => (contact.clone(), door.clone(), None, None),
        Way::P2p { relay } => {
            let door = format!("play+p2p://{}", endpoint_id(&keys.endpoint));
            ("play+p2p://".to_owned(), door, Some(keys.endpoint), relay.clone())
        }
    };
    let identity = Identity::from_secret(generate_key()?);
    let url = if contact == "local://" {
        let bytes = generate_key()?;
        let name: String = bytes[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("local://room-{name}")
    } else {
        contact
    };
    let listen = ListenOptions {
        name: options.name.clone(),
        version: options.version.clone(),
        password: None,
        max_peers: 2 * netplay_proto::room::MAX_MEMBERS,
        identity: identity.clone(),
        transports: None,
        certificate: None,
        advertise: None,
        relay: relay.clone(),
        p2p_secret: None,
        limits: limits(endpoint.is_some()),
    };
    let info = Network::of(shared).listen_for(&url, listen, Some((room, Role::Contact, keys.psk)))?;
    let contact = info.addresses.first().unwrap_or(&info.url);
    let contact = contact.split(['#', '?']).next().unwrap_or(contact).to_owned();
    if contact.len() > MAX_CONTACT_LEN {
        return Err(Error::Option(format!("the contact {contact:?} is too long")));
    }
    let means = Means {
        name: options.name.clone(),
        version: options.version.clone(),
        identity,
        door_to_open: if endpoint.is_some() {
            "play+p2p://".to_owned()
        } else {
            door.clone()
        },
        door_to_dial: door,
        endpoint,
        relay,
        door_identity: keys.door,
        psk: keys.psk,
    };
    Ok((contact, means))
}

fn dial(shared: &Arc<Shared>, room: RoomId, link: LinkId, url: &str, key: Key) {
    let Some(means) = shared.lock().room_means(room) else {
        return;
    };
    let options = ConnectOptions {
        name: means.name,
        version: means.version,
        password: None,
        timeout: DIAL_TIME,
        pinned_key: Some(key),
        identity: Some(means.identity),
        seat: None,
        relay: means.relay,
        limits: limits(means.endpoint.is_some()),
    };
    let result = Network::of(shared).connect_for(&pinned(url, &key), options, Some((room, link, means.psk)));
    if let Err(error) = result {
        let mut driver = shared.lock();
        driver.room_not_dialed(shared.now(), room, link, &error.to_string());
        shared.publish(&driver);
        drop(driver);
        shared.rouse();
    }
}

fn open_door(weak: &Weak<Shared>, room: RoomId) {
    let begun = Instant::now();
    loop {
        let Some(shared) = weak.upgrade() else { return };
        let Some((means, is_first)) = shared.lock().wanted_door(room) else {
            return;
        };
        let options = ListenOptions {
            name: means.name,
            version: means.version,
            password: None,
            max_peers: netplay_proto::room::MAX_MEMBERS,
            identity: means.door_identity,
            transports: None,
            certificate: None,
            advertise: None,
            relay: means.relay,
            p2p_secret: means.endpoint,
            limits: limits(means.endpoint.is_some()),
        };
        let terms = Some((room, Role::Door, means.psk));
        let result = Network::of(&shared).listen_for(&means.door_to_open, options, terms);
        let mut driver = shared.lock();
        let now = shared.now();
        let patience = if is_first { DOOR_TIME } else { LATER_DOOR_TIME };
        let is_done = match result {
            Ok(info) if is_first && driver.relay_trouble(room).is_some() => {
                shared.publish(&driver);
                drop(driver);
                drop(shared);
                return open_once_reached(weak, room, info.id);
            }
            Ok(info) => {
                driver.door_opened(now, room, info.id);
                true
            }
            Err(Error::Closed) => return,
            Err(error) if begun.elapsed() > patience => {
                log::warn!("the door of a room cannot be opened: {error}");
                driver.door_failed(now, room, Reason::Internal, &error.to_string());
                true
            }
            Err(_) => false,
        };
        shared.publish(&driver);
        drop(driver);
        shared.rouse();
        if is_done {
            return;
        }
        // The network may be closed meanwhile.
        drop(shared);
        std::thread::sleep(DOOR_AGAIN);
    }
}

/// Says that the door of a room of our own is open, once it can be found; ends the room if no relay can be reached.
fn open_once_reached(weak: &Weak<Shared>, room: RoomId, door: ListenerId) {
    let begun = Instant::now();
    loop {
        std::thread::sleep(RELAY_LOOK);
        // The network may be closed meanwhile.
        let Some(shared) = weak.upgrade() else { return };
        let mut driver = shared.lock();
        let now = shared.now();
        match driver.relay_trouble(room) {
            Some(_) if begun.elapsed() < RELAY_TIME => continue,
            Some(trouble) => driver.door_failed(now, room, Reason::NoAnswer, &trouble),
            None => driver.door_opened(now, room, door),
        }
        shared.publish(&driver);
        drop(driver);
        shared.rouse();
        return;
    }
}
