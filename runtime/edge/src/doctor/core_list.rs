//! Whether the model can be kept on the cores that are named for it.
//!
//! Not the number of cores (see `topology`). Invariant: it passes only what the model's thread would come to,
//! because the caller tried that.

use super::Check;
use crate::affinity::{AffinityError, list};

/// Whether `threads` fit on the `cores` of `model.cores`; `tried` is what [`crate::affinity::try_on`] said of
/// them. Nothing where none are named.
///
/// A core that is not there fails, for then the model does not start: a profile's were left out before.
#[must_use]
pub fn check_core_list(cores: &[usize], tried: Result<(), AffinityError>, threads: usize) -> Option<Check> {
    const NAME: &str = "core list";
    if cores.is_empty() {
        return None;
    }
    let (named, n) = (list(cores), cores.len());
    Some(match tried {
        Err(AffinityError { cores, reason, hint }) => {
            Check::fail(NAME, format!("model.cores = {cores}: {reason}"), hint)
        }
        Ok(()) if threads > n => Check::warn(
            NAME,
            format!("{threads} threads on the {n} cores of model.cores = {named}"),
            format!("threads that share a core wait for each other: set model.threads to {n} or 0"),
        ),
        Ok(()) => Check::ok(NAME, format!("{threads} threads are kept on {named}")),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use crate::affinity::try_on;

    #[test]
    fn no_list_is_no_question() {
        assert_eq!(check_core_list(&[], Ok(()), 4), None);
    }

    #[test]
    fn threads_must_fit_on_the_cores_that_are_named() {
        let check = |threads| check_core_list(&[4, 5], Ok(()), threads).unwrap();
        assert_eq!(check(2), Check::ok("core list", "2 threads are kept on 4-5"));
        assert_eq!(check(3).level, Level::Warn);
        assert!(check(3).hint.unwrap().contains("set model.threads to 2"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn cores_that_are_not_there_fail_whether_some_or_all() {
        let first = crate::affinity::allowed().unwrap()[0];
        for cores in [vec![1023], vec![first, 1023]] {
            let check = check_core_list(&cores, try_on(&cores), 1).unwrap();
            assert_eq!(check.level, Level::Fail);
            assert!(check.detail.contains(": 1023 not there"), "{}", check.detail);
        }
        assert_eq!(check_core_list(&[first], try_on(&[first]), 1).unwrap().level, Level::Ok);
    }
}
