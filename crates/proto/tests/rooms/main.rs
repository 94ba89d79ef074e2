//! Rooms in virtual time: joins, leaves, crashes, cuts and lies in any order, from seeds.
//!
//! `NETPLAY_SEED` begins elsewhere, `NETPLAY_STEPS` sets how many things happen in the long play.

mod world;

use std::time::Duration;

use netplay_proto::Reason;
use netplay_proto::room::{Control, News, Route, Topology};
use world::World;

const SECOND: Duration = Duration::from_secs(1);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Returns the orders of all who are in, asserting that each of `who` sees the same.
fn agreed(world: &World, who: &[usize], seed: u64) -> Vec<u32> {
    let view = |number: usize| {
        let room = &world.actors[number].room;
        let mut all: Vec<u32> = room.members().collect();
        let joined: Vec<u32> = room.joined().collect();
        assert_eq!(
            all, joined,
            "seed {seed}, actor {number}: members whom the game was not told of"
        );
        all.push(room.order());
        all.sort_unstable();
        (all, room.remote_host().unwrap_or(room.order()))
    };
    let (first, host) = view(who[0]);
    for other in who {
        assert_eq!(
            view(*other),
            (first.clone(), host),
            "seed {seed}, actor {other}: {:?}",
            world.actors[*other].room
        );
    }
    assert!(world.actors[who[0]].room.is_open());
    let hosts = who
        .iter()
        .filter(|number| world.actors[**number].room.is_host())
        .count();
    assert_eq!(hosts, 1, "seed {seed}");
    first
}

/// Returns true if all of so many are in and see each other.
fn is_agreed(world: &World, count: usize) -> bool {
    let sees_all = |number: &usize| world.actors[*number].room.joined().count() + 1 == count;
    world.active().len() == count && world.active().iter().all(sees_all)
}

fn filled(seed: u64, topology: Topology, count: usize) -> World {
    fill(World::new(seed, topology), seed, count)
}

/// Returns a world of one of the two kinds, by the seed.
fn either(seed: u64, topology: Topology) -> World {
    if seed.is_multiple_of(2) {
        World::new(seed, topology)
    } else {
        World::patient(seed, topology)
    }
}

fn fill(mut world: World, seed: u64, count: usize) -> World {
    world.add(true);
    for _ in 1..count {
        world.add(false);
        world.run(SECOND);
    }
    world.run(SECOND * 10);
    assert_eq!(agreed(&world, &world.active(), seed).len(), count);
    world
}

fn left(world: &World, number: usize) -> Vec<(u32, Reason)> {
    let left = |news: &News| match news {
        News::Left { order, reason, .. } => Some((*order, *reason)),
        _ => None,
    };
    world.actors[number].news.iter().filter_map(left).collect()
}

#[test]
fn eight_members_meet_and_all_agree_who_is_in() {
    for topology in [Topology::Mesh, Topology::Star] {
        let world = filled(1, topology, 8);
        for actor in &world.actors {
            let is_joined = |news: &&News| matches!(news, News::Joined { .. });
            assert_eq!(actor.news.iter().filter(is_joined).count(), 7);
            assert_eq!(actor.news[0], News::Opened);
        }
    }
}

#[test]
fn the_ninth_of_eight_is_told_that_the_room_is_full() {
    let mut world = filled(2, Topology::Mesh, 8);
    let ninth = world.add(false);
    world.run(SECOND * 5);
    let is_full = |news: &News| {
        matches!(
            news,
            News::Ended {
                reason: Reason::Full,
                ..
            }
        )
    };
    assert!(
        world.actors[ninth].news.iter().any(is_full),
        "{:?}",
        world.actors[ninth].news
    );
    // A place that is free again is given to the next.
    world.leave(3);
    world.run(SECOND * 5);
    world.add(false);
    world.run(SECOND * 15);
    assert_eq!(agreed(&world, &world.active(), 2).len(), 8);
}

#[test]
fn nobody_at_the_door_is_no_room() {
    let mut world = World::new(3, Topology::Mesh);
    let lonely = world.add(false);
    world.run(SECOND * 40);
    let is_no_room = |news: &News| {
        matches!(
            news,
            News::Ended {
                reason: Reason::NoRoom,
                ..
            }
        )
    };
    assert!(world.actors[lonely].news.iter().any(is_no_room));
}

