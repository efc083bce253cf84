//! Whose turn is it to ask the partner?
//! Given who waits, for whom and how urgently, hands back the one place that is next.
//! Never knows a clock or a rate: it orders, and others say when the next one goes.

use std::collections::{BTreeMap, HashMap};

/// How urgent a call is; the first of these goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// A caller waits for it.
    Interactive,
    /// A caller waits for it that said it can wait.
    Batch,
    /// Nobody waits: a stale answer was served.
    Refresh,
}

const LANES: usize = 3;

/// So many turns go to more urgent lanes before one goes to a lane that waits: none starves.
const PATIENCE: u32 = 8;

/// For whom a call is made, as a number; refreshes are made for nobody.
pub type Who = u64;

/// A place among those who wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    lane: Lane,
    /// The round in which it is this caller's turn: each caller has one turn in each.
    round: u64,
    number: u64,
}

/// Those who wait: by lane, within a lane round by round over the callers, within a caller in the order they came.
#[derive(Debug)]
pub struct Lanes<T> {
    lanes: [Waiting<T>; LANES],
    next: u64,
}

#[derive(Debug)]
struct Waiting<T> {
    positions: BTreeMap<(u64, u64), T>,
    /// The last round in which each caller has a turn.
    last: HashMap<Who, u64>,
    /// The round that is being served.
    round: u64,
    passed_over: u32,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { positions: BTreeMap::new(), last: HashMap::new(), round: 0, passed_over: 0 }
    }
}

impl<T> Waiting<T> {
    /// The round in which it would be the turn of one more of this caller's.
    fn next_round(&self, who: Who) -> u64 {
        self.last.get(&who).map_or(0, |last| last + 1).max(self.round)
    }
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self { lanes: Default::default(), next: 0 }
    }
}

impl<T> Lanes<T> {
    /// Takes a place in a lane.
    pub fn enter(&mut self, lane: Lane, who: Who, what: T) -> Position {
        let number = self.next;
        self.next += 1;
        let Some(waiting) = self.lanes.get_mut(lane as usize) else { return Position { lane, round: 0, number } };
        let round = waiting.next_round(who);
        waiting.last.insert(who, round);
        waiting.positions.insert((round, number), what);
        Position { lane, round, number }
    }

    /// Leaves, served or not; what waited there is handed back.
    pub fn leave(&mut self, position: Position) -> Option<T> {
        let waiting = self.lanes.get_mut(position.lane as usize)?;
        let left = waiting.positions.remove(&(position.round, position.number));
        if waiting.positions.is_empty() {
            *waiting = Waiting::default();
        }
        left
    }

    /// Moves to the end of another caller's line, or of the own one in a more urgent lane, if it is served earlier there; hands
    /// back the new place then.
    pub fn raise(&mut self, position: Position, lane: Lane, who: Who) -> Option<Position> {
        let round = self.lanes.get(lane as usize)?.next_round(who);
        if (lane, round) >= (position.lane, position.round) {
            return None;
        }
        self.leave(position).map(|what| self.enter(lane, who, what))
    }

    /// What waits there.
    pub fn at(&mut self, position: Position) -> Option<&mut T> {
        self.lanes.get_mut(position.lane as usize)?.positions.get_mut(&(position.round, position.number))
    }

    /// Those who wait, in the order in which it is their turn.
    pub fn in_order(&self) -> impl Iterator<Item = (Position, &T)> {
        let lanes = || [Lane::Interactive, Lane::Batch, Lane::Refresh].into_iter().zip(&self.lanes);
        // The lane passed over too often goes first; else the most urgent does.
        let overdue = lanes().filter(|(_, waiting)| !waiting.positions.is_empty()).skip(1);
        let overdue = overdue.filter(|(_, waiting)| waiting.passed_over >= PATIENCE).last().map(|(lane, _)| lane);
        let first = lanes().filter(move |(lane, _)| Some(*lane) == overdue);
        let rest = lanes().filter(move |(lane, _)| Some(*lane) != overdue);
        first.chain(rest).flat_map(|(lane, waiting)| {
            waiting.positions.iter().map(move |(&(round, number), what)| (Position { lane, round, number }, what))
        })
    }

    /// Whose turn it is.
    pub fn first(&self) -> Option<(Position, &T)> {
        self.in_order().next()
    }

