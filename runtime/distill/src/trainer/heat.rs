//! A temperature budget: how hot the machine is, and waiting until it is cooler.
//!
//! It reads what Linux says of thermal zones and steers no fan. Invariant: a wait ends, cooler or not, after the
//! budget's patience.

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Degrees that the machine must cool below the budget before a run goes on.
const MARGIN: f32 = 5.0;
/// Most thermal zones that are read.
const MAX_ZONES: usize = 256;

/// A temperature budget.
#[derive(Clone, Debug)]
pub struct Heat {
    /// A run pauses above this many degrees Celsius, until it is 5 degrees below.
    pub max_celsius: f32,
    /// Folder of the thermal zones.
    pub zones: PathBuf,
    /// Time between two looks in a pause.
    pub poll: Duration,
    /// Longest pause; a run that is still too hot then is stopped.
    pub patience: Duration,
}

impl Heat {
    /// This machine's sensors, a look each five seconds and ten minutes of patience.
    #[must_use]
    pub fn below(max_celsius: f32) -> Self {
        let (poll, patience) = (Duration::from_secs(5), Duration::from_mins(10));
        Self { max_celsius, zones: "/sys/class/thermal".into(), poll, patience }
    }

    /// The hottest thermal zone in degrees Celsius; none where no zone can be read.
    ///
    /// Sensors that say what no machine survives are passed over as broken.
    #[must_use]
    pub fn hottest(&self) -> Option<f32> {
        let zones = std::fs::read_dir(&self.zones).ok()?.flatten().take(MAX_ZONES);
        zones
            .filter(|zone| zone.file_name().to_string_lossy().starts_with("thermal_zone"))
            .filter_map(|zone| std::fs::read_to_string(zone.path().join("temp")).ok())
            .filter_map(|text| text.trim().parse::<f32>().ok())
            .map(|thousandths| thousandths / 1000.0)
            .filter(|celsius| (-60.0..=200.0).contains(celsius))
            .max_by(f32::total_cmp)
    }

    /// Waits until it is cool enough, at most as long as patience and `time` allow; gives the last temperature if it
    /// is still too hot then.
    pub(super) fn wait(&self, time: Option<Duration>) -> Option<f32> {
        let began = Instant::now();
        let patience = time.map_or(self.patience, |t| t.min(self.patience));
        loop {
            // A sensor that is gone says nothing of heat any more.
            let celsius = self.hottest().filter(|c| *c > self.max_celsius - MARGIN)?;
            let left = patience.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Some(celsius);
            }
            std::thread::sleep(self.poll.min(left));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn zone(folder: &Path, n: usize, text: &str) {
        let zone = folder.join(format!("thermal_zone{n}"));
        std::fs::create_dir_all(&zone).unwrap();
        std::fs::write(zone.join("temp"), text).unwrap();
    }

    fn heat(folder: &Path) -> Heat {
        let (poll, patience) = (Duration::from_millis(1), Duration::from_millis(40));
        Heat { max_celsius: 70.0, zones: folder.into(), poll, patience }
    }

    #[test]
    fn the_hottest_zone_counts_and_broken_ones_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let heat = heat(folder.path());
        assert_eq!(heat.hottest(), None);
        zone(folder.path(), 0, "not a number\n");
        zone(folder.path(), 1, "-274000\n");
        std::fs::create_dir_all(folder.path().join("cooling_device0")).unwrap();
        assert_eq!(heat.hottest(), None);
        zone(folder.path(), 2, "41500\n");
        zone(folder.path(), 3, "38000\n");
        assert_eq!(heat.hottest(), Some(41.5));
        assert_eq!(Heat { zones: folder.path().join("none"), ..heat }.hottest(), None);
    }

    #[test]
    fn a_wait_ends_when_it_is_cooler_or_patience_is_spent() {
        let folder = tempfile::tempdir().unwrap();
        let heat = heat(folder.path());
        zone(folder.path(), 0, "66000\n");
        // Below the budget, but not five degrees below.
        assert_eq!(heat.wait(None), Some(66.0));
        zone(folder.path(), 0, "65000\n");
        assert_eq!(heat.wait(None), None);
        zone(folder.path(), 0, "90000\n");
        let long = Heat { patience: Duration::from_mins(10), ..heat };
        assert_eq!(long.wait(Some(Duration::from_millis(5))), Some(90.0));
        let path = folder.path().to_owned();
        let cooling = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            zone(&path, 0, "40000\n");
        });
        assert_eq!(long.wait(None), None);
        cooling.join().unwrap();
    }
}