#[test]
fn when_the_host_leaves_or_crashes_the_next_in_order_takes_over_and_latecomers_get_in() {
    for topology in [Topology::Mesh, Topology::Star] {
        for is_crash in [false, true] {
            let mut world = filled(4, topology, 5);
            if is_crash {
                world.crash(0)
            } else {
                world.leave(0)
            }
            world.run(SECOND * 30);
            assert!(world.actors[1].room.is_host());
            let late = world.add(false);
            world.run(SECOND * 15);
            assert_eq!(agreed(&world, &world.active(), 4).len(), 5);
            for number in 1..5 {
                let host = if number == 1 {
                    None
                } else {
                    Some(world.actors[1].room.order())
                };
                assert!(world.actors[number].news.contains(&News::Host { order: host }));
                let reason = if is_crash { Reason::TimedOut } else { Reason::Goodbye };
                assert_eq!(left(&world, number), [(0, reason)], "{topology:?}, actor {number}");
            }
            assert!(world.actors[late].room.is_open());
        }
    }
}

#[test]
fn a_host_that_was_cut_off_comes_back_as_an_ordinary_member() {
    for topology in [Topology::Mesh, Topology::Star] {
        let mut world = filled(5, topology, 4);
        for other in 1..4 {
            world.cut(0, other, SECOND * 12);
        }
        world.run(SECOND * 60);
        assert!(world.actors[1].room.is_host());
        assert_eq!(agreed(&world, &world.active(), 5).len(), 4, "{topology:?}");
        assert!(world.actors[0].room.order() > world.actors[3].room.order());
    }
}

#[test]
fn two_who_lose_each_other_find_each_other_again() {
    let mut world = filled(6, Topology::Mesh, 2);
    world.cut(0, 1, SECOND * 11);
    world.run(SECOND * 60);
    assert_eq!(agreed(&world, &world.active(), 6).len(), 2);
    assert!(world.actors[1].room.is_host());
}

/// As long as they are apart both are alone, so it is worth while to look again soon.
#[test]
fn two_who_were_apart_for_long_are_together_soon_after_they_can_be() {
    for seed in 0..60 {
        let mut world = filled(seed, Topology::Mesh, 2);
        world.cut(0, 1, SECOND * (10 + seed as u32));
        world.run(SECOND * (10 + seed as u32));
        let mut took = 0;
        while world.actors.iter().any(|actor| actor.room.joined().count() != 1) {
            world.run(SECOND);
            took += 1;
            assert!(took <= 50, "seed {seed}: still apart");
        }
        world.run(SECOND * 5);
        assert_eq!(agreed(&world, &world.active(), seed).len(), 2);
    }
}

#[test]
fn who_closes_the_host_has_left_the_room() {
    for topology in [Topology::Mesh, Topology::Star] {
        let mut world = filled(9, topology, 4);
        world.expel(2, 0, "bored");
        let ended = News::Ended {
            reason: Reason::Closed,
            detail: "bored".to_owned(),
        };
        assert_eq!(world.actors[2].news.last(), Some(&ended));
        world.run(SECOND * 5);
        assert_eq!(agreed(&world, &world.active(), 9).len(), 3);
        for number in [0, 1, 3] {
            assert_eq!(
                left(&world, number),
                [(2, Reason::Goodbye)],
                "{topology:?}, actor {number}"
            );
        }
    }
}

#[test]
fn the_words_of_the_host_reach_the_one_that_is_put_out() {
    let mut world = filled(10, Topology::Mesh, 3);
    world.expel(0, 2, "too loud");
    world.run(SECOND * 5);
    let ended = |news: &News| match news {
        News::Ended { reason, detail } => Some((*reason, detail.clone())),
        _ => None,
    };
    let (reason, detail) = world.actors[2].news.iter().find_map(ended).unwrap();
    assert_eq!(
        (reason, detail.as_str()),
        (Reason::Goodbye, "the host has closed our place: too loud")
    );
    assert_eq!(left(&world, 1), [(2, Reason::Goodbye)]);
}

