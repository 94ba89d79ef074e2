//! Games on other machines: DNS-SD over multicast DNS (RFC 6763, RFC 6762), by `mdns-sd`. It knows services, not who looks for them.
//!
//! A record of multicast DNS is good for minutes, so one whose machine was switched off would stay. Each that we show is
//! therefore asked for again every 1.5 s (RFC 6762, section 10.4), and dropped when nothing came for 3.5 s.
//!
//! `mdns-sd` keeps every record it hears, and anybody can send records. When it has too many it is started anew.

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use mdns_sd::{
    IfKind, Metrics, Receiver, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent, ServiceInfo, TryRecvError,
};

use super::game::{Game, Notice, host_name};
use super::scout::Advert;
use crate::types::ListenerId;

/// The service type.
const SERVICE: &str = "_netplay._udp.local.";

/// How often a service is asked for again, if there are not too many.
const VERIFY_EVERY: Duration = Duration::from_millis(1500);

/// After how much silence it is dropped.
const GONE_AFTER: Duration = Duration::from_millis(3500);

/// How long one that is said to be gone is still asked for: `mdns-sd` says so too when one of two interfaces goes.
const DOUBT: Duration = Duration::from_millis(600);

/// How often to begin looking anew: `mdns-sd` asks after 0, 1, 3 and 7 s, and then ever more rarely.
const ASK_ANEW: Duration = Duration::from_secs(10);

/// How often at most.
const LEAST_ASK: Duration = Duration::from_millis(500);

/// How many services are asked for again in a second.
const VERIFIED_A_SECOND: u32 = 20;

/// How often a service tells of what has changed.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(1);

/// How many games are kept.
const MAX_GAMES: usize = 256;

/// How many records of all kinds may be kept by `mdns-sd`.
const MAX_RECORDS: i64 = 4096;

/// How often that is looked at, and it may be started anew.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// How often the list of interfaces is looked at, in seconds.
const INTERFACES_EVERY: u32 = 1;

/// How long closing waits for the goodbyes to be sent.
const GOODBYE: Duration = Duration::from_millis(200);

/// What is announced and seen by multicast.
#[derive(Default)]
pub(super) struct Multicast {
    daemon: Option<ServiceDaemon>,
    is_looking: bool,
    browsing: Option<Receiver<ServiceEvent>>,
    /// When looking began, and that it is to begin anew.
    asked_at: Option<Instant>,
    is_in_doubt: bool,
    metrics: Option<Receiver<Metrics>>,
    check_at: Option<Instant>,
    announced: BTreeMap<ListenerId, Announced>,
    services: BTreeMap<String, Service>,
}

struct Announced {
    service: String,
    notice: Notice,
    at: Instant,
}

struct Service {
    game: Game,
    verify_at: Instant,
    /// When it is dropped, if it is not heard again.
    gone_at: Option<Instant>,
}

impl Multicast {
    /// Announces a game, or what has changed about it; not too often.
    pub(super) fn announce(&mut self, now: Instant, id: ListenerId, advert: &Advert) {
        let old = self.announced.get(&id);
        if old.is_some_and(|old| old.notice == advert.notice || now < old.at + ANNOUNCE_EVERY) {
            return;
        }
        let Some(info) = service_info(advert, old.map(|old| old.service.as_str())) else {
            return;
        };
        let announced = Announced {
            service: info.get_fullname().to_owned(),
            notice: advert.notice.clone(),
            at: now,
        };
        if self.daemon().is_some_and(|daemon| daemon.register(info).is_ok()) {
            self.announced.insert(id, announced);
        }
    }

    /// Says goodbye for a game.
    pub(super) fn withdraw(&mut self, id: ListenerId) {
        if let Some(announced) = self.announced.remove(&id)
            && let Some(daemon) = &self.daemon
        {
            let _ = daemon.unregister(&announced.service);
        }
        self.rest();
    }

    /// Begins or stops to look.
    pub(super) fn look(&mut self, is_wanted: bool) {
        self.is_looking = is_wanted;
        if !is_wanted {
            if let Some(daemon) = self.daemon.as_ref().filter(|_| self.browsing.is_some()) {
                let _ = daemon.stop_browse(SERVICE);
            }
            self.browsing = None;
            self.services.clear();
            self.rest();
        }
    }

