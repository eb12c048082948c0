//! Two commands in sequence, by the library: `chain [STORE]`.

use std::path::Path;
use std::sync::Arc;

use postroj::chain::{Options, Stage, Status};
use postroj::image::{Access, Catalogue, Reference};
use postroj::progress::Silent;
use postroj::{Chain, Images};

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
    let stage = |script: &str| -> Result<Stage, Box<dyn std::error::Error>> {
        Ok(Stage {
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            ..Stage::of(Reference::load("debian-bookworm")?)
        })
    };
    let chain = Chain {
        env: vec!["NAME=world".to_owned()],
        stages: vec![
            stage("echo hello $NAME >/job/text")?,
            stage("cat /job/text")?,
        ],
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(chain.run(&images, &Options::default(), &()));
    assert!(result.success);
    let last = &result.stages[1];
    assert_eq!(last.state.status, Status::Exited);
    let logs = last.logs.as_ref().ok_or("there are none")?;
    assert_eq!(logs.stdout[0].text, "hello world");
    Ok(())
}
