//! `cargo xtask sbom`: the software bill of materials of the default build, a CycloneDX 1.6 document that the binary carries.
//!
//! It is made from what cargo resolves, not by hand, and lies in the tree so that a change of a dependency shows in a diff.
//! Nothing in it depends on when or where it was made.

use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `ravelin` is built for, as far as dependencies differ.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Write the software bill of materials of the default build again.
#[derive(clap::Args)]
pub struct Args {
    /// Only say whether it is up to date
    #[arg(long)]
    check: bool,
}

/// Writes it, or says whether it is up to date.
pub fn run(args: &Args) -> anyhow::Result<bool> {
    let (path, text) = (path(), document()?);
    if !args.check {
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        println!("{} is written", path.display());
        return Ok(true);
    }
    let current = std::fs::read_to_string(&path).unwrap_or_default() == text;
    if !current {
        eprintln!("{} is out of date: run `cargo xtask sbom`", path.display());
    }
    Ok(current)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the repository")
}

fn path() -> PathBuf {
    root().join("crates/node/sbom.json")
}

/// Name and version of a package.
type Id = (String, String);

fn cargo(arguments: &[&str]) -> anyhow::Result<String> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program).current_dir(root()).args(arguments).output().context("run cargo")?;
    if !output.status.success() {
        bail!("cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).context("cargo writes UTF-8")
}

/// The document.
fn document() -> anyhow::Result<String> {
    let edges = edges()?;
    let (packages, checksums) =
        (packages()?, checksums(&std::fs::read_to_string(root().join("Cargo.lock"))?));
    let application =
        edges.keys().find(|(name, _)| name == "ravelin").context("ravelin is not in its tree")?;
    let mut components = Vec::new();
    for id in edges.keys().filter(|id| *id != application) {
        let package = packages.get(id).with_context(|| format!("cargo metadata has no {id:?}"))?;
        components.push(component(id, package, checksums.get(id)));
    }
    let dependencies: Vec<Value> = edges
        .iter()
        .map(|(id, needs)| json!({ "ref": reference(id), "dependsOn": needs.iter().map(reference).collect::<Vec<_>>() }))
        .collect();
    let mut main = component(application, &packages[application], None);
    main["type"] = "application".into();
    let document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": main,
            "properties": [
                { "name": "ravelin:target", "value": TARGET },
                { "name": "ravelin:features", "value": "default" },
            ],
        },
        "components": components,
        "dependencies": dependencies,
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// What each package of the default build needs, for running or for building.
fn edges() -> anyhow::Result<BTreeMap<Id, BTreeSet<Id>>> {
    let arguments =
        ["tree", "--locked", "--package", "ravelin", "--edges", "normal,build", "--prefix", "depth"];
    let tree = cargo(&[&arguments[..], &["--target", TARGET, "--format", "|{p}"]].concat())?;
    let mut edges: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
    // From the root to the package of the line before.
    let mut above: Vec<Id> = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let (depth, package) = line.split_once('|').with_context(|| format!("cargo tree wrote {line:?}"))?;
        let depth: usize = depth.parse().with_context(|| format!("cargo tree wrote {line:?}"))?;
        let mut words = package.split(' ');
        let id = match (words.next(), words.next().and_then(|version| version.strip_prefix('v'))) {
            (Some(name), Some(version)) => (name.to_owned(), version.to_owned()),
            _ => bail!("cargo tree wrote {line:?}"),
        };
        above.truncate(depth);
        if let Some(parent) = above.last() {
            edges.entry(parent.clone()).or_default().insert(id.clone());
        }
        edges.entry(id.clone()).or_default();
        above.push(id);
    }
    Ok(edges)
}

/// What cargo knows of each package.
fn packages() -> anyhow::Result<BTreeMap<Id, Value>> {
    let metadata = cargo(&["metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET])?;
    let metadata: Value = serde_json::from_str(&metadata).context("read cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(packages
        .iter()
        .map(|package| ((text(&package["name"]), text(&package["version"])), package.clone()))
        .collect())
}

/// The SHA-256 of each package's archive, from `Cargo.lock`.
fn checksums(lock: &str) -> BTreeMap<Id, String> {
    let mut checksums = BTreeMap::new();
    for package in lock.split("[[package]]") {
        let field = |name: &str| {
            let prefix = format!("{name} = \"");
            package.lines().find_map(|line| line.strip_prefix(&prefix)?.strip_suffix('"')).map(str::to_owned)
        };
        if let (Some(name), Some(version), Some(checksum)) =
            (field("name"), field("version"), field("checksum"))
        {
            checksums.insert((name, version), checksum);
        }
    }
    checksums
}

fn reference((name, version): &Id) -> String {
    format!("{name}@{version}")
}

fn component(id: &Id, package: &Value, checksum: Option<&String>) -> Value {
    let (name, version) = id;
    // Ours are in no registry.
    let registry = if package["source"].is_null() { "generic" } else { "cargo" };
    let mut component = json!({
        "type": "library",
        "bom-ref": reference(id),
        "name": name,
        "version": version,
        "purl": format!("pkg:{registry}/{name}@{version}"),
    });
    if let Some(description) = package["description"].as_str() {
        component["description"] = description.split_whitespace().collect::<Vec<_>>().join(" ").into();
    }
    if let Some(license) = package["license"].as_str() {
        // Before SPDX expressions, a slash stood between them.
        component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
    }
    if let Some(checksum) = checksum {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    if let Some(repository) = package["repository"].as_str() {
        component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bill_of_materials_is_up_to_date() {
        let kept = std::fs::read_to_string(path()).unwrap_or_default();
        let same = document().unwrap() == kept;
        assert!(same, "crates/node/sbom.json is out of date: run `cargo xtask sbom`");
    }

    #[test]
    fn everything_that_is_built_in_is_in_it_with_its_licence_and_hash() {
        let document: Value = serde_json::from_str(&document().unwrap()).unwrap();
        let components = document["components"].as_array().unwrap();
        assert!(components.len() > 50, "{}", components.len());
        for component in components {
            assert!(component["licenses"][0]["expression"].is_string(), "{component}");
            let ours = component["purl"].as_str().unwrap().starts_with("pkg:generic/ravelin-");
            assert!(ours || component["hashes"][0]["content"].as_str().unwrap().len() == 64, "{component}");
        }
        let names: BTreeSet<&str> = components.iter().filter_map(|one| one["name"].as_str()).collect();
        for name in ["rustls", "aws-lc-rs", "ravelin-node", "ravelin-broker"] {
            assert!(names.contains(name), "{name}");
        }
        assert!(
            !names.contains("proptest") && !names.contains("jsonschema"),
            "what only tests need is not built in"
        );
    }
}
