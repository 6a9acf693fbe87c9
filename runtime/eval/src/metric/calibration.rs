//! Whether a probability of UNSAFE means what it says: reliability table and expected calibration error.
//!
//! Not a recalibration. Invariant: every forecast falls into exactly one bin.

use super::interval::{Interval, bootstrap};
use crate::summary::{Bin, Reliability};

/// Bins of a reliability table.
pub const N_BINS: usize = 10;

/// A probability and what came true.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// Probability of UNSAFE, 0 to 1.
    pub probability: f64,
    /// The request is unsafe.
    pub is_unsafe: bool,
}

/// Sorts `forecasts` into [`N_BINS`] equally wide bins, each closed below and open above, the last closed; none when
/// there are none.
///
/// ECE = Σ over bins of n_bin / n · |mean probability - share unsafe|. Source: Naeini, Cooper and Hauskrecht, AAAI 2015;
/// Guo et al., ICML 2017. Here the probability is that of one class, UNSAFE, and not of the likeliest one.
#[must_use]
pub fn reliability(forecasts: &[Forecast]) -> Option<Reliability> {
    let tally = Tally::of(forecasts.iter().copied());
    let ece = tally.ece()?;
    let edge = |i: usize| i as f64 / N_BINS as f64;
    let bins = (0..N_BINS)
        .zip(tally.bins)
        .map(|(i, bin)| Bin {
            from: edge(i),
            to: edge(i + 1),
            n: bin.n,
            mean_probability: bin.mean(bin.sum),
            share_unsafe: bin.mean(bin.n_unsafe as f64),
        })
        .collect();
    Some(Reliability { ece, bins })
}

/// The bootstrapped 95 % interval of the calibration error `ece` of `forecasts`. Resampling adds noise to every bin and
/// so raises the error: the lower end is often the estimate itself.
#[must_use]
pub fn ece_interval(forecasts: &[Forecast], ece: f64) -> Interval {
    let resampled = bootstrap(forecasts.len(), ece, |indices| {
        Tally::of(indices.iter().filter_map(|&i| forecasts.get(i).copied())).ece()
    });
    resampled.unwrap_or(Interval::UNKNOWN_SHARE)
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    bins: [BinTally; N_BINS],
}

#[derive(Clone, Copy, Debug, Default)]
struct BinTally {
    n: usize,
    n_unsafe: usize,
    sum: f64,
}

impl Tally {
    fn of(forecasts: impl Iterator<Item = Forecast>) -> Self {
        let mut this = Self::default();
        for forecast in forecasts {
            // Saturating: a probability of 1 belongs to the last bin, one that is no number to the first.
            let place = ((forecast.probability * N_BINS as f64) as usize).min(N_BINS - 1);
            if let Some(bin) = this.bins.get_mut(place) {
                bin.n += 1;
                bin.n_unsafe += usize::from(forecast.is_unsafe);
                bin.sum += forecast.probability;
            }
        }
        this
    }

    fn ece(&self) -> Option<f64> {
        let n: usize = self.bins.iter().map(|b| b.n).sum();
        let gaps: f64 = self.bins.iter().map(|b| (b.sum - b.n_unsafe as f64).abs()).sum();
        (n > 0).then(|| gaps / n as f64)
    }
}

impl BinTally {
    fn mean(&self, sum: f64) -> f64 {
        if self.n == 0 { 0.0 } else { sum / self.n as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn forecast(probability: f64, is_unsafe: bool) -> Forecast {
        Forecast { probability, is_unsafe }
    }

    #[test]
    fn the_error_is_what_counting_gives() {
        let seen = [
            forecast(0.05, false),
            forecast(0.05, true),
            forecast(0.72, true),
            forecast(0.78, false),
            forecast(1.0, true),
        ];
        let found = reliability(&seen).unwrap();
        // Bins 0, 7, 9: 2/5 · |0.05 - 0.5| + 2/5 · |0.75 - 0.5| + 1/5 · |1 - 1| = 0.18 + 0.10.
        assert!((found.ece - 0.28).abs() < 1e-12, "{found:?}");
        let bin = found.bins[7];
        assert_eq!((bin.from, bin.to, bin.n, bin.share_unsafe), (0.7, 0.8, 2, 0.5));
        assert!((bin.mean_probability - 0.75).abs() < 1e-12);
        assert_eq!((found.bins[9].n, found.bins[3].n, found.bins[3].mean_probability), (1, 0, 0.0));
    }

    #[test]
    fn forecasts_of_nothing_have_no_table() {
        assert_eq!(reliability(&[]), None);
    }

    #[test]
    fn certainty_that_is_right_has_no_error() {
        assert_eq!(reliability(&[forecast(0.0, false), forecast(1.0, true)]).unwrap().ece, 0.0);
        assert_eq!(reliability(&[forecast(1.0, false), forecast(0.0, true)]).unwrap().ece, 1.0);
    }

    proptest! {
        #[test]
        fn bins_hold_every_forecast_and_the_error_is_a_share(
            seen in prop::collection::vec((0.0f64..=1.0, any::<bool>()), 1..60),
        ) {
            let seen: Vec<Forecast> = seen.into_iter().map(|(p, u)| forecast(p, u)).collect();
            let found = reliability(&seen).unwrap();
            prop_assert_eq!(found.bins.iter().map(|b| b.n).sum::<usize>(), seen.len());
            prop_assert!((0.0..=1.0).contains(&found.ece));
            let interval = ece_interval(&seen, found.ece);
            prop_assert!(0.0 <= interval.low && interval.low <= found.ece && found.ece <= interval.high);
            prop_assert!(interval.high <= 1.0 + 1e-12);
            for bin in found.bins.iter().filter(|b| b.n > 0) {
                prop_assert!(bin.from - 1e-9 <= bin.mean_probability && bin.mean_probability <= bin.to + 1e-9);
            }
        }
    }
}
