//! The values of `run`'s options, in the forms of docker-run(1) and podman-run(1).

use std::fs;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use postroj::machine::{Device, Mount, Port, is_capability};

use crate::cli::error::CommandError;
use crate::cli::size;

/// A part of a host name.
pub(super) fn name(text: &str) -> Result<String, String> {
    if text.len() > 56 {
        return Err("longer than 56 letters".to_owned());
    }
    hostname(text)
}

/// hostname(7).
pub(super) fn hostname(text: &str) -> Result<String, String> {
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
        Err("letters, digits, and hyphens and dots between them are allowed, 64 at most".to_owned())
    }
}

/// `NAME=VALUE`, or `NAME` for the value that it has here; nothing if it has none.
pub(super) fn variable(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('=') {
        return Err("the variable has no name".to_owned());
    }
    if text.contains('=') {
        return Ok(text.to_owned());
    }
    let value = std::env::var(text).ok();
    Ok(value.map_or_else(String::new, |value| format!("{text}={value}")))
}

/// Lines of `NAME=VALUE` or `NAME`, and of comments.
pub(super) fn env_file(path: &Path) -> Result<Vec<String>, CommandError> {
    let named = |reason: &dyn std::fmt::Display| {
        CommandError::usage(format!("--env-file {}: {reason}", path.display()))
    };
    let text = fs::read_to_string(path).map_err(|error| named(&error))?;
    let mut variables = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let set = variable(line).map_err(|reason| {
            let number = number + 1;
            named(&format!("line {number}: {reason}"))
        })?;
        variables.push(set);
    }
    variables.retain(|set| !set.is_empty());
    Ok(variables)
}

/// `SOURCE:TARGET[:OPTIONS]`.
pub(super) fn volume(text: &str) -> Result<Mount, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => return Err("expected SOURCE:TARGET or SOURCE:TARGET:ro".to_owned()),
    };
    let mut read_only = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" => read_only = false,
            // It is so in any case.
            "rbind" | "rprivate" | "private" => {}
            _ => {
                return Err(format!(
                    "the option {option} is not supported; ro and rw are"
                ));
            }
        }
    }
    bind(source, target, read_only)
}

fn bind(source: &str, target: &str, read_only: bool) -> Result<Mount, String> {
    if !source.contains('/') && source != "." && source != ".." {
        return Err(format!(
            "{source} would be a volume with a name, and there are none; for a directory write ./{source}"
        ));
    }
    let source = fs::canonicalize(source).map_err(|error| format!("{source}: {error}"))?;
    Ok(Mount::Bind {
        source,
        target: mount_point(target)?,
        read_only,
    })
}

/// `type=bind,source=…,target=…[,readonly]` or `type=tmpfs,target=…[,tmpfs-size=…][,tmpfs-mode=…]`.
pub(super) fn mount(text: &str) -> Result<Mount, String> {
    let (mut kind, mut source, mut target) = ("volume", None, None);
    let (mut read_only, mut options) = (false, Vec::new());
    for part in text.split(',') {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        match key {
            "type" => kind = value,
            "source" | "src" => source = Some(value),
            "target" | "destination" | "dst" => target = Some(value),
            "readonly" | "ro" => read_only = matches!(value, "" | "true" | "1"),
            "tmpfs-size" => options.push(format!("size={}", size::parse(value)?)),
            "tmpfs-mode" => options.push(format!("mode={value}")),
            _ => return Err(format!("{key} is not supported")),
        }
    }
    let target = target.ok_or("the target is missing")?;
    match kind {
        "bind" => bind(source.ok_or("the source is missing")?, target, read_only),
        "tmpfs" if source.is_some() => Err("type=tmpfs has no source".to_owned()),
        "tmpfs" => {
            if read_only {
                options.push("ro".to_owned());
            }
            Ok(Mount::Tmpfs {
                target: mount_point(target)?,
                options: options.join(","),
            })
        }
        _ => Err(format!("type={kind} is not supported; bind and tmpfs are")),
    }
}

/// `TARGET[:OPTIONS]`, with mount(8)'s options for tmpfs.
pub(super) fn tmpfs(text: &str) -> Result<Mount, String> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    Ok(Mount::Tmpfs {
        target: mount_point(target)?,
        options: options.to_owned(),
    })
}

/// A path in the container where something can be mounted.
fn mount_point(text: &str) -> Result<String, String> {
    let path = directory(text)?;
    let mut parts = Path::new(&path).components().skip(1);
    if parts.clone().any(|part| part == Component::ParentDir) {
        return Err(format!("{text:?} leads upwards"));
    }
    if parts.next().is_none() {
        return Err("the container's root is the image's; mount it below".to_owned());
    }
    Ok(path)
}

/// A path in the container.
pub(super) fn directory(text: &str) -> Result<String, String> {
    if text.starts_with('/') {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not an absolute path"))
    }
}

