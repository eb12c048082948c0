//! A system that is booted and asked, by the library: `machine [STORE]`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postroj::image::{Access, Catalogue, PullOptions, Reference};
use postroj::machine::{Boot, Command};
use postroj::progress::Silent;
use postroj::{Images, Machine};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(code) = postroj::helper() {
        std::process::exit(code);
    }
    let store = std::env::args_os().nth(1);
    let store = store.unwrap_or_else(|| "/var/lib/postroj".into());
    let images = Images::open(
        Path::new(&store),
        Catalogue::builtin()?,
        Access::default(),
        Arc::new(Silent),
    )?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let reference = Reference::load("debian-bookworm")?;
        let image = images.pull(&reference, &PullOptions::default()).await?;
        let boot = Boot::of(&image.name, image.lowers.clone(), images.storage());
        let mut machine = Machine::boot(boot).await?;
        let guest = machine.guest();
        let journal = guest.unit("systemd-journald.service").await?;
        assert!(journal.state().await?.is_active());
        let hostname = Command::new("/bin/hostname", ["--short"]);
        let hostname = guest.run(&hostname, Duration::from_secs(10)).await?;
        assert_eq!(hostname.text.trim_end(), machine.name());
        machine.end().await?;
        Ok(())
    })
}
