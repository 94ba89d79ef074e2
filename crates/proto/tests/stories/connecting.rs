//! How two sides find each other and begin to talk.

use std::collections::BTreeSet;
use std::time::Duration;

use netplay_netsim::{Conditions, Loss};
use netplay_proto::{Accept, Connect, Delivery, Event, Limits, Origin, Reason, RemoteSide, SendError};

use crate::world::{Fate, World, path_to, seeds, terms};
use crate::{MS, SECOND, TICK};

#[test]
fn both_sides_learn_the_name_the_key_and_the_path() {
    let mut world = World::new(Conditions::lag(20 * MS));
    let server = world.listen();
    let client = world.caller();
    let (client_end, server_end) = world.connect(client, server);
    let server_key = world.public_key(server);
    let client_key = world.public_key(client);
    let offered = match world.told(client_end)[..] {
        [Event::Connected { remote, .. }] => remote.seat,
        _ => None,
    };
    assert!(offered.is_some(), "a client may come back");
    assert_eq!(
        world.told(client_end),
        [&Event::Connected {
            remote: Box::new(RemoteSide {
                name: "the server".into(),
                key: server_key,
                path: path_to(world.node(server)),
                seat: offered,
            }),
            is_incoming: false,
            origin: Origin::New,
        }]
    );
    assert_eq!(
        world.told(server_end),
        [&Event::Connected {
            remote: Box::new(RemoteSide {
                name: format!("side {client}"),
                key: client_key,
                path: path_to(world.node(client)),
                seat: None,
            }),
            is_incoming: true,
            origin: Origin::New,
        }]
    );
    assert_eq!(
        world.endpoint(client).connection_path(client_end.id),
        Some(path_to(world.node(server)))
    );
    assert_eq!(
        world.endpoint(server).established().collect::<Vec<_>>(),
        [server_end.id]
    );
    // Hello and cookie, Hello and reply, finish and first packet: three round trips.
    assert!(world.first(client_end, |_| true).0 <= 121 * MS, "{}", world.story());
}

#[test]
fn two_clients_chat_through_the_server() {
    let mut world = World::new(Conditions {
        jitter: 10 * MS,
        ..Conditions::lag(30 * MS)
    });
    let server = world.listen();
    let (ada, grace) = (world.caller(), world.caller());
    let (ada, ada_at_server) = world.connect(ada, server);
    let (grace, grace_at_server) = world.connect(grace, server);
    let mut heard = world.log.len();
    world.play(10 * SECOND, TICK, |world, tick| {
        if tick < 300 && tick % 20 == 0 {
            world.send(ada, 1, Delivery::RELIABLE, format!("ada says {tick}"));
        }
        if tick < 300 && tick % 30 == 7 {
            world.send(grace, 1, Delivery::RELIABLE, format!("grace says {tick}"));
        }
        // The server tells everybody what anybody says.
        for index in heard..world.log.len() {
            let happening = world.log[index].clone();
            if let Event::Message { channel, data, .. } = happening.event
                && happening.end.side == server
            {
                for end in [ada_at_server, grace_at_server] {
                    world.send(end, channel, Delivery::RELIABLE, data.clone());
                }
            }
        }
        heard = world.log.len();
    });
    world.run_until_delivered(SECOND);
    let seen_by_ada = world.messages(ada);
    assert_eq!(seen_by_ada.len(), 15 + 10);
    assert_eq!(seen_by_ada, world.messages(grace));
}

#[test]
fn two_clients_with_the_same_name_are_two_peers() {
    let mut world = World::new(Conditions::lag(20 * MS));
    let server = world.listen();
    let ends: Vec<_> = (0..2)
        .map(|_| {
            let client = world.caller();
            let end = world.call_with(
                client,
                Connect {
                    name: "Ada".into(),
                    ..world.call_options(server)
                },
            );
            world.run_until_connected(end);
            (end, world.other(end))
        })
        .collect();
    assert_ne!(ends[0].1.id, ends[1].1.id);
    world.send(ends[0].1, 0, Delivery::RELIABLE, "first");
    world.send(ends[1].1, 0, Delivery::RELIABLE, "second");
    world.run_until_delivered(SECOND);
    assert_eq!(world.messages(ends[0].0), [(0, "first".into())]);
    assert_eq!(world.messages(ends[1].0), [(0, "second".into())]);
}

