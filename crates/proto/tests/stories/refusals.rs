//! How a listener says no, and that the caller learns why.

use netplay_netsim::Conditions;
use netplay_proto::{Accept, Connect, Delivery, Event, Limits, Origin, Reason};

use crate::world::{Fate, Side, World, terms};
use crate::{MS, SECOND};

/// Calls and runs until the answer; returns the reason of the refusal.
#[track_caller]
fn refusal(world: &mut World, client: Side, options: Connect) -> Reason {
    let end = world.call_with(client, options);
    world.run_for(3 * SECOND);
    match world.first(end, |_| true) {
        (at, Event::Disconnected { reason, .. }) => {
            assert!(at <= world.now - 2 * SECOND, "a refusal is told at once, not at {at:?}");
            *reason
        }
        other => panic!("{other:?}"),
    }
}

fn pair(accept: Accept) -> (World, Side, Side) {
    let mut world = World::new(Conditions::lag(20 * MS));
    let server = world.listen_with(accept, Limits::default());
    let client = world.caller();
    (world, server, client)
}

#[test]
fn another_version_of_the_game_is_refused() {
    let (mut world, server, client) = pair(Accept {
        version: "1.2".into(),
        ..terms()
    });
    let options = Connect {
        version: "1.3".into(),
        ..world.call_options(server)
    };
    assert_eq!(refusal(&mut world, client, options), Reason::WrongVersion);
    assert!(world.connected_ends(server).is_empty());
    assert!(world.endpoint(server).established().next().is_none());
    assert_eq!(world.endpoint(server).stats().refused, 1);
}

#[test]
fn another_password_is_refused_and_so_are_none_and_one_too_many() {
    for (theirs, ours) in [([1; 32], [2; 32]), ([1; 32], [0; 32]), ([0; 32], [2; 32])] {
        let (mut world, server, client) = pair(Accept { psk: theirs, ..terms() });
        let options = Connect {
            psk: ours,
            ..world.call_options(server)
        };
        assert_eq!(refusal(&mut world, client, options), Reason::WrongPassword);
        assert!(world.connected_ends(server).is_empty());
        assert!(world.endpoint(server).stats().refused >= 1);
    }
}

#[test]
fn the_right_password_lets_in() {
    let (mut world, server, client) = pair(Accept {
        psk: [7; 32],
        ..terms()
    });
    let end = world.call_with(
        client,
        Connect {
            psk: [7; 32],
            ..world.call_options(server)
        },
    );
    world.run_until_connected(end);
}

#[test]
fn a_server_with_another_key_than_the_pinned_one_is_not_trusted() {
    let (mut world, server, client) = pair(terms());
    let options = Connect {
        pinned_key: Some([9; 32]),
        ..world.call_options(server)
    };
    assert_eq!(refusal(&mut world, client, options), Reason::KeyChanged);
    world.run_for(60 * SECOND);
    assert!(
        world.endpoint(server).established().next().is_none(),
        "{}",
        world.story()
    );
    let pinned_key = Some(world.public_key(server));
    let end = world.call_with(
        client,
        Connect {
            pinned_key,
            ..world.call_options(server)
        },
    );
    world.run_until_connected(end);
}

#[test]
fn another_protocol_version_is_refused_by_the_server() {
    let (mut world, server, client) = pair(terms());
    world.tap = Some(Vec::new());
    world.network.cut_from(world.node(client), world.node(server));
    let end = world.call(client, server);
    world.settle();
    // A Hello carries its version at offset 5.
    let mut hello = world.tap.as_ref().unwrap()[0].bytes.to_vec();
    hello[5] = hello[5].wrapping_add(1);
    world.inject(server, world.node(client), &hello);
    world.run_for(SECOND);
    let (_, event) = world.first(end, |_| true);
    assert!(
        matches!(
            event,
            Event::Disconnected {
                reason: Reason::WrongProtocol,
                ..
            }
        ),
        "{event:?}"
    );
    let answers = world
        .tap
        .as_ref()
        .unwrap()
        .iter()
        .filter(|datagram| datagram.from == world.node(server));
    assert!(answers.map(|datagram| datagram.bytes.len()).sum::<usize>() <= hello.len());
    assert!(world.connected_ends(server).is_empty());
}

