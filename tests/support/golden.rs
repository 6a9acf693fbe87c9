//! Stored results: `check` compares, `UPDATE_GOLDEN=1` writes them anew.

use std::path::Path;

/// Compares `actual` with the file at `path`.
pub fn check(path: &Path, actual: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, actual).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs; hint: UPDATE_GOLDEN=1 rewrites it\n--- stored\n{expected}\n--- now\n{actual}",
        path.display()
    );
}