/// `[ADDRESS:]HOST:CONTAINER[/PROTOCOL]`.
pub(super) fn port(text: &str) -> Result<Port, String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let udp = match protocol {
        "tcp" => false,
        "udp" => true,
        _ => return Err(format!("{protocol} is neither tcp nor udp")),
    };
    let (rest, container) = ports.rsplit_once(':').ok_or("expected HOST:CONTAINER")?;
    let (address, host) = match rest.rsplit_once(':') {
        Some((address, host)) => (Some(address), host),
        None => (None, rest),
    };
    let address = address.map(|address| {
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>()
            .map_err(|_| format!("{address} is no address"))
    });
    let number = |text: &str| match text.parse::<u16>() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{text:?} is no port")),
    };
    Ok(Port {
        address: address.transpose()?,
        host: number(host)?,
        container: number(container)?,
        udp,
    })
}

/// `NAME:ADDRESS`.
pub(super) fn host(text: &str) -> Result<(String, IpAddr), String> {
    let (name, address) = text.split_once([':', '=']).ok_or("expected NAME:ADDRESS")?;
    let address = address
        .parse()
        .map_err(|_| format!("{address} is no address"))?;
    Ok((hostname(name)?, address))
}

/// A list of processors, as `0-2,5`.
pub(super) fn processors(text: &str) -> Result<String, String> {
    let number = |text: &str| text.parse::<u16>().ok();
    let is_part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last)
    };
    if text.split(',').all(is_part) {
        Ok(text.to_owned())
    } else {
        Err("expected numbers and ranges, as in 0-2,5".to_owned())
    }
}

/// A name of capabilities(7).
pub(super) fn capability(text: &str) -> Result<String, String> {
    if is_capability(text) {
        Ok(text.to_owned())
    } else {
        Err("capabilities(7) does not have it".to_owned())
    }
}

/// `SOURCE[:TARGET]`.
pub(super) fn device(text: &str) -> Result<Device, String> {
    use std::os::unix::fs::FileTypeExt as _;
    let (source, target) = text.split_once(':').unwrap_or((text, text));
    if target.contains(':') {
        return Err("permissions are not supported".to_owned());
    }
    let metadata = fs::metadata(source).map_err(|error| format!("{source}: {error}"))?;
    let kind = metadata.file_type();
    if !kind.is_char_device() && !kind.is_block_device() {
        return Err(format!("{source} is no device"));
    }
    Ok(Device {
        source: PathBuf::from(source),
        target: directory(target)?,
    })
}

/// `NAME[=VALUE]`.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    if name.is_empty() {
        return Err("the label has no name".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read() {
        let tcp = |address, host, container| Port {
            address,
            host,
            container,
            udp: false,
        };
        assert_eq!(port("8080:80"), Ok(tcp(None, 8080, 80)));
        let loopback = Some("127.0.0.1".parse().unwrap());
        assert_eq!(port("127.0.0.1:8080:80"), Ok(tcp(loopback, 8080, 80)));
        assert_eq!(
            port("[::1]:8080:80").unwrap().address,
            Some("::1".parse().unwrap())
        );
        assert!(port("53:53/udp").unwrap().udp);
        for wrong in [
            "80",
            "0:80",
            "a:80",
            "80:80/sctp",
            "x:80:80",
            "80:65536",
            ":80",
        ] {
            assert!(port(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn mounts_are_read() {
        let root = |target: &str, read_only| Mount::Bind {
            source: "/".into(),
            target: target.to_owned(),
            read_only,
        };
        assert_eq!(volume("/:/a"), Ok(root("/a", false)));
        assert_eq!(volume("/:/a:ro"), Ok(root("/a", true)));
        assert_eq!(
            mount("type=bind,source=/,target=/a,readonly"),
            Ok(root("/a", true))
        );
        let tmpfs_of = |options: &str| Mount::Tmpfs {
            target: "/t".to_owned(),
            options: options.to_owned(),
        };
        assert_eq!(
            mount("type=tmpfs,target=/t,tmpfs-size=2m"),
            Ok(tmpfs_of("size=2097152"))
        );
        assert_eq!(
            tmpfs("/t:size=1m,mode=700"),
            Ok(tmpfs_of("size=1m,mode=700"))
        );
    }

    #[test]
    fn what_cannot_be_honoured_is_named() {
        assert!(volume("named:/a").unwrap_err().contains("named"));
        assert!(volume("/:/a:z").unwrap_err().contains("z is not supported"));
        assert!(volume("/:relative").is_err());
        assert!(volume("/:/").unwrap_err().contains("root"));
        assert!(tmpfs("/a/../..").is_err());
        assert!(volume("/not/there:/a").is_err());
        assert!(mount("target=/a").unwrap_err().contains("type=volume"));
        assert!(mount("type=bind,source=/,target=/a,bind-propagation=shared").is_err());
        assert!(device("/etc/passwd").is_err());
        assert!(capability("NET_ADMINN").is_err());
        assert!(capability("cap_net_admin").is_ok());
    }

    #[test]
    fn names_and_lists_are_checked() {
        assert!(hostname("a.b-c").is_ok());
        for wrong in ["", "-a", "a..b", "a_b", "a/b", &"x".repeat(65)] {
            assert!(hostname(wrong).is_err(), "{wrong}");
        }
        assert!(processors("0-2,5").is_ok());
        assert!(processors("2-0").is_err());
        assert_eq!(host("db:10.0.0.1").unwrap().0, "db");
        assert_eq!(host("db:::1").unwrap().1, "::1".parse::<IpAddr>().unwrap());
    }
}