#[test]
fn one_that_was_cut_off_from_all_is_back_soon() {
    const MANY: usize = 8;
    for seed in 0..10 {
        for away in [12, 16, 20, 30, 45] {
            for lost in [0, MANY - 1] {
                let mut world = filled(seed, Topology::Mesh, MANY);
                for other in (0..MANY).filter(|other| *other != lost) {
                    world.cut(lost, other, SECOND * away);
                }
                world.run(SECOND * away);
                let mut waited = 0;
                while !is_agreed(&world, MANY) {
                    world.run(SECOND);
                    waited += 1;
                    assert!(waited < 25, "seed {seed}: {lost} was away for {away} s and is not back");
                }
            }
        }
    }
}

#[test]
fn members_that_cannot_reach_each_other_talk_by_way_of_the_host() {
    let mut world = filled(7, Topology::Mesh, 3);
    world.cut(1, 2, SECOND * 1000);
    world.run(SECOND * 30);
    assert_eq!(agreed(&world, &world.active(), 7).len(), 3);
    let (one, two) = (world.actors[1].room.order(), world.actors[2].room.order());
    assert!(matches!(world.actors[1].room.route(two), Route::PassedOn(_)));
    assert_eq!(left(&world, 1), [(two, Reason::TimedOut)]);
    assert_eq!(left(&world, 2), [(one, Reason::TimedOut)]);
}

#[test]
fn a_new_host_passes_on_to_those_who_have_not_found_it_yet() {
    let mut waited = 0;
    for seed in 0..20 {
        let mut world = filled(seed, Topology::Star, 4);
        world.crash(0);
        let orders: Vec<u32> = world.actors.iter().map(|actor| actor.room.order()).collect();
        for _ in 0..1500 {
            world.run(Duration::from_millis(10));
            for (from, to) in [(2, 3), (3, 2)] {
                // By the link that the sender would use, as the next host names it.
                let Route::PassedOn(link) = world.actors[from].room.route(orders[to]) else {
                    continue;
                };
                let Some((host, link)) = world.end_of(from, link) else {
                    continue;
                };
                let room = &world.actors[host].room;
                if host != 1 || room.route(orders[from]) != Route::Direct(link) {
                    continue;
                }
                let passed = room.may_pass_on(link, orders[to]);
                assert_eq!(
                    passed.map(|(order, _)| order),
                    Some(orders[from]),
                    "seed {seed}: it is dropped"
                );
                waited += u32::from(passed.is_some_and(|(_, link)| link.is_none()));
            }
        }
        assert_eq!(agreed(&world, &world.active(), seed).len(), 3);
    }
    assert!(waited > 0, "nothing had to wait");
}

/// A member that lies about others can put out nobody, be nobody else, and make nobody the host.
#[test]
fn what_a_member_says_of_others_is_not_believed() {
    for topology in [Topology::Mesh, Topology::Star] {
        let world = filled(8, topology, 4);
        let keys: Vec<_> = world.actors.iter().map(|actor| actor.key).collect();
        let entry = |order: u32| netplay_proto::room::Entry {
            order,
            key: keys[order as usize],
            name: String::new(),
            contact: format!("sim://{order}"),
        };
        let roster = |host: u32, orders: &[u32]| netplay_proto::room::Roster {
            host,
            version: 1 << 40,
            topology,
            max_members: 8,
            members: orders.iter().map(|order| entry(*order)).collect(),
            gone: vec![],
        };
        let lies = [
            Control::Roster(roster(3, &[1, 2, 3])),
            Control::Roster(roster(0, &[0, 2, 3])),
            Control::Out {
                reason: Reason::TimedOut,
                detail: String::new(),
            },
            Control::Welcome {
                order: 9,
                roster: roster(3, &[3]),
            },
            Control::Knock {
                contact: "sim://3".to_owned(),
            },
            Control::Admit,
        ];
        for lie in lies {
            let mut world = filled(8, topology, 4);
            world.forge(3, &lie.emit());
            world.run(SECOND * 40);
            for honest in 0..3 {
                let room = &world.actors[honest].room;
                assert_eq!(room.remote_host().unwrap_or(room.order()), 0, "{lie:?}");
                let others: Vec<u32> = room.joined().filter(|order| *order < 3).collect();
                assert_eq!(others.len(), 2, "{lie:?}");
                assert!(left(&world, honest).iter().all(|(order, _)| *order >= 3), "{lie:?}");
            }
        }
    }
}

