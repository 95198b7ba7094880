//! Arrows point down only: platform ← security ← product-base ← product ← roof. Products never depend on each other.

use super::Finding;
use crate::workspace::Package;

/// From the ground up. `tool` stands beside the house: nothing of the house depends on it, and it may use anything.
const FLOORS: [&str; 5] = ["platform", "security", "product-base", "product", "roof"];
const TOOL: &str = "tool";

pub(super) fn check(packages: &[Package]) -> Vec<Finding> {
    let mut found = Vec::new();
    for package in packages {
        let Some(layer) = package.layer() else {
            found.push(Finding::new(&package.name, "Cargo.toml names no `package.metadata.creto.layer`"));
            continue;
        };
        if layer != TOOL && floor(layer).is_none() {
            found.push(Finding::new(&package.name, format!("`{layer}` is none of {}, {TOOL}", FLOORS.join(", "))));
        }
        // Tests and benches may look wherever they need to.
        for dependency in package.dependencies.iter().filter(|dependency| dependency.kind.as_deref() != Some("dev")) {
            let Some(other) = packages.iter().find(|other| other.name == dependency.name).and_then(Package::layer) else { continue };
            if let Some(direction) = wrong(layer, other) {
                found.push(Finding::new(
                    &package.name,
                    format!("the {layer} depends on `{}` ({other}), which points {direction}", dependency.name),
                ));
            }
        }
    }
    found
}

fn floor(layer: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| *floor == layer)
}

/// Where a dependency points when it may not.
fn wrong(from: &str, to: &str) -> Option<&'static str> {
    match (from, to) {
        (TOOL, _) => None,
        (_, TOOL) | ("product", "product") => Some("sideways"),
        _ => (floor(to)? > floor(from)?).then_some("up"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, layer: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        let dependencies: Vec<_> = dependencies.iter().map(|(name, kind)| serde_json::json!({"name": name, "kind": kind})).collect();
        serde_json::from_value(serde_json::json!({
            "name": name, "manifest_path": "/x/Cargo.toml", "dependencies": dependencies, "targets": [],
            "metadata": {"creto": {"layer": layer}},
        }))
        .unwrap()
    }

    fn house(metering: &[(&str, Option<&str>)], kernel: &[(&str, Option<&str>)]) -> Vec<Package> {
        vec![
            package("creto-kernel", "platform", kernel),
            package("creto-db", "platform", &[("creto-kernel", None)]),
            package("creto-authz", "security", &[("creto-db", None), ("cedar-policy", None)]),
            package("creto-metering", "product", metering),
            package("creto-oversight", "product", &[("creto-authz", None)]),
            package("creto", "roof", &[("creto-metering", None)]),
            package("xtask", "tool", &[("creto-kernel", None)]),
        ]
    }

    #[test]
    fn arrows_down_and_dev_dependencies_are_fine() {
        assert_eq!(check(&house(&[("creto-authz", None), ("creto-oversight", Some("dev"))], &[])), []);
    }

    #[test]
    fn arrows_up_and_sideways_are_found() {
        for (house, words) in [
            (house(&[("creto-oversight", None)], &[]), "sideways"),
            (house(&[("creto-oversight", Some("build"))], &[]), "sideways"),
            (house(&[("creto", None)], &[]), "up"),
            (house(&[], &[("creto-authz", None)]), "up"),
            (house(&[], &[("xtask", None)]), "sideways"),
        ] {
            let found = check(&house);
            assert!(found.len() == 1 && found[0].message.contains(words), "{words}: {found:?}");
        }
    }

    #[test]
    fn a_crate_without_a_layer_or_with_an_invented_one_is_found() {
        assert_eq!(check(&[package("a", "cellar", &[])]).len(), 1);
        let mut bare = package("a", "platform", &[]);
        bare.metadata = serde_json::Value::Null;
        assert_eq!(check(&[bare]).len(), 1);
    }
}
