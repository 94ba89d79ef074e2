//! The host is gone, and the member with the lowest order is the next.
//!
//! A part of [`Room`]. Each member decides for itself, so whoever is decided upon must say that it knows, in time; else the one
//! after it is the next.

use super::door::{KNOCK_AGAIN, SEEKING_TIME};
use super::wire::{MAX_MEMBERS, Topology};
use super::{LinkId, Member, News, Room, Stage, is_silence};
use crate::config::Key;
use crate::reason::Reason;
use crate::time::Timestamp;

/// How many silences the next host waits for the others to dial it, who may have tried some before it that are gone as well.
const GATHERING_SILENCES: u32 = 5;

impl Room {
    pub(super) fn handle_host_gone(&mut self, now: Timestamp, link: Option<LinkId>, reason: Reason, detail: &str) {
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
        if self.go_if_cut_off(now, reason) {
            return;
        }
        let next = self.members().next().unwrap_or(self.order).min(self.order);
        self.host = next;
        if next == self.order {
            return self.become_host(now, reason);
        }
        self.tell_host();
        // Its rosters count from its own beginning, whatever the old host has told us and not it.
        self.version = 0;
        self.host_until = Some(now + self.migration_time());
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

    /// Without the host: if nothing is heard of anybody else either, it is most probably we who are gone. Then the door is where
    /// the others are found, not the one who would be the next host, and the one after it. Returns true if it is so.
    pub(super) fn go_if_cut_off(&mut self, now: Timestamp, reason: Reason) -> bool {
        let is_gone = |member: &Member| member.link.is_none() && !member.is_joined;
        let is_cut_off = is_silence(reason)
            && self.topology == Topology::Mesh
            && !self.members.is_empty()
            && self.members.values().all(is_gone);
        if is_cut_off {
            self.members.clear();
            self.host_until = None;
            self.host = self.order;
            self.become_host(now, reason);
        }
        is_cut_off
    }

    /// Tells the game who is the host now: at once if it knows that one, and else when it does.
    pub(super) fn tell_host(&mut self) {
        let order = self.host;
        self.is_host_to_tell = !self.members.get(&order).is_some_and(|member| member.is_joined);
        if !self.is_host_to_tell {
            self.tell(News::Host { order: Some(order) });
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
                member.dial_until = Some(now + self.config.silence * GATHERING_SILENCES);
            }
        }
        // Numbers of members that the old host has welcomed and not told us of are not given again.
        self.next_order = self.next_order.max(self.order + 1) + MAX_MEMBERS as u32;
        self.is_host_to_tell = false;
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
}