#[test]
fn any_bytes_of_a_member_end_at_most_its_own_place() {
    for seed in 0..60 {
        let mut world = filled(100 + seed, Topology::Mesh, 4);
        for _ in 0..5 {
            let len = world.random.below(80);
            let mut bytes: Vec<u8> = (0..len).map(|_| world.random.below(256) as u8).collect();
            if let Some(first) = bytes.first_mut() {
                *first %= 8;
            }
            world.forge(2, &bytes);
            world.run(SECOND);
        }
        world.run(SECOND * 40);
        for honest in [0, 1, 3] {
            let room = &world.actors[honest].room;
            assert_eq!(room.remote_host().unwrap_or(room.order()), 0);
            assert_eq!(room.joined().filter(|order| *order != 2 && *order <= 3).count(), 2);
        }
    }
}

/// Joins, leaves and crashes as they come; once it is quiet, everybody who is in agrees.
fn play(seed: u64, topology: Topology, steps: u64) -> u64 {
    let mut world = either(seed, topology);
    world.add(true);
    let mut done = 0;
    while done < steps {
        for _ in 0..20 {
            done += 1;
            let pause = world.random.below(6_000);
            world.run(Duration::from_millis(pause));
            let active = world.active();
            if active.is_empty() {
                world.add(true);
                continue;
            }
            let one = active[world.random.below(active.len() as u64) as usize];
            match world.random.below(10) {
                0..5 if active.len() < 9 => {
                    world.add(false);
                }
                5 | 6 => world.leave(one),
                7 => world.crash(one),
                8 => {
                    // The host, and mostly so.
                    let host = active.iter().find(|number| world.actors[**number].room.is_host());
                    world.crash(*host.unwrap_or(&one));
                }
                _ => {}
            }
        }
        world.run(SECOND * 120);
        let active = world.active();
        if !active.is_empty() {
            let count = agreed(&world, &active, seed).len();
            assert_eq!(count, active.len(), "seed {seed}: somebody is in who is not there");
        }
    }
    world.steps
}

#[test]
fn joins_leaves_and_crashes_in_any_order_end_in_agreement() {
    let (seed, steps) = (number("NETPLAY_SEED", 1000), number("NETPLAY_STEPS", 600));
    let mut happened = 0;
    for turn in 0..25 {
        let seed = seed + turn;
        happened += play(seed, Topology::Mesh, steps);
        happened += play(seed, Topology::Star, steps);
    }
    println!(
        "{happened} things happened; NETPLAY_SEED={seed} NETPLAY_STEPS={steps} cargo test -p netplay-proto --test rooms"
    );
    assert!(happened > 100_000);
}

/// With cuts between pairs a room may fall apart, but nobody sees somebody who does not see it.
#[test]
fn after_cuts_whoever_sees_somebody_is_seen_and_has_the_same_host() {
    let first = number("NETPLAY_SEED", 5000);
    let (mut together, mut apart) = (0, 0);
    for seed in first..first + 150 {
        let mut world = fill(either(seed, Topology::Mesh), seed, 5);
        for _ in 0..6 {
            let (one, other) = (world.random.below(5) as usize, world.random.below(5) as usize);
            let time = Duration::from_millis(1000 + world.random.below(30_000));
            world.cut(one, other, time);
            let pause = world.random.below(10_000);
            world.run(Duration::from_millis(pause));
        }
        world.run(SECOND * 200);
        let active = world.active();
        for number in &active {
            let room = &world.actors[*number].room;
            assert!(room.is_open(), "seed {seed}, actor {number}");
            let same: Vec<usize> = active
                .iter()
                .copied()
                .filter(|other| {
                    let other = &world.actors[*other].room;
                    let host = |room: &netplay_proto::room::Room| room.remote_host().unwrap_or(room.order());
                    host(other) == host(room)
                })
                .collect();
            agreed(&world, &same, seed);
        }
        let hosts = active
            .iter()
            .filter(|number| world.actors[**number].room.is_host())
            .count();
        if hosts == 1 && active.len() == 5 {
            together += 1;
        } else {
            apart += 1;
        }
    }
    println!("together again in {together} of {} worlds", together + apart);
    assert!(together > apart, "together {together}, apart {apart}");
}