    /// The first has had its turn: it leaves, and the others are one turn nearer to theirs.
    pub fn serve(&mut self, position: Position) -> Option<T> {
        for (nth, waiting) in self.lanes.iter_mut().enumerate() {
            if nth == position.lane as usize {
                (waiting.passed_over, waiting.round) = (0, position.round);
                let round = waiting.round;
                waiting.last.retain(|_, last| *last >= round);
            } else if nth > position.lane as usize && !waiting.positions.is_empty() {
                waiting.passed_over += 1;
            }
        }
        self.leave(position)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.lanes.iter().map(|waiting| waiting.positions.len()).sum()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn served(lanes: &mut Lanes<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| {
            let (position, _) = lanes.first()?;
            lanes.serve(position)
        })
        .collect()
    }

    #[test]
    fn the_urgent_go_first_and_each_lane_in_its_order() {
        let mut lanes = Lanes::default();
        for (lane, what) in [
            (Lane::Refresh, "r1"),
            (Lane::Batch, "b1"),
            (Lane::Interactive, "i1"),
            (Lane::Refresh, "r2"),
            (Lane::Interactive, "i2"),
        ] {
            lanes.enter(lane, 1, what);
        }
        assert_eq!(served(&mut lanes), ["i1", "i2", "b1", "r1", "r2"]);
    }

    #[test]
    fn callers_take_turns_however_much_one_of_them_asks() {
        let mut lanes = Lanes::default();
        for what in ["a1", "a2", "a3", "a4"] {
            lanes.enter(Lane::Interactive, 1, what);
        }
        lanes.enter(Lane::Interactive, 2, "b1");
        lanes.enter(Lane::Interactive, 3, "c1");
        lanes.enter(Lane::Interactive, 2, "b2");
        assert_eq!(served(&mut lanes), ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]);
    }

    #[test]
    fn who_comes_late_has_its_turn_in_this_round_and_not_all_the_missed_ones() {
        let mut lanes = Lanes::default();
        for what in ["a1", "a2", "a3", "a4", "a5"] {
            lanes.enter(Lane::Interactive, 1, what);
        }
        for _ in 0..3 {
            let (position, _) = lanes.first().unwrap();
            lanes.serve(position);
        }
        for what in ["b1", "b2", "b3"] {
            lanes.enter(Lane::Interactive, 2, what);
        }
        assert_eq!(served(&mut lanes), ["b1", "a4", "b2", "a5", "b3"]);
    }

    #[test]
    fn no_lane_starves() {
        let mut lanes = Lanes::default();
        lanes.enter(Lane::Refresh, 0, "refresh");
        for _ in 0..100 {
            lanes.enter(Lane::Interactive, 1, "urgent");
        }
        let order = served(&mut lanes);
        assert_eq!(order.iter().position(|&what| what == "refresh"), Some(PATIENCE as usize));
    }

    #[test]
    fn who_is_raised_waits_in_the_better_lane_and_nobody_is_lowered() {
        let mut lanes = Lanes::default();
        let refresh = lanes.enter(Lane::Refresh, 0, "raised");
        lanes.enter(Lane::Batch, 1, "batch");
        let raised = lanes.raise(refresh, Lane::Interactive, 2).unwrap();
        assert_eq!(lanes.raise(raised, Lane::Batch, 2), None);
        assert_eq!(served(&mut lanes), ["raised", "batch"]);
        assert!(lanes.is_empty() && lanes.first().is_none());
    }

    proptest! {
        #[test]
        fn everybody_who_stays_is_served_once_and_nobody_else(
            asks in prop::collection::vec((0..3_u8, 0..4_u64, any::<bool>()), 0..60),
        ) {
            let mut lanes = Lanes::default();
            let (mut stay, mut leave) = (Vec::new(), Vec::new());
            for (nth, (lane, who, stays)) in asks.into_iter().enumerate() {
                let lane = [Lane::Interactive, Lane::Batch, Lane::Refresh][lane as usize];
                let position = lanes.enter(lane, who, nth);
                if stays { stay.push(nth) } else { leave.push(position) }
            }
            for position in leave {
                prop_assert!(lanes.leave(position).is_some());
            }
            let mut order: Vec<_> = std::iter::from_fn(|| {
                let (position, _) = lanes.first()?;
                lanes.serve(position)
            }).collect();
            order.sort_unstable();
            prop_assert_eq!(order, stay);
            prop_assert_eq!(lanes.len(), 0);
        }
    }
}
