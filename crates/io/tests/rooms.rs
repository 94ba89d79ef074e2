//! Rooms over real sockets on loopback: members come, talk, go and crash, and all agree who is in.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use netplay_io::rooms::{Code, RoomId, RoomOptions, Way};
use netplay_io::{Delivery, Event, Kind, Message, Network, PeerEvent, PeerId, Reason, RoomChange, Target};

/// Long enough for anything on one machine, even a busy one.
const PATIENCE: Duration = Duration::from_secs(40);

struct Member {
    network: Network,
    room: RoomId,
    name: String,
    events: Vec<PeerEvent>,
    /// Who is in, by name.
    others: BTreeMap<PeerId, String>,
    is_open: bool,
    host: Option<String>,
    end: Option<(Reason, String)>,
    /// Who said what.
    heard: Vec<(String, String)>,
    left: Vec<(String, Reason)>,
}

fn free_door() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    format!("play+udp://{}", socket.local_addr().unwrap())
}

fn options(door: &str, code: Code, name: &str) -> RoomOptions {
    let contact = match door.split_once("://").unwrap().0 {
        "local" => "local://",
        _ => "play+udp://127.0.0.1:0",
    };
    RoomOptions {
        app: "test".into(),
        code,
        name: name.into(),
        version: String::new(),
        password: None,
        max_members: 8,
        is_star: false,
        timeout: Duration::from_secs(20),
        way: Way::Urls {
            contact: contact.into(),
            door: door.into(),
        },
    }
}

impl Member {
    fn new(is_host: bool, options: RoomOptions) -> Self {
        let network = Network::new();
        let name = options.name.clone();
        let room = if is_host {
            network.host_room(options)
        } else {
            network.join_room(options)
        };
        Self {
            network,
            room: room.unwrap(),
            name,
            events: Vec::new(),
            others: BTreeMap::new(),
            is_open: false,
            host: None,
            end: None,
            heard: Vec::new(),
            left: Vec::new(),
        }
    }

    fn poll(&mut self) {
        let mut events = Vec::new();
        self.network.take(usize::MAX, &mut events);
        for event in &events {
            match &event.event {
                Event::Room(change) => match &change.what {
                    RoomChange::Opened => self.is_open = true,
                    RoomChange::Joined { name, is_host, .. } => {
                        assert!(self.is_open && self.others.insert(event.peer, name.clone()).is_none());
                        if *is_host {
                            self.host = Some(name.clone());
                        }
                    }
                    RoomChange::Left { reason, .. } => {
                        let name = self.others.remove(&event.peer).expect("who leaves was in");
                        self.left.push((name, *reason));
                    }
                    RoomChange::Host { is_host } => {
                        self.host = if *is_host {
                            Some(self.name.clone())
                        } else {
                            self.others.get(&event.peer).cloned()
                        };
                    }
                    RoomChange::Ended { reason, detail } => self.end = Some((*reason, detail.clone())),
                },
                Event::Message { data, .. } => {
                    let from = self.others.get(&event.peer).expect("who speaks is in").clone();
                    self.heard.push((from, String::from_utf8(data.to_vec()).unwrap()));
                }
                Event::Lost { .. } | Event::Resumed { .. } => assert!(self.others.contains_key(&event.peer)),
                other => panic!("{other:?} is none of a room's"),
            }
        }
        self.events.extend(events);
    }

