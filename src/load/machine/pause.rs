//! When a target that refuses is asked again.

use std::time::Duration;

use crate::reactor::deadlines::Moment;

/// The first pause, and the longest. Each pause is twice as long as the one before.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(100);

/// A refusal comes at once, so a closed loop would ask a dead port 68,000 times a second. A target
/// that refuses is asked once after each pause, until it accepts a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pause {
    /// Zero if the target does not refuse.
    length: Duration,
    /// When the target last refused, and when it may be asked again.
    refused: Option<Moment>,
    until: Option<Moment>,
    /// When the target began to refuse.
    since: Option<Moment>,
}

impl Pause {
    /// When the target may be asked, if not now.
    pub(crate) fn ends(&self, now: Moment) -> Option<Moment> {
        self.until.filter(|until| *until > now)
    }

    /// For how long the target has refused every connection.
    pub(crate) fn refused_for(&self, now: Moment) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.until(now))
    }

    /// The target is asked now. If it refuses at present, the next connection waits again.
    pub(crate) fn handle_asked(&mut self, now: Moment) {
        if !self.length.is_zero() {
            self.until = Some(now.after(self.length));
        }
    }

    /// The target has refused a connection that began at this moment. Connections that began before
    /// the last refusal tell nothing new.
    pub(crate) fn handle_refused(&mut self, began: Moment, now: Moment) {
        if self.refused.is_some_and(|refused| began < refused) {
            return;
        }
        self.since.get_or_insert(now);
        self.length = (self.length * 2).clamp(SHORTEST, LONGEST);
        self.refused = Some(now);
        self.until = Some(now.after(self.length));
    }

    /// The target has accepted a connection.
    pub(crate) fn handle_accepted(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::START.after(Duration::from_millis(ms))
    }

    /// Asks as soon as it may, for a second. Returns when it asked, in milliseconds.
    fn asked(pause: &mut Pause) -> Vec<u64> {
        let mut asked = vec![];
        for ms in 0..1000 {
            if pause.ends(at(ms)).is_none() {
                asked.push(ms);
                pause.handle_asked(at(ms));
                pause.handle_refused(at(ms), at(ms));
            }
        }
        asked
    }

    #[test]
    fn pauses_grow_until_the_target_accepts() {
        let mut pause = Pause::default();
        let first = asked(&mut pause);
        assert_eq!(first[..8], [0, 1, 3, 7, 15, 31, 63, 127]);
        assert_eq!(first[8..], [227, 327, 427, 527, 627, 727, 827, 927]);
        assert_eq!(pause.refused_for(at(1000)), Duration::from_secs(1));
        pause.handle_accepted();
        assert_eq!(pause.refused_for(at(1000)), Duration::ZERO);
        assert_eq!(asked(&mut pause), first);
    }

    /// With 64 under way at once there are 64 refusals, which are one.
    #[test]
    fn refusals_at_once_are_one() {
        let mut pause = Pause::default();
        for _ in 0..64 {
            pause.handle_refused(at(0), at(5));
        }
        assert_eq!(pause.ends(at(5)), Some(at(6)));
        // One is asked, and the others wait until it is known what becomes of it.
        pause.handle_asked(at(6));
        assert_eq!(pause.ends(at(6)), Some(at(7)));
        pause.handle_refused(at(6), at(20));
        assert_eq!(pause.ends(at(20)), Some(at(22)));
        // The next one began when this was known.
        pause.handle_refused(at(20), at(20));
        assert_eq!(pause.ends(at(20)), Some(at(24)));
    }
}
