//! The run file: the options of `pkgprobe` that belong to a repository, in `postroj.toml`.
//!
//! Each key is the long name of an option. What the file says is put behind what was typed, but for the
//! options that were typed, or are in the environment: those win, and a list replaces the file's. So
//! whatever an option can say, the file can, and it is read in one place. Tables are checks, as in the
//! files that `--probe` takes.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};
use postroj::matrix::PackageRule;
use postroj::probe::{Checks, ProbeFile};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::CommandError;

/// The file that is read when none is named.
const USUAL: &str = "postroj.toml";

/// The option that names the file; it cannot be in it.
const FILE: &str = "file";

/// The options that say the same in different ways: where one is typed, none is taken from the file.
const ALTERNATIVES: &[&[&str]] = &[&["image", "all-images"]];

/// What a run file adds to a command line.
pub(super) struct RunFile {
    /// The file.
    pub(super) path: PathBuf,
    /// The options, to be put behind what was typed.
    pub(super) arguments: Vec<OsString>,
    /// The checks that it declares.
    pub(super) checks: Checks,
}

/// Reads the run file that the options of a command name, or the usual one if there is one.
///
/// `command` is the command as it is declared, and `typed` what was typed of it.
pub(super) fn load(command: &Command, typed: &ArgMatches) -> Result<Option<RunFile>, CommandError> {
    let asked = typed.get_one::<PathBuf>(FILE);
    let path = asked.map_or(Path::new(USUAL), PathBuf::as_path);
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && asked.is_none() => {
            return Ok(None);
        }
        text => {
            text.map_err(|error| CommandError::usage(format!("{}: {error}", path.display())))?
        }
    };
    let is_typed = |arg: &Arg| {
        let ids = typed.try_contains_id(arg.get_id().as_str()).is_ok();
        let source = ids.then(|| typed.value_source(arg.get_id().as_str()));
        matches!(
            source.flatten(),
            Some(ValueSource::CommandLine | ValueSource::EnvVariable)
        )
    };
    let (options, checks) = parse(command, path, &text)?;
    let is_overridden = |key: &str| {
        let alternatives = ALTERNATIVES.iter().find(|names| names.contains(&key));
        let names = alternatives.copied().unwrap_or_default().iter().copied();
        names
            .chain([key])
            .any(|name| option(command, name).is_some_and(is_typed))
    };
    let arguments = options
        .into_iter()
        .filter(|option| !is_overridden(&option.key))
        .flat_map(|option| option.arguments)
        .collect();
    Ok(Some(RunFile {
        path: path.to_owned(),
        arguments,
        checks,
    }))
}

/// An option that a run file has.
#[derive(Debug)]
struct Given {
    key: String,
    line: usize,
    arguments: Vec<OsString>,
}

/// Reads a run file's text; paths in it are those below the directory of `path`.
fn parse(command: &Command, path: &Path, text: &str) -> Result<(Vec<Given>, Checks), CommandError> {
    let line_of = |at: usize| 1 + text.get(..at).unwrap_or(text).matches('\n').count();
    let wrong = |at: usize, what: String| {
        CommandError::usage(format!("{}:{}: {what}", path.display(), line_of(at)))
    };
    let table = DeTable::parse(text).map_err(|error| {
        wrong(
            error.span().map_or(0, |span| span.start),
            error.message().to_owned(),
        )
    })?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let tables = tables(text, &table);
    let mut given = Vec::new();
    for (key, value) in table.get_ref() {
        let name: &str = key.get_ref();
        if key.span().start >= tables {
            continue;
        }
        let Some(arg) = option(command, name) else {
            let hint = nearest(command, name);
            return Err(wrong(key.span().start, unknown(name)).with_hint(hint));
        };
        let arguments = arguments(arg, name, value, directory)
            .map_err(|(at, what)| wrong(at, format!("{name}: {what}")))?;
        given.push(Given {
            key: name.to_owned(),
            line: line_of(key.span().start),
            arguments,
        });
    }
    // The tables of TOML have an order of their own.
    given.sort_by_key(|option| option.line);
    validate(command, path, &given)?;
    // With empty lines in place of the options, the lines of the tables are those of the file.
    let (options, declared) = text.split_at(tables);
    let declared = "\n".repeat(options.matches('\n').count()) + declared;
    let probe = ProbeFile::parse(path, &declared).map_err(CommandError::usage)?;
    Ok((given, probe.checks))
}