    fn say(&self, text: &str) -> usize {
        self.network.send(Target::All, &[], &message(text)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.others.values().cloned().collect();
        names.push(self.name.clone());
        names.sort();
        names
    }
}

fn message(text: &str) -> Message {
    Message {
        channel: 3,
        delivery: Delivery::RELIABLE,
        kind: Kind::TEXT,
        data: text.to_owned().into(),
    }
}

fn until(members: &mut [Member], what: &str, is_true: impl Fn(&[Member]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        members.iter_mut().for_each(Member::poll);
        if is_true(members) {
            return;
        }
        let views: Vec<_> = members
            .iter()
            .map(|member| {
                format!(
                    "{}: {:?} host {:?} end {:?} left {:?}",
                    member.name,
                    member.names(),
                    member.host,
                    member.end,
                    member.left
                )
            })
            .collect();
        assert!(Instant::now() < deadline, "still not: {what}; {views:#?}");
        members[0].network.wait(Duration::from_millis(3));
    }
}

fn all_in(members: &[Member]) -> bool {
    let mut names: Vec<String> = members.iter().map(|member| member.name.clone()).collect();
    names.sort();
    members.iter().all(|member| member.is_open && member.names() == names)
}

fn all_say(members: &mut [Member]) {
    members.iter_mut().for_each(|member| member.heard.clear());
    let count = members.len();
    for member in members.iter() {
        assert_eq!(member.say(&format!("I am {}", member.name)), count - 1);
        member.say("and again");
    }
    until(members, "everybody has heard everybody", |members| {
        members.iter().all(|member| member.heard.len() == 2 * (count - 1))
    });
    for member in members.iter() {
        for (from, text) in &member.heard {
            assert!(
                *text == format!("I am {from}") || text == "and again",
                "{from} said {text}"
            );
        }
        for other in member.others.values() {
            let of_it: Vec<&String> = member
                .heard
                .iter()
                .filter(|(from, _)| from == other)
                .map(|(_, text)| text)
                .collect();
            assert_eq!(of_it, [&format!("I am {other}"), "and again"]);
        }
    }
}

fn gathered(door: &str, code: Code, count: usize, is_star: bool) -> Vec<Member> {
    let with = |name: &str| RoomOptions {
        is_star,
        ..options(door, code, name)
    };
    let mut members = vec![Member::new(true, with("m0"))];
    for number in 1..count {
        until(&mut members, "the room is open", |members| members[0].is_open);
        members.push(Member::new(false, with(&format!("m{number}"))));
        until(&mut members, "the newcomer is in", all_in);
    }
    members
}

#[test]
fn eight_members_in_a_mesh_meet_talk_and_go_on_without_the_host() {
    let (door, code) = (free_door(), Code::generate().unwrap());
    let mut members = gathered(&door, code, 8, false);
    all_say(&mut members);
    // The host goes with a word, the next without.
    let host = members.remove(0);
    host.network.close(Duration::from_millis(200));
    until(&mut members, "the next is the host", |members| {
        all_in(members) && members.iter().all(|member| member.host.as_deref() == Some("m1"))
    });
    assert!(
        members
            .iter()
            .all(|member| member.left == [("m0".to_owned(), Reason::Goodbye)])
    );
    let host = members.remove(0);
    host.network.vanish();
    until(&mut members, "the next is the host again", |members| {
        all_in(members) && members.iter().all(|member| member.host.as_deref() == Some("m2"))
    });
    assert!(
        members
            .iter()
            .all(|member| member.left[1] == ("m1".to_owned(), Reason::TimedOut))
    );
    // The door is open again: a latecomer is introduced to everybody.
    members.push(Member::new(false, options(&door, code, "late")));
    until(&mut members, "the latecomer is in", all_in);
    all_say(&mut members);
}

#[test]
fn in_a_star_the_host_passes_on_and_another_takes_over() {
    let (door, code) = (free_door(), Code::generate().unwrap());
    let mut members = gathered(&door, code, 4, true);
    all_say(&mut members);
    let peer = *members[1].others.iter().find(|(_, name)| *name == "m2").unwrap().0;
    assert_eq!(members[1].network.peer_stats(peer).unwrap().transport, "host");
    let host = members.remove(0);
    host.network.vanish();
    until(&mut members, "the next is the host", |members| {
        all_in(members) && members.iter().all(|member| member.host.as_deref() == Some("m1"))
    });
    all_say(&mut members);
    assert!(members.iter().all(|member| member.left.len() == 1));
}

#[test]
fn what_was_said_before_a_goodbye_comes_before_it() {
    for is_star in [false, true] {
        let (door, code) = (free_door(), Code::generate().unwrap());
        let mut members = gathered(&door, code, 3, is_star);
        for number in 0..100 {
            members[2].say(&format!("{number}"));
        }
        let leaver = members.pop().unwrap();
        leaver.network.close(Duration::from_secs(2));
        until(&mut members, "it has left", all_in);
        let said: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        for member in &members {
            let heard: Vec<String> = member.heard.iter().map(|(_, text)| text.clone()).collect();
            assert_eq!(heard, said, "star: {is_star}");
        }
    }
}

#[test]
fn inside_one_process_rooms_need_no_socket() {
    let code = Code::generate().unwrap();
    let door = format!("local://door-{code}");
    let mut members = gathered(&door, code, 4, false);
    all_say(&mut members);
}

#[test]
fn a_wrong_code_a_wrong_password_and_a_full_room_are_told_apart() {
    let (door, code) = (free_door(), Code::generate().unwrap());
    let with = |name: &str| RoomOptions {
        password: Some("swordfish".into()),
        max_members: 2,
        timeout: Duration::from_secs(3),
        ..options(&door, code, name)
    };
    let mut members = vec![Member::new(true, with("host"))];
    until(&mut members, "the room is open", |members| members[0].is_open);
    let fails = |members: &mut Vec<Member>, options: RoomOptions, why: Reason| {
        let name = options.name.clone();
        members.push(Member::new(false, options));
        until(members, &name, |members| members.last().unwrap().end.is_some());
        let last = members.pop().unwrap();
        assert_eq!(last.end.as_ref().unwrap().0, why, "{name}: {:?}", last.end);
        assert_eq!(last.events.len(), 1);
    };
    let code_of_another = Code::generate().unwrap();
    fails(
        &mut members,
        RoomOptions {
            code: code_of_another,
            ..with("wrong code")
        },
        Reason::NoRoom,
    );
    fails(
        &mut members,
        RoomOptions {
            password: Some("catfish".into()),
            ..with("wrong password")
        },
        Reason::WrongPassword,
    );
    fails(
        &mut members,
        RoomOptions {
            version: "2".into(),
            ..with("wrong version")
        },
        Reason::WrongVersion,
    );
    members.push(Member::new(false, with("guest")));
    until(&mut members, "the guest is in", all_in);
    fails(&mut members, with("one too many"), Reason::Full);
    // Who is put out hears so, and its place is free again.
    let guest = *members[0].others.keys().next().unwrap();
    members[0].network.close_peer(guest, "too loud");
    until(&mut members, "the guest is out", |members| members[1].end.is_some());
    assert_eq!(members.pop().unwrap().end.unwrap().0, Reason::Goodbye);
    members.push(Member::new(false, with("another")));
    until(&mut members, "another is in", all_in);
    assert_eq!(members[0].room, members[0].room);
}

#[test]
fn a_host_whose_door_is_taken_is_told_so() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let door = format!("play+udp://{}", socket.local_addr().unwrap());
    let mut members = vec![Member::new(true, options(&door, Code::generate().unwrap(), "host"))];
    until(&mut members, "it has failed", |members| members[0].end.is_some());
    assert_eq!(members[0].end.as_ref().unwrap().0, Reason::Internal);
}
