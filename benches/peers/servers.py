"""What is each server, how is it configured, and when is it ready?
Given a Plan (folder, partner, key, tokens), hands back Servers that start on one core, tell their memory, and stop.
Never measures requests; never leaves a process behind: each is told to end when the driver does."""

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
SERVER_CORE, LOAD_CORE = 0, 1
READY_LIMIT = 20
KEY_ENV = "BENCH_PARTNER_KEY"
SCOPES = ["clients:read", "projects:read", "providers:read", "resources:read", "pii:read", "other:read"]
CALLERS = [f"caller-{number}" for number in range(10)]
# Of the gateway alone: a caller without `pii:read`, whose token is bound to one client too.
NARROWED = "narrowed"

# Everything Varnish writes per request, so that it logs nothing while it is measured.
VARNISH_SILENT = ",".join("-" + tag for tag in (
    "Begin End Link Timestamp SessOpen SessClose ReqStart ReqMethod ReqURL ReqProtocol ReqHeader ReqUnset ReqAcct "
    "RespProtocol RespStatus RespReason RespHeader RespUnset BereqMethod BereqURL BereqProtocol BereqHeader BereqUnset "
    "BereqAcct BerespProtocol BerespStatus BerespReason BerespHeader BerespUnset VCL_call VCL_return VCL_use Hit "
    "HitMiss HitPass TTL Fetch_Body Length Storage BackendOpen BackendClose BackendReuse ExpBan Gzip Filters").split())


@dataclass
class Plan:
    """What all servers share; `tokens` is filled before the first of them starts."""
    dir: Path
    binaries: Path
    gateway: Path
    key: str
    partner_port: int
    access_log: bool
    tokens: list = field(default_factory=list)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pinned(core):
    """Runs in the child: pins it, and has it told to end when the driver dies."""
    def prepare():
        os.sched_setaffinity(0, {core})
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    return prepare


def spawn(argv, core, log, **more):
    """Starts a process in its own session, its output in the file `log` unless `more` says otherwise."""
    with open(log, "ab") as out:
        return subprocess.Popen([str(part) for part in argv], preexec_fn=pinned(core), start_new_session=True,
                                **{"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out, **more})


def fill_in(template, target, **values):
    """Writes `template` of this folder to `target`, each @name@ replaced."""
    text = (HERE / template).read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    target.write_text(text)


def nginx(plan, server):
    shutil.rmtree(server.dir / "cache", ignore_errors=True)
    bearers = [f"Bearer {token}" for token in plan.tokens]
    (server.dir / "tokens.map").write_text(
        "".join(f'"{bearer}" {caller};\n' for bearer, caller in zip(bearers, CALLERS)))
    fill_in("nginx.conf", server.dir / "nginx.conf", dir=server.dir, port=server.port, partner=plan.partner_port,
            key=plan.key, user=pwd.getpwuid(os.getuid()).pw_name,
            bucket=1 << (max(map(len, bearers)) + 64).bit_length(),
            access_log=f"{server.dir}/access.log line buffer=64k flush=1s" if plan.access_log else "off")
    return ["nginx", "-p", server.dir, "-c", server.dir / "nginx.conf", "-e", server.dir / "error.log"]


def varnish(plan, server):
    known = " || ".join(f'req.http.Authorization == "Bearer {token}"' for token in plan.tokens)
    fill_in("default.vcl", server.dir / "default.vcl", known=known, partner=plan.partner_port, key=plan.key)
    return ["varnishd", "-F", "-n", server.dir / "work", "-f", server.dir / "default.vcl", "-j", "none",
            "-a", f"127.0.0.1:{server.port}", "-s", "malloc,1g", "-l", "2m",
            "-p", "thread_pools=1", "-p", "thread_pool_min=100", "-p", "thread_pool_max=2000",
            "-p", "listen_depth=4096", "-p", "timeout_idle=300", "-p", f"vsl_mask={VARNISH_SILENT}"]


def haproxy(plan, server):
    (server.dir / "tokens.list").write_text("".join(f"Bearer {token}\n" for token in plan.tokens))
    fill_in("haproxy.cfg", server.dir / "haproxy.cfg", dir=server.dir, port=server.port,
            partner=plan.partner_port, key=plan.key)
    return ["haproxy", "-db", "-f", server.dir / "haproxy.cfg"]


def bare(plan, server):
    return [plan.binaries / "examples" / "bare", "--listen", f"127.0.0.1:{server.port}",
            "--partner", f"127.0.0.1:{plan.partner_port}", "--key", plan.key]


def gateway(plan, server):
    callers = "\n".join(
        f'[[callers]]\nname = "{name}"\nscopes = {scopes}\nclients = ["*"]\nproviders = ["*"]\ntoken_ttl = "12h"\n'
        for name, scopes in [*((name, SCOPES) for name in CALLERS), (NARROWED, ["clients:read"])])
    fill_in("gateway.toml", server.dir / "gateway.toml", dir=server.dir, port=server.port, partner=plan.partner_port,
            health=server.health_port, admin=server.admin_port, key_env=KEY_ENV, callers=callers,
            access_log="all" if plan.access_log else "off")
    return [plan.gateway, "serve", "--config", server.dir / "gateway.toml"]


KINDS = {"gateway": gateway, "bare": bare, "nginx": nginx, "varnish": varnish, "haproxy": haproxy}


class Server:
    """One server of the comparison; may be started and stopped again."""

    def __init__(self, plan, name):
        self.plan, self.name, self.process = plan, name, None
        self.dir = plan.dir / name
        self.dir.mkdir()
        self.port, self.health_port, self.admin_port = free_port(), free_port(), free_port()
        self.log = self.dir / "output.log"
        self.environment = {**os.environ, KEY_ENV: plan.key}

    @property
    def checks_tokens(self):
        return self.name != "bare"

    def start(self):
        """Starts it and waits; hands back the seconds from spawn to ready."""
        argv = KINDS[self.name](self.plan, self)
        before = time.perf_counter()
        self.process = spawn(argv, SERVER_CORE, self.log, env=self.environment)
        while not self.is_ready():
            if self.process.poll() is not None or time.perf_counter() - before > READY_LIMIT:
                raise RuntimeError(f"{self.name} did not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.0002)
        return time.perf_counter() - before

    def is_ready(self):
        """A connection is taken; the gateway must also say so itself."""
        try:
            if self.name != "gateway":
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
            with socket.create_connection(("127.0.0.1", self.health_port), 1) as ask:
                ask.sendall(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                return ask.recv(64).split(b" ")[1:2] == [b"200"]
        except OSError:
            return False

    def rss(self):
        """Resident bytes (VmRSS) of the process and all below it."""
        return sum(resident(pid) for pid in family(self.process.pid))

    def stop(self):
        if self.process is None:
            return
        members = family(self.process.pid)
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            for pid in members:
                kill(pid)
            self.process.wait(5)
        self.process = None

    def mint_tokens(self):
        """One token per caller, from the gateway's own command."""
        return [self.mint(caller) for caller in CALLERS]

    def mint(self, caller, *bounds):
        argv = KINDS["gateway"](self.plan, self)
        issue = [argv[0], "token", "issue", "--config", argv[-1], "--caller", caller, *bounds]
        made = subprocess.run(issue, env=self.environment, capture_output=True, text=True, timeout=20)
        if made.returncode != 0 or not made.stdout.strip():
            raise RuntimeError(f"token issue for {caller} failed:\n{made.stderr[-2000:]}")
        return made.stdout.strip()


def family(pid):
    """A process and all its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(member for child in children for member in family(int(child)))]


def resident(pid):
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
