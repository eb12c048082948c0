//! What is said of a container, as people type it: the forms of docker-run(1) and podman-run(1). An error
//! says what is wrong with the text, and not where it was typed.

use std::fs;
use std::path::{Component, Path};

use super::Mount;
use crate::Invalid;

/// A host name; hostname(7).
pub fn hostname(text: &str) -> Result<String, Invalid> {
    let is_part = |part: &str| {
        let is_fit = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !part.is_empty()
            && part.chars().all(is_fit)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    if text.len() <= 64 && text.split('.').all(is_part) {
        Ok(text.to_owned())
    } else {
        Err("letters, digits, and hyphens and dots between them are allowed, 64 at most".into())
    }
}

/// A volume, `SOURCE:TARGET[:OPTIONS]`; a source that is no absolute path is below `base`.
pub fn volume(base: &Path, text: &str) -> Result<Mount, Invalid> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => return Err("expected SOURCE:TARGET or SOURCE:TARGET:ro".into()),
    };
    let mut read_only = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" => read_only = false,
            // It is so in any case.
            "rbind" | "rprivate" | "private" => {}
            _ => {
                return Err(format!("the option {option} is not supported; ro and rw are").into());
            }
        }
    }
    bind(base, source, target, read_only)
}

/// What is bound: a file or directory of this host that is there.
pub fn bind(base: &Path, source: &str, target: &str, read_only: bool) -> Result<Mount, Invalid> {
    if !source.contains('/') && source != "." && source != ".." {
        return Err(format!(
            "{source} would be a volume with a name, and there are none; for a directory write ./{source}"
        ).into());
    }
    let source =
        fs::canonicalize(base.join(source)).map_err(|error| format!("{source}: {error}"))?;
    Ok(Mount::Bind {
        source,
        target: mount_point(target)?,
        read_only,
    })
}

/// A path in the container where something can be mounted.
pub fn mount_point(text: &str) -> Result<String, Invalid> {
    let path = directory(text)?;
    let mut parts = Path::new(&path).components().skip(1);
    if parts.clone().any(|part| part == Component::ParentDir) {
        return Err(format!("{text:?} leads upwards").into());
    }
    if parts.next().is_none() {
        return Err("the container's root is the image's; mount it below".into());
    }
    Ok(path)
}

/// A path in the container.
pub fn directory(text: &str) -> Result<String, Invalid> {
    if text.starts_with('/') {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not an absolute path").into())
    }
}

/// A list of processors, as `0-2,5`.
pub fn processor_list(text: &str) -> Result<String, Invalid> {
    let number = |text: &str| text.parse::<u16>().ok();
    let is_part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last)
    };
    if text.split(',').all(is_part) {
        Ok(text.to_owned())
    } else {
        Err("expected numbers and ranges, as in 0-2,5".into())
    }
}

/// A number of processors → their time in microseconds a second.
pub fn processor_time(text: &str) -> Result<u64, Invalid> {
    const MOST: f64 = 4096.0;
    let number: f64 = text
        .parse()
        .map_err(|_| Invalid::from("expected a number, as in 2 or 0.5"))?;
    // The kernel gives out no less than a hundredth.
    if !(0.01..=MOST).contains(&number) {
        return Err(format!("not between 0.01 and {MOST}").into());
    }
    let time = std::time::Duration::from_secs_f64(number);
    u64::try_from(time.as_micros()).map_err(|error| error.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_lists_are_checked() {
        assert!(hostname("a.b-c").is_ok());
        for wrong in ["", "-a", "a..b", "a_b", "a/b", &"x".repeat(65)] {
            assert!(hostname(wrong).is_err(), "{wrong}");
        }
        assert!(processor_list("0-2,5").is_ok());
        assert!(processor_list("2-0").is_err());
    }

    #[test]
    fn volumes_are_read() {
        let volume = |text| volume(Path::new("/"), text);
        let root = |read_only| Mount::Bind {
            source: "/".into(),
            target: "/a".to_owned(),
            read_only,
        };
        assert_eq!(volume("/:/a"), Ok(root(false)));
        assert_eq!(volume("./:/a"), Ok(root(false)));
        assert_eq!(volume("/:/a:ro"), Ok(root(true)));
        assert!(
            volume("named:/a")
                .unwrap_err()
                .to_string()
                .contains("named")
        );
        assert!(
            volume("/:/a:z")
                .unwrap_err()
                .to_string()
                .contains("z is not supported")
        );
        assert!(volume("/:relative").is_err());
        assert!(volume("/:/").unwrap_err().to_string().contains("root"));
        assert!(volume("/not/there:/a").is_err());
    }
}
