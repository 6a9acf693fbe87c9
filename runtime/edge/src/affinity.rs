//! Which cores the model's threads may run on.
//!
//! Not a scheduler: on chips with big and little cores a decode is as slow as its slowest thread, so the
//! model's thread, and all that it starts, is kept on the cores that are named. Invariant: a list that is not
//! understood is an error when the configuration is read, never a silent "all cores"; and a core that is not
//! there is an error too.

use thiserror::Error;

/// Highest core number that is understood.
const MAX_CORE: usize = 1023;

/// Why a thread cannot be kept on some cores.
#[derive(Debug, Error)]
#[error("model.cores = \"{cores}\": {reason}; hint: {hint}")]
pub struct AffinityError {
    /// The cores that were asked for, as a list.
    pub(crate) cores: String,
    /// What stands against it.
    pub(crate) reason: String,
    /// What to do about it.
    pub(crate) hint: String,
}

impl AffinityError {
    fn new(cores: &[usize], reason: impl Into<String>) -> Self {
        let hint = "model.cores = \"\" leaves the model all cores".to_owned();
        Self { cores: list(cores), reason: reason.into(), hint }
    }

    /// The `missing` of `cores` are not there; before, the thread ran on `there`.
    fn missing(cores: &[usize], missing: &[usize], there: Option<&[usize]>) -> Self {
        let reason = format!("{} not there, or not for this process", list(missing));
        let error = Self::new(cores, reason);
        match there {
            Some(there) => {
                let hint = format!("this process has {}: name some of these, or \"\" for all", list(there));
                Self { hint, ..error }
            }
            None => error,
        }
    }
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

/// `cores` as [`parse`] takes them, such as `4-7` or `0,2`; they must be in ascending order.
#[must_use]
pub fn list(cores: &[usize]) -> String {
    let runs = cores.chunk_by(|a, b| a + 1 == *b).filter_map(|run| match (run.first()?, run.last()?) {
        (first, last) if first == last => Some(first.to_string()),
        (first, last) => Some(format!("{first}-{last}")),
    });
    runs.collect::<Vec<_>>().join(",")
}

/// The cores that this thread may run on, of those that are switched on; none where the system does not tell.
#[must_use]
pub fn allowed() -> Option<Vec<usize>> {
    #[cfg(target_os = "linux")]
    {
        let set = rustix::thread::sched_getaffinity(None).ok()?;
        Some((0..=MAX_CORE).filter(|core| set.is_set(*core)).collect())
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// Keeps this thread, and those that it starts from here on, on `cores`; an empty list leaves it alone.
///
/// # Errors
/// The system does not allow it: some of the cores are not there, or it knows no such thing. The thread may
/// then be kept on those that are.
pub fn keep_on(cores: &[usize]) -> Result<(), AffinityError> {
    if cores.is_empty() {
        return Ok(());
    }
    let before = allowed();
    put_on(cores, before.as_deref())?;
    // The system takes a list of which some cores exist, and leaves the others out without a word.
    let in_force = allowed().unwrap_or_else(|| cores.to_owned());
    let missing: Vec<usize> = cores.iter().copied().filter(|core| !in_force.contains(core)).collect();
    if missing.is_empty() { Ok(()) } else { Err(AffinityError::missing(cores, &missing, before.as_deref())) }
}

#[cfg(target_os = "linux")]
fn put_on(cores: &[usize], before: Option<&[usize]>) -> Result<(), AffinityError> {
    let mut set = rustix::thread::CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    rustix::thread::sched_setaffinity(None, &set).map_err(|error| match error {
        // None of them is there.
        rustix::io::Errno::INVAL => AffinityError::missing(cores, cores, before),
        other => AffinityError::new(cores, other.to_string()),
    })
}

#[cfg(not(target_os = "linux"))]
fn put_on(cores: &[usize], _before: Option<&[usize]>) -> Result<(), AffinityError> {
    Err(AffinityError::new(cores, "this system has no such setting"))
}

/// What [`keep_on`] comes to, tried on a thread that ends with it: the caller's thread stays where it is.
///
/// # Errors
/// Those of [`keep_on`], or there is no thread to try it on.
pub fn try_on(cores: &[usize]) -> Result<(), AffinityError> {
    let trial = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, move || keep_on(cores)).ok()?;
        thread.join().ok()
    });
    trial.unwrap_or_else(|| Err(AffinityError::new(cores, "no thread could be started to try it on")))
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
        assert!(error.to_string().starts_with("model.cores = \"1023\": 1023 not there"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_list_of_which_some_cores_are_there_is_refused_with_those_that_are_not() {
        let before = allowed().unwrap();
        let error = try_on(&[before[0], MAX_CORE]).unwrap_err();
        assert_eq!(error.reason, "1023 not there, or not for this process");
        assert!(error.hint.contains(&list(&before)), "{error}");
        try_on(&before).unwrap();
        try_on(&before[..1]).unwrap();
        try_on(&[]).unwrap();
        assert_eq!(allowed().unwrap(), before, "a trial moves nobody");
    }

    #[test]
    fn a_list_is_told_as_it_is_read() {
        for text in ["", "0", "4-7", "0,2,4-5", "0-1,1023"] {
            assert_eq!(list(&parse(text).unwrap()), text);
        }
    }
}
