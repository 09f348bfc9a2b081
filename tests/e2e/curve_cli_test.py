#!/usr/bin/env python3
"""Keys, as people use them on several hosts: quern keygen, a broker that listens by TCP, and commands,
a supervisor and workers that reach it with a key and in no other way. P-103 to P-107."""

import json
import os
import pathlib
import re
import signal
import socket
import stat
import subprocess
import unittest

import quern_tree
from quern_tree import BIN, DEADLINE_S, Quern, is_alive, wait_for

ROLES = ("client", "worker", "gateway", "operator")
PEERS = {
    "op": ["--role", "operator"],
    "anna": ["--role", "client", "--tenant", "anna"],
    "bert": ["--role", "client", "--tenant", "bert"],
    "worker": ["--role", "worker"],
    "echo": ["--role", "worker", "--kinds", "echo"],
}
CONFIG = """
broker:
  heartbeat: 200ms
  key_file: {key_file}
{endpoints}
streams:
  tcp_worker: tcp://127.0.0.1:*
  tcp_reader: tcp://127.0.0.1:*
kinds: {{echo: {{}}, stream: {{streams: true}}}}
journal: {{segment_size: 4MiB, batch_bytes: 4MiB, disk_min_free: 0}}
pools:
  far: {{kinds: [echo, stream], processes_min: 1, processes_max: 2, restart_backoff: 50ms}}
keys:
{keys}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Host:
    """Another host: it has nothing of the broker's but what was brought there."""

    def __init__(self, scene, name):
        self.path = scene.quern.path / f"host-{name}"
        self.path.mkdir()
        self.scene, self.name = scene, name
        self.key = self.path / "my.key"
        self.key.write_bytes((scene.keys / f"{name}.key").read_bytes())
        self.key.chmod(0o600)

    def environment(self, role, **more):
        ours = {"QUERN_BROKER": self.scene.endpoints[role], "QUERN_KEY_FILE": str(self.key)}
        return quern_tree.environment(**{**ours, **more})

    def run(self, role, *words, **more):
        return subprocess.run([BIN / "quern", *map(str, words)], text=True, capture_output=True,
                              check=False, cwd=self.path, timeout=3 * DEADLINE_S,
                              stdin=subprocess.DEVNULL, env=self.environment(role, **more))

    def __call__(self, role, *words, status=0):
        done = self.run(role, *words)
        if done.returncode != status:
            raise AssertionError(f"{words}: status {done.returncode}, not {status}\n{done.stdout}"
                                 f"{done.stderr}\n{self.scene.quern.log_tail()}")
        return done.stderr.strip() if status else done.stdout.strip()


