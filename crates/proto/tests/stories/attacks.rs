//! A peer that speaks the protocol perfectly and keeps none of its manners: it has the keys of its own handshake, and writes
//! into its packets what it likes.

use netplay_netsim::Conditions;
use netplay_proto::wire::{Chunk, Datagram, FRAGMENT_SIZE, Introduction, MessageChunk, Part, SeatClaim};
use netplay_proto::wire::{fragment_count, fragment_len};
use netplay_proto::{Accept, Connect, Delivery, Event, IncomingRate, Kind, Limits, Reason, SendError};

use crate::rogue::{NO_PASSWORD, Rogue, Victim, ask, finish, handshake, introduction, whole};
use crate::world::{World, path_to, terms};
use crate::{MS, SECOND};

#[test]
fn a_rogue_that_behaves_is_served() {
    let mut victim = Victim::server(terms());
    let mut rogue = Rogue::enter(&mut victim, 10, 1 << 20);
    rogue.say(&mut victim, &[whole(Delivery::RELIABLE, 0, b"hello network.")]);
    assert!(matches!(victim.events[0].1, Event::Connected { .. }));
    assert!(
        matches!(victim.events[1].1, Event::Message { .. }),
        "{:?}",
        victim.events
    );
}

#[test]
fn a_client_does_not_decide_what_the_server_may_send() {
    let mut victim = Victim::server(terms());
    let _rogue = Rogue::enter(&mut victim, 10, 0);
    let ids: Vec<_> = victim.endpoint.established().collect();
    for id in ids {
        assert!(
            !matches!(victim.send(id, 1, 100), Err(SendError::TooLarge { .. })),
            "an error in the caller's face for the remote side's fault"
        );
    }
}

#[test]
fn a_server_that_accepts_anything_is_sent_no_more_than_the_protocol_allows() {
    let mut victim = Victim::new(None);
    let path = path_to(10);
    let options = Connect {
        paths: vec![path],
        timeout: 10 * SECOND,
        ..Connect::default()
    };
    let id = victim.endpoint.connect(victim.now, options);
    let said = victim.wait(MS);
    let Ok(Datagram::Hello { token, .. }) = Datagram::parse(&said[0]) else {
        panic!("a caller speaks first")
    };
    let mut cookie = Vec::new();
    Datagram::Cookie {
        token,
        cookie: &[3; 24],
    }
    .emit(&mut cookie);
    let said = victim.hear(path, [&cookie[..]]);
    let Ok(Datagram::Hello { noise: first, .. }) = Datagram::parse(&said[0]) else {
        panic!("a caller proves its address")
    };
    let mut noise = handshake(false, token, &NO_PASSWORD, 5);
    let mut buffer = [0; 1200];
    noise.read_message(first, &mut buffer).unwrap();
    let len = noise.write_message(&introduction(u64::MAX), &mut buffer).unwrap();
    let mut reply = Vec::new();
    Datagram::Reply {
        token,
        noise: &buffer[..len],
    }
    .emit(&mut reply);
    let said = victim.hear(path, [&reply[..]]);
    let Ok(Datagram::Finish { noise: third, .. }) = Datagram::parse(&said[0]) else {
        panic!("a caller finishes")
    };
    let len = noise.read_message(third, &mut buffer).unwrap();
    let mut rogue = Rogue {
        path,
        receiver_id: Introduction::parse(&buffer[..len]).unwrap().connection_id,
        session: noise.into_stateless_transport_mode().unwrap(),
        next_number: 0,
        is_odd_phase: false,
    };
    rogue.say(&mut victim, &[Chunk::Ping]);
    assert!(matches!(victim.events[0].1, Event::Connected { .. }));
    // Two large messages at once: their sizes are compared with twice the largest that the server accepts.
    victim.send(id, 1, 3000).unwrap();
    victim.send(id, 2, 3000).unwrap();
    victim.wait(MS);
    let result = victim.send(id, 3, netplay_proto::message::MAX_RELIABLE_SIZE + 1);
    assert!(matches!(result, Err(SendError::TooLarge { .. })), "{result:?}");
}

