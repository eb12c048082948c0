//! Programs that keep credentials: `docker-credential-NAME`, found by `PATH`.
//!
//! The [protocol](https://github.com/docker/docker-credential-helpers#development): a verb as
//! argument, the registry or JSON on standard input. What they print may be secret, and is not told.

use std::io::Write as _;
use std::process::{Command, Stdio};

use docker_credential::CredentialRetrievalError;
use serde_json::json;

use super::{Credentials, CredentialsError};

/// Asks for what a helper has for a registry.
pub(super) fn get(name: &str, server: &str) -> Result<Option<Credentials>, CredentialsError> {
    let only = json!({ "credHelpers": { server: name } });
    let found = docker_credential::get_credential_from_reader(only.to_string().as_bytes(), server);
    match found {
        Ok(found) => Ok(Some(found.into())),
        // All helpers say it in these words, which docker's library has.
        Err(CredentialRetrievalError::HelperFailure { stdout, .. })
            if stdout.contains("credentials not found") =>
        {
            Ok(None)
        }
        Err(CredentialRetrievalError::HelperCommunicationError) => {
            Err(failed(name, "it cannot be run"))
        }
        Err(CredentialRetrievalError::MalformedHelperResponse) => {
            Err(failed(name, "its answer is malformed"))
        }
        Err(_) => Err(failed(name, "it has failed")),
    }
}

/// Has a helper keep credentials.
pub(super) fn store(
    name: &str,
    server: &str,
    user: &str,
    password: &str,
) -> Result<(), CredentialsError> {
    let input = json!({ "ServerURL": server, "Username": user, "Secret": password });
    run(name, "store", &input.to_string())
}

/// Has a helper forget what it keeps for a registry.
pub(super) fn erase(name: &str, server: &str) -> Result<(), CredentialsError> {
    run(name, "erase", server)
}

fn run(name: &str, verb: &str, input: &str) -> Result<(), CredentialsError> {
    let run = || {
        let mut child = Command::new(format!("docker-credential-{name}"))
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        child.wait()
    };
    match run() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(failed(name, &format!("{verb} has failed"))),
        Err(error) => Err(failed(name, &format!("it cannot be run: {error}"))),
    }
}

fn failed(name: &str, reason: &str) -> CredentialsError {
    CredentialsError::Helper {
        helper: format!("docker-credential-{name}"),
        reason: reason.to_owned(),
    }
}
