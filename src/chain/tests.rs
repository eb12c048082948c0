use std::path::Path;

use super::file::{KEYS, STAGE_KEYS};
use super::*;
use crate::image::Catalogue;

fn parse(format: Format, text: &str) -> Result<Chain, Vec<String>> {
    let catalogue = Catalogue::builtin().unwrap();
    let parsed = Chain::parse(format, text, Path::new("/srv"), &catalogue);
    parsed.map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

#[test]
fn the_three_formats_say_the_same() {
    let yaml = parse(
        Format::Yaml,
        "env: {A: 1, B: x}\nstages:\n- image: debian-12\n  command: sh -c 'a b'\n  memory: 2g\n  \
         cpuset_cpus: 0\n  cpus: 0.5\n  networking: false\n  timeout: 90\n  env: [C=1]\n",
    );
    let json = parse(
        Format::Json,
        r#"{"env": {"A": 1, "B": "x"}, "stages": [{"image": "debian-12",
            "command": ["sh", "-c", "a b"], "memory": "2G", "cpuset_cpus": "0", "cpus": "0.5",
            "networking": false, "timeout": "1.5m", "env": {"C": "1"}}]}"#,
    );
    let toml = parse(
        Format::Toml,
        "env = {A = 1, B = 'x'}\n[[stages]]\nimage = 'debian-12'\ncommand = ['sh', '-c', 'a b']\n\
         memory = '2g'\ncpuset_cpus = '0'\ncpus = 0.5\nnetworking = false\ntimeout = 90\nenv.C = 1\n",
    );
    let expected = Chain {
        env: vec!["A=1".to_owned(), "B=x".to_owned()],
        stages: vec![Stage {
            command: ["sh", "-c", "a b"].map(str::to_owned).into(),
            memory: Some(2 << 30),
            cpuset_cpus: Some("0".to_owned()),
            cpus: Some(500_000),
            networking: false,
            timeout: Duration::from_secs(90),
            env: vec!["C=1".to_owned()],
            ..Stage::of(Reference::load("debian-12").unwrap())
        }],
    };
    for parsed in [yaml, json, toml] {
        assert_eq!(parsed.as_ref(), Ok(&expected));
    }
}

#[test]
fn every_mistake_is_told() {
    let text = "\
env: [1]
stage: []
stages:
- imag: x
- image: debian-bokworm
  memory: 2x
  hostname: a_b
  timeout: 0
  logs: yes please
  volumes: [named:/a, /:/]
  command: sh -c 'x
- []
";
    let told = parse(Format::Yaml, text).unwrap_err();
    let starts = [
        "1: env[0]: expected NAME=VALUE",
        "2: stage: there is no such field; did you mean stages?",
        "4: stages[0].imag: there is no such field; did you mean image?",
        "4: stages[0].image: it is missing",
        "5: stages[1].image: \"debian-bokworm\": ",
        "6: stages[1].memory: \"2x\": unknown unit",
        "7: stages[1].hostname: \"a_b\": ",
        "8: stages[1].timeout: \"0\": no time at all",
        "9: stages[1].logs: expected true or false, not a text",
        "10: stages[1].volumes[0]: ",
        "10: stages[1].volumes[1]: ",
        "11: stages[1].command: a quotation mark is not closed",
        "12: stages[2]: expected a table with image, ",
    ];
    assert_eq!(told.len(), starts.len(), "{told:#?}");
    for (told, start) in told.iter().zip(starts) {
        assert!(
            told.starts_with(start),
            "{told} does not start with {start}"
        );
    }
}

#[test]
fn a_file_without_stages_is_none() {
    assert_eq!(
        parse(Format::Yaml, "env: {}").unwrap_err(),
        ["1: stages: it is missing"]
    );
    assert_eq!(
        parse(Format::Json, "{\"stages\":[]}").unwrap_err(),
        ["1: stages: there is none"]
    );
    assert!(parse(Format::Yaml, "").unwrap_err()[0].contains("expected a table"));
    assert!(parse(Format::Yaml, "- a\n").unwrap_err()[0].contains("expected a table"));
}

#[test]
fn the_schema_has_the_fields_that_are_read() {
    let schema = Chain::schema();
    let keys = |value: &serde_json::Value| -> Vec<String> {
        let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    let sorted = |known: &[&str]| {
        let mut known: Vec<String> = known.iter().map(ToString::to_string).collect();
        known.sort();
        known
    };
    assert_eq!(keys(&schema["properties"]), sorted(&KEYS));
    assert_eq!(
        keys(&schema["$defs"]["stage"]["properties"]),
        sorted(&STAGE_KEYS)
    );
}
