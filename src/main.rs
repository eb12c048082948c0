//! postroj
use std::time::Duration;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|a| a == postroj::machine::SUPERVISE_COMMAND) {
        postroj::machine::supervise().unwrap();
        return;
    }
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    rt.block_on(async {
        let t = std::time::Instant::now();
        let m = postroj::machine::Machine::boot(postroj::machine::Boot { image: "x".into(), lowers: args[1..].iter().map(Into::into).collect(), profile: postroj::machine::Profile::Trimmed, timeout: Duration::from_secs(60) }).await;
        let m = match m { Ok(m) => m, Err(e) => { println!("{e} {:?}", e.console()); return; } };
        println!("booted {} {:?} {:?}", m.name(), t.elapsed(), m.guest().systemd_version().await);
        let o = m.guest().run(&postroj::machine::Command::new("/bin/sh", ["-c", "echo hi $HOME; ls /; exit 3"]), Duration::from_secs(5)).await;
        println!("{o:?} {:?}", t.elapsed());
        let u = m.guest().unit("systemd-journald.service").await.unwrap();
        println!("{:?}", u.state().await);
        println!("{:?}", t.elapsed());
        println!("{:?} {:?}", m.end().await, t.elapsed());
    });
}