#[test]
fn a_peer_that_acknowledges_nothing_is_not_remembered_for_ever() {
    let mut victim = Victim::server(terms());
    let mut rogue = Rogue::enter(&mut victim, 10, 1 << 20);
    let mut answers = 0;
    for _ in 0..50_000 {
        victim.now += MS;
        answers += rogue.say(&mut victim, &[Chunk::Ping]).len();
        answers += rogue.say(&mut victim, &[Chunk::Ping]).len();
    }
    assert!(
        victim.disconnected().is_some(),
        "{answers} packets sent to one who never acknowledged any, all of them remembered"
    );
}

#[test]
fn a_packet_with_a_hundred_acknowledgements_breaks_the_rules() {
    let mut victim = Victim::server(terms());
    let mut rogue = Rogue::enter(&mut victim, 10, 1 << 20);
    // Packet 0 asks for an acknowledgement and gets none, so that what follows is remembered.
    for _ in 0..20_000 {
        victim.now += MS / 10;
        rogue.say(&mut victim, &[Chunk::Ping]);
        rogue.say(&mut victim, &[Chunk::Ping]);
    }
    // Largest 10000, no delay, the 10000 before it too, no further ranges.
    let ack = [2, 0x90, 0x4e, 0, 0x8f, 0x4e, 0];
    let Some(Ok(ack @ Chunk::Ack(_))) = Chunk::parse_all(&ack).next() else {
        panic!("an acknowledgement")
    };
    rogue.say(&mut victim, &vec![ack; 100]);
    assert_eq!(victim.endpoint.stats().violations, 1);
}

#[test]
fn a_password_can_be_guessed_a_few_times_in_a_handshake_and_no_more() {
    let secret = [200; 32];
    let mut victim = Victim::server(Accept { psk: secret, ..terms() });
    let (token, reply) = ask(&mut victim, path_to(10), 10);
    let introduction = introduction(1 << 20);
    for guess in 0..=200 {
        let (finish, ..) = finish(&token, 10, &reply, &[guess; 32], &introduction);
        victim.hear(path_to(10), [&finish[..]]);
    }
    assert!(victim.events.is_empty(), "the 201st guess was let in");
}

#[test]
fn garbage_in_the_place_of_a_last_handshake_message_does_not_spoil_the_true_one() {
    let mut victim = Victim::server(terms());
    let (token, reply) = ask(&mut victim, path_to(10), 10);
    let (finish, ..) = finish(&token, 10, &reply, &NO_PASSWORD, &introduction(1 << 20));
    for garbage in 0..100 {
        let mut forged = finish.clone();
        forged[5..].fill(garbage);
        victim.hear(path_to(10), [&forged[..]]);
    }
    victim.hear(path_to(10), [&finish[..]]);
    assert!(matches!(victim.events[..], [(_, Event::Connected { .. })]));
}

#[test]
fn peers_that_come_and_go_do_not_fill_the_inbox_of_a_game_that_sleeps() {
    let mut victim = Victim::server(Accept {
        max_peers: 2,
        ..terms()
    });
    victim.takes_events = false;
    for node in 10..60 {
        let (token, reply) = ask(&mut victim, path_to(node), node);
        if reply.is_empty() {
            continue;
        }
        let (finish, session, receiver_id) = finish(&token, node, &reply, &NO_PASSWORD, &introduction(1 << 20));
        victim.hear(path_to(node), [&finish[..]]);
        let mut rogue = Rogue {
            path: path_to(node),
            receiver_id,
            session,
            next_number: 0,
            is_odd_phase: false,
        };
        for sequence_id in 0..800 {
            rogue.say(&mut victim, &[whole(Delivery::RELIABLE, sequence_id, &[0; 1000])]);
        }
        rogue.say(&mut victim, &[Chunk::Close { reason: 0, detail: "" }]);
        victim.now += MS;
    }
    // Two seats of a megabyte each, and room for two more while those are saying goodbye.
    let waiting = victim.endpoint.events_waiting();
    assert!(
        waiting <= 4 * 1000,
        "{waiting} events of a thousand bytes wait on a server of two seats"
    );
}