    /// Takes in what was heard, and asks again for what is known. Returns how many services could not be used.
    pub(super) fn work(&mut self, now: Instant, is_wanted: impl Fn(&str) -> bool) -> u64 {
        if !self.is_looking {
            return 0;
        }
        if self.browsing.is_none() && self.check_at.is_none_or(|at| at <= now) {
            self.check_at = Some(now + CHECK_EVERY);
            self.ask(now);
        }
        let Some(browsing) = self.browsing.clone() else {
            return 0;
        };
        let mut refused = 0;
        loop {
            match browsing.try_recv() {
                Ok(ServiceEvent::ServiceResolved(service)) => {
                    refused += u64::from(!self.take_in(now, &service, &is_wanted));
                }
                Ok(ServiceEvent::ServiceRemoved(_, name)) => {
                    if let Some(service) = self.services.get_mut(&name) {
                        service.gone_at.get_or_insert(now + DOUBT);
                        self.is_in_doubt = true;
                    }
                }
                Ok(_) => {}
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    // More came than was taken, or a fault has ended it.
                    self.start_over();
                    break;
                }
            }
        }
        self.services
            .retain(|_, service| service.gone_at.is_none_or(|at| at > now));
        let since = self.asked_at.map_or(ASK_ANEW, |at| now.duration_since(at));
        if self.browsing.is_some() && (since >= ASK_ANEW || self.is_in_doubt && since >= LEAST_ASK) {
            self.ask(now);
        }
        self.verify(now);
        if self.has_too_many(now) {
            log::warn!("so many services are announced on this network that the list of games begins anew");
            refused += 1;
            self.start_over();
        }
        refused
    }

    pub(super) fn games(&self) -> impl Iterator<Item = &Game> {
        self.services.values().map(|service| &service.game)
    }

    /// Says goodbye for everything. Blocks for a moment.
    pub(super) fn close(&mut self) {
        if let Some(daemon) = self.daemon.take()
            && let Ok(done) = daemon.shutdown()
        {
            let _ = done.recv_timeout(GOODBYE);
        }
    }

    /// Begins to look, or begins anew.
    fn ask(&mut self, now: Instant) {
        self.asked_at = Some(now);
        self.is_in_doubt = false;
        self.browsing = self.daemon().and_then(|daemon| daemon.browse(SERVICE).ok());
    }

    /// Returns whether a service was believed, or is none of ours.
    fn take_in(&mut self, now: Instant, service: &ResolvedService, is_wanted: impl Fn(&str) -> bool) -> bool {
        let name = service.fullname.clone();
        let Some(game) = read_service(service) else {
            self.services.remove(&name);
            return false;
        };
        if !is_wanted(&game.app) {
            self.services.remove(&name);
            return true;
        }
        if self.services.len() >= MAX_GAMES && !self.services.contains_key(&name) {
            return false;
        }
        let verify_at = now + VERIFY_EVERY;
        let kept = self.services.entry(name).or_insert_with(|| Service {
            game: game.clone(),
            verify_at,
            gone_at: None,
        });
        kept.game = game;
        kept.gone_at = None;
        true
    }

    fn verify(&mut self, now: Instant) {
        let Some(daemon) = &self.daemon else {
            return;
        };
        let count = u32::try_from(self.services.len()).unwrap_or(u32::MAX);
        let every = VERIFY_EVERY.max(Duration::from_secs(1) * count / VERIFIED_A_SECOND);
        let due = self.services.iter_mut().filter(|(_, service)| service.verify_at <= now);
        for (name, service) in due.take(VERIFIED_A_SECOND as usize) {
            service.verify_at = now + every;
            let _ = daemon.verify(name.clone(), GONE_AFTER);
        }
    }

    fn has_too_many(&mut self, now: Instant) -> bool {
        let count = self
            .metrics
            .as_ref()
            .and_then(|metrics| metrics.try_recv().ok())
            .map(|metrics| {
                let cached = metrics.iter().filter(|(name, _)| name.starts_with("cached-"));
                cached.map(|(_, count)| *count).sum::<i64>()
            });
        if self.check_at.is_none_or(|at| at <= now) {
            self.check_at = Some(now + CHECK_EVERY);
            self.metrics = self.daemon.as_ref().and_then(|daemon| daemon.get_metrics().ok());
        }
        count.is_some_and(|count| count > MAX_RECORDS)
    }

    fn start_over(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            let _ = daemon.shutdown();
        }
        self.browsing = None;
        self.metrics = None;
        self.services.clear();
        // What is announced is announced again.
        self.announced.clear();
    }

    /// Ends the thread when nothing is announced and nobody looks.
    fn rest(&mut self) {
        if self.announced.is_empty() && !self.is_looking {
            self.close();
        }
    }

    fn daemon(&mut self) -> Option<&ServiceDaemon> {
        if self.daemon.is_none() {
            let daemon = ServiceDaemon::new().ok()?;
            // Loopback is for the neighbours.
            let _ = daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6]);
            let _ = daemon.set_ip_check_interval(INTERFACES_EVERY);
            self.daemon = Some(daemon);
        }
        self.daemon.as_ref()
    }
}

