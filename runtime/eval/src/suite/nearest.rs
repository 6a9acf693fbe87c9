//! Which known names somebody may have meant by an unknown one.

/// Up to three of `known` that are close to `name`, best first.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let name: Vec<char> = name.to_lowercase().chars().take(64).collect();
    let mut near: Vec<(usize, &str)> = known
        .into_iter()
        .map(|k| (distance(&name, &k.chars().collect::<Vec<_>>()), k))
        .filter(|(d, k)| *d <= 2.max(k.chars().count() / 3))
        .collect();
    near.sort_unstable();
    near.into_iter().take(3).map(|(_, k)| k).collect()
}

/// Letters to insert, delete or replace to make `b` of `a` (Levenshtein).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_the_name_and_nonsense_finds_none() {
        let known = ["xstest", "advbench", "jbb-pair", "jbb-gcg"];
        assert_eq!(nearest("xtest", known), ["xstest"]);
        assert_eq!(nearest("JBB-PAIR", known)[0], "jbb-pair");
        assert!(nearest("something else", known).is_empty());
    }
}