#[test]
fn two_connections_from_one_address_are_two() {
    let mut world = World::new(Conditions::lag(20 * MS));
    let server = world.listen();
    let client = world.caller();
    let options = world.call_options(server);
    let ends = ["one", "two"].map(|name| {
        world.call_with(
            client,
            Connect {
                name: name.into(),
                ..options.clone()
            },
        )
    });
    for end in ends {
        world.run_until_connected(end);
        world.send(world.other(end), 0, Delivery::RELIABLE, "welcome");
        world.send(end, 0, Delivery::RELIABLE, "thanks");
    }
    world.run_until_delivered(SECOND);
    world.close(ends[0], "");
    world.run_for(SECOND);
    assert!(world.is_connected(ends[1]) && !world.is_connected(world.other(ends[0])));
}

#[test]
fn a_client_that_asks_before_its_server_is_up_gets_in() {
    let mut world = World::new(Conditions::lag(20 * MS));
    let client = world.caller();
    let node = 77;
    let options = Connect {
        paths: vec![path_to(node)],
        timeout: 10 * SECOND,
        version: "1".into(),
        ..Connect::default()
    };
    let end = world.call_with(client, options);
    world.run_for(5 * SECOND);
    let (asked, _) = world.traffic();
    assert!((5..=50).contains(&asked), "{asked} questions in five seconds");
    world.add_side(node, Some(terms()), Limits::default());
    world.run_until(1500 * MS, |world| world.is_connected(end));
}

#[test]
fn the_first_path_that_answers_is_used() {
    let mut world = World::new(Conditions::default());
    let server = world.listen();
    let client = world.caller();
    let mut options = world.call_options(server);
    options.paths.splice(0..0, [path_to(1000), path_to(1001)]);
    let end = world.call_with(client, options);
    world.run_until(2 * SECOND, |world| world.is_connected(end));
    assert_eq!(
        world.endpoint(client).connection_path(end.id),
        Some(path_to(world.node(server)))
    );
}

#[test]
fn a_path_that_becomes_known_late_is_tried() {
    let mut world = World::new(Conditions::default());
    let server = world.listen();
    let client = world.caller();
    let path = path_to(world.node(server));
    let end = world.call_with(
        client,
        Connect {
            paths: vec![],
            ..world.call_options(server)
        },
    );
    world.run_for(2 * SECOND);
    assert_eq!(world.traffic(), (0, 0));
    let now = world.timestamp();
    world.endpoint(client).add_path(now, end.id, path);
    world.run_until(SECOND, |world| world.is_connected(end));
}

#[test]
fn where_nobody_is_the_call_ends_in_time_with_no_answer() {
    let mut world = World::new(Conditions::default());
    let client = world.caller();
    let timeout = 4 * SECOND;
    let end = world.call_with(
        client,
        Connect {
            paths: vec![path_to(99)],
            timeout,
            ..Connect::default()
        },
    );
    world.run_for(60 * SECOND);
    let (at, event) = world.first(end, |_| true);
    assert!(
        matches!(
            event,
            Event::Disconnected {
                reason: Reason::NoAnswer,
                ..
            }
        ),
        "{event:?}"
    );
    assert!((timeout..timeout + 100 * MS).contains(&at), "{at:?}");
    assert_eq!(world.log.len(), 1);
    assert!(world.endpoint(client).is_idle());
}