/// Where the line of the first table begins: TOML has no keys of the whole after it.
fn tables(text: &str, table: &Spanned<DeTable<'_>>) -> usize {
    let begins = |key: &Spanned<_>| {
        let start = key.span().start;
        let line = text[..start].rfind('\n').map_or(0, |end| end + 1);
        text[line..start]
            .trim_start()
            .starts_with('[')
            .then_some(line)
    };
    let lines = table.get_ref().iter().filter_map(|(key, _)| begins(key));
    lines.min().unwrap_or(text.len())
}

/// The option with a long name, of those that are the command's own.
fn option<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(name) && name != FILE)
}

fn unknown(name: &str) -> String {
    match name {
        FILE => "a run file cannot name another one".to_owned(),
        "state-dir" | "cache-dir" | "registries-conf" | "config" | "color" | "verbose"
        | "quiet" => {
            format!(
                "{name} is about the machine: it belongs in /etc/postroj/config.toml or on the command line"
            )
        }
        _ => format!("there is no option --{name}"),
    }
}

/// What may be meant by a key that is none.
fn nearest(command: &Command, name: &str) -> Option<String> {
    let known = command.get_arguments().filter_map(Arg::get_long);
    known
        .filter(|known| *known != FILE)
        .map(|known| (strsim::osa_distance(name, known), known))
        .filter(|(distance, known)| {
            *distance <= (name.len() / 3).max(1) || known.starts_with(&name.replace('_', "-"))
        })
        .min()
        .map(|(_, known)| format!("did you mean {known}?"))
}

/// The command line's words for a value; or where the mistake is, and which.
fn arguments(
    arg: &Arg,
    name: &str,
    value: &Spanned<DeValue<'_>>,
    directory: &Path,
) -> Result<Vec<OsString>, (usize, String)> {
    let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
    let one = |value: &Spanned<DeValue<'_>>| {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(choice) => choice.to_string(),
            other => {
                let what = format!("expected a text, not a {}", other.type_str());
                return Err((value.span().start, what));
            }
        };
        let text = below(arg, name, &text, directory);
        Ok(OsString::from(format!("--{name}={text}")))
    };
    match value.get_ref() {
        DeValue::Boolean(choice) if is_flag => Ok(choice
            .then(|| OsString::from(format!("--{name}")))
            .into_iter()
            .collect()),
        _ if is_flag => Err((value.span().start, "expected true or false".to_owned())),
        DeValue::Array(items) if matches!(arg.get_action(), ArgAction::Append) => {
            items.iter().map(one).collect()
        }
        DeValue::Array(_) => Err((value.span().start, "it takes one value".to_owned())),
        _ => Ok(vec![one(value)?]),
    }
}

/// A value with the paths in it taken from the file's directory.
fn below(arg: &Arg, name: &str, value: &str, directory: &Path) -> String {
    let join = |path: &str| directory.join(path).display().to_string();
    if directory.as_os_str().is_empty() {
        return value.to_owned();
    }
    let is_path = match name {
        "image" => value.starts_with("./") || value.starts_with("../"),
        "probe" => value.contains('/') || Path::new(value).extension().is_some(),
        "package" | "upgrade-from" => {
            // What is wrong with it is said by whoever reads it.
            return PackageRule::parse(value).map_or_else(
                |_| value.to_owned(),
                |rule| rule.below(directory).to_string(),
            );
        }
        "report" => {
            return match value.split_once('=') {
                Some((format, path)) if path != "-" => format!("{format}={}", join(path)),
                _ => value.to_owned(),
            };
        }
        _ => matches!(
            arg.get_value_hint(),
            ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath
        ),
    };
    if is_path {
        join(value)
    } else {
        value.to_owned()
    }
}

