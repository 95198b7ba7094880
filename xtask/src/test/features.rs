//! Optional parts, each built alone: building the whole workspace turns all of them on at once, so that one which leans on another would
//! be found only by whoever leaves the other out.

use std::time::{Duration, Instant};

use super::suite::{Outcome, Surroundings};
use crate::process;
use crate::tally::Tally;
use crate::workspace::{Fallible, Package, Workspace};

/// The layers whose features choose what is in the binary; those below have features for tests only.
const LAYERS: [&str; 2] = ["product", "roof"];

/// One way to build a package: with one feature and no other, or with none at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Alone<'a> {
    package: &'a str,
    feature: Option<&'a str>,
}

/// Without any feature, and with each one alone, each package that has some.
fn combinations(packages: &[Package]) -> Vec<Alone<'_>> {
    let optional = packages.iter().filter(|package| package.layer().is_some_and(|layer| LAYERS.contains(&layer)));
    optional
        .filter(|package| !package.features.is_empty())
        .flat_map(|package| {
            let features = package.features.keys().map(String::as_str).filter(|feature| *feature != "default");
            std::iter::once(None).chain(features.map(Some)).map(|feature| Alone { package: &package.name, feature })
        })
        .collect()
}

/// Checks each with clippy, as the suite before it does, so that what that one checked is not checked again. A warning is a failure: what
/// only another feature uses is dead code here.
pub(super) fn each_alone(workspace: &Workspace, surroundings: &Surroundings, budget: Duration) -> Fallible<Outcome> {
    let ends = Instant::now() + budget;
    let mut tally = Tally::default();
    let mut broken = Vec::new();
    for Alone { package, feature } in combinations(&workspace.packages) {
        let name = format!("{package} with {}", feature.unwrap_or("no feature"));
        println!("-- {name}");
        let words = ["clippy", "--locked", "--package", package, "--no-default-features", "--features", feature.unwrap_or_default()];
        let mut command = surroundings.cargo(workspace, &words)?;
        let finished = process::run(command.args(["--", "-D", "warnings"]), ends.saturating_duration_since(Instant::now()))?;
        tally += if finished.success { Tally::PASSED } else { Tally::FAILED };
        broken.extend((!finished.success).then(|| format!("{name}: {}", finished.why)));
    }
    Ok(if broken.is_empty() { Outcome::Ran(tally) } else { Outcome::Broke(tally, broken.join("; ")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_and_every_other_optional_part_is_built_alone_and_once_without_any() {
        let workspace = Workspace::find().unwrap();
        let all = combinations(&workspace.packages);
        let features = |name: &str| all.iter().filter(|one| one.package == name).map(|one| one.feature).collect::<Vec<_>>();
        assert_eq!(features("creto-oversight"), [None, Some("email"), Some("servicenow"), Some("slack"), Some("teams")]);
        assert_eq!(features("creto-metering"), [None, Some("redis"), Some("stripe")]);
        assert_eq!(features("creto"), [None, Some("stripe")]);
        assert!(features("creto-db").is_empty(), "what is for tests only is built with the tests");
    }

    #[test]
    fn a_feature_that_does_not_build_alone_is_counted_and_named() {
        let folder = a_folder();
        let manifest = "[package]\nname = \"leaning\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[features]\na = []\nb = []\n\
                        [package.metadata.creto]\nlayer = \"product\"\n[workspace]\n";
        let code = "#[cfg(feature = \"a\")]\npub fn of_a() -> u32 { 1 }\n#[cfg(feature = \"b\")]\npub fn of_b() -> u32 { of_a() }\n";
        std::fs::create_dir_all(folder.join("src")).unwrap();
        std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
        std::fs::write(folder.join("src/lib.rs"), code).unwrap();
        std::fs::write(folder.join("Cargo.lock"), "version = 4\n[[package]]\nname = \"leaning\"\nversion = \"0.1.0\"\n").unwrap();
        let package = serde_json::json!({
            "name": "leaning", "manifest_path": folder.join("Cargo.toml"), "dependencies": [], "targets": [],
            "features": { "a": [], "b": [] }, "metadata": { "creto": { "layer": "product" } }
        });
        let packages = vec![serde_json::from_value(package).unwrap()];
        let target = folder.join("target");
        let workspace = Workspace { root: folder.clone(), target, tools: folder.clone(), ci: false, packages };
        let outcome = each_alone(&workspace, &Surroundings::bare(), Duration::from_secs(120)).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let Outcome::Broke(tally, why) = outcome else { panic!("{outcome:?}") };
        assert_eq!(tally, Tally { passed: 2, failed: 1, skipped: 0 });
        assert!(why.starts_with("leaning with b"), "{why}");
    }

    fn a_folder() -> std::path::PathBuf {
        std::env::temp_dir().join(format!("creto-xtask-features-{}", std::process::id()))
    }
}
