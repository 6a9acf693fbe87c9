//! The store against a server that lies, stops and forgets, and against files that change behind its back.
//!
//! Offline: everything happens on the loopback interface and in a temporary folder. Invariant: no test depends on
//! how long anything takes.

mod local;
mod remote;
mod site;

use std::path::PathBuf;
use std::time::Duration;

use super::digest::Digest;
use super::error::ModelsError;
use super::http::Retry;
use super::pip::PipConfig;
use super::progress::Progress;
use super::{Models, State, Verified};
use site::Site;

/// Remembers what was said.
#[derive(Default)]
struct Notes(Vec<String>);

impl Progress for Notes {
    fn start(&mut self, _: &str, _: Option<u64>) {}
    fn advance(&mut self, _: u64) {}
    fn finish(&mut self) {}
    fn note(&mut self, line: &str) {
        self.0.push(line.to_owned());
    }
}

/// A home folder, a site to pull from, and the store between them.
struct Bench {
    home: tempfile::TempDir,
    site: Site,
    models: Models,
}

impl Bench {
    fn new() -> Self {
        let site = Site::start();
        let home = tempfile::tempdir().unwrap();
        let mut models = Models::open(home.path()).unwrap();
        models.retry = Retry { tries: 3, first: Duration::ZERO, longest: Duration::ZERO };
        let index = format!("http://user:s3cret@{}/simple", site.address).parse().unwrap();
        models.pip = Some(PipConfig { index, cert: None });
        Self { home, site, models }
    }

    /// Writes a user manifest: `head` are its top-level lines, `source` its tables.
    fn describe(&self, name: &str, head: &str, ask: bool, source: &str) {
        let folder = self.models.store.manifests();
        std::fs::create_dir_all(&folder).unwrap();
        let licence = format!("[licence]\nname = \"Test\"\nurl = \"https://licence.example\"\nask = {ask}\n");
        let text = format!("name = \"{name}\"\ntitle = \"T\"\n{head}\n{licence}{source}\n");
        std::fs::write(folder.join(format!("{name}.toml")), text).unwrap();
    }

    /// Describes a model that is one file on the web, with or without a known digest.
    fn describe_web(&self, name: &str, gguf: Option<&[u8]>) {
        let head = gguf.map_or_else(|| "unverified = \"a test\"".into(), known);
        let url = format!("http://{}/{name}.bin", self.site.address);
        self.describe(name, &head, false, &format!("[source]\nkind = \"https\"\nurl = \"{url}\""));
    }

    fn pull(&self, name: &str) -> Result<Verified, ModelsError> {
        self.models.pull(name, &mut |_, _| true, &mut Notes::default())
    }

    fn state(&self, name: &str) -> State {
        let listed = self.models.list().into_iter().find(|listing| listing.manifest.name == name);
        listed.unwrap_or_else(|| panic!("{name} is listed; set aside: {:?}", self.models.rejected())).state
    }

    /// The files that lie in the model's folder.
    fn left(&self, name: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.models.store.folder(name)).into_iter().flatten().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn outside(&self, file: &str, bytes: &[u8]) -> PathBuf {
        let path = self.home.path().canonicalize().unwrap().join(file);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// The manifest lines that describe exactly these bytes.
fn known(gguf: &[u8]) -> String {
    format!("size = {}\nsha256 = \"{}\"", gguf.len(), site::sha256(gguf))
}

/// Bytes that begin like a model and do not compress away.
fn gguf(seed: u32) -> Vec<u8> {
    let mut state = seed;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    b"GGUF".iter().copied().chain(noise.take(300_000)).collect()
}

fn assert_digests(error: &ModelsError, expected: Digest, found: Digest) {
    let text = error.to_string();
    assert!(matches!(error, ModelsError::Sha256 { .. }), "{text}");
    assert!(text.contains(&expected.to_string()) && text.contains(&found.to_string()), "{text}");
    assert!(text.contains("hint:") && !error.is_usage(), "{text}");
}