/// Has the command's own rules look at what the file says, and names the line of what they refuse.
fn validate(command: &Command, path: &Path, given: &[Given]) -> Result<(), CommandError> {
    let attempt = |arguments: &mut dyn Iterator<Item = OsString>| {
        let words = [OsString::from("pkgprobe")].into_iter().chain(arguments);
        let command = command.clone().disable_help_flag(true);
        command.try_get_matches_from(words).map(drop)
    };
    let all = |option: &Given| option.arguments.clone();
    let Err(error) = attempt(&mut given.iter().flat_map(all)) else {
        return Ok(());
    };
    // One alone is refused for what it is; else it is what they say together.
    let culprit = given
        .iter()
        .find(|option| attempt(&mut option.arguments.iter().cloned()).is_err());
    let place = culprit.map_or_else(
        || path.display().to_string(),
        |option| format!("{}:{}", path.display(), option.line),
    );
    let message = error.to_string();
    let first = message.lines().next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    Err(CommandError::usage(format!("{place}: {first}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn command() -> Command {
        let all = super::super::Arguments::command();
        all.find_subcommand("pkgprobe")
            .expect("it is there")
            .clone()
    }

    fn read(text: &str) -> Result<Vec<String>, String> {
        let given = parse(&command(), Path::new("sub/postroj.toml"), text);
        let (given, _) = given.map_err(|error| match error.hint() {
            Some(hint) => format!("{} ({hint})", error.message()),
            None => error.message().to_owned(),
        })?;
        let words = given.into_iter().flat_map(|option| option.arguments);
        Ok(words.map(|word| word.into_string().unwrap()).collect())
    }

    #[test]
    fn a_key_is_an_option() {
        let text = r#"
            image = ["debian-*", "./tree"]
            package = ["family=debian,dist/x_{version}.deb", "nginx", "https://example.org/x.rpm"]
            check-unit = "x"
            settle = 2.5
            jobs = 2
            fail-fast = true
            offline = false
            tls-verify = false
            keep = "on-failure"
            locked = "postroj.lock"
            report = ["junit=out/x.xml", "json=-"]
        "#;
        assert_eq!(
            read(text).unwrap(),
            [
                "--image=debian-*",
                "--image=sub/./tree",
                "--package=family=debian,sub/dist/x_{version}.deb",
                "--package=nginx",
                "--package=https://example.org/x.rpm",
                "--check-unit=x",
                "--settle=2.5",
                "--jobs=2",
                "--fail-fast",
                "--tls-verify=false",
                "--keep=on-failure",
                "--locked=sub/postroj.lock",
                "--report=junit=sub/out/x.xml",
                "--report=json=-",
            ]
        );
    }

    #[test]
    fn a_table_is_a_check() {
        let text = "image = 'x'\n\n[[unit]]\nname = 'a'\n[[unit]]\nname = 'b'\n\n[[http]]\nurl = 'http://localhost'\n";
        let (given, checks) = parse(&command(), Path::new("postroj.toml"), text).unwrap();
        assert_eq!(given.len(), 1);
        assert_eq!((checks.unit.len(), checks.http.len()), (2, 1));
        let error = read("image = 'x'\n\n[[unit]]\nnmae = 'a'\n").unwrap_err();
        assert!(
            error.starts_with("sub/postroj.toml:4: unknown field `nmae`"),
            "{error}"
        );
        let error = read("image = 'x'\n[[untis]]\nname = 'a'\n").unwrap_err();
        assert!(error.starts_with("sub/postroj.toml:2: "), "{error}");
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        let wrong = |text: &str| read(text).unwrap_err();
        assert_eq!(
            wrong("image = 'x'\nchek-unit = 'x'"),
            "sub/postroj.toml:2: there is no option --chek-unit (did you mean check-unit?)"
        );
        assert_eq!(
            wrong("check_unit = 'x'"),
            "sub/postroj.toml:1: there is no option --check_unit (did you mean check-unit?)"
        );
        assert_eq!(
            wrong("\n\nsettle = '1y'"),
            "sub/postroj.toml:3: invalid value '1y' for '--settle <TIME>': unknown unit \"y\"; ms, s, m and h are known"
        );
        assert_eq!(
            wrong("settle = [1]"),
            "sub/postroj.toml:1: settle: it takes one value"
        );
        assert_eq!(
            wrong("image = ['x', {}]"),
            "sub/postroj.toml:1: image: expected a text, not a table"
        );
        assert_eq!(
            wrong("fail-fast = 'x'"),
            "sub/postroj.toml:1: fail-fast: expected true or false"
        );
        assert!(wrong("image = 'x'\nall-images = true").contains("cannot be used with"));
        assert!(wrong("state-dir = 'x'").contains("/etc/postroj/config.toml"));
        assert!(wrong("file = 'x'").contains("cannot name another"));
        assert!(wrong("a = 1\na = 2").starts_with("sub/postroj.toml:2: "));
    }
}
