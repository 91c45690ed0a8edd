"""What a program does that uses Docker's SDK; an assertion that fails ends it."""

import sys
import threading

import docker
from docker import errors

registry = sys.argv[1]
client = docker.from_env(timeout=60)

assert client.ping()
assert client.version()["ApiVersion"] >= "1.24"
assert client.info()["OSType"] == "linux"

# Output, exit codes, errors.
assert client.containers.run("busybox", ["echo", "hello"], remove=True) == b"hello\n"
try:
    client.containers.run("busybox", ["sh", "-c", "echo oops >&2; exit 3"], remove=True)
    raise AssertionError("no error for exit code 3")
except errors.ContainerError as e:
    assert e.exit_status == 3 and b"oops" in e.stderr, e
try:
    client.containers.get("nosuchcontainer")
    raise AssertionError("no error for an unknown container")
except errors.NotFound as e:
    assert "No such container: nosuchcontainer" in str(e), e

# A life.
c = client.containers.run(
    "busybox",
    ["sh", "-c", "echo $WHO; trap 'exit 0' TERM; while :; do sleep 0.05; done"],
    detach=True,
    environment={"WHO": "me"},
    labels={"test": "sdk"},
    mem_limit="64m",
    hostname="box",
)
c.reload()
assert c.status == "running", c.status
assert [x.id for x in client.containers.list(filters={"label": "test=sdk"})] == [c.id]
assert c.attrs["HostConfig"]["Memory"] == 64 << 20
assert c.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
for line in c.logs(stream=True, follow=True):
    assert line == b"me\n", line
    break
c.stop(timeout=5)
assert c.wait()["StatusCode"] == 0
c.restart(timeout=0)
c.kill("KILL")
assert c.wait()["StatusCode"] == 137
c.remove()

# Attach to a container's streams.
c = client.containers.create("busybox", ["cat"], stdin_open=True, tty=False)
s = c.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
c.start()
s._sock.sendall(b"typed\n")
got = b""
while len(got) < 8 + len(b"typed\n"):
    part = s._sock.recv(4096)
    assert part, "the stream ended early"
    got += part
assert got == b"\x01\0\0\0\0\0\0\x06typed\n", got
c.remove(force=True)

# Events, seen while they happen.
seen = []
events = client.events(decode=True, filters={"type": "container", "event": "die"})


def listen():
    for e in events:
        seen.append(e)
        return


listener = threading.Thread(target=listen)
listener.start()
while not seen:  # the subscription may come after the first container's end
    client.containers.run("busybox", ["true"], remove=True)
    listener.join(timeout=0.05)
listener.join()
assert seen[0]["Action"] == "die" and seen[0]["Actor"]["Attributes"]["exitCode"] == "0", seen

# Images.
image = client.images.get("busybox")
assert image.tags == ["busybox:latest"], image.tags
assert image.tag(registry + "/sdk/copy", tag="1")
for line in client.images.push(registry + "/sdk/copy", tag="1", stream=True, decode=True):
    assert "error" not in line, line
client.images.remove(registry + "/sdk/copy:1")
pulled = client.images.pull(registry + "/sdk/copy", tag="1")
assert pulled.history()
client.images.remove(registry + "/sdk/copy:1")
try:
    client.images.get(registry + "/sdk/copy:1")
    raise AssertionError("the image is still there")
except errors.ImageNotFound:
    pass