/// Returns what to announce; the name of a service stays as long as it is open. None if nobody else could come.
fn service_info(advert: &Advert, service: Option<&str>) -> Option<ServiceInfo> {
    let bound: Vec<SocketAddr> = advert
        .bound
        .iter()
        .copied()
        .filter(|address| !address.ip().is_loopback())
        .collect();
    let notice = &advert.notice;
    let name = match service.and_then(|service| service.strip_suffix(SERVICE)?.strip_suffix('.')) {
        Some(name) => unescaped(name),
        None => service_name(&notice.title, &notice.id),
    };
    let host = format!("{}-{}.local.", host_name(), notice.id);
    let is_every = |is_ipv4| {
        bound
            .iter()
            .any(|address| address.ip().is_unspecified() && address.is_ipv4() == is_ipv4)
    };
    let interfaces = match (is_every(true), is_every(false)) {
        (true, true) => vec![IfKind::All],
        (true, false) => vec![IfKind::IPv4],
        (false, true) => vec![IfKind::IPv6],
        (false, false) => bound.iter().map(|address| IfKind::Addr(address.ip())).collect(),
    };
    if bound.is_empty() {
        return None;
    }
    let info = ServiceInfo::new(SERVICE, &name, &host, (), bound[0].port(), &notice.to_txt()[..]);
    let mut info = info.ok()?.enable_addr_auto();
    info.set_interfaces(interfaces);
    // Both names end in what is random, so nobody else has them, and a second need not be spent on asking.
    info.set_requires_probe(false);
    Some(info)
}

/// Makes the name of a service, as browsers show it: two games of one title are two.
fn service_name(title: &str, id: &str) -> String {
    let tail = format!(" ({})", &id[..6.min(id.len())]);
    let mut head = title.to_owned();
    while head.len() + tail.len() > 63 {
        head.pop();
    }
    head + &tail
}

fn read_service(service: &ResolvedService) -> Option<Game> {
    let name = unescaped(service.fullname.strip_suffix(SERVICE)?.strip_suffix('.')?);
    let notice = Notice::from_txt(|key| service.txt_properties.get(key)?.val(), &name)?;
    let host = service.host.trim_end_matches('.').trim_end_matches(".local");
    let host = host
        .strip_suffix(&notice.id)
        .and_then(|host| host.strip_suffix('-'))
        .unwrap_or(host);
    let port = service.port;
    let addresses = service
        .addresses
        .iter()
        .filter(|address| !address.is_loopback())
        .map(|address| match address {
            ScopedIp::V6(v6) => {
                let scope = if v6.addr().is_unicast_link_local() {
                    v6.scope_id().index
                } else {
                    0
                };
                SocketAddrV6::new(*v6.addr(), port, 0, scope).into()
            }
            other => SocketAddr::new(other.to_ip_addr(), port),
        });
    notice.at(host, addresses)
}

/// Takes away the backslashes before dots and backslashes.
fn unescaped(name: &str) -> String {
    let mut plain = String::new();
    let mut characters = name.chars();
    while let Some(character) = characters.next() {
        plain.extend(if character == '\\' {
            characters.next()
        } else {
            Some(character)
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_service_fits_a_label_and_reads_back() {
        let id = "0123456789abcdef";
        assert_eq!(service_name("Ada's table", id), "Ada's table (012345)");
        let long = "ä".repeat(32);
        assert_eq!(service_name(&long, id).len(), 63);
        assert_eq!(unescaped(r"Dr\. \\ Who"), r"Dr. \ Who");
    }
}