#[test]
fn a_full_listener_refuses_until_somebody_leaves() {
    let (mut world, server, client) = pair(Accept {
        max_peers: 2,
        ..terms()
    });
    let (first, _) = world.connect(client, server);
    let second = world.caller();
    let (second, _) = world.connect(second, server);
    let third = world.caller();
    let options = world.call_options(server);
    assert_eq!(refusal(&mut world, third, options), Reason::Full);
    assert!(world.is_connected(first) && world.is_connected(second));
    world.close(first, "making room");
    world.run_for(3 * SECOND);
    let (third, _) = world.connect(third, server);
    world.send(third, 0, Delivery::RELIABLE, "finally");
    world.run_until_delivered(SECOND);
}

#[test]
fn a_side_that_only_calls_accepts_nobody() {
    let mut world = World::new(Conditions::lag(20 * MS));
    let (one, other) = (world.caller(), world.caller());
    let end = world.call_with(
        one,
        Connect {
            timeout: 3 * SECOND,
            ..world.call_options(other)
        },
    );
    world.run_for(5 * SECOND);
    assert!(
        matches!(world.told(end)[..], [Event::Disconnected { .. }]),
        "{}",
        world.story()
    );
    assert!(world.connected_ends(other).is_empty());
}

#[test]
fn one_who_is_refused_is_never_told_that_it_is_in() {
    let mut world = World::new(Conditions::lag(40 * MS));
    let server = world.listen();
    let client = world.caller();
    let node = world.node(client);
    world.tap = Some(Vec::new());
    // A cookie, the reply, and then the refusal, which is lost.
    let mut answers = 0;
    world.tamper = Some(Box::new(move |datagram| {
        answers += u32::from(datagram.to == node);
        if answers == 3 { Fate::Drop } else { Fate::Pass }
    }));
    let options = Connect {
        version: "2".into(),
        ..world.call_options(server)
    };
    let end = world.call_with(client, options);
    world.run_for(250 * MS);
    // The network doubles the last message of the handshake.
    let said = world.tap.take().into_iter().flatten();
    let finish = said.filter(|datagram| datagram.from == node).last().unwrap();
    world.tamper = None;
    world.inject(server, node, &finish.bytes);
    world.run_for(5 * SECOND);
    let told = world.told(end);
    assert!(
        matches!(
            told[..],
            [Event::Disconnected {
                reason: Reason::WrongVersion,
                ..
            }]
        ),
        "{told:?}"
    );
}

#[test]
fn one_who_knows_a_seat_and_not_its_key_does_not_get_it() {
    let mut world = World::new(Conditions::lag(20 * MS));
    let server = world.listen();
    let (owner, thief) = (world.caller(), world.caller());
    let (end, _) = world.connect(owner, server);
    let seat = match world.told(end)[..] {
        [Event::Connected { remote, .. }] => remote.seat,
        _ => None,
    };
    assert!(seat.is_some());
    for is_owner_away in [false, true] {
        if is_owner_away {
            world.network.cut_from(world.node(owner), world.node(server));
            world.network.cut_from(world.node(server), world.node(owner));
            world.run_for(6 * SECOND);
        }
        let options = Connect {
            seat,
            name: format!("side {thief}"),
            ..world.call_options(server)
        };
        let stolen = world.call_with(thief, options);
        world.run_until_connected(stolen);
        // It is told that there is nothing to come back to, and is somebody new to the server.
        assert!(matches!(
            world.told(stolen)[..],
            [Event::Connected {
                origin: Origin::Restarted,
                ..
            }]
        ));
    }
    world.network.restore_from(world.node(owner), world.node(server));
    world.network.restore_from(world.node(server), world.node(owner));
    world.send(end, 1, Delivery::RELIABLE, "it is still mine");
    world.run_for(8 * SECOND);
    assert_eq!(world.connected_ends(server).len(), 3);
    assert_eq!(world.ledger.undelivered(), 0);
}
