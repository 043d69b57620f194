//! Examples, as processes.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

/// A built example. Cargo is asked where it is, and builds it if it is not there yet.
pub fn binary(name: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    // As `cargo test --workspace` has built it.
    build.args(["build", "--workspace", "--example", name, "--message-format=json"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let output = build.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "the example does not build");
    let lines = String::from_utf8(output.stdout).unwrap();
    let messages = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut of_example = messages.filter(|message| message["target"]["name"] == name);
    let message = of_example.find(|message| message["executable"].is_string()).unwrap();
    message["executable"].as_str().unwrap().into()
}
