//! The shape of the code: which crate may use which, how files open, how long they are.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every edge between the project's crates; any other is refused.
const EDGES: [(&str, &str); 16] = [
    ("r2d-engine", "r2d-core"),
    ("r2d-distill", "r2d-core"),
    ("r2d-eval", "r2d-core"),
    ("r2d-eval", "r2d-engine"),
    ("r2d-edge", "r2d-core"),
    ("r2d-edge", "r2d-distill"),
    ("r2d-edge", "r2d-engine"),
    ("r2d-edge", "r2d-eval"),
    ("r2d-edge", "r2d-firmware-host"),
    ("r2d-tests", "r2d-firmware-host"),
    ("r2d-tests", "r2d-eval"),
    ("r2d-tests", "r2d-core"),
    ("r2d-tests", "r2d-engine"),
    ("r2d-tests", "r2d-distill"),
    ("r2d-tests", "r2d-edge"),
    ("r2d-firmware-host", "r2d-core"),
];

/// Longest file, in lines.
const MAX_LINES: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn metadata() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let out = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn crates_use_each_other_only_along_the_edges_of_the_design() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let mut n = 0;
    for package in packages {
        for dependency in package["dependencies"].as_array().unwrap() {
            let edge = (package["name"].as_str().unwrap(), dependency["name"].as_str().unwrap());
            if ours.contains(edge.1) {
                assert!(EDGES.contains(&edge), "{} may not use {}", edge.0, edge.1);
                n += 1;
            }
        }
    }
    assert!(n >= 5, "only {n} edges were found");
}

fn rust_files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|n| n != "target") {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn each_file_says_what_it_is_and_stays_short() {
    let mut files = Vec::new();
    for folder in ["runtime", "firmware-host", "tests"] {
        rust_files(&root().join(folder), &mut files);
    }
    assert!(files.len() > 50);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//!"), "{} does not open with //!", file.display());
        let n = text.lines().count();
        assert!(n <= MAX_LINES, "{} has {n} lines", file.display());
    }
}

#[test]
fn unsafe_code_has_one_home_per_crate_and_llama_cpp_is_named_there_alone() {
    let mut files = Vec::new();
    rust_files(&root().join("runtime"), &mut files);
    let home = |file: &Path, tail: &str| file.to_string_lossy().replace('\\', "/").contains(tail);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        if !home(&file, "engine/src/llama/ffi.rs") && !home(&file, "distill/src/ffi.rs") {
            // The lint denies it everywhere else.
            assert!(!text.contains("allow(unsafe_code)"), "{}", file.display());
        }
        // The trainer's second file of them is below the first one's allowance.
        if !home(&file, "engine/src/llama") && !home(&file, "distill/src/ffi") {
            let named = text.contains("llama_cpp") || text.contains("ggml_sys");
            assert!(!named, "{} names llama.cpp's bindings", file.display());
        }
    }
}
