//! One command in a container, by the library: `command [STORE]`.

use std::path::Path;
use std::sync::Arc;

use postroj::image::{Access, Catalogue, Images, Reference};
use postroj::machine::Stdio;
use postroj::progress::Silent;
use postroj::run::Run;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(code) = postroj::helper() {
        std::process::exit(code);
    }
    let store = std::env::args_os().nth(1);
    let store = store.unwrap_or_else(|| "/var/lib/postroj".into());
    let access = Access::default();
    let images = Images::open(
        Path::new(&store),
        Catalogue::builtin()?,
        access,
        Arc::new(Silent),
    )?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let run = Run {
            command: vec!["uname".to_owned(), "-r".to_owned()],
            ..Run::of(Reference::load("debian-bookworm")?)
        };
        let (mut container, _) = run.start(&images, Stdio::inherit()?).await?;
        let end = container.ended().await?;
        assert_eq!(end.ending.code(), 0);
        Ok(())
    })
}
