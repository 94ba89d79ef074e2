//! How somebody goes: a member that leaves, is lost or is put out, and we ourselves.
//!
//! A part of [`Room`]. What becomes of the room when the one that goes is the host is in `succession`.

use std::time::Duration;

use super::door::SEEKING_TIME_OF_HOST;
use super::wire::{Control, MAX_MEMBERS};
use super::{Link, LinkId, News, Output, Room, Stage, is_silence};
use crate::reason::Reason;
use crate::text::printable;
use crate::time::Timestamp;

/// How long after a direct link has broken the host passes on: it has most probably lost the same member.
const BROKEN_TIME: Duration = Duration::from_secs(10);

impl Room {
    /// Puts a member out, as the host; anybody else only stops to talk to it, and without the host there is no room.
    pub fn expel(&mut self, now: Timestamp, order: u32, reason: Reason, detail: &str) {
        if self.is_host() {
            self.remove(now, order, reason, detail);
        } else if order == self.host && self.members.contains_key(&order) {
            self.leave_for(reason, detail);
        } else if let Some(member) = self.members.get_mut(&order) {
            member.is_over = true;
            self.part(order, reason, detail);
        }
    }

    /// Leaves, with a word to everybody.
    pub fn leave(&mut self) {
        self.leave_for(Reason::Closed, "");
    }

    fn leave_for(&mut self, reason: Reason, detail: &str) {
        if self.stage == Stage::Closed {
            return;
        }
        let links: Vec<(LinkId, bool)> = self
            .links
            .iter()
            .map(|(id, link)| (*id, matches!(link, Link::Member { .. } | Link::Dialing { .. })))
            .collect();
        for (link, is_member) in links {
            if is_member {
                self.send(link, &Control::Leave);
            }
        }
        self.end(reason, detail);
    }

    pub(super) fn handle_member_gone(
        &mut self,
        now: Timestamp,
        order: u32,
        link: LinkId,
        reason: Reason,
        detail: &str,
    ) {
        let is_leaving = self.members.get(&order).is_some_and(|member| member.is_leaving);
        let reason = if is_leaving { Reason::Goodbye } else { reason };
        if self.is_host() {
            self.remove_gone(now, order, Some(link), reason, detail);
        } else if order == self.host {
            self.handle_host_gone(now, Some(link), reason, detail);
        } else {
            self.part_gone(order, Some(link), reason, detail);
            if let Some(member) = self.members.get_mut(&order) {
                member.is_over |= is_leaving;
                member.join_at = Some(now + BROKEN_TIME);
            }
            if self.host_until.is_some() {
                self.go_if_cut_off(now, reason);
            }
        }
    }

    /// The end of the link follows, when what was said before has arrived: the word is on a channel of its own.
    pub(super) fn handle_leave(&mut self, order: u32) {
        if let Some(member) = self.members.get_mut(&order) {
            member.is_leaving = true;
        }
    }

    /// The host says that we are no member any more.
    pub(super) fn handle_out(&mut self, now: Timestamp, reason: Reason, detail: &str) {
        match reason {
            // It has lost us, and we may find our way back.
            Reason::TimedOut | Reason::LinkClosed | Reason::Restarted | Reason::NoAnswer => self.start_over(now),
            other => {
                let why = match printable(detail) {
                    words if words.is_empty() => other.to_string(),
                    words => words,
                };
                self.end(Reason::Goodbye, &format!("the host has closed our place: {why}"));
            }
        }
    }

    /// As the host: takes a member out and tells everybody.
    pub(super) fn remove(&mut self, now: Timestamp, order: u32, reason: Reason, detail: &str) {
        let Some(member) = self.members.get(&order) else { return };
        let link = member.link;
        if let Some(link) = link {
            let detail = detail.to_owned();
            self.send(link, &Control::Out { reason, detail });
            self.links.remove(&link);
            self.send_close(link, Reason::Goodbye);
        }
        self.remove_gone(now, order, link, reason, detail);
    }

    /// The same, where the link is gone already.
    fn remove_gone(&mut self, now: Timestamp, order: u32, link: Option<LinkId>, reason: Reason, detail: &str) {
        self.part_gone(order, link, reason, detail);
        self.members.remove(&order);
        self.gone.push((order, reason));
        self.gone.truncate(MAX_MEMBERS);
        self.broadcast();
        if self.members.is_empty() && reason != Reason::Goodbye && self.stage == Stage::Open && is_silence(reason) {
            self.seek(now, SEEKING_TIME_OF_HOST);
        }
    }

    /// Tells the game that a member is gone, closing its link.
    pub(super) fn part(&mut self, order: u32, reason: Reason, detail: &str) {
        let link = self.members.get(&order).and_then(|member| member.link);
        if let Some(link) = link {
            self.links.remove(&link);
            self.send_close(link, Reason::Goodbye);
        }
        self.part_gone(order, link, reason, detail);
    }

    pub(super) fn part_gone(&mut self, order: u32, link: Option<LinkId>, reason: Reason, detail: &str) {
        self.close_dials(order);
        let Some(member) = self.members.get_mut(&order) else {
            return;
        };
        member.link = None;
        member.join_at = None;
        if std::mem::take(&mut member.is_joined) {
            let detail = detail.to_owned();
            self.tell(News::Left {
                order,
                link,
                reason,
                detail,
            });
        }
    }

    pub(super) fn drop_everything(&mut self) {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.close(link, Reason::Goodbye);
        }
        self.members.clear();
        self.expected.clear();
        self.claims.clear();
        self.gone.clear();
        self.host_until = None;
        self.is_host_to_tell = false;
        if self.is_door_open {
            self.is_door_open = false;
            self.outputs.push_back(Output::CloseDoor);
        }
    }

    pub(super) fn end(&mut self, reason: Reason, detail: &str) {
        let orders: Vec<u32> = self.members.keys().copied().collect();
        for order in orders {
            self.part(order, reason, "");
        }
        self.drop_everything();
        self.stage = Stage::Closed;
        let detail = detail.to_owned();
        self.tell(News::Ended { reason, detail });
    }

    pub(super) fn handle_violation(&mut self, now: Timestamp, link: LinkId) {
        self.send_close(link, Reason::BadData);
        // One that breaks the rules is not talked to again, be it by way of the host.
        if let Some(Link::Member { order }) = self.links.get(&link)
            && let Some(member) = self.members.get_mut(order)
        {
            member.is_over = *order != self.host;
        }
        let is_knock = matches!(self.links.get(&link), Some(Link::Knock));
        let reason = if is_knock { Reason::BadData } else { Reason::LinkClosed };
        self.handle_gone(now, link, reason, "it broke the rules of the room");
    }
}
