//! Ending a container that another run has kept.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::MachineError;
use super::host;
use super::runtime::Runtime;
use super::spec::STOP;
use super::supervisor::control_socket;

/// Ends the container `machine` and waits until nothing of it is left.
pub async fn stop(runtime: &Runtime, machine: &str) -> Result<(), MachineError> {
    let unknown = || MachineError::NoMachine(machine.to_owned());
    let directory = runtime.machine(machine).ok_or_else(unknown)?;
    let mut stream = UnixStream::connect(control_socket(&directory))
        .await
        .map_err(|_| unknown())?;
    let mut launched = host::detect().await?.launched(machine).await?;
    let asked = async {
        stream.write_all(format!("{STOP}\n").as_bytes()).await?;
        // The supervisor answers by going: the connection ends with it.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await
    };
    match asked.await {
        // A connection that is cut is a supervisor that has gone, too.
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(source) => {
            return Err(MachineError::Host {
                action: "ask the container's supervisor to end it",
                source,
            });
        }
    }
    launched.gone().await;
    Ok(())
}
