//! Puts the memory map where the linker looks for it.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=memory.x");
    if let Some(out) = std::env::var_os("OUT_DIR").map(PathBuf::from) {
        std::fs::copy("memory.x", out.join("memory.x"))?;
        println!("cargo:rustc-link-search={}", out.display());
    }
    Ok(())
}
