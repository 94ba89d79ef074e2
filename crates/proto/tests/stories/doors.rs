//! Who may knock, how often, and who may not come in at all.

use std::time::Duration;

use netplay_netsim::Conditions;
use netplay_proto::wire::{Chunk, Datagram};
use netplay_proto::{Accept, Address, Ban, Event, Path, Reason, Timestamp};

use crate::rogue::{NO_PASSWORD, Rogue, Victim, ask, finish, introduction};
use crate::world::{World, terms};
use crate::{MS, SECOND};

/// Returns the path to an address.
fn from(ip: &str, port: u16) -> Path {
    Path {
        socket: 0,
        remote: Address::Ip((ip.parse::<std::net::IpAddr>().unwrap(), port).into()),
    }
}

/// Asks again and again from one host, each time from another port, and finishes or not. Returns how often it was answered.
fn knock(victim: &mut Victim, ip: &str, times: u16, is_finishing: bool) -> usize {
    (0..times)
        .filter(|number| {
            let path = from(ip, 1000 + number);
            let (token, reply) = ask(victim, path, u64::from(*number) << 32 | victim.now.as_micros());
            if is_finishing && !reply.is_empty() {
                let (finish, ..) = finish(&token, token, &reply, &NO_PASSWORD, &introduction(1 << 20));
                victim.hear(path, [&finish[..]]);
            }
            !reply.is_empty()
        })
        .count()
}

fn connected(victim: &Victim) -> usize {
    let events = victim.events.iter();
    events
        .filter(|(_, event)| matches!(event, Event::Connected { .. }))
        .count()
}

fn open_house() -> Victim {
    Victim::server(Accept {
        max_peers: 10_000,
        ..terms()
    })
}

fn ban(victim: &mut Victim, who: &str, until: Option<Timestamp>) {
    victim.endpoint.ban(victim.now, who.parse().unwrap(), until).unwrap();
}

#[test]
fn a_host_that_asks_and_asks_is_answered_at_its_rate_and_others_at_once() {
    let mut victim = open_house();
    assert_eq!(knock(&mut victim, "198.51.100.7", 300, true), 64);
    assert_eq!(victim.endpoint.stats().handshakes_limited, 300 - 64);
    assert_eq!(knock(&mut victim, "198.51.100.8", 30, true), 30, "a neighbour");
    victim.wait(SECOND);
    assert_eq!(knock(&mut victim, "198.51.100.7", 300, true), 8);
    assert_eq!(connected(&victim), 64 + 30 + 8);
    victim.wait(60 * SECOND);
    assert_eq!(knock(&mut victim, "198.51.100.7", 64, true), 64, "all is forgiven");
}

#[test]
fn a_classroom_behind_one_router_gets_in_at_once() {
    let mut victim = open_house();
    assert_eq!(knock(&mut victim, "203.0.113.1", 60, true), 60);
    assert_eq!(connected(&victim), 60);
    assert_eq!(victim.endpoint.stats().handshakes_limited, 0);
}

#[test]
fn a_host_that_never_finishes_holds_a_few_places_and_not_all() {
    let mut victim = open_house();
    assert_eq!(knock(&mut victim, "198.51.100.7", 300, false), 32);
    assert_eq!(knock(&mut victim, "198.51.100.8", 1, true), 1);
    // What is not finished in five seconds is forgotten, and may be begun anew.
    victim.wait(6 * SECOND);
    assert_eq!(knock(&mut victim, "198.51.100.7", 300, false), 32);
}

#[test]
fn an_ipv6_network_counts_as_one_host() {
    let mut victim = open_house();
    let begun: usize = (0..300)
        .map(|number| knock(&mut victim, &format!("2001:db8:7:7:{number:x}::1"), 1, true))
        .sum();
    assert_eq!(begun, 64);
    assert_eq!(
        knock(&mut victim, "2001:db8:7:8::1", 1, true),
        1,
        "the network beside it"
    );
}

#[test]
fn hellos_with_a_forged_sender_do_not_count_against_the_one_they_name() {
    let mut victim = open_house();
    for number in 0..1000_u64 {
        let mut hello = Vec::new();
        Datagram::Hello {
            token: number,
            noise: &[7; 48],
            cookie: (number % 2 == 0).then_some(&[9; 24]),
            has_seat: number % 3 == 0,
        }
        .emit(&mut hello);
        victim.hear(from("198.51.100.7", number as u16), [&hello[..]]);
    }
    assert_eq!(knock(&mut victim, "198.51.100.7", 64, true), 64);
}

#[test]
fn answers_that_find_no_room_are_counted() {
    let mut victim = open_house();
    let hello = hello(5);
    let said = victim.hear(from("198.51.100.7", 4000), vec![&hello[..]; 5000]);
    assert_eq!(said.len(), 4096);
    assert_eq!(victim.endpoint.stats().handshakes_dropped, 5000 - 4096);
    assert_eq!(knock(&mut victim, "198.51.100.7", 1, true), 1);
}

#[test]
fn one_host_can_guess_a_password_about_once_a_second() {
    let mut victim = Victim::server(Accept {
        psk: [200; 32],
        max_peers: 100,
        ..terms()
    });
    let mut guesses = 0;
    for second in 0..60 {
        for number in 0..20 {
            let path = from("198.51.100.7", 2000 + number);
            let (token, reply) = ask(&mut victim, path, second << 32 | u64::from(number));
            if !reply.is_empty() {
                guesses += 1;
                let (finish, ..) = finish(&token, token, &reply, &[0; 32], &introduction(1 << 20));
                // What is repeated does not cost more.
                victim.hear(path, [&finish[..], &finish[..], &finish[..]]);
            }
        }
        victim.wait(SECOND);
    }
    assert!((50..=70).contains(&guesses), "{guesses} guesses in a minute");
}

