//! A command that goes on when this program has ended, by the library: `task [STORE]`.

use std::path::Path;
use std::sync::Arc;

use postroj::image::{Access, Catalogue, Images, Reference};
use postroj::progress::Silent;
use postroj::run::Run;
use postroj::task::{LogOptions, NewTask, Status, Tasks};

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
        let tasks = Tasks::of(&images);
        let script = "echo ready; read line; exit $line";
        let run = Run {
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            ..Run::of(Reference::load("debian-bookworm")?)
        };
        let new = NewTask {
            interactive: true,
            ..NewTask::of(run)
        };
        let created = tasks.create(&new, &images).await?;
        // Whoever knows its id finds it, in any other process as well.
        let task = tasks.find(created.task.short_id())?;
        let mut logs = task.logs(&LogOptions {
            follow: true,
            ..LogOptions::default()
        })?;
        let first = logs.next().await?.ok_or("nothing was written")?;
        assert_eq!(first.text, b"ready\n");
        assert_ne!(task.health()?.status, Status::Exited);
        let input = task.input().await?;
        rustix::io::write(&input.descriptor, b"7\n")?;
        assert_eq!(task.wait().await?.code(), Some(7));
        task.remove(false).await?;
        Ok(())
    })
}
