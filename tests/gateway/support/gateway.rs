//! How is the program run?
//! Given settings, starts the real binary in a folder of its own, waits until it is ready, and keeps what it prints.
//! Never leaves a process behind, and never lets a secret out unseen: answers, log and messages are searched for it.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use toml::{Table, Value};

use reseller_gateway::clock::Clock;
use reseller_gateway::token::operator;
use reseller_gateway::token::ring::Ring;

use super::wire::{self, Connection, Response};
use super::{Identity, ScriptedPartner, wait_for, wait_for_within};

/// What no answer and no line may hold.
pub(crate) const REAL_KEY: &str = "the-real-key-of-the-partner-4711";

/// The binary, ready for arguments.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reseller-gateway"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).env_remove("RESELLER_API_KEY");
    command
}

/// A port that is free, and that no other test of this process gets; below those the system hands out.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 12_000 + (std::process::id() % 997) as u16 * 18;
    loop {
        let port = start + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Sends a signal to a process that this test started.
pub(crate) fn signal(process: &Program, name: &str) {
    let signal = match name {
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "KILL" => Signal::KILL,
        "STOP" => Signal::STOP,
        "CONT" => Signal::CONT,
        "TERM" => Signal::TERM,
        other => panic!("no test sends {other}"),
    };
    rustix::process::kill_process(process.pid(), signal).unwrap();
}

/// A running command and what it printed so far.
pub(crate) struct Program {
    child: Child,
    out: Arc<Mutex<String>>,
    err: Arc<Mutex<String>>,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("the binary starts");
        let (out, err) = (Arc::default(), Arc::default());
        follow(child.stdout.take().unwrap(), Arc::clone(&out));
        follow(child.stderr.take().unwrap(), Arc::clone(&err));
        Self { child, out, err }
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn stdout(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    pub(crate) fn stderr(&self) -> String {
        self.err.lock().unwrap().clone()
    }

    pub(crate) fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub(crate) fn wait_for_exit(&mut self, most: Duration) -> ExitStatus {
        let end = Instant::now() + most;
        wait_for_within(2 * most, "a process to end", || {
            let ended = self.try_wait();
            assert!(ended.is_some() || Instant::now() < end, "runs after {most:?}: {}{}", self.stdout(), self.stderr());
            ended
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn follow(from: impl Read + Send + 'static, into: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut text = into.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    });
}

/// A configuration in the making.
pub(crate) struct Setup {
    table: Table,
    key: String,
    admin: Option<String>,
    /// Whether `server.public_url` is where it really listens.
    own_url: bool,
    doors: Vec<Table>,
    files: Vec<(String, String)>,
    environment: Vec<(String, String)>,
}

impl Setup {
    pub(crate) fn before(partner: &ScriptedPartner) -> Self {
        Self::at(&partner.url())
    }

    /// In front of any address: one caller `app` with every scope, no limits, no retries.
    pub(crate) fn at(url: &str) -> Self {
        let text = r#"
            [server]
            name = "gw"
            workers = 2
            drain_delay = "0s"
            shutdown_grace = "5s"
            [upstream]
            api_key_file = "partner.key"
            [upstream.budget]
            rate = "unlimited"
            max_in_flight = 64
            [upstream.retry]
            attempts = 0
            [telemetry]
            log_format = "json"
            [[callers]]
            name = "app"
            scopes = ["clients:read", "providers:read", "projects:read", "resources:read", "other:read", "pii:read", "write"]
            clients = ["*"]
            providers = ["*"]
        "#;
        let table = text.parse().unwrap();
        Self {
            table,
            key: format!("{REAL_KEY}\n"),
            admin: None,
            own_url: false,
            doors: vec![Table::new()],
            files: Vec::new(),
            environment: Vec::new(),
        }
        .set("upstream.url", url)
    }

    /// A sidecar to this hub, which it shows this token.
    pub(crate) fn behind(hub: &Gateway, token: &str) -> Self {
        let mut setup = Self::sidecar_to(&format!("http://{}", hub.address));
        token.clone_into(&mut setup.key);
        setup.set("upstream.token_file", "partner.key")
    }

    /// A sidecar to a hub at this address, without anything to show it yet.
    pub(crate) fn sidecar_to(url: &str) -> Self {
        let mut setup = Self::at(url).set("upstream.kind", "hub").set("server.name", "sidecar");
        setup.table["upstream"].as_table_mut().unwrap().remove("api_key_file");
        setup
    }

    /// Sets a dotted key.
    pub(crate) fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        let mut table = &mut self.table;
        let mut parts = key.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                table.insert(part.to_owned(), value.into());
                break;
            }
            let inner = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
            table = inner.as_table_mut().unwrap();
        }
        self
    }

    /// Makes its own address the issuer of its tokens, as strict clients want it.
    pub(crate) fn with_own_public_url(mut self) -> Self {
        self.own_url = true;
        self
    }

    /// Puts the admin listener there, in place of a free port.
    pub(crate) fn admin_at(mut self, listen: &str) -> Self {
        self.admin = Some(listen.to_owned());
        self
    }

    /// Adds a caller, with all clients and providers where `more`, which is TOML, does not say which.
    pub(crate) fn caller(mut self, name: &str, scopes: &[&str], more: &str) -> Self {
        let mut caller: Table = more.parse().unwrap();
        caller.insert("name".to_owned(), name.into());
        let list = |items: &[&str]| Value::from(items.iter().map(|item| Value::from(*item)).collect::<Vec<_>>());
        caller.insert("scopes".to_owned(), list(scopes));
        caller.entry("clients").or_insert_with(|| list(&["*"]));
        caller.entry("providers").or_insert_with(|| list(&["*"]));
        self.table["callers"].as_array_mut().unwrap().push(Value::Table(caller));
        self
    }

    /// Further settings of the public listener, beside its address.
    pub(crate) fn listener(mut self, settings: &str) -> Self {
        self.doors[0] = settings.parse().unwrap();
        self
    }

    /// A public listener that speaks TLS with this identity, and these settings beside.
    pub(crate) fn tls_listener(self, identity: &Identity, more: &str) -> Self {
        let setup = self.listener(&format!("{more}\n[tls]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\""));
        setup.file("cert.pem", &identity.cert).file("key.pem", &identity.key)
    }

    /// A file in the gateway's folder.
    pub(crate) fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// One more public listener, with these settings.
    pub(crate) fn extra_listener(mut self, settings: &str) -> Self {
        self.doors.push(settings.parse().unwrap());
        self
    }

    /// Whatever is JSON is a document: for tests that look at something else.
    pub(crate) fn any_shape(self) -> Self {
        let seven = ["clients", "client", "client_providers", "client_projects", "client_resources"];
        let seven = seven.into_iter().chain(["provider_resources", "project_resources"]);
        seven.fold(self, |setup, route| setup.set(&format!("routes.{route}.shape"), "any"))
    }

    /// A variable of its environment.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The text of the key's file.
    pub(crate) fn key_file(mut self, text: &str) -> Self {
        text.clone_into(&mut self.key);
        self
    }

    /// Writes the configuration and starts the gateway; again on other ports if somebody took these.
    pub(crate) fn start(self) -> Gateway {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("partner.key"), &self.key).unwrap();
        for (name, text) in &self.files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let mut setup = self;
        for _ in 0..3 {
            let [public, health, admin] =
                [free_port(), free_port(), free_port()].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            setup.doors[0].insert("address".to_owned(), Value::from(public.to_string()));
            let mut doors = setup.doors.clone();
            // The default address is one for all tests of this machine.
            for door in doors.iter_mut().filter(|door| !door.contains_key("address")) {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
                door.insert("address".to_owned(), Value::from(address.to_string()));
            }
            setup = setup.set("listeners", doors).set("health.listen", health.to_string());
            if setup.own_url {
                setup = setup.set("server.public_url", format!("http://{public}"));
            }
            let listen = setup.admin.clone().unwrap_or_else(|| admin.to_string());
            setup = setup.set("admin.listen", listen);
            std::fs::write(folder.path().join("gateway.toml"), setup.table.to_string()).unwrap();
            let config = folder.path().join("gateway.toml");
            let environment = setup.environment.iter().map(|(name, value)| (name, value));
            let mut program = Program::start(program().envs(environment).arg("serve").arg("--config").arg(&config));
            if is_ready(&mut program, health) {
                let table = setup.table;
                return Gateway { program, folder, table, address: public, health, admin, secrets: Mutex::default() };
            }
            assert!(program.stderr().contains("cannot listen"), "does not start: {}", program.stderr());
        }
        panic!("no free ports");
    }
}

/// As in a form.
pub(crate) fn form_encoded(value: &str) -> String {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    value.bytes().map(|byte| if safe(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn is_ready(program: &mut Program, health: SocketAddr) -> bool {
    wait_for("readiness", || {
        if program.try_wait().is_some() {
            return Some(false);
        }
        let listens = std::net::TcpStream::connect(health).is_ok();
        (listens && wire::ask(health, "GET", "/readyz", &[], b"").status == 200).then_some(true)
    })
}

/// The gateway, running.
pub(crate) struct Gateway {
    pub(crate) program: Program,
    folder: TempDir,
    /// Its configuration, for the next start.
    pub(crate) table: Table,
    pub(crate) address: SocketAddr,
    pub(crate) health: SocketAddr,
    /// Its admin listener, unless that is a Unix socket.
    pub(crate) admin: SocketAddr,
    secrets: Mutex<Vec<String>>,
}

impl Gateway {
    /// A file in its folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("gateway.toml")
    }

    /// Kills it without a word, as a machine that loses power does.
    pub(crate) fn kill(&mut self) {
        let _ = self.program.child.kill();
        let _ = self.program.child.wait();
    }

    /// Starts it again in its folder and on its ports, with the configuration as it is now.
    pub(crate) fn restart(&mut self) {
        self.kill();
        std::fs::write(self.config(), self.table.to_string()).unwrap();
        self.program = Program::start(program().arg("serve").arg("--config").arg(self.config()));
        assert!(is_ready(&mut self.program, self.health), "does not start again: {}", self.program.stderr());
    }

    /// The same, where no file may grow beyond `most` bytes: a disk that is full.
    pub(crate) fn restart_with_files_of(&mut self, most: u64) {
        self.restart_after(&format!("trap '' XFSZ; ulimit -S -f {}", most / 512), Stdio::null());
    }

    /// The same after these words of a shell, which has this as its standard input.
    pub(crate) fn restart_after(&mut self, words: &str, input: impl Into<Stdio>) {
        self.kill();
        std::fs::write(self.config(), self.table.to_string()).unwrap();
        let line = format!("{words}; exec \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &line, "limited", env!("CARGO_BIN_EXE_reseller-gateway"), "serve", "--config"]);
        command.arg(self.config()).stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.program = Program::start(&mut command);
        assert!(is_ready(&mut self.program, self.health), "does not start again: {}", self.program.stderr());
    }

    /// A form sent with a POST.
    pub(crate) fn post(&self, target: &str, headers: &[(&str, &str)], form: &[(&str, &str)]) -> Response {
        let body: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", form_encoded(value))).collect();
        let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
        all.extend_from_slice(headers);
        wire::ask(self.address, "POST", target, &all, body.join("&").as_bytes())
    }

    /// A token for a caller's secret, as `client_credentials` gives it.
    pub(crate) fn client_credentials_token(&self, name: &str, secret: &str, scope: &str) -> String {
        let form =
            [("grant_type", "client_credentials"), ("client_id", name), ("client_secret", secret), ("scope", scope)];
        let answer = self.post("/oauth/token", &[], &form);
        assert_eq!(answer.status, 200, "{answer:?}");
        self.keep_secret(answer.json()["access_token"].as_str().unwrap())
    }

    /// Where its signing keys lie.
    pub(crate) fn keys(&self) -> PathBuf {
        self.folder.path().join("state/keys")
    }

    /// Puts a file into its folder at once, as a rotation does.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let (made, place) = (self.folder.path().join("made"), self.folder.path().join(name));
        std::fs::write(&made, text).unwrap();
        std::fs::rename(made, place).unwrap();
    }

    /// An admin token, made from its signing keys as the commands make theirs.
    pub(crate) fn admin_token(&self) -> String {
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let ring = Ring::read(&self.keys(), Duration::from_secs(600)).unwrap();
        let token = operator::mint(&ring, "http://127.0.0.1:8080", "test", Clock::real().now()).unwrap();
        self.keep_secret(&token)
    }

    /// A request to the admin listener with such a token.
    pub(crate) fn admin_request(&self, method: &str, target: &str, body: &str) -> Response {
        let bearer = format!("Bearer {}", self.admin_token());
        self.seen(wire::send_request_to_host(
            "localhost",
            self.admin,
            method,
            target,
            &[("authorization", &bearer)],
            body.as_bytes(),
        ))
    }

    /// Runs a command with its configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        program().args(arguments).arg("--config").arg(self.config()).output().unwrap()
    }

    /// Runs `token issue`.
    pub(crate) fn issue(&self, caller: &str, scopes: &[&str], more: &[&str]) -> Output {
        let mut command = program();
        command.args(["token", "issue", "--caller", caller, "--config"]).arg(self.config()).args(more);
        for scope in scopes {
            command.args(["--scope", scope]);
        }
        command.output().unwrap()
    }

    /// A token of `app` with these scopes.
    pub(crate) fn token(&self, scopes: &[&str]) -> String {
        let issued = self.issue("app", scopes, &[]);
        assert!(issued.status.success(), "{}", String::from_utf8_lossy(&issued.stderr));
        self.keep_secret(String::from_utf8(issued.stdout).unwrap().trim())
    }

    /// Fails the test if this text is ever seen outside.
    pub(crate) fn keep_secret(&self, secret: &str) -> String {
        self.secrets.lock().unwrap().push(secret.to_owned());
        secret.to_owned()
    }

    pub(crate) fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.seen(wire::ask(self.address, method, target, headers, body))
    }

    pub(crate) fn get(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        self.send("GET", target, headers, b"")
    }

    /// A GET with a token.
    pub(crate) fn read(&self, token: &str, target: &str) -> Response {
        self.get(target, &[("authorization", &format!("Bearer {token}"))])
    }

    /// A GET with a token that must be answered with 200.
    pub(crate) fn get_ok(&self, token: &str, target: &str) -> Response {
        let answer = self.read(token, target);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    }

    /// A request whose answer is not read yet.
    pub(crate) fn call(&self, token: &str, target: &str) -> Connection {
        let mut caller = Connection::connect(self.address);
        caller.say(wire::request("GET", target, &[("authorization", &format!("Bearer {token}"))], b""));
        caller
    }

    /// Looks an answer over for secrets.
    pub(crate) fn seen(&self, answer: Response) -> Response {
        self.assert_no_secret(&answer.head_and_body());
        answer
    }

    fn assert_no_secret(&self, text: &str) {
        let secrets = self.secrets.lock().unwrap();
        for secret in secrets.iter().map(String::as_str).chain([REAL_KEY]) {
            assert!(!text.contains(secret), "a secret is out: {text}");
        }
    }

    /// The line of the access log for a request.
    pub(crate) fn log_line(&self, answer: &Response) -> serde_json::Value {
        let id = answer.expect_header("x-request-id");
        let mark = format!(r#""request_id":"{id}""#);
        let line = wait_for("a log line", || {
            self.program.stdout().lines().find(|line| line.contains(&mark)).map(str::to_owned)
        });
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// How the answer came, in one word of the log.
    pub(crate) fn outcome(&self, answer: &Response) -> String {
        self.log_line(answer)["outcome"].as_str().unwrap().to_owned()
    }

    /// Waits until the process log holds this: a line comes a moment after what it tells of.
    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_for(text, || self.program.stderr().contains(text).then_some(()));
    }

    /// All metrics as they are scraped.
    pub(crate) fn metrics(&self) -> String {
        wire::ask(self.health, "GET", "/metrics", &[], b"").text()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_no_secret(&self.program.stdout());
            self.assert_no_secret(&self.program.stderr());
            // A gateway that was told to end has none any more.
            if std::net::TcpStream::connect(self.health).is_ok() {
                self.assert_no_secret(&self.metrics());
            }
        }
    }
}