#[test]
fn a_call_that_never_learns_where_to_ask_ends_with_unknown_host() {
    let mut world = World::new(Conditions::default());
    let client = world.caller();
    let timeout = 1500 * MS;
    let end = world.call_with(
        client,
        Connect {
            timeout,
            ..Connect::default()
        },
    );
    world.run_for(60 * SECOND);
    let (at, event) = world.first(end, |_| true);
    let expected = Event::Disconnected {
        reason: Reason::UnknownHost,
        detail: "no address found in 1.5 seconds".into(),
    };
    assert_eq!(event, &expected);
    assert!((timeout..timeout + 100 * MS).contains(&at), "{at:?}");
    assert_eq!(world.traffic(), (0, 0));
}

#[test]
fn reliable_messages_wait_for_the_connection_and_lossy_ones_do_not() {
    let mut world = World::new(Conditions::lag(50 * MS));
    let server = world.listen();
    let client = world.caller();
    let end = world.call(client, server);
    for number in 0..100_u8 {
        world.send(end, 1, Delivery::RELIABLE, vec![number; 100]);
        world.send(end, 2, Delivery::RELIABLE_UNORDERED, vec![number; 100]);
    }
    assert_eq!(
        world.try_send(end, 1, Delivery::LOSSY, "here I am"),
        Err(SendError::NotConnected)
    );
    world.run_until_delivered(SECOND);
    assert_eq!(world.messages(world.other(end)).len(), 200);
}

#[test]
fn a_duplicate_hello_opens_one_connection() {
    for seed in seeds(10) {
        let conditions = Conditions {
            jitter: 60 * MS,
            duplicate: 1.0,
            ..Conditions::lag(30 * MS)
        };
        let mut world = World::with_seed(conditions, seed);
        let server = world.listen_with(
            Accept {
                max_peers: 1,
                ..terms()
            },
            Limits::default(),
        );
        let client = world.caller();
        let (end, server_end) = world.connect(client, server);
        world.send(end, 0, Delivery::RELIABLE, "hello network.");
        world.run_for(10 * SECOND);
        assert_eq!(world.connected_ends(server), [server_end]);
        assert!(
            world.is_connected(end) && world.is_connected(server_end),
            "{}",
            world.story()
        );
        assert_eq!(world.ledger.undelivered(), 0);
    }
}

#[test]
fn the_handshake_survives_thirty_percent_loss() {
    for seed in seeds(30) {
        let conditions = Conditions {
            jitter: 100 * MS,
            loss: Loss::Independent(0.3),
            ..Conditions::lag(50 * MS)
        };
        let mut world = World::with_seed(conditions, seed);
        let server = world.listen();
        let client = world.caller();
        // One try in two is answered, and three must be: now and then ten seconds are too short for that.
        let end = world.call_with(
            client,
            Connect {
                timeout: 20 * SECOND,
                ..world.call_options(server)
            },
        );
        world.run_until_connected(end);
        world.run_for(5 * SECOND);
        assert_eq!(world.connected_ends(server), [world.other(end)]);
    }
}

#[test]
fn a_client_that_asks_again_gets_the_servers_first_packet_again() {
    let mut world = World::new(Conditions::lag(20 * MS));
    let server = world.listen();
    let client = world.caller();
    // Three times the client's last handshake message is lost, and then the server's first packet.
    let (mut finishes, mut packets) = (3, 1);
    world.tamper = Some(Box::new(move |datagram| {
        let left = match datagram.bytes[0] {
            0x04 => &mut finishes,
            0x80 => &mut packets,
            _ => return Fate::Pass,
        };
        if *left == 0 {
            return Fate::Pass;
        }
        *left -= 1;
        Fate::Drop
    }));
    let end = world.call(client, server);
    world.run_until(4 * SECOND, |world| world.is_connected(end));
    world.run_for(10 * SECOND);
    assert_eq!(
        (world.told(end).len(), world.told(world.other(end)).len()),
        (1, 1),
        "{}",
        world.story()
    );
}

