//! The JSON schema of chain files.

use serde_json::{Value, json};

/// The schema, of draft 2020-12.
pub(super) fn schema() -> Value {
    let variable = json!({"type": ["string", "number", "boolean"]});
    let env = |description: &str| {
        json!({
            "description": description,
            "oneOf": [
                {"type": "object", "additionalProperties": variable},
                {"type": "array", "items": {"type": "string", "pattern": "^[^=]+="}},
                {"type": "null"},
            ],
        })
    };
    let words = |description: &str| {
        json!({
            "description": description,
            "oneOf": [
                {"type": "array", "items": {"type": ["string", "number"]}},
                {"type": ["string", "null"]},
            ],
        })
    };
    let value = |kind: Value, default: Value, description: &str| json!({"type": kind, "default": default, "description": description});
    let text_or_number = || json!(["string", "number", "null"]);
    let choice = || json!(["boolean", "null"]);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A chain file of postroj",
        "type": "object",
        "required": ["stages"],
        "additionalProperties": false,
        "properties": {
            "env": env("What every stage has in its environment."),
            "stages": {
                "description": "What is run, one after the other, until one fails.",
                "type": "array",
                "minItems": 1,
                "items": {"$ref": "#/$defs/stage"},
            },
        },
        "$defs": {
            "stage": {
                "type": "object",
                "required": ["image"],
                "additionalProperties": false,
                "properties": {
                    "image": {
                        "type": "string",
                        "description": "A name of the catalogue, a registry's image, or a path or URL of a root file system.",
                    },
                    "command": words("The command, or the arguments of the entry point: a list of words, or a text that is split into words as a shell does. By default the image's."),
                    "entrypoint": words("What runs the command; the image's by default."),
                    "hostname": value(json!(["string", "null"]), json!("container"), "The container's host name."),
                    "memory": value(text_or_number(), Value::Null, "Its memory, as 512m or 2g; none of it is moved to swap. No limit by default."),
                    "cpuset_cpus": value(text_or_number(), Value::Null, "The processors that it may use, as 0-2,5. All by default."),
                    "cpus": value(text_or_number(), Value::Null, "How many processors' time it gets, as 2 or 0.5. No limit by default."),
                    "networking": value(choice(), json!(true), "Whether it has a network that leads out."),
                    "privileged": value(choice(), json!(false), "Whether it may do what root of the host may."),
                    "timeout": value(text_or_number(), json!("30s"), "When it is killed: 500ms, 30s, 5m, or seconds."),
                    "env": env("What is added to its environment, over that of the chain."),
                    "logs": value(choice(), json!(true), "Whether what it writes is kept."),
                    "volumes": {
                        "description": "Files and directories of the host that it sees, as SOURCE:TARGET or SOURCE:TARGET:ro.",
                        "type": ["array", "null"],
                        "items": {"type": "string"},
                    },
                },
            },
        },
    })
}
