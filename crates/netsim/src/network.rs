//! Numbered nodes with a pipe for every ordered pair of them. What a node is, is the caller's business.
//!
//! A pipe comes into being with the first packet or setting between two nodes, and has a seed of its own, made from the network's
//! seed and the two numbers. So what happens between two nodes does not depend on what others do meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::conditions::Conditions;
use crate::pipe::{Pipe, PipeStats, Verdict};
use crate::random::split_mix;

/// Names a node, by a number that the caller chooses.
pub type Node = u64;

/// Numbered nodes with a pipe for every ordered pair. Moments passed in must never go backwards.
#[derive(Clone, Debug)]
pub struct Network<T> {
    conditions: Conditions,
    seed: u64,
    pipes: BTreeMap<(Node, Node), Pipe<T>>,
    /// When each pipe that is not empty has its next packet: the pipe's `next_at`, sorted over all pipes.
    schedule: BTreeSet<(Duration, (Node, Node))>,
}

impl<T> Network<T> {
    /// Makes a network whose pipes start with these conditions.
    pub fn new(conditions: Conditions, seed: u64) -> Self {
        Self {
            conditions,
            seed,
            pipes: BTreeMap::new(),
            schedule: BTreeSet::new(),
        }
    }

    /// Changes the conditions of every pipe, those to come included, for packets sent from now on.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        for pipe in self.pipes.values_mut() {
            pipe.set_conditions(conditions.clone());
        }
        self.conditions = conditions;
    }

    /// Changes the conditions of one direction, for packets sent from now on.
    pub fn set_conditions_from(&mut self, from: Node, to: Node, conditions: Conditions) {
        self.pipe(from, to).set_conditions(conditions);
    }

    /// Changes the conditions of both directions, for packets sent from now on.
    pub fn set_conditions_between(&mut self, one: Node, other: Node, conditions: Conditions) {
        self.set_conditions_from(one, other, conditions.clone());
        self.set_conditions_from(other, one, conditions);
    }

    /// Cuts one direction: what is sent is lost, what is on the way still arrives.
    pub fn cut_from(&mut self, from: Node, to: Node) {
        self.pipe(from, to).set_cut(true);
    }

    /// Cuts both directions.
    pub fn cut_between(&mut self, one: Node, other: Node) {
        self.cut_from(one, other);
        self.cut_from(other, one);
    }

    /// Restores one direction after a cut.
    pub fn restore_from(&mut self, from: Node, to: Node) {
        self.pipe(from, to).set_cut(false);
    }

    /// Restores both directions after a cut.
    pub fn restore_between(&mut self, one: Node, other: Node) {
        self.restore_from(one, other);
        self.restore_from(other, one);
    }

    /// Returns when the next packet arrives anywhere, None if none is on the way.
    pub fn next_at(&self) -> Option<Duration> {
        self.schedule.first().map(|&(due, _)| due)
    }

    /// Takes out the next packet that is due, with the nodes it came from and goes to; None if none is due.
    pub fn receive(&mut self, now: Duration) -> Option<(Node, Node, T)> {
        let &(due, link) = self.schedule.first()?;
        if due > now {
            return None;
        }
        self.schedule.pop_first();
        let pipe = self.pipes.get_mut(&link)?;
        let item = pipe.receive(now);
        if let Some(due) = pipe.next_at() {
            self.schedule.insert((due, link));
        }
        item.map(|item| (link.0, link.1, item))
    }

    /// Returns how many packets are on the way, copies included.
    pub fn in_flight(&self) -> usize {
        self.pipes.values().map(Pipe::in_flight).sum()
    }

    /// Returns what happened in one direction so far.
    pub fn stats_from(&self, from: Node, to: Node) -> PipeStats {
        self.pipes.get(&(from, to)).map(Pipe::stats).unwrap_or_default()
    }

    /// Returns what happened in all pipes so far.
    pub fn stats(&self) -> PipeStats {
        let mut total = PipeStats::default();
        for stats in self.pipes.values().map(Pipe::stats) {
            total.sent += stats.sent;
            total.sent_bytes += stats.sent_bytes;
            total.lost += stats.lost;
            total.overflowed += stats.overflowed;
            total.duplicated += stats.duplicated;
            total.held_back += stats.held_back;
            total.delivered += stats.delivered;
        }
        total
    }

    fn pipe(&mut self, from: Node, to: Node) -> &mut Pipe<T> {
        let Self {
            conditions,
            seed,
            pipes,
            ..
        } = self;
        pipes.entry((from, to)).or_insert_with(|| {
            let mut mixed = *seed;
            for part in [from, to] {
                mixed = split_mix(&mut mixed) ^ part;
            }
            Pipe::new(conditions.clone(), mixed)
        })
    }
}

impl<T: Clone> Network<T> {
    /// Sends a packet of this many bytes from one node to another and returns what becomes of it.
    pub fn send(&mut self, now: Duration, from: Node, to: Node, size_bytes: usize, item: T) -> Verdict {
        let pipe = self.pipe(from, to);
        let before = pipe.next_at();
        let verdict = pipe.send(now, size_bytes, item);
        let after = pipe.next_at();
        if before != after {
            if let Some(due) = before {
                self.schedule.remove(&(due, (from, to)));
            }
            if let Some(due) = after {
                self.schedule.insert((due, (from, to)));
            }
        }
        verdict
    }
}
