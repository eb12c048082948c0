//! Stand-in: runs a script in a composed root by unshare and chroot.
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to run and where.
#[derive(Debug)]
pub struct Build<'a> {
    /// Lower directories, topmost first.
    pub lowers: &'a [PathBuf],
    /// Takes the changes.
    pub upper: &'a Path,
    /// The overlay's own.
    pub work: &'a Path,
    /// The script.
    pub script: &'a str,
    /// After which it is killed.
    pub timeout: Duration,
}

/// Why it failed.
#[derive(Debug, thiserror::Error)]
#[error("the build failed: {0}")]
pub struct BuildError(pub String);

/// Runs the script.
pub async fn build(build: Build<'_>) -> Result<String, BuildError> {
    let lowers: Vec<String> = build
        .lowers
        .iter()
        .map(|p| p.display().to_string())
        .collect();
    let mount = build.work.parent().unwrap_or(build.work).join("mnt");
    let command = format!(
        "mkdir -p {m}; mount -t overlay overlay -o lowerdir={l},upperdir={u},workdir={w} {m}; mount -t proc proc {m}/proc; mount --rbind /dev {m}/dev; mount -t tmpfs tmpfs {m}/run; touch {m}/etc/resolv.conf; mount --bind /etc/resolv.conf {m}/etc/resolv.conf; exec chroot {m} /bin/sh -e -c \"$0\"",
        m = mount.display(),
        l = lowers.join(":"),
        u = build.upper.display(),
        w = build.work.display()
    );
    let output = tokio::time::timeout(
        build.timeout,
        tokio::process::Command::new("unshare")
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "sh",
                "-e",
                "-c",
                &command,
                build.script,
            ])
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .kill_on_drop(true)
            .output(),
    )
    .await
    .map_err(|e| BuildError(e.to_string()))?
    .map_err(|e| BuildError(e.to_string()))?;
    let _ = std::fs::remove_dir(&mount);
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if output.status.success() {
        Ok(text)
    } else {
        Err(BuildError(text))
    }
}
