//! The JSON schema of probe files takes what is right and refuses what is wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Place, process};

/// Has another implementation of JSON Schema look at files, and gives what it says of each.
const VALIDATE: &str = "\
import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
for path in sys.argv[2:]:
    wrong = [error.message for error in validator.iter_errors(json.load(open(path)))]
    print('; '.join(wrong).replace('\\n', ' ') or 'valid')
";

fn verdicts(place: &Place, files: &[String]) -> Vec<String> {
    let schema = place.scratch().join("schema.json");
    let printed = place.postroj(["schema"]).run().exits(0).stdout.clone();
    fs::write(&schema, printed).expect("the schema is written");
    let paths: Vec<PathBuf> = files
        .iter()
        .enumerate()
        .map(|(number, text)| {
            let table: toml::Table = toml::from_str(text).expect("TOML");
            let path = place.scratch().join(format!("{number}.json"));
            fs::write(&path, serde_json::to_vec(&table).expect("JSON")).expect("it is written");
            path
        })
        .collect();
    let mut validate = Command::new("/usr/bin/python3");
    validate.arg("-c").arg(VALIDATE).arg(&schema).args(&paths);
    let said = process::run(validate).exits(0).stdout.clone();
    said.lines().map(str::to_owned).collect()
}

#[test]
fn probe_files_are_as_the_schema_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| fs::read_to_string(path).expect("it can be read");
    let mut files: Vec<String> = fs::read_dir(root.join("probes"))
        .expect("the directory is there")
        .map(|entry| read(&entry.expect("an entry").path()))
        .collect();
    assert!(!files.is_empty());
    // The examples that are probe files have arrays of tables.
    let readme = read(&root.join("README.rst"));
    let blocks = readme.split("::\n\n").skip(1).map(|rest| {
        let lines = rest.lines();
        let block = lines.take_while(|line| line.is_empty() || line.starts_with("    "));
        block.map(str::trim_start).collect::<Vec<_>>().join("\n")
    });
    files.extend(blocks.filter(|block| block.lines().any(|line| line.starts_with("[["))));
    for (file, verdict) in files.iter().zip(verdicts(&Place::direct(), &files)) {
        assert_eq!(verdict, "valid", "{file}");
    }
}

#[test]
fn mistakes_in_probe_files_are_against_the_schema() {
    let files = [
        "[[untit]]\nname = 'x'",
        "[[unit]]\nname = 'x'\nenabeld = true",
        "[[unit]]\nenabled = true",
        "[[unit]]\nname = 'x'\nenabled = 'often'",
        "[[file]]\npath = '/x'\ntype = 'fil'",
        "[[http]]\nurl = 'http://x/'\nstatus = 99",
        "[[port]]\nport = 'http'",
        "description = 1",
    ];
    let files = files.map(str::to_owned);
    for (file, verdict) in files.iter().zip(verdicts(&Place::direct(), &files)) {
        assert_ne!(verdict, "valid", "{file}");
    }
}
