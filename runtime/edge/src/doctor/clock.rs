//! Whether the clock has been set.
//!
//! Not its precision. Invariant: a clock before 2025, where a board without a battery starts, warns.

use super::Check;
use std::time::{Duration, SystemTime};

/// 2025-01-01T00:00:00Z.
const EARLIEST: Duration = Duration::from_secs(1_735_689_600);

/// Whether `now` can be true.
#[must_use]
pub fn check_clock(now: SystemTime) -> Check {
    const NAME: &str = "clock";
    let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if since_1970 >= EARLIEST {
        return Check::ok(NAME, crate::wire::timestamp(now));
    }
    let detail = format!("{} s since 1970 is before 2025", since_1970.as_secs());
    Check::warn(NAME, detail, "verdicts carry times: set the clock or run a time service (NTP, PTP)")
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_clock_before_2025_warns() {
        let level = |t: Duration| check_clock(SystemTime::UNIX_EPOCH + t).level;
        assert_eq!(level(EARLIEST), Level::Ok);
        assert_eq!(level(EARLIEST - Duration::from_secs(1)), Level::Warn);
        assert_eq!(check_clock(SystemTime::UNIX_EPOCH - Duration::from_secs(9)).level, Level::Warn);
        assert_eq!(check_clock(SystemTime::now()).level, Level::Ok);
    }
}