#[test]
fn one_who_knocks_too_often_gets_in_later_by_asking_on() {
    // The client of netplay itself, behind a router whose other players have used up what the host may begin.
    let mut victim = open_house();
    knock(&mut victim, "198.51.100.7", 300, true);
    let mut waited = Duration::ZERO;
    while knock(&mut victim, "198.51.100.7", 1, true) == 0 {
        victim.wait(100 * MS);
        waited += 100 * MS;
    }
    assert!(waited <= 500 * MS, "{waited:?}");
}

#[test]
fn a_banned_address_is_told_so_before_anything_is_computed_for_it() {
    let mut victim = open_house();
    let path = from("198.51.100.7", 4000);
    let mut rogue = Rogue::enter_by(&mut victim, path, 1, 1 << 20);
    let neighbour = Rogue::enter_by(&mut victim, from("198.51.101.1", 4000), 2, 1 << 20);
    let until = victim.now + 100 * SECOND;
    ban(&mut victim, "198.51.100.0/24", Some(until));
    // At once, and both sides learn why.
    assert_eq!(victim.endpoint.established().count(), 1, "{:?}", neighbour.path);
    let goodbye = victim.hear(path, []);
    assert_eq!(rogue.reasons(&goodbye), [Reason::Banned.number()]);
    assert_eq!(victim.disconnected(), Some((Reason::Banned, "")));
    // It may still acknowledge the goodbye, and cannot say anything else.
    rogue.say(&mut victim, &[Chunk::Ping]);
    let cookies = victim.endpoint.stats().cookies_sent;
    let hello = hello(5);
    let said = victim.hear(from("198.51.100.99", 1), [&hello[..]]);
    assert!(
        matches!(
            Datagram::parse(&said[0]),
            Ok(Datagram::Refuse {
                token: 5,
                reason: 14,
                ..
            })
        ),
        "{said:?}"
    );
    assert!(said.len() == 1 && said[0].len() < 20);
    assert_eq!(victim.endpoint.stats().cookies_sent, cookies, "not even a cookie");
    assert_eq!(victim.endpoint.stats().banned, 2);
    // It ends by itself, or when it is lifted.
    victim.wait(100 * SECOND);
    assert_eq!(knock(&mut victim, "198.51.100.99", 1, true), 1);
    ban(&mut victim, "198.51.100.7", None);
    assert_eq!(knock(&mut victim, "198.51.100.7", 1, true), 0);
    assert!(victim.endpoint.unban(victim.now, "198.51.100.7".parse().unwrap()));
    assert!(!victim.endpoint.unban(victim.now, "198.51.100.7".parse().unwrap()));
    assert_eq!(knock(&mut victim, "198.51.100.7", 1, true), 1);
}

#[test]
fn a_handshake_that_was_under_way_when_its_address_was_banned_does_not_get_in() {
    let mut victim = open_house();
    let path = from("198.51.100.7", 4000);
    let (token, reply) = ask(&mut victim, path, 1);
    ban(&mut victim, "198.51.100.7", None);
    let (finish, ..) = finish(&token, token, &reply, &NO_PASSWORD, &introduction(1 << 20));
    victim.hear(path, [&finish[..]]);
    assert!(victim.events.is_empty(), "{:?}", victim.events);
}

#[test]
fn a_connection_does_not_move_to_a_banned_address() {
    let mut victim = open_house();
    ban(&mut victim, "198.51.100.7", None);
    let home = from("203.0.113.5", 4000);
    let mut rogue = Rogue::enter_by(&mut victim, home, 1, 1 << 20);
    let id = victim.endpoint.established().next().unwrap();
    rogue.path = from("198.51.100.7", 4000);
    rogue.say(&mut victim, &[Chunk::Ping]);
    assert_eq!(victim.endpoint.connection_path(id), Some(home));
    assert!(
        victim.to.iter().all(|path| *path != rogue.path),
        "something was sent there"
    );
}

#[test]
fn a_banned_key_is_closed_at_once_and_refused_from_anywhere() {
    let mut world = World::new(Conditions::lag(20 * MS));
    let server = world.listen();
    let (client, friend) = (world.caller(), world.caller());
    let (end, other) = world.connect(client, server);
    let (friend, _) = world.connect(friend, server);
    let key = world.public_key(client);
    let now = world.timestamp();
    world.endpoint(server).ban(now, Ban::Key(key), None).unwrap();
    world.run_for(SECOND);
    let banned = Event::Disconnected {
        reason: Reason::Banned,
        detail: String::new(),
    };
    assert_eq!(world.told(end).last(), Some(&&banned));
    assert_eq!(world.told(other).last(), Some(&&banned));
    // From another address, as one whose router was given a new one.
    world.move_to(client, 70);
    let again = world.call(client, server);
    world.run_for(5 * SECOND);
    assert_eq!(world.told(again), [&banned]);
    assert_eq!(world.endpoint(server).stats().banned, 2);
    assert!(world.is_connected(friend));
    assert_eq!(
        world.connected_ends(server).len(),
        2,
        "the server's game never heard of the third"
    );
    world.endpoint(server).unban(now, Ban::Key(key));
    world.connect(client, server);
}

fn hello(token: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    Datagram::Hello {
        token,
        noise: &[7; 48],
        cookie: None,
        has_seat: false,
    }
    .emit(&mut bytes);
    bytes
}
