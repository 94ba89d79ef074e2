//! Who is linked to whom: members are dialled or dial us, are known by their keys, and are told of to the game.
//!
//! A part of [`Room`]. Both sides of a link must have admitted it; a peer that the game has met by way of the host stays so,
//! as long as there is that way. It must not know who decides who is in.

use std::time::Duration;

use super::timers::SEEK_AGAIN;
use super::wire::{Control, Entry, Topology};
use super::{Link, LinkId, Member, News, Output, Room, Stage};
use crate::config::Key;
use crate::reason::Reason;
use crate::time::Timestamp;

/// How long a direct link between two members may take before the host passes on what they say.
const DIRECT_TIME: Duration = Duration::from_secs(6);

/// How long the next host may take to be linked and say that it is, beyond the silence after which it knows.
const MIGRATION_TIME: Duration = Duration::from_secs(4);

impl Room {
    /// Takes in a member that a roster names: it is dialled, or dials us.
    pub(super) fn add(&mut self, now: Timestamp, entry: Entry) {
        let order = entry.order;
        let is_host = order == self.host;
        let is_direct = self.topology == Topology::Mesh || is_host;
        // Newcomers dial those who are there.
        let is_ours_to_dial = is_direct && order < self.order;
        let join_at = match self.topology {
            _ if is_host => None,
            Topology::Star => Some(now),
            // The one that is dialled waits a little longer, so that both mostly come to the same.
            Topology::Mesh if is_ours_to_dial => Some(now + DIRECT_TIME),
            Topology::Mesh => Some(now + DIRECT_TIME + Duration::from_secs(2)),
        };
        let key = entry.key;
        self.members.insert(order, Member::new(entry, join_at));
        if is_ours_to_dial {
            self.dial(now, order);
        }
        self.recognise_all(now, key);
    }

    pub(super) fn migration_time(&self) -> Duration {
        self.config.silence + MIGRATION_TIME
    }

    pub(super) fn dial(&mut self, now: Timestamp, order: u32) {
        let is_dialing = |link: &Link| matches!(link, Link::Dialing { order: other, .. } if *other == order);
        if self.links.values().any(is_dialing) {
            return;
        }
        let Some(member) = self.members.get(&order) else { return };
        let (contact, key) = (member.contact.clone(), member.key);
        let link = self.new_link();
        let until = now
            + if order == self.host {
                self.migration_time()
            } else {
                DIRECT_TIME
            };
        self.links.insert(link, Link::Dialing { order, until });
        self.outputs.push_back(Output::Dial { link, contact, key });
    }

    pub(super) fn close_dials(&mut self, order: u32) {
        let is_dial = |link: &Link| matches!(link, Link::Dialing { order: other, .. } if *other == order);
        let dials: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| is_dial(link))
            .map(|(id, _)| *id)
            .collect();
        for link in dials {
            self.close(link, Reason::Goodbye);
        }
    }

    /// Looks whether those who have called and were strangers have this key, which is known now.
    pub(super) fn recognise_all(&mut self, now: Timestamp, key: Key) {
        let is_it = |link: &Link| matches!(link, Link::Stranger { key: other, .. } if *other == key);
        let found: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| is_it(link))
            .map(|(id, _)| *id)
            .collect();
        for link in found {
            self.recognise(now, link, key);
        }
    }

    /// Lets in the one with this key at a link, if it is a member or expected to become one.
    pub(super) fn recognise(&mut self, now: Timestamp, link: LinkId, key: Key) {
        let expected = self.expected.iter().find(|(_, (entry, _))| entry.key == key);
        if let Some(order) = expected.map(|(order, _)| *order)
            && let Some((entry, _)) = self.expected.remove(&order)
        {
            if matches!(self.stage, Stage::Knocking { .. }) {
                // We are not alone any more.
                self.go_on_alone();
            }
            self.members.insert(order, Member::new(entry, None));
            self.send(link, &Control::Admit);
            self.attach(now, link, order);
            self.broadcast();
            return;
        }
        let known = self.members.iter().find(|(_, member)| member.key == key);
        let Some((order, member)) = known else { return };
        let order = *order;
        if member.is_over || member.link.is_some() || matches!(self.stage, Stage::Knocking { .. }) {
            // A second link would only mean that two orders of messages mix.
            return self.close(link, Reason::Goodbye);
        }
        if member.is_joined && !self.is_host() && order != self.host {
            // It takes us for the host already, and we may be soon; until then the game has it by way of the old one.
            return;
        }
        self.send(link, &Control::Admit);
        self.attach(now, link, order);
        if self.is_host() {
            let roster = self.roster();
            self.send(link, &Control::Roster(roster));
        }
    }

    /// As the host, who alone knows who is in: tells a stranger that it is not, so that it knocks.
    pub(super) fn send_away(&mut self, link: LinkId) {
        let is_settled = self.stage == Stage::Open && self.is_host();
        if is_settled && matches!(self.links.get(&link), Some(Link::Stranger { .. })) {
            let (reason, detail) = (Reason::TimedOut, String::new());
            self.send(link, &Control::Out { reason, detail });
            self.close(link, Reason::Goodbye);
        }
    }

    /// A link has become that of a member.
    pub(super) fn attach(&mut self, now: Timestamp, link: LinkId, order: u32) {
        let host = self.host;
        let Some(member) = self.members.get_mut(&order).filter(|member| !member.is_over) else {
            return self.close(link, Reason::Goodbye);
        };
        // A peer that the game has met by way of the host stays so, unless the way is new for all: two ways mix up the order.
        let is_too_late = member.is_joined && order != host && host != self.order;
        if member.link.is_some() || is_too_late {
            return self.close(link, Reason::Goodbye);
        }
        member.link = Some(link);
        self.seek_pause = SEEK_AGAIN;
        member.dial_until = None;
        member.join_at = None;
        self.links.insert(link, Link::Member { order });
        self.announce(now, order);
        if order == self.host {
            // Those whom only the host can reach.
            self.announce_due(now);
        }
    }

    /// Tells the game of a member, as soon as the game knows that we are in.
    pub(super) fn announce(&mut self, _now: Timestamp, order: u32) {
        if self.stage != Stage::Open {
            return;
        }
        let Some(member) = self.members.get_mut(&order) else {
            return;
        };
        if member.is_joined || member.is_over {
            return;
        }
        member.is_joined = true;
        member.join_at = None;
        let news = News::Joined {
            order,
            key: member.key,
            name: member.name.clone(),
            contact: member.contact.clone(),
        };
        self.tell(news);
        if self.is_host_to_tell && order == self.host {
            self.tell_host();
        }
    }

    pub(super) fn announce_due(&mut self, now: Timestamp) {
        if self.stage != Stage::Open || self.host_link().is_none() {
            return;
        }
        let is_due = |member: &Member| member.join_at.is_some_and(|at| at <= now);
        let due: Vec<u32> = self
            .members
            .iter()
            .filter(|(_, member)| is_due(member) && member.link.is_none())
            .map(|(order, _)| *order)
            .collect();
        for order in due {
            // What is still being dialled comes too late.
            self.close_dials(order);
            self.announce(now, order);
        }
    }
}
