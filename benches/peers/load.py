"""How much does a server do, and is what it answers right?
Given a started server and files of paths and tokens, hands back requests per second, herd times, or raises Wrong.
Never trusts an answer unseen: status and length are checked before, and the partner's count after."""

import http.client
import json
import os
import subprocess
from pathlib import Path

from servers import HERE, LOAD_CORE, SERVER_CORE, pinned, spawn

CLIENT_BYTES, LIST_BYTES = 755, 90_000
OTHER_PATH = "/reseller/account/v1/other/thing/"
LIST_PATH = "/reseller/account/v1/clients/"
CONNECTIONS = 64


class Wrong(Exception):
    """A server answered what it must not."""


class Partner:
    """The fast partner, on the load's core."""

    def __init__(self, plan):
        self.plan = plan

    def start(self):
        argv = [self.plan.binaries / "examples" / "partner", "--listen", f"127.0.0.1:{self.plan.partner_port}",
                "--key", self.plan.key]
        self.process = spawn(argv, LOAD_CORE, self.plan.dir / "partner.log", stdout=subprocess.PIPE)
        if self.process.stdout.readline() != b"listening\n":
            raise RuntimeError(f"the partner did not start:\n{(self.plan.dir / 'partner.log').read_text()}")

    def stop(self):
        self.process.kill()
        self.process.wait(5)
        self.process.stdout.close()

    def ask(self, path):
        """`/_count` tells the calls so far, `/_reset` also forgets them."""
        return int(get(self.plan.partner_port, path)[1])


def get(port, path, token=None):
    """Status and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def verify(server, partner, client_path):
    """Right answers for a good token, a refusal for a bad one and for none, hits that cost no call."""
    token = server.plan.tokens[0]
    for path, length in ((client_path, CLIENT_BYTES), (LIST_PATH, LIST_BYTES), (OTHER_PATH, CLIENT_BYTES)):
        status, body = get(server.port, path, token)
        if (status, len(body)) != (200, length):
            raise Wrong(f"{server.name}: {path} is {status} with {len(body)} bytes, not 200 with {length}: {body[:300]}")
    partner.ask("/_reset")
    get(server.port, client_path, server.plan.tokens[-1])
    if partner.ask("/_count"):
        raise Wrong(f"{server.name}: another caller's hit was a call")
    get(server.port, OTHER_PATH, token)
    if partner.ask("/_count") != 1:
        raise Wrong(f"{server.name}: {OTHER_PATH} was not passed through")
    at = len(token) - 20
    bad = token[:at] + ("x" if token[at].lower() != "x" else "y") + token[at + 1:]
    for presented in (bad, None):
        status, _ = get(server.port, client_path, presented)
        if server.checks_tokens and status not in (401, 403):
            raise Wrong(f"{server.name}: a wrong token is answered with {status}")


def fill(server, paths, tokens):
    """Has the server fetch each path of the file once."""
    run = tool("fill", server, "--server", f"127.0.0.1:{server.port}", "--paths", paths, "--tokens", tokens)
    if run["failed"]:
        raise Wrong(f"{server.name}: {run['failed']} of the fill's answers were wrong")


def tool(name, server, *arguments):
    argv = [server.plan.binaries / "examples" / name, *arguments]
    done = subprocess.run([str(part) for part in argv], preexec_fn=pinned(LOAD_CORE), capture_output=True, text=True,
                          timeout=180)
    if done.returncode:
        raise Wrong(f"{server.name}: {name} failed: {done.stderr[-1000:]}")
    return json.loads(done.stdout)


def throughput(server, paths, tokens, seconds, length):
    """One round of wrk; also tells how busy the server's core was."""
    environment = {**os.environ, "PATHS": str(paths), "TOKENS": str(tokens)}
    argv = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s", "-s", str(HERE / "hits.lua"),
            f"http://127.0.0.1:{server.port}"]
    before = core_times()
    done = subprocess.run(argv, preexec_fn=pinned(LOAD_CORE), env=environment, capture_output=True, text=True,
                          timeout=seconds + 30)
    after = core_times()
    if done.returncode:
        raise Wrong(f"{server.name}: wrk failed: {done.stderr[-1000:]}")
    round_ = json.loads(done.stderr.strip().splitlines()[-1])
    if round_["failed"] or round_["bytes"] < round_["requests"] * length:
        raise Wrong(f"{server.name}: wrk saw failures or short bodies: {round_}")
    idle, total = after[0] - before[0], after[1] - before[1]
    return {"rate": round_["requests"] / round_["seconds"], "p99_ms": round_["p99_ms"],
            "busy": 1 - idle / max(total, 1)}


def core_times():
    """Idle and total ticks of the server's core."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{SERVER_CORE} "):
            ticks = [int(tick) for tick in line.split()[1:9]]
            return ticks[3] + ticks[4], sum(ticks)
    raise RuntimeError("no times of the server's core in /proc/stat")


def herd(server, paths, tokens, connections):
    """1,000 cold requests at once per path; the herd program is the slow partner. Starts and stops the server."""
    plan = server.plan
    argv = [plan.binaries / "examples" / "herd", "--listen", f"127.0.0.1:{plan.partner_port}",
            "--server", f"127.0.0.1:{server.port}", "--paths", paths, "--tokens", tokens,
            "--connections", connections]
    crowd = spawn(argv, LOAD_CORE, plan.dir / "herd.log", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        if crowd.stdout.readline() != b"listening\n":
            raise Wrong(f"the herd did not start:\n{(plan.dir / 'herd.log').read_text()}")
        server.start()
        out, _ = crowd.communicate(b"go\n", timeout=120)
        if crowd.returncode:
            raise Wrong(f"{server.name}: the herd failed:\n{(plan.dir / 'herd.log').read_text()[-1000:]}")
        return [json.loads(line) for line in out.splitlines()]
    finally:
        crowd.kill()
        crowd.wait(5)
        server.stop()