#[test]
fn a_client_that_begins_anew_again_and_again_does_not_fill_the_inbox_of_a_game_that_sleeps() {
    let mut victim = Victim::server(terms());
    let (_, _, seat) = Rogue::come_back(&mut victim, path_to(10), 0, SeatClaim::None).unwrap();
    victim.takes_events = false;
    let mut lives = 0;
    let mut live = |victim: &mut Victim, times: u64| {
        for _ in 0..times {
            lives += 1;
            Rogue::come_back(victim, path_to(10), lives, SeatClaim::Fresh(seat)).unwrap();
            victim.now += MS;
        }
    };
    live(&mut victim, 500);
    let waiting = victim.endpoint.events_waiting();
    assert!(waiting <= 32, "{waiting} events wait");
    // Once the game has looked, it may begin anew.
    victim.takes_events = true;
    victim.hear(path_to(10), []);
    victim.events.clear();
    live(&mut victim, 1);
    let is_new_life = |event: &Event| matches!(event, Event::Resumed { is_restarted: true, .. });
    assert!(
        victim.events.iter().any(|(_, event)| is_new_life(event)),
        "{:?}",
        victim.events
    );
}

#[test]
fn who_was_closed_for_what_it_did_does_not_get_its_seat_back() {
    let limits = Limits {
        send_queue: 1 << 20,
        incoming: IncomingRate {
            messages: Some(10),
            bytes: None,
        },
        ..Limits::default()
    };
    for expected in [Reason::BadData, Reason::TooFast, Reason::TooSlow] {
        let mut victim = Victim::with_limits(limits.clone());
        let (mut rogue, _, seat) = Rogue::come_back(&mut victim, path_to(10), 0, SeatClaim::None).unwrap();
        let id = victim.endpoint.established().next().unwrap();
        match expected {
            Reason::TooFast => {
                for _ in 0..10 {
                    rogue.say(&mut victim, &vec![whole(Delivery::LOSSY_UNORDERED, 0, b""); 200]);
                }
            }
            Reason::TooSlow => while victim.send(id, 1, 60_000).is_ok() {},
            _ => {
                rogue.say(&mut victim, &[whole(Delivery::RELIABLE_UNORDERED, 1 << 20, b"")]);
            }
        }
        victim.wait(MS);
        let (reason, detail) = victim.disconnected().unwrap();
        assert_eq!(reason, expected, "{detail}");
        victim.events.clear();
        // At once, and when nothing of the connection remains.
        for (token, claim) in [SeatClaim::Fresh(seat), SeatClaim::Kept(seat), SeatClaim::Fresh(seat)]
            .into_iter()
            .enumerate()
        {
            let token = 1 + token as u64;
            let (again, said, _) = Rogue::come_back(&mut victim, path_to(10), token, claim).unwrap();
            assert_eq!(again.reasons(&said), [expected.number()], "{claim:?}");
            assert!(victim.events.is_empty(), "{:?}", victim.events);
            victim.wait(5 * SECOND);
        }
        assert!(Rogue::come_back(&mut victim, path_to(10), 9, SeatClaim::None).is_some());
        assert!(
            matches!(victim.events[..], [(_, Event::Connected { .. })]),
            "as somebody else"
        );
    }
}

#[test]
fn one_stranger_with_one_address_does_not_keep_others_out() {
    let mut victim = Victim::server(terms());
    for token in 0..1200 {
        ask(&mut victim, path_to(10), token);
    }
    let (_, reply) = ask(&mut victim, path_to(11), 5000);
    assert!(!reply.is_empty(), "an honest client is not answered");
    assert_eq!(victim.endpoint.stats().handshakes_displaced, 1201 - 1024);
}

