//! The values of `run`'s options, in the forms of docker-run(1) and podman-run(1).

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use postroj::machine::typed::{bind, directory, hostname, mount_point};
use postroj::machine::{Device, Mount, Port, is_capability};

use crate::cli::error::CommandError;
use postroj::size;

/// A part of a host name.
pub(super) fn name(text: &str) -> Result<String, String> {
    if text.len() > 56 {
        return Err("longer than 56 letters".to_owned());
    }
    Ok(hostname(text)?)
}

/// `NAME=VALUE`, or `NAME` for the value that it has here; nothing if it has none.
pub(in crate::cli::commands) fn variable(text: &str) -> Result<String, String> {
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
        "bind" => Ok(bind(
            Path::new(""),
            source.ok_or("the source is missing")?,
            target,
            read_only,
        )?),
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

/// How many processes and threads; all that the kernel has numbers for (`PID_MAX_LIMIT`) for 0 and -1.
pub(super) fn pids(text: &str) -> Result<u64, String> {
    match text {
        "0" | "-1" => Ok(1 << 22),
        text => text
            .parse()
            .map_err(|_| "expected a number, or -1 for no limit".to_owned()),
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
        let root = Mount::Bind {
            source: "/".into(),
            target: "/a".to_owned(),
            read_only: true,
        };
        assert_eq!(mount("type=bind,source=/,target=/a,readonly"), Ok(root));
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
        assert!(tmpfs("/a/../..").is_err());
        assert!(mount("target=/a").unwrap_err().contains("type=volume"));
        assert!(mount("type=bind,source=/,target=/a,bind-propagation=shared").is_err());
        assert!(device("/etc/passwd").is_err());
        assert!(capability("NET_ADMINN").is_err());
        assert!(capability("cap_net_admin").is_ok());
    }

    #[test]
    fn hosts_are_read() {
        assert_eq!(host("db:10.0.0.1").unwrap().0, "db");
        assert_eq!(host("db:::1").unwrap().1, "::1".parse::<IpAddr>().unwrap());
    }
}
