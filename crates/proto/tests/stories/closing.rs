//! How a conversation ends: what was said before goodbye arrives, and the goodbye with it.

use netplay_netsim::{Conditions, Loss};
use netplay_proto::config::MAX_DETAIL_LEN;
use netplay_proto::{Delivery, Event, Reason, SendError};

use crate::world::{End, World, seeds};
use crate::{MS, SECOND};

fn connected(conditions: Conditions, seed: u64) -> (World, End, End) {
    let mut world = World::with_seed(conditions, seed);
    let server = world.listen();
    let client = world.caller();
    let (end, other) = world.connect(client, server);
    (world, end, other)
}

fn disconnected(reason: Reason, detail: &str) -> Event {
    Event::Disconnected {
        reason,
        detail: detail.into(),
    }
}

#[test]
fn what_was_sent_before_goodbye_arrives_and_then_the_goodbye() {
    let (mut world, end, other) = connected(Conditions::lag(40 * MS), 1);
    for number in 0..100_u8 {
        world.send(end, number % 3, Delivery::RELIABLE, vec![number; 500]);
    }
    world.close(end, "supper is ready");
    world.settle();
    assert_eq!(
        world.told(end)[1],
        &disconnected(Reason::Closed, "supper is ready"),
        "told at once"
    );
    assert_eq!(
        world.try_send(end, 0, Delivery::RELIABLE, "one more thing"),
        Err(SendError::Closed)
    );
    world.run_for(3 * SECOND);
    assert_eq!(world.ledger.undelivered(), 0);
    assert_eq!(world.told(other)[1], &disconnected(Reason::Goodbye, "supper is ready"));
    assert!(world.endpoint(end.side).is_idle() && world.endpoint(other.side).is_idle());
}

#[test]
fn goodbye_survives_loss() {
    for seed in seeds(20) {
        let conditions = Conditions {
            loss: Loss::Independent(0.1),
            jitter: 20 * MS,
            ..Conditions::lag(30 * MS)
        };
        let (mut world, end, other) = connected(conditions, seed);
        for number in 0..20_u8 {
            world.send(other, 1, Delivery::RELIABLE, vec![number; 100]);
        }
        world.close(other, "bye");
        world.run_for(5 * SECOND);
        assert_eq!(world.ledger.undelivered(), 0);
        assert_eq!(
            world.told(end)[1],
            &disconnected(Reason::Goodbye, "bye"),
            "{}",
            world.story()
        );
        assert!(world.endpoint(end.side).is_idle() && world.endpoint(other.side).is_idle());
    }
}

#[test]
fn goodbye_to_nobody_ends_soon() {
    let (mut world, end, other) = connected(Conditions::lag(20 * MS), 1);
    world.kill(other.side);
    world.send(end, 1, Delivery::RELIABLE, "are you there?");
    world.close(end, "");
    let closed_at = world.now;
    world.run_until(5 * SECOND, |world| world.endpoint(end.side).is_idle());
    // Two seconds for what was sent, two for the goodbye.
    assert!(world.now - closed_at <= 4500 * MS);
    let (before, _) = world.traffic();
    world.run_for(60 * SECOND);
    assert_eq!(world.traffic().0, before, "silence after the end");
}

#[test]
fn both_may_say_goodbye_at_once() {
    let (mut world, end, other) = connected(Conditions::lag(20 * MS), 1);
    world.close(end, "I go");
    world.close(other, "so do I");
    world.run_for(5 * SECOND);
    assert_eq!(world.told(end)[1..], [&disconnected(Reason::Closed, "I go")]);
    assert_eq!(world.told(other)[1..], [&disconnected(Reason::Closed, "so do I")]);
    assert!(world.endpoint(end.side).is_idle() && world.endpoint(other.side).is_idle());
}

#[test]
fn a_call_closed_before_it_was_answered_is_over() {
    let mut world = World::new(Conditions::lag(50 * MS));
    let server = world.listen();
    let client = world.caller();
    let end = world.call(client, server);
    world.run_for(60 * MS);
    world.close(end, "never mind");
    world.run_for(60 * SECOND);
    assert_eq!(world.told(end), [&disconnected(Reason::Closed, "never mind")]);
    assert!(world.endpoint(client).is_idle());
    assert!(world.endpoint(server).is_idle(), "{}", world.story());
}

#[test]
fn an_abort_ends_at_once_with_its_reason() {
    let (mut world, end, other) = connected(Conditions::lag(20 * MS), 1);
    let now = world.timestamp();
    world
        .endpoint(end.side)
        .abort(now, end.id, Reason::BadData, "not a message of ours");
    world.settle();
    assert!(matches!(
        world.told(end)[1],
        Event::Disconnected {
            reason: Reason::BadData,
            ..
        }
    ));
    world.run_for(SECOND);
    assert!(
        matches!(world.told(other)[1], Event::Disconnected { .. }),
        "{}",
        world.story()
    );
}

#[test]
fn words_too_long_are_shortened_and_not_fatal() {
    let (mut world, end, other) = connected(Conditions::lag(20 * MS), 1);
    world.close(end, &"ä".repeat(1000));
    world.run_for(SECOND);
    let Event::Disconnected {
        reason: Reason::Goodbye,
        detail,
    } = world.told(other)[1]
    else {
        panic!("{}", world.story())
    };
    assert!(detail.len() <= MAX_DETAIL_LEN && detail.chars().all(|c| c == 'ä') && detail.len() > MAX_DETAIL_LEN / 2);
}

#[test]
fn closing_twice_or_after_the_end_is_nothing() {
    let (mut world, end, other) = connected(Conditions::lag(20 * MS), 1);
    world.close(end, "once");
    world.close(end, "twice");
    world.run_for(3 * SECOND);
    world.close(end, "thrice");
    world.close(other, "late");
    world.run_for(3 * SECOND);
    assert_eq!(
        (world.told(end).len(), world.told(other).len()),
        (2, 2),
        "{}",
        world.story()
    );
}

#[test]
fn a_caller_who_leaves_before_he_knows_that_he_is_in_leaves_no_ghost() {
    let mut world = World::new(Conditions::lag(20 * MS));
    let server = world.listen();
    let client = world.caller();
    let end = world.call(client, server);
    // The server has let him in at five one-way trips; he would know at six.
    world.run_for(110 * MS);
    assert_eq!(world.endpoint(server).established().count(), 1, "{}", world.story());
    world.close(end, "gone already");
    world.run_for(SECOND);
    assert_eq!(world.endpoint(server).established().count(), 0, "{}", world.story());
    world.run_for(5 * SECOND);
    assert!(world.endpoint(client).is_idle() && world.endpoint(server).is_idle());
}