#[test]
fn a_handshake_that_hung_begins_anew() {
    let mut world = World::new(Conditions::lag(20 * MS));
    let server = world.listen();
    let client = world.caller();
    world.tamper = Some(Box::new(|datagram| {
        let is_finish = datagram.bytes[0] == 0x04;
        if is_finish && datagram.at < 7 * SECOND {
            Fate::Drop
        } else {
            Fate::Pass
        }
    }));
    let end = world.call(client, server);
    world.run_until(15 * SECOND, |world| world.is_connected(end));
}

#[test]
fn a_server_that_restarts_in_the_middle_of_a_handshake_is_found() {
    let mut world = World::new(Conditions::lag(20 * MS));
    let server = world.listen();
    let client = world.caller();
    let end = world.call(client, server);
    // Hello, cookie, Hello, reply; the Finish arrives at the new server.
    world.run_for(85 * MS);
    world.kill(server);
    world.add_side(world.node(server), Some(terms()), Limits::default());
    world.run_until(15 * SECOND, |world| world.is_connected(end));
}

#[test]
fn a_side_may_listen_and_call_at_once() {
    let mut world = World::new(Conditions::lag(10 * MS));
    let sides: Vec<_> = (0..4).map(|_| world.listen()).collect();
    for &from in &sides {
        for &to in sides.iter().filter(|&&to| to != from) {
            let end = world.call_with(
                from,
                Connect {
                    name: format!("{from} to {to}"),
                    ..world.call_options(to)
                },
            );
            world.run_until_connected(end);
            world.send(end, 0, Delivery::RELIABLE, format!("from {from}"));
        }
    }
    world.run_until_delivered(SECOND);
    assert!(sides.iter().all(|&side| world.connected_ends(side).len() == 6));
}

#[test]
fn a_thousand_connections_live_in_one_endpoint() {
    let mut world = World::new(Conditions {
        jitter: 20 * MS,
        loss: Loss::Independent(0.02),
        ..Conditions::lag(20 * MS)
    });
    let server = world.listen_with(
        Accept {
            max_peers: 1000,
            ..terms()
        },
        Limits::default(),
    );
    let calls: Vec<_> = (0..1000)
        .map(|_| {
            let client = world.caller();
            let end = world.call(client, server);
            world.run_for(MS);
            end
        })
        .collect();
    world.run_until(20 * SECOND, |world| {
        world.endpoint(server).established().count() == 1000 && calls.iter().all(|&end| world.is_connected(end))
    });
    // A second of a game: everybody reports, the server answers everybody.
    world.play(SECOND, 50 * MS, |world, tick| {
        for &end in &calls {
            let at_server = world.other(end);
            world.send(end, 1, Delivery::LOSSY, vec![tick as u8; 32]);
            world.send(at_server, 2, Delivery::LOSSY, vec![tick as u8; 200]);
            if tick % 10 == 0 {
                world.send(end, 3, Delivery::RELIABLE, vec![tick as u8; 20]);
            }
        }
    });
    world.run_until_delivered(5 * SECOND);
    assert_eq!(world.endpoint(server).established().count(), 1000);
    let mut ids: Vec<_> = calls.iter().map(|&end| world.other(end).id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 1000);
    assert!(calls.iter().all(|&end| world.told(end).len() == 1), "{}", world.story());
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let mut world = World::new(Conditions {
        loss: Loss::Independent(0.05),
        ..Conditions::lag(5 * MS)
    });
    let server = world.listen_with(
        Accept {
            max_peers: 3,
            ..terms()
        },
        Limits::default(),
    );
    let client = world.caller();
    let mut ends = Vec::new();
    for round in 0..200_u32 {
        let options = Connect {
            name: format!("round {round}"),
            ..world.call_options(server)
        };
        let end = world.call_with(client, options);
        world.run_until_connected(end);
        let other = world.other(end);
        ends.extend([end, other]);
        let leaver = if round % 2 == 0 { end } else { other };
        world.send(leaver, 0, Delivery::RELIABLE, "hello and");
        world.close(leaver, "goodbye");
        world.run_until(10 * SECOND, |world| {
            !world.is_connected(end) && !world.is_connected(other)
        });
    }
    world.run_for(10 * SECOND);
    assert_eq!(world.ledger.undelivered(), 0);
    assert!(world.endpoint(server).is_idle() && world.endpoint(client).is_idle());
    let (traffic, _) = world.traffic();
    world.run_for(60 * SECOND);
    assert_eq!(world.traffic().0, traffic, "silence when nobody is there");
    for side in [client, server] {
        let ids: BTreeSet<_> = ends.iter().filter(|end| end.side == side).collect();
        assert_eq!(ids.len(), 200, "no id is used again");
    }
}

