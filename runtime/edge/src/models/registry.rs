//! All manifests there are: those built into the binary and those a user put into the store.
//!
//! Says nothing of which files are present. Invariants: names are unique, and no user manifest stands for a built-in
//! name; a manifest that breaks a rule is set aside with its reason and does not stop the others.

use std::path::Path;

use super::digest::Digest;
use super::error::ModelsError;
use super::manifest::Manifest;

/// The model that is used when nobody names one.
pub const DEFAULT_MODEL: &str = "smollm2-135m-instruct";

const BUILT_IN: [(&str, &str); 5] = [
    ("smollm2-135m-instruct.toml", include_str!("../../../../models/smollm2-135m-instruct.toml")),
    ("gemma3-270m.toml", include_str!("../../../../models/gemma3-270m.toml")),
    ("qwen2.5-1.5b-instruct.toml", include_str!("../../../../models/qwen2.5-1.5b-instruct.toml")),
    ("qwen3-4b.toml", include_str!("../../../../models/qwen3-4b.toml")),
    ("qwen3-8b.toml", include_str!("../../../../models/qwen3-8b.toml")),
];

/// A manifest is a page of text; anything larger is something else.
const LARGEST: u64 = 64 << 10;

/// Who described a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The manifest is part of the binary.
    BuiltIn,
    /// The manifest lies in the store; an import made it, or a person.
    User,
}

/// The manifests, built-in ones first.
pub(crate) struct Registry {
    entries: Vec<(Origin, Manifest)>,
    rejected: Vec<(String, ModelsError)>,
}

impl Registry {
    /// The built-in manifests and those in `folder`, which need not exist.
    pub(crate) fn load(folder: &Path) -> Self {
        let mut registry = Self { entries: Vec::new(), rejected: Vec::new() };
        for (file, text) in BUILT_IN {
            match Manifest::parse(text, file) {
                Ok(manifest) => registry.entries.push((Origin::BuiltIn, manifest)),
                Err(error) => registry.rejected.push((file.to_owned(), error)),
            }
        }
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .collect();
        files.sort();
        for path in files {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            match registry.read_user(&path, &stem) {
                Ok(manifest) => registry.entries.push((Origin::User, manifest)),
                Err(error) => registry.rejected.push((stem, error)),
            }
        }
        registry
    }

    fn read_user(&self, path: &Path, stem: &str) -> Result<Manifest, ModelsError> {
        let file = path.display().to_string();
        let bad = |reason: String| ModelsError::BadManifest { file: file.clone(), reason };
        let size = std::fs::metadata(path).map_err(ModelsError::io("read", path))?.len();
        if size > LARGEST {
            return Err(bad(format!("{size} bytes are too many for a manifest")));
        }
        let text = std::fs::read_to_string(path).map_err(ModelsError::io("read", path))?;
        let manifest = Manifest::parse(&text, &file)?;
        if manifest.name != stem {
            return Err(bad(format!("it names `{}`, so it must be called {0}.toml", manifest.name)));
        }
        if self.entries.iter().any(|(_, known)| known.name == manifest.name) {
            return Err(bad(format!("`{}` is a built-in name", manifest.name)));
        }
        Ok(manifest)
    }

    /// Every usable manifest.
    pub(crate) fn into_entries(self) -> Vec<(Origin, Manifest)> {
        self.entries
    }

    /// What was set aside, and why.
    pub(crate) fn into_rejected(self) -> Vec<ModelsError> {
        self.rejected.into_iter().map(|(_, error)| error).collect()
    }

    /// The manifest called `name`, if there is one.
    pub(crate) fn get(&self, name: &str) -> Option<&(Origin, Manifest)> {
        self.entries.iter().find(|(_, manifest)| manifest.name == name)
    }

    /// The manifest called `name`; the error helps to find the right name.
    pub(crate) fn find(mut self, name: &str) -> Result<Manifest, ModelsError> {
        if let Some(at) = self.entries.iter().position(|(_, manifest)| manifest.name == name) {
            return Ok(self.entries.swap_remove(at).1);
        }
        // A broken manifest of that very name explains more than "unknown".
        if let Some(at) = self.rejected.iter().position(|(stem, _)| stem == name) {
            return Err(self.rejected.swap_remove(at).1);
        }
        let names = || self.entries.iter().map(|(_, manifest)| manifest.name.as_str());
        let close = names()
            .map(|known| (strsim::jaro_winkler(name, known), known))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let hint = match close {
            Some((likeness, known)) if likeness > 0.8 => format!("did you mean `{known}`?"),
            _ => format!("known models are {}", names().collect::<Vec<_>>().join(", ")),
        };
        Err(ModelsError::Unknown { name: name.to_owned(), hint })
    }

    /// The manifest whose file has this digest.
    pub(crate) fn by_digest(&self, digest: Digest) -> Option<&Manifest> {
        self.entries.iter().map(|(_, manifest)| manifest).find(|manifest| manifest.sha256 == Some(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::manifest::Source;

    #[test]
    fn every_built_in_manifest_is_sound_and_the_default_is_among_them() {
        let registry = Registry::load(Path::new("/nowhere"));
        assert!(registry.rejected.is_empty(), "{:?}", registry.rejected);
        for ((file, _), (_, manifest)) in BUILT_IN.iter().zip(&registry.entries) {
            assert_eq!(*file, format!("{}.toml", manifest.name));
            if let Source::Pypi { parts, .. } = &manifest.source {
                assert!(parts.iter().all(|part| part.sha256.is_some()), "{file} pins every wheel");
            }
        }
        let default = registry.find(DEFAULT_MODEL).unwrap();
        assert!(!default.licence.ask && default.sha256.is_some());
    }

    #[test]
    fn a_typing_error_in_a_name_is_answered_with_the_nearest_name() {
        let error = Registry::load(Path::new("/nowhere")).find("smollm2-135m-instuct").unwrap_err();
        assert!(error.to_string().contains("did you mean `smollm2-135m-instruct`"), "{error}");
    }

    #[test]
    fn user_manifests_cannot_shadow_misname_or_break_others() {
        let home = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| std::fs::write(home.path().join(file), text).unwrap();
        let mine = BUILT_IN[0].1.replace("name = \"smollm2-135m-instruct\"", "name = \"mine\"");
        put("mine.toml", &mine);
        put("other.toml", &mine);
        put("gemma3-270m.toml", BUILT_IN[1].1);
        put("broken.toml", "name = ");
        let registry = Registry::load(home.path());
        assert_eq!(registry.get("mine").map(|(origin, _)| *origin), Some(Origin::User));
        assert_eq!(registry.entries.len(), BUILT_IN.len() + 1);
        let reasons: Vec<_> =
            registry.rejected.iter().map(|(stem, error)| format!("{stem}: {error}")).collect();
        assert_eq!(reasons.len(), 3, "{reasons:?}");
        assert!(
            reasons.iter().any(|r| r.starts_with("gemma3-270m:") && r.contains("built-in")),
            "{reasons:?}"
        );
        assert!(reasons.iter().any(|r| r.starts_with("other:") && r.contains("mine.toml")), "{reasons:?}");
        assert!(registry.find("broken").unwrap_err().to_string().contains("broken.toml"));
    }
}