/// It says that it has moved, to addresses that are others', and asks for an answer there in each packet.
#[test]
fn forged_senders_are_sent_no_more_than_was_spent() {
    let mut victim = Victim::server(terms());
    let mut rogue = Rogue::enter(&mut victim, 10, 1 << 20);
    let mut payload = Vec::new();
    Chunk::PathCheck(7).emit(&mut payload);
    let (mut spent, mut got) = (0, 0);
    for number in 0..1000 {
        let packet = rogue.packet(&payload);
        spent += packet.len();
        let from = path_to(1000 + number % 3);
        let before = victim.to.len();
        let said = victim.hear(from, [&packet[..]]);
        let sent = victim.to[before..].iter().zip(&said);
        got += sent
            .filter(|(to, _)| **to == from)
            .map(|(_, bytes)| bytes.len())
            .sum::<usize>();
        victim.now += MS;
    }
    // Beside the answers, a check every 20 ms.
    assert!(got <= spent + spent / 10, "{got} bytes for {spent}");
}

#[test]
fn lossy_messages_that_were_dropped_leave_nothing_behind() {
    let mut victim = Victim::server(terms());
    let mut rogue = Rogue::enter(&mut victim, 10, 1 << 20);
    victim.takes_events = false;
    let large = vec![0; 64 << 10];
    let mut sequence_id = 0;
    for _ in 0..5 {
        let small = vec![whole(Delivery::LOSSY_UNORDERED, 0, b""); 200];
        for _ in 0..20 {
            rogue.say(&mut victim, &small);
        }
        for _ in 0..17 {
            for index in 0..fragment_count(large.len()) {
                let part = Part::Fragment {
                    size: large.len(),
                    index,
                };
                let start = index * FRAGMENT_SIZE;
                let fragment = Chunk::Message(MessageChunk {
                    channel: 2,
                    delivery: Delivery::LOSSY_UNORDERED,
                    kind: Kind::BYTES,
                    sequence_id,
                    part,
                    data: &large[start..start + fragment_len(large.len(), index)],
                });
                rogue.say(&mut victim, &[fragment]);
            }
            sequence_id += 1;
        }
    }
    let waiting = victim.endpoint.events_waiting();
    let taken = std::iter::from_fn(|| victim.endpoint.poll_event()).count();
    assert!(waiting <= 4096 + 100, "{waiting} places for {taken} messages");
}

#[test]
fn a_remote_side_speaks_for_itself_only() {
    for reason in [
        Reason::Internal,
        Reason::KeyChanged,
        Reason::NoAnswer,
        Reason::UnknownHost,
    ] {
        let mut victim = Victim::server(terms());
        let mut rogue = Rogue::enter(&mut victim, 10, 1 << 20);
        let detail = "\u{1b}[2Jpwned";
        rogue.say(
            &mut victim,
            &[Chunk::Close {
                reason: reason.number(),
                detail,
            }],
        );
        let (told, detail) = victim.disconnected().unwrap();
        assert_ne!(told, reason, "said by the remote side");
        assert!(!detail.chars().any(char::is_control), "{detail:?} is for a terminal");
    }
}

#[test]
fn a_call_that_sends_too_much_while_it_is_confirmed_ends_once() {
    let mut world = World::new(Conditions::lag(20 * MS));
    let server = world.listen();
    let client = world.caller_with(Limits {
        send_queue: 10_000,
        ..Limits::default()
    });
    world.set_takes_events(server, false);
    let end = world.call(client, server);
    // Hello, cookie, hello and reply have crossed; the server's first packet has not.
    world.run_for(90 * MS);
    for _ in 0..20 {
        let _ = world.try_send(end, 1, Delivery::RELIABLE, vec![0; 1000]);
    }
    world.run_for(60 * SECOND);
    assert_eq!(world.told(end).len(), 1, "{}", world.story());
}