#[test]
fn time_may_begin_anywhere() {
    // Ten years after the origin, to the microsecond.
    let mut world = World::new(Conditions {
        loss: Loss::Independent(0.1),
        ..Conditions::lag(30 * MS)
    });
    world.now = Duration::from_micros(10 * 365 * 86_400 * 1_000_000 + 1);
    let server = world.listen();
    let client = world.caller();
    let (end, other) = world.connect(client, server);
    world.play(5 * SECOND, TICK, |world, _| {
        world.send(end, 1, Delivery::RELIABLE, "tick");
        world.send(other, 1, Delivery::LOSSY, "tock");
    });
    world.run_until_delivered(3 * SECOND);
}

#[test]
fn a_restarted_server_takes_old_clients_as_new_and_tells_them() {
    let mut world = World::new(Conditions::lag(20 * MS));
    let server = world.listen();
    let client = world.caller_with(Limits {
        grace: 5 * SECOND,
        ..Limits::default()
    });
    let (old, _) = world.connect(client, server);
    world.kill(server);
    world.run_for(SECOND);
    let server = world.add_side(world.node(server), Some(terms()), Limits::default());
    world.send(old, 0, Delivery::RELIABLE, "to one who is gone");
    world.run_for(Duration::from_secs(15));
    assert!(world.is_connected(old), "{}", world.story());
    assert_eq!(world.connected_ends(server).len(), 1);
    let told = world.told(old);
    assert!(
        matches!(
            told[..],
            [
                Event::Connected {
                    origin: Origin::New,
                    ..
                },
                Event::Lost { .. },
                Event::Connected {
                    origin: Origin::Restarted,
                    ..
                }
            ]
        ),
        "{told:?}"
    );
    assert_eq!(world.send(old, 0, Delivery::RELIABLE, "to one who is new"), 0);
    world.run_for(SECOND);
    assert_eq!(world.ledger.undelivered(), 0);
}

#[test]
fn a_caller_whom_no_answer_reaches_leaves_no_ghost_in_its_seat() {
    let mut world = World::new(Conditions::lag(20 * MS));
    world.ledger.allow_late_calls();
    let server = world.listen_with(
        Accept {
            max_peers: 1,
            ..terms()
        },
        Limits::default(),
    );
    let client = world.caller();
    let node = world.node(client);
    // The cookie and the reply arrive; that the caller is in, it does not hear for four seconds.
    let mut answers = 0;
    world.tamper = Some(Box::new(move |datagram| {
        answers += u32::from(datagram.to == node);
        let is_late = datagram.to == node && answers > 2 && datagram.at < 4 * SECOND;
        if is_late { Fate::Drop } else { Fate::Pass }
    }));
    let end = world.call(client, server);
    world.send(end, 1, Delivery::RELIABLE, "hello?");
    world.run_for(6 * SECOND);
    assert!(world.is_connected(end), "{}", world.story());
    let [guest] = world.connected_ends(server)[..] else {
        panic!("{}", world.story())
    };
    // It was in all the time, and the game was told that it was lost and came back.
    let told = world.told(guest);
    assert!(
        matches!(
            told[..],
            [Event::Connected { .. }, Event::Lost { .. }, Event::Resumed { .. }]
        ),
        "{told:?}"
    );
    assert_eq!(world.messages(guest).len(), 1);
    assert_eq!(world.ledger.undelivered(), 0);
}
