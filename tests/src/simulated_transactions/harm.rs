//! What goes wrong: power that is cut, coordinators that die, connections that break or stand still.

use std::time::Duration;

use rand::Rng as _;
use tokio::time::{Instant, sleep};

use super::COORDINATORS;
use super::coordinator::Coordinators;
use super::network::Network;
use crate::simulated_placement::world::{NODES, World};

/// Does harm until then. How often is drawn.
pub(super) async fn do_harm(world: &World, network: &Network, coordinators: &Coordinators, until: Instant) {
    let every = world.state().random.random_range(150..2_500);
    while Instant::now() < until {
        let (pause, what, node, place) = {
            let random = &mut world.state().random;
            let pause = random.random_range(every / 4..every * 2);
            let what = random.random_range(0..5);
            (pause, what, random.random_range(0..NODES), random.random_range(0..COORDINATORS))
        };
        sleep(Duration::from_millis(pause)).await;
        let coordinator = coordinators.number_at(place);
        match what {
            0 => {
                world.state().crash_node(node);
                network.cut(|_, of| of == node);
            }
            1 => {
                coordinators.replace(place);
                network.cut(|of, _| of == coordinator);
            }
            2 => network.cut(|of, to| (of, to) == (coordinator, node)),
            3 => {
                let time = world.state().random.random_range(50..3_000);
                network.hold(coordinator, node, Duration::from_millis(time));
            }
            _ => {
                // It stands still, and finds itself in a later time.
                let time = Duration::from_millis(world.state().random.random_range(500..4_000));
                (0..NODES).for_each(|node| network.hold(coordinator, node, time));
            }
        }
        world.state().note(&("harm", what, node, place));
    }
}
