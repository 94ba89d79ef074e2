//! By which way a message of the game goes, and whose one is that has come.
//!
//! A part of [`Room`]. It must not know the message.

use super::{Link, LinkId, Room, Route, Stage};
use crate::time::Timestamp;

impl Room {
    /// Returns how a message gets to a member.
    pub fn route(&self, order: u32) -> Route {
        let Some(member) = self.members.get(&order).filter(|member| member.is_joined) else {
            return Route::None;
        };
        if let Some(link) = member.link {
            return Route::Direct(link);
        }
        match self.host_link() {
            Some(link) => Route::PassedOn(link),
            None => Route::Wait,
        }
    }

    /// Takes in that a message of the game came by a link, and returns whose it is; None if it is to be dropped.
    pub fn handle_message(&mut self, now: Timestamp, link: LinkId) -> Option<u32> {
        self.attach_sender(now, link);
        self.joined_by(link)
    }

    /// Who sends to us has admitted us; its word is only on another channel.
    fn attach_sender(&mut self, now: Timestamp, link: LinkId) {
        if let Some(Link::Dialing { order, .. }) = self.links.get(&link) {
            let order = *order;
            self.attach(now, link, order);
        }
    }

    /// Takes in that a message was passed on to us by a link; returns true if it is to be believed.
    pub fn handle_passed_on(&mut self, now: Timestamp, link: LinkId, from: u32) -> bool {
        self.attach_sender(now, link);
        let Some(Link::Member { order }) = self.links.get(&link) else {
            return false;
        };
        if *order != self.host || self.stage != Stage::Open {
            return false;
        }
        match self.members.get(&from) {
            Some(member) if from != self.host && !member.is_over => {
                if !member.is_joined {
                    self.announce(now, from);
                }
                true
            }
            _ => false,
        }
    }

    /// As the host: returns from whom a message to be passed on comes and by which link it goes; None if it may not. Without a
    /// link it waits: who it is for has not found the new host yet, and comes or is put out.
    pub fn may_pass_on(&self, link: LinkId, to: u32) -> Option<(u32, Option<LinkId>)> {
        let from = match self.links.get(&link) {
            Some(Link::Member { order }) if self.is_host() => *order,
            _ => return None,
        };
        let member = self.members.get(&to).filter(|member| !member.is_over)?;
        (from != to).then_some((from, member.link))
    }
}
