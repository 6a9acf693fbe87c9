//! Which cores the model's threads may run on.
//!
//! Not a scheduler: on chips with big and little cores a decode is as slow as its slowest thread, so the model's thread,
//! and all that it starts, is kept on the cores that are named. Invariant: a list that is not understood is an error
//! when the configuration is read, never a silent "all cores".

use thiserror::Error;

/// Highest core number that is understood.
const MAX_CORE: usize = 1023;

/// Why a thread cannot be kept on some cores.
#[derive(Debug, Error)]
#[error(
    "the model cannot be kept on the cores {cores:?}: {reason}; hint: model.cores = \"\" leaves all of them"
)]
pub struct AffinityError {
    cores: Vec<usize>,
    reason: String,
}

/// The cores of a list such as `4-7` or `0,2,4-5`; none when it is no list.
#[must_use]
pub fn parse(list: &str) -> Option<Vec<usize>> {
    if list.is_empty() {
        return Some(Vec::new());
    }
    let number = |text: &str| text.trim().parse::<usize>().ok().filter(|n| *n <= MAX_CORE);
    let mut cores = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return None;
        }
        cores.extend(first..=last);
    }
    cores.sort_unstable();
    cores.dedup();
    Some(cores)
}

/// Keeps this thread, and those that it starts from here on, on `cores`; an empty list leaves it alone.
///
/// # Errors
/// The system does not allow it: one of the cores is not there, or it knows no such thing.
pub fn keep_on(cores: &[usize]) -> Result<(), AffinityError> {
    if cores.is_empty() {
        return Ok(());
    }
    let fault = |reason: String| AffinityError { cores: cores.to_owned(), reason };
    #[cfg(target_os = "linux")]
    {
        let mut set = rustix::thread::CpuSet::new();
        cores.iter().for_each(|core| set.set(*core));
        rustix::thread::sched_setaffinity(None, &set).map_err(|e| fault(e.to_string()))
    }
    #[cfg(not(target_os = "linux"))]
    Err(fault("this system has no such setting".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_ranges_and_numbers() {
        assert_eq!(parse(""), Some(vec![]));
        assert_eq!(parse("4-7"), Some(vec![4, 5, 6, 7]));
        assert_eq!(parse("0, 2,4-5,4"), Some(vec![0, 2, 4, 5]));
        for bad in ["a", "7-4", "-", "1,", "1-2-3", "99999", "-1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_stays_where_it_is_put_and_a_core_that_is_not_there_is_named() {
        let kept = std::thread::spawn(|| {
            let allowed = rustix::thread::sched_getaffinity(None).unwrap();
            let core = (0..=MAX_CORE).find(|c| allowed.is_set(*c)).unwrap();
            keep_on(&[core]).unwrap();
            // A thread that is started later inherits it, as llama.cpp's do.
            std::thread::spawn(move || (rustix::thread::sched_getaffinity(None).unwrap().count(), core))
                .join()
                .unwrap()
        });
        assert_eq!(kept.join().unwrap().0, 1);
        let error = std::thread::spawn(|| keep_on(&[MAX_CORE])).join().unwrap().unwrap_err();
        assert!(error.to_string().contains("[1023]"), "{error}");
    }
}
