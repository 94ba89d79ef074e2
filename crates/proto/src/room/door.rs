//! The door: knocking at it, being welcomed, welcoming others, and going back to it when nobody is left.
//!
//! A part of [`Room`]. It must not know how members come to be linked once they are known.

use std::time::Duration;

use super::wire::{Control, Entry, Roster};
use super::{Link, LinkId, News, Output, Room, Stage, is_alike};
use crate::reason::Reason;
use crate::time::Timestamp;

/// How long a newcomer that was welcomed may take to be heard by the host.
const ENTERING_TIME: Duration = Duration::from_secs(12);

/// How long one who was left alone looks for the others at the door, before it opens the door itself. An old host looks
/// longer, so that of two who have lost each other one opens the door and the other finds it.
pub(super) const SEEKING_TIME: Duration = Duration::from_secs(3);
pub(super) const SEEKING_TIME_OF_HOST: Duration = Duration::from_secs(10);

/// How long after a fruitless knock the next comes.
pub(super) const KNOCK_AGAIN: Duration = Duration::from_secs(1);

impl Room {
    pub(super) fn handle_knock_gone(&mut self, now: Timestamp, why: Reason, detail: &str) {
        let Stage::Knocking {
            link, retry_at, until, ..
        } = &mut self.stage
        else {
            return;
        };
        *link = None;
        let is_vain = matches!(
            why,
            Reason::NoAnswer
                | Reason::UnknownHost
                | Reason::TimedOut
                | Reason::LinkClosed
                | Reason::KeyChanged
                | Reason::Goodbye
                | Reason::Restarted
                | Reason::Internal
        );
        if is_vain {
            // A room whose host has just gone has no door for a while.
            *retry_at = Some((now + KNOCK_AGAIN).min(*until));
            return;
        }
        if self.is_host() {
            self.go_on_alone();
        } else {
            self.end(why, detail);
        }
    }

    pub(super) fn handle_knock(&mut self, now: Timestamp, link: LinkId, mut entry: Entry) {
        if !(self.stage == Stage::Open && self.is_host()) {
            return self.close(link, Reason::Goodbye);
        }
        if !is_alike(&entry.contact, &self.config.contact) {
            return self.handle_violation(now, link);
        }
        // Who comes again has lost what it had.
        let known = self.members.iter().find(|(_, member)| member.key == entry.key);
        if let Some(order) = known.map(|(order, _)| *order) {
            self.remove(now, order, Reason::Restarted, "");
        }
        self.expected.retain(|_, (other, _)| other.key != entry.key);
        if 1 + self.members.len() + self.expected.len() >= self.max_members {
            return self.close(link, Reason::Full);
        }
        entry.order = self.next_order;
        self.next_order += 1;
        let welcome = Control::Welcome {
            order: entry.order,
            roster: self.roster(),
        };
        self.send(link, &welcome);
        let key = entry.key;
        self.expected.insert(entry.order, (entry, now + ENTERING_TIME));
        // It may have dialled already, if it comes again.
        self.recognise_all(now, key);
    }

    pub(super) fn handle_welcome(&mut self, now: Timestamp, link: LinkId, order: u32, roster: Roster) {
        let Stage::Knocking { until, .. } = self.stage else {
            return self.close(link, Reason::Goodbye);
        };
        let is_sound = roster.members.iter().all(|entry| {
            entry.order < order && entry.key != self.config.key && is_alike(&entry.contact, &self.config.contact)
        });
        if !is_sound {
            return self.handle_violation(now, link);
        }
        self.close(link, Reason::Goodbye);
        self.expected.clear();
        (self.order, self.host, self.version) = (order, roster.host, roster.version);
        self.topology = roster.topology;
        self.max_members = usize::from(roster.max_members);
        self.next_order = order + 1;
        self.stage = Stage::Entering {
            until: now + ENTERING_TIME,
            knock_until: until.max(now + ENTERING_TIME),
        };
        for entry in roster.members {
            self.add(now, entry);
        }
    }

    /// Knocks anew, as one who is in no longer.
    pub(super) fn start_over(&mut self, now: Timestamp) {
        let orders: Vec<u32> = self.members.keys().copied().collect();
        for order in orders {
            self.part(order, Reason::TimedOut, "");
        }
        self.drop_everything();
        self.stage = Stage::Knocking {
            link: None,
            retry_at: Some(now + KNOCK_AGAIN),
            until: now + self.config.timeout,
            is_host: false,
        };
    }

    /// Looks at the door for the others, as one who may have been cut off.
    pub(super) fn seek(&mut self, now: Timestamp, time: Duration) {
        if self.is_door_open {
            self.is_door_open = false;
            self.outputs.push_back(Output::CloseDoor);
        }
        self.stage = Stage::Knocking {
            link: None,
            retry_at: Some(now + KNOCK_AGAIN),
            until: now + time,
            is_host: true,
        };
    }

    pub(super) fn go_on_alone(&mut self) {
        let knocks: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| matches!(link, Link::Knock))
            .map(|(id, _)| *id)
            .collect();
        for link in knocks {
            self.close(link, Reason::Goodbye);
        }
        self.stage = Stage::Open;
        self.open_door();
    }

    pub(super) fn open_door(&mut self) {
        if !self.is_door_open {
            self.is_door_open = true;
            self.outputs.push_back(Output::OpenDoor);
        }
    }

    /// Takes in that the door is open. A room of our own is open when its door is, for the first time.
    pub fn handle_door_open(&mut self) {
        if !self.has_opened && self.stage == Stage::Open {
            self.has_opened = true;
            self.tell(News::Opened);
        }
    }

    /// Takes in that the door cannot be opened: a room that has never been open ends.
    pub fn handle_door_failed(&mut self, reason: Reason, detail: &str) {
        if !self.has_opened {
            self.end(reason, detail);
        }
    }
}
