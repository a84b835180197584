//! The task of each poll: streams of numbers that are generated before the clock starts.

/// The distribution of polls over the tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spread {
    /// Each task as often as any other.
    Uniform,
    /// A few tasks most of the time: Zipf's law with exponent 0.99, as in YCSB.
    Zipf,
    /// One task all the time.
    Hot,
}

impl Spread {
    /// The word for it in the name of a scenario.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Spread::Uniform => "uniform",
            Spread::Zipf => "zipf",
            Spread::Hot => "hot",
        }
    }
}

/// A small generator of pseudo-random numbers (SplitMix64): the same seed gives the same stream.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator that starts from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    #[inline]
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`.
    #[inline]
    pub fn below(&mut self, bound: usize) -> usize {
        // The high half of a 128-bit product: as even as 64 bits allow.
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// A number from 0 up to, but not including, 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A random UUID's 128 bits (version 4).
    pub fn uuid(&mut self) -> u128 {
        let bits = (u128::from(self.next()) << 64) | u128::from(self.next());
        bits & !(0xF << 76) & !(0b11 << 62) | 0x4 << 76 | 0b10 << 62
    }
}

/// Zipf's law over `tasks` ranks with exponent 0.99, drawn by inverting its distribution function: the
/// approximation of Gray et al., "Quickly generating billion-record synthetic databases" (1994).
struct Zipf {
    tasks: f64,
    zeta: f64,
    second: f64,
    eta: f64,
}

const EXPONENT: f64 = 0.99;

impl Zipf {
    #[expect(clippy::cast_precision_loss, reason = "numbers of tasks are far below 2^52")]
    fn new(tasks: usize) -> Self {
        let zeta: f64 = (1..=tasks).map(|rank| (rank as f64).powf(-EXPONENT)).sum();
        let second = 1.0 + 2f64.powf(-EXPONENT);
        let tasks = tasks as f64;
        let eta = (1.0 - (2.0 / tasks).powf(1.0 - EXPONENT)) / (1.0 - second / zeta);
        Self { tasks, zeta, second, eta }
    }

    #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "at least 0, below `tasks`")]
    fn rank(&self, random: &mut Random) -> usize {
        let unit = random.unit();
        let scaled = unit * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < self.second {
            return 1;
        }
        let rank = self.tasks * (self.eta * unit - self.eta + 1.0).powf(1.0 / (1.0 - EXPONENT));
        rank.min(self.tasks - 1.0) as usize
    }
}

/// Numbers below `tasks`, `length` of them for each of `threads` threads.
///
/// The ranks of [`Spread::Zipf`] are shuffled, so that tasks which are asked for often do not lie side by
/// side in memory.
#[must_use]
pub fn streams(spread: Spread, tasks: usize, length: usize, threads: usize) -> Vec<Vec<u32>> {
    let mut random = Random::new(0x5EED ^ tasks as u64);
    let zipf = (spread == Spread::Zipf).then(|| (Zipf::new(tasks), permutation(tasks, &mut random)));
    let mut draw = || match &zipf {
        Some((zipf, places)) => places.get(zipf.rank(&mut random)).copied().unwrap_or(0),
        None if spread == Spread::Hot => 0,
        None => u32::try_from(random.below(tasks)).unwrap_or(0),
    };
    (0..threads).map(|_| (0..length).map(|_| draw()).collect()).collect()
}

/// The length of a stream for so many tasks: long enough that a repeat does not use the same few lines again,
/// and no longer, since the stream itself takes space in the caches.
#[must_use]
pub fn stream_length(tasks: usize) -> usize {
    (tasks * 16).clamp(1 << 12, 1 << 20).next_power_of_two().min(1 << 20)
}

/// The numbers below `tasks`, shuffled.
pub(crate) fn permutation(tasks: usize, random: &mut Random) -> Vec<u32> {
    let mut places: Vec<u32> = (0..u32::try_from(tasks).unwrap_or(u32::MAX)).collect();
    for at in (1..places.len()).rev() {
        places.swap(at, random.below(at + 1));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_reaches_all_and_favours_none() {
        let stream = streams(Spread::Uniform, 10, 100_000, 1).remove(0);
        let mut counts = [0u32; 10];
        stream.iter().for_each(|at| counts[*at as usize] += 1);
        assert!(counts.iter().all(|count| (9_000..11_000).contains(count)), "{counts:?}");
    }

    #[test]
    fn zipf_has_its_weights() {
        let tasks = 1000;
        let stream = streams(Spread::Zipf, tasks, 200_000, 1).remove(0);
        let mut counts = vec![0f64; tasks];
        stream.iter().for_each(|at| counts[*at as usize] += 1.0);
        counts.sort_by(|a, b| b.total_cmp(a));
        let zeta: f64 = (1..=tasks).map(|rank| (rank as f64).powf(-0.99)).sum();
        for rank in [1usize, 2, 10] {
            let expected = 200_000.0 * (rank as f64).powf(-0.99) / zeta;
            let found = counts[rank - 1];
            assert!((found / expected - 1.0).abs() < 0.15, "rank {rank}: {found} of {expected}");
        }
        assert!(counts.iter().filter(|count| **count > 0.0).count() > tasks * 9 / 10);
    }

    #[test]
    fn threads_have_streams_of_their_own() {
        let both = streams(Spread::Uniform, 1000, 64, 2);
        assert_ne!(both[0], both[1]);
        assert!(streams(Spread::Hot, 1000, 64, 1)[0].iter().all(|at| *at == 0));
    }

    #[test]
    fn uuids_are_of_version_4() {
        let bits = Random::new(1).uuid();
        assert_eq!((bits >> 76 & 0xF, bits >> 62 & 0b11), (4, 0b10));
    }
}