class Keys(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.quern = Quern("")
        cls.addClassCleanup(cls.quern.close)
        cls.processes = []
        cls.addClassCleanup(cls.end_processes)
        cls.keys = cls.quern.data / "keys"
        cls.server = cls.quern.json("keygen", "--server")
        cls.lines = {name: cls.quern("keygen", name, *words) for name, words in PEERS.items()}
        cls.quern("keygen", "stranger", "--role", "operator")
        cls.endpoints = {role: f"tcp://127.0.0.1:{free_port()}" for role in ROLES}
        cls.configure()
        cls.start_broker()

    @classmethod
    def configure(cls, without=()):
        keys = "\n".join("  " + lines for name, lines in cls.lines.items() if name not in without)
        endpoints = "\n".join(f"  tcp_{role}: {at}" for role, at in cls.endpoints.items())
        cls.quern.config.write_text(CONFIG.format(key_file=cls.server["file"], keys=keys,
                                                  endpoints=endpoints))

    @classmethod
    def spawn(cls, program, *words, env=None):
        with open(cls.quern.log, "ab") as log:
            process = subprocess.Popen([BIN / program, *map(str, words)], stderr=log,
                                       stdin=subprocess.DEVNULL,
                                       env=env or quern_tree.environment())
        cls.processes.append(process)
        return process

    @classmethod
    def end_processes(cls):
        for process in cls.processes:
            if process.poll() is None:
                process.kill()
            process.wait()

    @classmethod
    def start_broker(cls):
        before = len(cls.quern.events("broker.ready"))
        cls.broker = cls.spawn("quern-broker", "--data", cls.quern.data, "--config",
                               cls.quern.config)
        wait_for("the broker", lambda: len(cls.quern.events("broker.ready")) > before)

    def reload(self):
        before = len(self.quern.events("config.reloaded"))
        self.broker.send_signal(signal.SIGHUP)
        wait_for("the reload", lambda: len(self.quern.events("config.reloaded")) > before)

    def host(self, name):
        if not hasattr(self, "hosts"):
            self.hosts = {}
        if name not in self.hosts:
            self.hosts[name] = Host(self, f"{name}")
            self.addCleanup(lambda: subprocess.run(["rm", "-r", self.hosts[name].path],
                                                   check=True))
        return self.hosts[name]

    def worker(self, name, *words):
        return self.spawn("quern-worker", *words, env=self.host(name).environment("worker"))

    # --- making keys -----------------------------------------------------------------------------

    def secrets(self):
        return [re.search(r"secret: ([0-9a-f]{64})", path.read_text())[1]
                for path in self.keys.iterdir()]

    def test_files(self):
        """A secret is in its file and nowhere else."""
        self.assertEqual(stat.S_IMODE(self.keys.stat().st_mode), 0o700)
        for path in self.keys.iterdir():
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        said = "".join(self.lines.values()) + self.quern.log.read_text() + \
            self.quern("keys", "--config", self.quern.config) + \
            self.quern("keys", "--json", "--config", self.quern.config) + \
            self.quern.run("doctor", "--config", self.quern.config).stdout
        for secret in self.secrets():
            self.assertNotIn(secret, said)
        public = self.server["public"]
        for name in PEERS:
            self.assertIn(f"server: {public}", (self.keys / f"{name}.key").read_text())

    def test_keygen_refuses(self):
        for words, says in (
                (["a", "--role", "client"], "keys.a.tenant: is missing"),
                (["a"], "--role is missing"),
                (["a", "--role", "worker", "--tenant", "x"], "a worker gets jobs of all tenants"),
                (["a", "--role", "operator", "--kinds", "b"], "only a worker runs kinds"),
                (["a", "--role", "worker", "--kinds", "b,,c"], "is not a name"),
                (["--server", "--role", "worker"], "are of a peer's key"),
                ([], "give either a NAME or --server")):
            self.assertIn(says, self.quern.fails(2, "keygen", *words))
            self.assertFalse((self.keys / "a.key").exists())
        self.assertIn("is there already", self.quern.fails(1, "keygen", "--server"))

    def test_keys_lists(self):
        rows = {row["name"]: row for row in
                self.quern.json("keys", "--config", self.quern.config)}
        self.assertEqual(set(rows), set(PEERS))
        self.assertEqual(rows["anna"]["tenant"], "anna")
        self.assertEqual(rows["echo"]["kinds"], ["echo"])

    def test_doctor(self):
        said = self.quern.run("doctor", "--config", self.quern.config).stdout
        self.assertIn("broker.key_file is good, and 5 keys are listed", said)
        key = pathlib.Path(self.server["file"])
        key.chmod(0o644)
        said = self.quern.run("doctor", "--config", self.quern.config).stdout
        key.chmod(0o600)
        self.assertRegex(said, r"bad +keys +broker.key_file: .*server.key: has mode 0644")

    # --- with the right ones ---------------------------------------------------------------------

    def test_every_program(self):
        """A supervisor with its workers, and commands, none of them on the broker's host."""
        op, worker, anna = self.host("op"), self.host("worker"), self.host("anna")
        pools = self.spawn("quern-pools", "--broker", self.endpoints["operator"], "--workers",
                           self.endpoints["worker"], "--config", self.quern.config,
                           "--key-file", op.key, "--worker-key-file", worker.key)
        self.assertEqual(json.loads(op("operator", "submit", "echo", "--payload", '{"a": 1}',
                                       "--wait")), {"a": 1})
        said = op("operator", "submit", "stream", "--payload", '{"pieces": 20, "bytes": 8}',
                  "--stream")
        self.assertIn("20", said)
        self.assertEqual(json.loads(anna("client", "submit", "echo", "--payload", '{"b": 2}',
                                         "--wait")), {"b": 2})
        self.assertEqual(json.loads(op("operator", "workers", "--json"))[0]["pool"], "far")
        for pid in self.quern.pids("quern-worker"):
            words = pathlib.Path(f"/proc/{pid}/cmdline").read_text()
            env = pathlib.Path(f"/proc/{pid}/environ").read_text()
            self.assertFalse([s for s in self.secrets() if s in words + env])
        # Another life of the broker, at the same place.
        self.broker.kill()
        self.broker.wait()
        self.start_broker()
        self.assertEqual(json.loads(op("operator", "submit", "echo", "--payload", '{"c": 3}',
                                       "--wait")), {"c": 3})
        pools.terminate()
        self.assertEqual(pools.wait(DEADLINE_S), 0)

    def test_tenants(self):
        anna, bert = self.host("anna"), self.host("bert")
        job = anna("client", "submit", "echo", "--delay", "1h")
        self.assertEqual(json.loads(anna("client", "job", job, "--json"))["tenant"], "anna")
        self.assertIn("not known", bert("client", "job", job, status=4))
        self.assertIn("not known", bert("client", "cancel", job, status=4))
        self.assertNotIn(job, bert("client", "jobs"))
        self.assertIn("submit.tenant", bert("client", "submit", "echo", "--tenant", "anna",
                                            status=2))
        self.assertIn("is for tenant 'bert'", bert("client", "status", status=2))
        anna("client", "cancel", job)

    def test_kinds(self):
        """A worker whose key has kinds is refused with others, and the kind is named."""
        refused = self.worker("echo")
        self.assertEqual(refused.wait(DEADLINE_S), 3)
        self.assertIn("is none that key 'echo' may run", self.quern.log.read_text())
        good = self.worker("echo", "--kinds", "echo")
        op = self.host("op")
        self.assertEqual(op("operator", "submit", "echo", "--wait"), "{}")
        good.terminate()
        self.assertEqual(good.wait(DEADLINE_S), 0)

    # --- without ---------------------------------------------------------------------------------

    def test_wrong_keys(self):
        op, stranger = self.host("op"), self.host("stranger")
        done = stranger.run("operator", "status")
        self.assertEqual(done.returncode, 3)
        self.assertIn("it refuses this key", done.stderr)
        public = re.search("public: ([0-9a-f]+)", stranger.key.read_text())[1]
        event = wait_for("the log", lambda: [
            event for event in self.quern.events("key.refused") if event["key"] == public[:8]])[0]
        self.assertEqual((event["address"], event["endpoint"]), ("127.0.0.1", "operator"))
        done = op.run("operator", "status", QUERN_SERVER_KEY="0" * 64)
        self.assertEqual(done.returncode, 3)
        self.assertIn("the handshake failed", done.stderr)
        done = op.run("operator", "status", QUERN_KEY_FILE="")
        self.assertEqual(done.returncode, 3)
        self.assertIn("it may want a key", done.stderr)
        done = op.run("worker", "status")
        self.assertEqual(done.returncode, 2)
        self.assertIn("key 'op' is for the role operator, this endpoint is for worker", done.stderr)
        done = op.run("operator", "status", QUERN_BROKER="tcp://192.0.2.1:7000", QUERN_KEY_FILE="")
        self.assertEqual(done.returncode, 2)
        self.assertIn("a key is needed", done.stderr)

    def test_bad_files(self):
        op = self.host("op")
        text = op.key.read_text()
        secret = re.search("secret: ([0-9a-f]+)", text)[1]
        for what, says in ((text.replace("secret: ", "secret: 0"), ":3: secret: 65 characters"),
                           (text.replace(secret, "1" * 64), "do not belong together"),
                           (text + "more: 1\n", ":5: expected public:, secret: or server:"),
                           (text + text, ":6: public: given twice, first in line 2"),
                           (re.sub("public: .*\n", "", text), "public: is missing"),
                           (re.sub("server: .*\n", "", text), "no line server:"),
                           (text + "#" * 5000, "is larger than 4096 bytes")):
            op.key.write_text(what)
            said = op("operator", "status", status=2)
            self.assertIn(says, said)
            self.assertNotIn(secret, said)
        op.key.write_text(text)
        op.key.chmod(0o640)
        said = op("operator", "status", status=2)
        self.assertIn(f"{op.key}: has mode 0640", said)

    def test_taken_out(self):
        """A reload ends what the key has; once it is back its worker goes on by itself."""
        anna = self.host("anna")
        worker = self.worker("worker", "--kinds", "echo")
        anna("client", "submit", "echo", "--wait")
        self.configure(without=("anna", "worker"))
        self.reload()
        wait_for("the ends", lambda: {"anna", "worker"} <= {
            event["key"] for event in self.quern.events("key.ended")})
        self.assertIn("it refuses this key", anna("client", "submit", "echo", status=3))
        local = self.quern("submit", "echo")
        wait_for("its handshake to fail", lambda: self.quern.events("worker.handshake"))
        self.assertEqual(self.quern.state(local), "ready")
        self.configure()
        self.reload()
        self.quern.wait_state(local, "done")
        self.assertTrue(is_alive(worker.pid))
        worker.terminate()
        self.assertEqual(worker.wait(DEADLINE_S), 0)


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    quern_tree.main()
