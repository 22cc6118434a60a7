//! How the counts of a run grew.

use std::time::Duration;

/// The most points that a course has. If there are more, every two become one.
const POINTS: usize = 600;

/// Counts over the course of a run, at equal intervals. The interval doubles when there are too
/// many points.
#[derive(Clone, Debug)]
pub struct Course {
    interval: Duration,
    /// The points. The first is the start.
    ///
    /// Invariant: they are in the order of time.
    pub points: Vec<Point>,
    /// The most connections open at once since the last point, as far as other courses tell.
    peak: u64,
}

/// The counts at one moment of a run, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// The moment, from the start.
    pub at: Duration,
    /// Right exchanges so far.
    pub right: u64,
    /// Wrong exchanges so far.
    pub wrong: u64,
    /// The most connections open at once since the previous point.
    pub open: u64,
}

impl Default for Course {
    /// A run that begins.
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(10),
            points: vec![Point::default()],
            peak: 0,
        }
    }
}

impl Course {
    /// The course with these points. `None`: they are not in order, or too many.
    pub(crate) fn new(interval: Duration, points: Vec<Point>) -> Option<Self> {
        let is_in_order = |pair: &[Point]| {
            let [a, b] = pair else { return false };
            a.at <= b.at && a.right <= b.right && a.wrong <= b.wrong
        };
        let is_good = interval >= Self::default().interval
            && (1..=POINTS + 1).contains(&points.len())
            && points[0].at.is_zero()
            && points.windows(2).all(is_in_order);
        is_good.then_some(Self {
            interval,
            points,
            ..Self::default()
        })
    }

    /// How long it is from one point to the next.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// Adds the point if the interval since the last one is over.
    pub(crate) fn advance(&mut self, now: Point) {
        if now.at >= self.last().at + self.interval {
            self.end(now);
        }
    }

    /// Adds the point. If there are too many, every two become one. Threads are cut one after the
    /// other, so a point may be some milliseconds before the last one. It counts at the last one's
    /// moment then.
    pub(crate) fn end(&mut self, now: Point) {
        let at = now.at.max(self.end_at());
        self.points.push(Point { at, ..now });
        self.peak = 0;
        if self.points.len() > POINTS {
            let start = self.points[0];
            let pairs = self.points[1..].chunks(2).map(|pair| Point {
                open: pair.iter().map(|point| point.open).max().unwrap_or(0),
                ..pair[pair.len() - 1]
            });
            self.points = std::iter::once(start).chain(pairs).collect();
            self.interval *= 2;
        }
    }

    /// Adds a course that began so much later. The counts are summed up at common moments. The sum
    /// of two peaks in one interval is taken as their peak: it is never too low.
    pub(crate) fn add(&mut self, other: &Self, later: Duration) {
        let end = self.last().at.max(other.last().at + later);
        let mut interval = self.interval.max(other.interval);
        while end.as_nanos() >= interval.as_nanos() * POINTS as u128 {
            interval *= 2;
        }
        let mut sum = Self {
            interval,
            ..Self::default()
        };
        let mut before = Duration::ZERO;
        while before < end {
            let at = (before + interval).min(end);
            let others = other.within(before.saturating_sub(later), at.saturating_sub(later));
            let ours = self.within(before, at);
            sum.points.push(Point {
                at,
                right: ours.right.saturating_add(others.right),
                wrong: ours.wrong.saturating_add(others.wrong),
                open: ours.open.saturating_add(others.open),
            });
            before = at;
        }
        *self = sum;
    }

    /// The counts by the moment `at`, as if they had grown evenly between two points, and the most
    /// connections open since `before`.
    fn within(&self, before: Duration, at: Duration) -> Point {
        let next = self.points.partition_point(|point| point.at < at);
        let counts = match self.points.get(next) {
            None => *self.last(),
            Some(to) => between(&self.points[next.saturating_sub(1)], to, at),
        };
        let first = self.points.partition_point(|point| point.at <= before);
        let since = self.points.iter().take(next + 1).skip(first);
        Point {
            open: since.map(|point| point.open).max().unwrap_or(0),
            ..counts
        }
    }

    /// Adds the course of what came next. It began so much later, when the counts were these.
    pub(super) fn follow(&mut self, next: &Self, later: Duration, right: u64, wrong: u64) {
        for point in next.points.iter().skip(1) {
            self.peak = self.peak.max(point.open);
            self.advance(Point {
                at: point.at + later,
                right: point.right + right,
                wrong: point.wrong + wrong,
                open: self.peak,
            });
        }
    }

    /// The end of a course that [follows](Self::follow) others. The counts are these.
    pub(super) fn close(&mut self, at: Duration, right: u64, wrong: u64) {
        let open = self.peak;
        self.end(Point {
            at,
            right,
            wrong,
            open,
        });
    }

    /// When the last point was.
    pub(super) fn end_at(&self) -> Duration {
        self.last().at
    }

    fn last(&self) -> &Point {
        const START: &Point = &Point {
            at: Duration::ZERO,
            right: 0,
            wrong: 0,
            open: 0,
        };
        self.points.last().unwrap_or(START)
    }
}

