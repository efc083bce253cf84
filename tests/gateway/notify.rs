//! What does systemd hear?
//! Given the real binary with a notification socket, hands back claims on the messages that come there, in their order.
//! Never needs systemd.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use crate::support::{CLIENTS, NO_CLIENTS, Program, Reply, ScriptedPartner, Setup, program, signal};

struct Manager(UnixDatagram);

impl Manager {
    /// The next message that is no sign of life, and whether there were any of those before it.
    fn hears(&self) -> (Vec<String>, usize) {
        let end = Instant::now() + Duration::from_secs(10);
        let mut signs = 0;
        loop {
            assert!(Instant::now() < end, "nothing was said");
            let mut text = [0; 4096];
            let Ok(many) = self.0.recv(&mut text) else { continue };
            let lines: Vec<_> = String::from_utf8_lossy(&text[..many]).lines().map(str::to_owned).collect();
            match lines.as_slice() {
                [one] if one == "WATCHDOG=1" => signs += 1,
                _ => return (lines, signs),
            }
        }
    }

    fn hears_sign(&self) {
        let end = Instant::now() + Duration::from_secs(10);
        let mut text = [0; 4096];
        while !self.0.recv(&mut text).is_ok_and(|many| text[..many].starts_with(b"WATCHDOG=1")) {
            assert!(Instant::now() < end, "no sign of life");
        }
    }
}

#[test]
fn systemd_hears_of_the_start_of_reloads_of_life_and_of_the_end() {
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let mut gateway = Setup::before(&partner).start();
    gateway.kill();
    let path = gateway.file("notify");
    let manager = Manager(UnixDatagram::bind(&path).unwrap());
    manager.0.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut command = program();
    command.arg("serve").arg("--config").arg(gateway.file("gateway.toml"));
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    gateway.program = Program::start(&mut command);
    assert_eq!(manager.hears().0, ["READY=1", "STATUS=serving"]);
    manager.hears_sign();
    manager.hears_sign();

    signal(&gateway.program, "HUP");
    let (reloading, _) = manager.hears();
    assert_eq!(reloading[0], "RELOADING=1");
    let moment: u128 = reloading[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
    assert!(moment > 0);
    assert_eq!(manager.hears().0, ["READY=1", "STATUS=serving"]);

    gateway.write("gateway.toml", "nonsense = 1");
    signal(&gateway.program, "HUP");
    assert_eq!(manager.hears().0[0], "RELOADING=1");
    assert_eq!(manager.hears().0, ["READY=1", "STATUS=serving; the configuration file is refused"]);

    signal(&gateway.program, "TERM");
    loop {
        let (said, _) = manager.hears();
        if said[0] == "STOPPING=1" {
            break;
        }
        assert!(said[0] == "RELOADING=1" || said[0] == "READY=1", "{said:?}");
    }
    assert_eq!(gateway.program.wait_for_exit(Duration::from_secs(10)).code(), Some(0));
}
