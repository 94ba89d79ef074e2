//! Rosters: saying who is in, as the host, and taking over what the host says.
//!
//! A part of [`Room`]. `(host, version)` says which of two is newer.

use super::wire::{Control, Entry, Roster};
use super::{Link, LinkId, News, Room, Stage, is_alike};
use crate::config::Key;
use crate::reason::Reason;
use crate::time::Timestamp;

impl Room {
    pub(super) fn roster(&self) -> Roster {
        let own = Entry {
            order: self.order,
            key: self.config.key,
            name: self.config.name.clone(),
            contact: self.config.contact.clone(),
        };
        let mut members: Vec<Entry> = self
            .members
            .iter()
            .filter(|(_, member)| !member.is_over)
            .map(|(order, member)| Entry {
                order: *order,
                key: member.key,
                name: member.name.clone(),
                contact: member.contact.clone(),
            })
            .collect();
        members.push(own);
        members.sort_by_key(|entry| entry.order);
        Roster {
            host: self.host,
            version: self.version,
            topology: self.topology,
            max_members: self.max_members as u8,
            members,
            gone: self.gone.clone(),
        }
    }

    /// As the host: tells everybody who is in.
    pub(super) fn broadcast(&mut self) {
        self.version += 1;
        let control = Control::Roster(self.roster());
        let links: Vec<LinkId> = self.members.values().filter_map(|member| member.link).collect();
        for link in links {
            self.send(link, &control);
        }
        self.gone.clear();
    }

    pub(super) fn handle_roster(&mut self, now: Timestamp, link: LinkId, from: u32, roster: Roster) {
        if self.stage == Stage::Closed || !matches!(self.links.get(&link), Some(Link::Member { .. })) {
            return;
        }
        let is_sound = roster.host == from
            && roster.members.iter().all(|entry| {
                is_alike(&entry.contact, &self.config.contact)
                    && (entry.key == self.config.key) == (entry.order == self.order)
            });
        if !is_sound {
            return self.handle_violation(now, link);
        }
        if from == self.host {
            self.host_until = None;
            if roster.version > self.version || matches!(self.stage, Stage::Entering { .. }) {
                self.apply(now, roster);
            }
        } else if from > self.host && !self.is_host() {
            // It has lost the host, and we not yet.
            self.claims.insert(from, roster);
        }
    }

    /// Takes over what the host says.
    pub(super) fn apply(&mut self, now: Timestamp, roster: Roster) {
        self.version = roster.version;
        if !roster.members.iter().any(|entry| entry.order == self.order) {
            let reason = roster.gone.iter().find(|(order, _)| *order == self.order);
            let reason = reason.map_or(Reason::TimedOut, |(_, reason)| *reason);
            return self.handle_out(now, reason, "");
        }
        let is_named = |order: u32, key: Key| {
            let mut entries = roster.members.iter();
            entries.any(|entry| entry.order == order && entry.key == key)
        };
        let missing: Vec<u32> = self
            .members
            .iter()
            .filter(|(order, member)| !is_named(**order, member.key))
            .map(|(order, _)| *order)
            .collect();
        for order in missing {
            let reason = roster.gone.iter().find(|(other, _)| *other == order);
            let reason = reason.map_or(Reason::TimedOut, |(_, reason)| *reason);
            self.part(order, local_reason(reason), "");
            self.members.remove(&order);
            self.claims.remove(&order);
        }
        self.topology = roster.topology;
        self.max_members = usize::from(roster.max_members);
        if self.stage != Stage::Open {
            self.stage = Stage::Open;
            if self.has_opened {
                self.tell_host();
            } else {
                self.has_opened = true;
                self.tell(News::Opened);
            }
        }
        for entry in roster.members {
            self.next_order = self.next_order.max(entry.order + 1);
            if entry.order != self.order && !self.members.contains_key(&entry.order) {
                self.add(now, entry);
            }
        }
        // Those who were linked before we were in.
        let linked: Vec<u32> = self
            .members
            .iter()
            .filter(|(_, member)| member.link.is_some())
            .map(|(order, _)| *order)
            .collect();
        for order in linked {
            self.announce(now, order);
        }
        self.announce_due(now);
    }
}

/// Returns the reason why the host says that somebody has gone, as the game is told: one that another member closed is not ours.
fn local_reason(reason: Reason) -> Reason {
    if reason == Reason::Closed {
        Reason::Goodbye
    } else {
        reason
    }
}
