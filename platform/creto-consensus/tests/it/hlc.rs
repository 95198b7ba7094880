//! Properties of hybrid time, over random histories of nodes that talk to each other.

use std::time::Duration;

use creto_consensus::{HybridState, HybridTimestamp};
use creto_kernel::Timestamp;
use proptest::prelude::*;

const NODES: usize = 3;
const DRIFT_MAX: Duration = Duration::from_micros(50);

#[derive(Debug, Clone)]
enum Event {
    /// A node's clock moves, also backwards.
    Clock { node: usize, by: i64 },
    /// Something happens at a node.
    Local { node: usize },
    /// A node tells another.
    Message { from: usize, to: usize },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..NODES, -40_i64..60).prop_map(|(node, by)| Event::Clock { node, by }),
        (0..NODES).prop_map(|node| Event::Local { node }),
        (0..NODES, 0..NODES).prop_map(|(from, to)| Event::Message { from, to }),
    ]
}

struct Node {
    state: HybridState,
    clock: i64,
}

impl Node {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.clock).unwrap()
    }

    /// What every answer and every refusal must satisfy.
    fn checked(&mut self, remote: Option<HybridTimestamp>) -> Option<HybridTimestamp> {
        let (before, now) = (self.state.last(), self.now());
        let answer = match remote {
            Some(remote) => self.state.receive(remote, now),
            None => self.state.tick(now),
        };
        match answer {
            Ok(stamp) => {
                assert!(stamp > before, "later than everything before");
                assert!(remote.is_none_or(|remote| stamp > remote), "later than its cause");
                assert!(stamp.physical >= now, "not behind the clock");
                assert!(stamp.physical.since(now) <= DRIFT_MAX, "not too far ahead of the clock");
                assert_eq!(stamp, self.state.last());
                Some(stamp)
            }
            Err(_) => {
                let newest = remote.map_or(before, |remote| remote.max(before));
                assert!(newest.physical.since(now) > DRIFT_MAX, "refused only for drift");
                assert_eq!(self.state.last(), before, "a refusal changes nothing");
                None
            }
        }
    }
}

proptest! {
    #[test]
    fn causes_come_before_effects_and_time_stays_near_the_clock(events in prop::collection::vec(event(), 1..200)) {
        let mut nodes: Vec<Node> = (0..NODES).map(|_| Node { state: HybridState::new(DRIFT_MAX), clock: 1_000_000 }).collect();
        for event in events {
            match event {
                Event::Clock { node, by } => nodes[node].clock += by,
                Event::Local { node } => drop(nodes[node].checked(None)),
                Event::Message { from, to } => {
                    if let Some(sent) = nodes[from].checked(None) {
                        nodes[to].checked(Some(sent));
                    }
                }
            }
        }
    }

    #[test]
    fn text_order_is_time_order(a in 0_i64..4_000_000_000_000_000, b in 0_i64..4_000_000_000_000_000, c: u32, d: u32) {
        let stamp = |micros, counter| HybridTimestamp { physical: Timestamp::from_micros(micros).unwrap(), counter };
        for (x, y) in [(stamp(a, c), stamp(b, d)), (stamp(a, c), stamp(a, d))] {
            prop_assert_eq!(x.cmp(&y), x.to_string().cmp(&y.to_string()));
            prop_assert_eq!(x.to_string().parse::<HybridTimestamp>().unwrap(), x);
        }
    }
}
