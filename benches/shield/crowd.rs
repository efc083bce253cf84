//! What do callers send, and what do they get?
//! Given settings, starts the gateway's program in a folder of its own, and asks it on kept-alive connections.
//! Never waits for one answer before it sends another caller's request.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until};

use crate::fake_partner::{Connection, Response};
use crate::partner::Listening;

/// Callers, each with a token of its own.
pub(crate) const CALLERS: usize = 10;

/// The gateway, running.
pub(crate) struct Gateway {
    process: Child,
    pub(crate) folder: tempfile::TempDir,
    address: SocketAddr,
    tokens: Vec<String>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

impl Gateway {
    /// Before this partner, with these settings besides; its keys lie in `key-0` and, if there are two slots, `key-1`.
    pub(crate) async fn start(
        program: &Path,
        partner: &Listening,
        slots: usize,
        settings: &str,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let [address, health, admin] = [free_port()?, free_port()?, free_port()?];
        for slot in 0..2 {
            std::fs::write(folder.path().join(format!("key-{slot}")), format!("key-{slot}"))?;
        }
        let next = if slots > 1 { "api_key_file_next = \"key-1\"\n" } else { "" };
        let mut text = format!(
            "[server]\nworkers = 1\n[[listeners]]\naddress = \"{address}\"\n[health]\nlisten = \"{health}\"\n[admin]\nlisten = \"{admin}\"\n[telemetry]\naccess_log = \"off\"\nlog = \"off\"\n[upstream]\nurl = \"http://{}\"\napi_key_file = \"key-0\"\n{next}{settings}\n",
            partner.address
        );
        for nth in 0..CALLERS {
            text += &format!(
                "[[callers]]\nname = \"c{nth}\"\nscopes = [\"clients:read\", \"pii:read\", \"other:read\"]\nclients = [\"*\"]\nproviders = [\"*\"]\n"
            );
        }
        let config = folder.path().join("gateway.toml");
        std::fs::write(&config, text)?;
        let command = |arguments: &[&str]| {
            let mut command = Command::new(program);
            command.args(arguments).arg("--config").arg(&config).stdin(Stdio::null());
            command
        };
        let process = command(&["serve"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("the gateway")?;
        let mut gateway = Self { process, folder, address, tokens: Vec::new() };
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).await.is_err() {
            anyhow::ensure!(Instant::now() < until, "the gateway does not start");
            sleep(Duration::from_millis(10)).await;
        }
        for nth in 0..CALLERS {
            let issued = command(&["token", "issue", "--caller", &format!("c{nth}")]).output()?;
            anyhow::ensure!(issued.status.success(), "{}", String::from_utf8_lossy(&issued.stderr));
            gateway.tokens.push(String::from_utf8(issued.stdout)?.trim().to_owned());
        }
        Ok(gateway)
    }

    /// A connection of the `nth` caller's.
    pub(crate) async fn caller(&self, nth: usize) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let token = self.tokens.get(nth % CALLERS).context("a caller")?;
        let (caller, driven) = Connection::over(stream, token).await?;
        spawn_local(driven);
        Ok(caller)
    }

    /// A connection on which the `nth` caller's request was begun, for a path below the API.
    pub(crate) async fn raw(&self, nth: usize, path: &str, head: &str) -> anyhow::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address).await?;
        let token = self.tokens.get(nth % CALLERS).context("a caller")?;
        let head = format!(
            "GET /reseller/account/v1/{path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {token}\r\nconnection: close\r\n{head}\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        Ok(stream)
    }

    /// Every key once, so that all is held.
    pub(crate) async fn fill(&self, keys: usize) -> anyhow::Result<()> {
        let mut caller = self.caller(0).await?;
        for key in 0..keys {
            let got = caller.ask(key).await?;
            anyhow::ensure!(got.status == 200, "{got:?}");
        }
        Ok(())
    }

    /// So many requests a second, of all callers on a hundred connections, for the keys that `choose` names.
    pub(crate) async fn load(
        &self,
        lasts: Duration,
        a_second: u32,
        choose: impl Fn(usize, usize) -> usize + 'static,
    ) -> anyhow::Result<Vec<Response>> {
        const CONNECTIONS: u32 = 100;
        let (every, began) = (Duration::from_secs(1) * CONNECTIONS / a_second, Instant::now());
        let choose = Rc::new(choose);
        let mut crowd = Vec::new();
        for nth in 0..CONNECTIONS {
            let (mut caller, choose) = (self.caller(nth as usize).await?, Rc::clone(&choose));
            crowd.push(spawn_local(async move {
                let (mut got, mut next) = (Vec::new(), Instant::now() + every * nth / CONNECTIONS);
                while next < began + lasts {
                    sleep_until(next).await;
                    got.push(caller.ask(choose(nth as usize, got.len())).await?);
                    next += every;
                }
                anyhow::Ok(got)
            }));
        }
        let mut all = Vec::new();
        for caller in crowd {
            all.extend(caller.await??);
        }
        Ok(all)
    }
}
