//! What each finder has seen, and what of it the game was told. It knows games, not where they were seen.
//!
//! Events are made when the game asks, from the difference: so there is no queue that could overflow, and a game that changed
//! three times meanwhile is told of once.

use std::collections::BTreeMap;

use super::game::Game;

/// Names a finder; unique within its network for the network's whole life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FinderId(pub u64);

/// A change in what a finder sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Who sees it.
    pub finder: FinderId,
    /// The game: new, or as it is now, or as it was.
    pub game: Game,
    /// It is not there any more.
    pub is_gone: bool,
}

/// What all finders of a network have seen.
#[derive(Default)]
pub(crate) struct Sightings {
    finders: BTreeMap<FinderId, View>,
    /// How many changes the game was not told of yet; asked for with every drive.
    waiting: usize,
    /// Services that were seen and not believed, or for which there was no room.
    pub(crate) refused: u64,
}

#[derive(Default)]
struct View {
    seen: BTreeMap<String, Game>,
    told: BTreeMap<String, Game>,
}

impl Sightings {
    pub(crate) fn add(&mut self, finder: FinderId) {
        self.finders.insert(finder, View::default());
    }

    /// Forgets a finder; nothing more is told of what it saw.
    pub(crate) fn remove(&mut self, finder: FinderId) -> bool {
        let was_there = self.finders.remove(&finder).is_some();
        self.count();
        was_there
    }

    pub(crate) fn clear(&mut self) {
        self.finders.clear();
        self.count();
    }

    /// Takes note of everything that a finder sees now.
    pub(crate) fn see(&mut self, finder: FinderId, games: impl Iterator<Item = Game>) {
        if let Some(view) = self.finders.get_mut(&finder) {
            view.seen = games.map(|game| (game.id.clone(), game)).collect();
        }
        self.count();
    }

    /// Returns how many changes the game was not told of yet.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Takes the changes, those that are gone first.
    pub(crate) fn take(&mut self, out: &mut Vec<Sighting>) {
        for (finder, view) in &mut self.finders {
            let told = std::mem::replace(&mut view.told, view.seen.clone());
            let sighting = |game: &Game, is_gone| Sighting {
                finder: *finder,
                game: game.clone(),
                is_gone,
            };
            let gone = told.values().filter(|game| !view.seen.contains_key(&game.id));
            out.extend(gone.map(|game| sighting(game, true)));
            let is_told = |game: &&Game| told.get(&game.id).is_some_and(|told| told.looks_like(game));
            let new = view.seen.values().filter(|game| !is_told(game));
            out.extend(new.map(|game| sighting(game, false)));
        }
        self.count();
    }

    fn count(&mut self) {
        self.waiting = self.finders.values().map(View::waiting).sum();
    }
}

impl View {
    fn waiting(&self) -> usize {
        let gone = self.told.keys().filter(|id| !self.seen.contains_key(*id)).count();
        let is_told = |game: &Game| self.told.get(&game.id).is_some_and(|told| told.looks_like(game));
        gone + self.seen.values().filter(|game| !is_told(game)).count()
    }
}

#[cfg(test)]
mod tests {
    use netplay_proto::Transport;

    use super::*;

    fn game(id: &str, players: u32) -> Game {
        Game {
            id: id.to_owned(),
            app: "pong".to_owned(),
            title: "Ada's table".to_owned(),
            players,
            max_peers: 4,
            needs_password: false,
            transports: vec![Transport::Udp],
            key: None,
            host: "ada".to_owned(),
            addresses: vec!["192.0.2.1:5".parse().unwrap()],
        }
    }

    fn taken(sightings: &mut Sightings) -> Vec<(String, u32, bool)> {
        let mut out = Vec::new();
        assert_eq!(sightings.waiting(), {
            sightings.take(&mut out);
            out.len()
        });
        assert_eq!(sightings.waiting(), 0);
        out.into_iter()
            .map(|sighting| (sighting.game.id, sighting.game.players, sighting.is_gone))
            .collect()
    }

    #[test]
    fn each_change_is_told_once() {
        let mut sightings = Sightings::default();
        sightings.add(FinderId(1));
        sightings.see(FinderId(1), [game("a", 0), game("b", 0)].into_iter());
        assert_eq!(
            taken(&mut sightings),
            [("a".to_owned(), 0, false), ("b".to_owned(), 0, false)]
        );
        sightings.see(FinderId(1), [game("a", 0), game("b", 1)].into_iter());
        sightings.see(FinderId(1), [game("a", 0), game("b", 2)].into_iter());
        assert_eq!(taken(&mut sightings), [("b".to_owned(), 2, false)]);
        sightings.see(FinderId(1), [game("a", 0)].into_iter());
        assert_eq!(taken(&mut sightings), [("b".to_owned(), 2, true)]);
        sightings.see(FinderId(1), std::iter::empty());
        sightings.see(FinderId(1), [game("a", 0)].into_iter());
        assert_eq!(taken(&mut sightings), []);
    }

    #[test]
    fn another_way_to_the_same_game_is_not_told() {
        let mut sightings = Sightings::default();
        sightings.add(FinderId(1));
        let mut seen = game("a", 0);
        sightings.see(FinderId(1), [seen.clone()].into_iter());
        assert_eq!(taken(&mut sightings).len(), 1);
        seen.addresses.push("192.0.2.9:5".parse().unwrap());
        sightings.see(FinderId(1), [seen.clone()].into_iter());
        assert_eq!(taken(&mut sightings), []);
        seen.addresses.remove(0);
        sightings.see(FinderId(1), [seen].into_iter());
        assert_eq!(taken(&mut sightings).len(), 1);
    }

    #[test]
    fn a_finder_that_is_closed_tells_nothing() {
        let mut sightings = Sightings::default();
        sightings.add(FinderId(1));
        sightings.see(FinderId(1), [game("a", 0)].into_iter());
        assert!(sightings.remove(FinderId(1)) && !sightings.remove(FinderId(1)));
        sightings.see(FinderId(1), [game("a", 0)].into_iter());
        assert_eq!(taken(&mut sightings), []);
    }
}
