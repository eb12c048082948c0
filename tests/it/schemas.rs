//! The JSON schemas of files take what is right and refuse what is wrong.

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

fn verdicts(place: &Place, kind: &str, files: &[String]) -> Vec<String> {
    let schema = place.scratch().join("schema.json");
    let printed = place.postroj(["schema", kind]).run().exits(0);
    let printed = printed.stdout.clone();
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
    // The examples that are probe files have tables of checks, and are no run files.
    let examples = super::readme::blocks_of("toml");
    let is_probe = |block: &String| block.contains("[[http]]") && !block.contains("image = ");
    let examples: Vec<String> = examples.into_iter().filter(is_probe).collect();
    assert!(!examples.is_empty());
    files.extend(examples);
    for (file, verdict) in files
        .iter()
        .zip(verdicts(&Place::direct(), "probe", &files))
    {
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
    for (file, verdict) in files
        .iter()
        .zip(verdicts(&Place::direct(), "probe", &files))
    {
        assert_ne!(verdict, "valid", "{file}");
    }
}

#[test]
fn chain_files_are_as_the_schema_says() {
    let good = [
        "[[stages]]\nimage = 'x'",
        "env = {A = 1, B = true}\n[[stages]]\nimage = 'x'\ncommand = 'a b'\nmemory = '2g'\ncpus = 0.5\n\
         timeout = 30\nlogs = false\nnetworking = true\nprivileged = false\nhostname = 'h'\n\
         cpuset_cpus = '0-1'\nenv = ['A=1']\nvolumes = ['/a:/b:ro']\nentrypoint = []",
    ];
    let bad = [
        "env = {A = 1}",
        "stages = []",
        "[[stages]]\ncommand = 'x'",
        "[[stages]]\nimage = 'x'\nlogs = 'yes'",
        "[[stages]]\nimage = 'x'\ncomand = 'x'",
        "[[stages]]\nimage = 'x'\nenv = ['A']",
        "[[stages]]\nimage = 'x'\nvolumes = '/a:/b'",
    ];
    let files: Vec<String> = good.iter().chain(&bad).map(ToString::to_string).collect();
    let said = verdicts(&Place::direct(), "chain", &files);
    for (number, (file, said)) in files.iter().zip(said).enumerate() {
        assert_eq!(said == "valid", number < good.len(), "{file}: {said}");
    }
}