/// The counts at a moment between two points.
fn between(from: &Point, to: &Point, at: Duration) -> Point {
    let share = (at - from.at).as_secs_f64() / (to.at - from.at).as_secs_f64().max(1e-9);
    let grown = |from: u64, to: u64| {
        let growth = to.saturating_sub(from) as f64 * share;
        from.saturating_add(growth as u64)
    };
    Point {
        at,
        right: grown(from.right, to.right),
        wrong: grown(from.wrong, to.wrong),
        open: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A course of so many milliseconds, with a right exchange in each, a wrong one in every second, and
    /// a peak.
    fn course(ms: u64, peak: u64) -> Course {
        let mut course = Course::default();
        for ms in 1..=ms {
            course.advance(Point {
                at: Duration::from_millis(ms),
                right: ms,
                wrong: ms / 2,
                open: u64::from(ms / 7 == peak / 7),
            });
        }
        course
    }

    #[test]
    fn a_course_stays_short_and_says_it_all() {
        let course = course(100_000, 7000);
        assert!((POINTS / 2..=POINTS).contains(&course.points.len()));
        assert_eq!(course.points[0], Point::default());
        assert_eq!(course.interval(), course.points[1].at);
        for (before, point) in course.points.iter().zip(&course.points[1..]) {
            assert_eq!(point.at, before.at + course.interval, "{before:?}");
            assert_eq!(u128::from(point.right), point.at.as_millis());
        }
        let open: u64 = course.points.iter().map(|point| point.open).sum();
        assert_eq!(open, 1, "a peak of 7 ms is not lost");
    }

    /// Courses of any lengths, one of which begins later, have a sum that grows as both together.
    #[test]
    fn courses_are_added() {
        for (first, second, later) in [
            (1000, 1000, 0),
            (70_000, 900, 0),
            (900, 70_000, 333),
            (500, 500, 10_000),
            (0, 100, 5),
            (100, 0, 5),
        ] {
            let mut sum = course(first, 0);
            sum.add(&course(second, 0), Duration::from_millis(later));
            let last = sum.points[sum.points.len() - 1];
            assert!(sum.points.len() <= POINTS + 1);
            for point in &sum.points {
                let ms = point.at.as_millis() as u64;
                let right = ms.min(first / 10 * 10) + ms.saturating_sub(later).min(second);
                let tolerance = sum.interval.as_millis() as u64;
                assert!(point.right.abs_diff(right) <= tolerance, "{point:?}");
            }
            assert!(last.right.abs_diff(first + second) <= 2 * 160, "{last:?}");
            assert!(
                last.wrong.abs_diff((first + second) / 2) <= 2 * 80,
                "{last:?}"
            );
            let (_, whole) = sum.points.split_last().unwrap();
            let mut steps = whole.windows(2).map(|pair| pair[1].at - pair[0].at);
            assert!(steps.all(|step| step == sum.interval()), "{sum:?}");
        }
    }

    /// A thread may be cut so late that its part ends after the run.
    #[test]
    fn parts_that_overlap_stay_in_order() {
        let mut whole = Course::default();
        for (later, right) in [(0, 0), (95, 100), (190, 200)] {
            let later = Duration::from_millis(later);
            whole.follow(&course(100, 0), later, right, right / 2);
        }
        whole.close(Duration::from_millis(285), 300, 150);
        let last = whole.points[whole.points.len() - 1];
        assert_eq!((last.at.as_millis(), last.right), (290, 300));
        assert!(Course::new(whole.interval, whole.points).is_some());
    }

    /// What is open at once is added, and forgotten when its run is over.
    #[test]
    fn peaks_are_added() {
        for (later, peaks) in [(0, &[2][..]), (500, &[1, 1])] {
            let mut sum = course(1000, 707);
            sum.add(&course(1000, 707), Duration::from_millis(later));
            let open = sum.points.iter().map(|point| point.open);
            let open: Vec<u64> = open.filter(|open| *open > 0).collect();
            assert_eq!(open, peaks, "{later}");
        }
    }

    #[test]
    fn a_course_that_follows_goes_on_counting() {
        let mut sum = course(100, 0);
        sum.follow(&course(50, 0), Duration::from_millis(100), 100, 50);
        sum.close(Duration::from_millis(155), 155, 77);
        let counts = |point: &Point| (point.at.as_millis() as u64, point.right, point.wrong);
        let expected = (0..=15).map(|i| (10 * i, 10 * i, 5 * i));
        let expected = expected.chain([(155, 155, 77)]);
        assert!(sum.points.iter().map(counts).eq(expected), "{sum:?}");
    }

    #[test]
    fn counts_grow_evenly_between_two_points() {
        let [from, to] = [(10, 7, 3), (20, 107, 43)].map(|(ms, right, wrong)| Point {
            at: Duration::from_millis(ms),
            right,
            wrong,
            open: 9,
        });
        let middle = between(&from, &to, Duration::from_millis(15));
        assert_eq!((middle.right, middle.wrong, middle.open), (57, 23, 0));
    }
}
