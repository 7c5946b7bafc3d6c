"""Servers and workers of the rivals: on spare loopback ports, in folders of their own, ended by their pids."""
import contextlib
import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def spare_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def program(command, log, env=None):
    """Runs a command in a process group of its own, and ends the whole group after it."""
    with open(log, "ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                   env=env, cwd=HERE, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(8)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(port, process, log, within=60.0):
    end = time.monotonic() + within
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    with open(log, errors="replace") as f:
        raise SystemExit(f"nothing listens on port {port}: {f.read()[-500:]}")


@contextlib.contextmanager
def folder():
    path = tempfile.mkdtemp(prefix="framelane-versus-")
    # RabbitMQ's start script may run as another user.
    os.chmod(path, 0o777)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def redis_server(state):
    port, log = spare_port(), os.path.join(state, "redis.log")
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
               "--dir", state]
    with program(command, log) as process:
        wait_for(port, process, log)
        yield port


@contextlib.contextmanager
def rabbitmq_server(state):
    """Its server proper: the command in PATH insists on a user of its own."""
    found = glob.glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server")
    if not found:
        raise SystemExit("rabbitmq-server is not installed")
    port, log = spare_port(), os.path.join(state, "rabbitmq.log")
    plugins = os.path.join(state, "plugins")
    with open(plugins, "w") as f:
        f.write("[].\n")
    # A name, a port mapper and a cookie of its own, so that no other RabbitMQ of this machine is met.
    env = dict(os.environ, HOME=state, RABBITMQ_NODENAME=f"versus{port}@localhost",
               RABBITMQ_NODE_IP_ADDRESS="127.0.0.1", RABBITMQ_NODE_PORT=str(port),
               RABBITMQ_DIST_PORT=str(spare_port()), RABBITMQ_MNESIA_BASE=state, RABBITMQ_LOG_BASE=state,
               RABBITMQ_ENABLED_PLUGINS_FILE=plugins, ERL_EPMD_ADDRESS="127.0.0.1",
               ERL_EPMD_PORT=str(spare_port()),
               RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}")
    with program([sorted(found)[-1]], log, env) as process:
        wait_for(port, process, log)
        yield port
