//! Whether the model's file is what its manifest says.
//!
//! Not the hashing: the caller brings it. Invariant: what could not be verified is a failure.

use super::Check;

/// Asks `verify` about the model `name`: what was found, or why it is not intact.
#[must_use]
pub fn check_model(name: &str, verify: impl FnOnce() -> Result<String, String>) -> Check {
    match verify() {
        Ok(found) => Check::ok("model", format!("{name}: {found}")),
        Err(reason) => Check::fail(
            "model",
            format!("{name}: {reason}"),
            "fetch the model again, or set model.name to another",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_model_is_intact_only_if_verified() {
        assert_eq!(check_model("m", || Ok("sha256 agrees".into())), Check::ok("model", "m: sha256 agrees"));
        let bad = check_model("m", || Err("sha256 differs".into()));
        assert_eq!((bad.level, bad.detail.as_str()), (Level::Fail, "m: sha256 differs"));
    }
}
