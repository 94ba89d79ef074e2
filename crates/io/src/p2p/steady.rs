//! A congestion controller that always allows the same. What goes through a tunnel is under netplay's own controller already,
//! which tells random loss from a full path; a second one below it that does not would halve the rate at every lost packet.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use iroh::endpoint::{Controller, ControllerFactory};

/// How many bytes may be under way: more than netplay ever has.
const WINDOW: u64 = 8 * 1024 * 1024;

/// Makes the controllers, one for each path.
#[derive(Debug)]
pub(super) struct Steady;

#[derive(Clone, Debug)]
struct SteadyWindow;

impl ControllerFactory for Steady {
    fn build(self: Arc<Self>, _now: Instant, _current_mtu: u16) -> Box<dyn Controller> {
        Box::new(SteadyWindow)
    }
}

impl Controller for SteadyWindow {
    fn on_congestion_event(
        &mut self,
        _now: Instant,
        _sent: Instant,
        _is_persistent_congestion: bool,
        _is_ecn: bool,
        _lost_bytes: u64,
        _largest_lost_pn: u64,
    ) {
    }

    fn on_mtu_update(&mut self, _new_mtu: u16) {}

    fn window(&self) -> u64 {
        WINDOW
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        WINDOW
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
