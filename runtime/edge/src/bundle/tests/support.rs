//! A maker of bundles and a board, each with a home, in one folder that goes when the test ends.
//!
//! Programs are shell scripts in packages that dpkg-deb makes; models and adapters are small files with the right head.

use super::super::*;
use crate::config::{Config, Sources};
use crate::models::adapters::Adapters;
use crate::models::{Models, Silent};
use crate::weights::Loading;
use r2d_distill::gguf::{Body, Writer};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A program whose self-test passes, if it is called as it should be.
pub(super) const GOOD: &str = "test \"$1 $2 $4 $6\" = 'self-test --model --adapter --token' && \
     test -d \"$R2D_HOME\" && echo \"passed $7\" && exit 0; echo \"error: called as $*\" >&2; exit 1";

pub(super) struct Bench {
    folder: TempDir,
    pub(super) config: Config,
    pub(super) key: PublicKey,
    secret: SecretKey,
}

impl Bench {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (secret, public) = (folder.path().join("b.key"), folder.path().join("b.pub"));
        let key = keygen(&secret, &public, None).unwrap();
        let mut config = Config::load(&Sources::default()).unwrap().config;
        config.model.name = "plant".into();
        Self {
            config,
            key: PublicKey::read(&key).unwrap(),
            secret: SecretKey::read(&secret, None).unwrap(),
            folder,
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The board's home.
    pub(super) fn home(&self) -> PathBuf {
        self.path().join("board")
    }

    /// The maker's home.
    pub(super) fn maker(&self) -> PathBuf {
        self.path().join("maker")
    }

    pub(super) fn site(&self) -> Site {
        Site::of(&self.home()).unwrap()
    }

    /// Puts a model called `plant` into `home`; says its SHA-256.
    pub(super) fn model(&self, home: &Path) -> String {
        let file = self.path().join("model.bin");
        fs::write(&file, b"GGUF and what a model is made of").unwrap();
        Models::open(home).unwrap().import(&file, Some("plant"), &mut Silent).unwrap().sha256.to_string()
    }

    /// Puts an adapter on `base` into `home`.
    pub(super) fn adapter(&self, home: &Path, name: &str, base: &str) {
        let mut writer = Writer::default();
        for (key, value) in [
            ("general.type", "adapter"),
            ("general.architecture", "llama"),
            ("general.name", name),
            ("adapter.type", "lora"),
            ("r2d.adapter.base_sha256", base),
        ] {
            writer.text(key, value);
        }
        writer.f32("adapter.lora.alpha", 2.0);
        writer.tensor("blk.0.attn_q.weight.lora_a", &[4, 1], Body::F32(vec![1.0; 4]));
        writer.tensor("blk.0.attn_q.weight.lora_b", &[1, 4], Body::F32(vec![1.0; 4]));
        let path = self.path().join("adapter.bin");
        writer.write(&path).unwrap();
        Adapters::open(home).unwrap().import(&path, name, None, &mut Silent).unwrap();
    }

    /// A file called like a package, with anything in it.
    pub(super) fn fake_package(&self, arch: &str) -> PathBuf {
        let path = self.path().join(format!("r2d-edge_1.0_{arch}.deb"));
        fs::write(&path, format!("package for {arch}").repeat(50)).unwrap();
        path
    }

    /// A package for this machine with `script` for its program.
    pub(super) fn package(&self, script: &str) -> PathBuf {
        self.package_of(&|bin| {
            fs::write(bin, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(bin, fs::Permissions::from_mode(0o755)).unwrap();
        })
    }

    /// A package for this machine, its program made by `program`.
    pub(super) fn package_of(&self, program: &dyn Fn(&Path)) -> PathBuf {
        let tree = self.path().join("tree");
        let _fresh = fs::remove_dir_all(&tree);
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        fs::create_dir_all(tree.join("usr/bin")).unwrap();
        let control = format!(
            "Package: r2d-edge\nVersion: 1.0\nArchitecture: {}\nMaintainer: nobody <n@example.com>\nDescription: test\n",
            arch()
        );
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        program(&tree.join("usr/bin/r2d-edge"));
        let path = self.path().join(format!("r2d-edge_1.0_{}.deb", arch()));
        let made = Command::new("dpkg-deb")
            .args(["--root-owner-group", "-b"])
            .args([&tree, &path])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        path
    }

    /// Makes a bundle from the maker's store.
    pub(super) fn bundle(
        &self,
        version: u32,
        packages: &[PathBuf],
        model: Option<&str>,
        adapter: Option<&str>,
    ) -> PathBuf {
        let out = self.path().join(format!("release-{version}.r2d"));
        let version = version.to_string().parse().unwrap();
        let contents = Contents { home: &self.maker(), version, packages, model, adapter };
        create(&contents, &out, &self.secret, &mut Silent).unwrap();
        out
    }

    /// Makes a bundle whose page is `page`, signed as it is, with these files behind it.
    pub(super) fn forge(&self, page: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let signature = self.secret.sign(page.as_bytes(), "9".parse().unwrap()).unwrap();
        let mut writer = archive::Writer::new(Vec::new());
        let head = [(manifest::PAGE, page.as_bytes()), (manifest::SIGNATURE, signature.as_bytes())];
        for (name, mut bytes) in head.into_iter().chain(files.iter().copied()) {
            writer.add(name, bytes.len() as u64, &mut bytes, &mut |_| ()).unwrap();
        }
        let path = self.path().join("forged.r2d");
        fs::write(&path, writer.finish().unwrap()).unwrap();
        path
    }

    pub(super) fn verify(&self, path: &Path) -> Result<Manifest, BundleError> {
        verify(path, &self.key, &mut Silent)
    }

    pub(super) fn loading(&self) -> (PathBuf, &Config) {
        (self.home(), &self.config)
    }

    pub(super) fn install_within(&self, file: &Path, limit: Duration) -> Result<Manifest, BundleError> {
        let (home, config) = self.loading();
        let loading = &Loading { config, home: &home };
        let order = Install { loading, file, key: &self.key, config_file: None, arch: arch(), limit };
        install(&order, &mut Silent)
    }

    pub(super) fn install(&self, file: &Path) -> Result<Manifest, BundleError> {
        self.install_within(file, Duration::from_secs(60))
    }

    pub(super) fn rollback(&self) -> Result<Manifest, BundleError> {
        rollback(&self.home(), &mut Silent)
    }

    /// Version and program of the release in force, if there is one; it must be whole.
    pub(super) fn in_force(&self) -> Option<(String, String)> {
        let site = self.site();
        let slot = site.current().unwrap()?;
        let release = site.release(slot).expect("what is in force is whole");
        let program = fs::read_to_string(site.link().join("usr/bin/r2d-edge")).unwrap();
        Some((release.version.to_string(), program))
    }

    pub(super) fn version(&self) -> Option<String> {
        self.in_force().map(|(version, _)| version)
    }

    /// Name of the adapter in force on `base` on the board.
    pub(super) fn adapter_in_force(&self, base: &str) -> Option<String> {
        Adapters::open(&self.home()).unwrap().in_force(base).unwrap()
    }
}

/// Whether packages can be made and unpacked here.
pub(super) fn have_dpkg() -> bool {
    let have = Command::new("dpkg-deb").arg("--version").output().is_ok();
    assert!(have || std::env::var_os("R2D_REQUIRE_ALL").is_none(), "dpkg-deb is not installed");
    if !have {
        println!("SKIPPED: dpkg-deb is not installed");
    }
    have
}
