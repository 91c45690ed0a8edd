"""What a program does that uses Docker's SDK; an assertion that fails ends it."""

import io
import sys
import tarfile
import threading
import time

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

# What runs, from outside: exec, processes, figures, files, limits.
c = client.containers.run("busybox", ["sleep", "1000"], detach=True, name="sdk-box", volumes={"sdk-volume": {"bind": "/data", "mode": "rw"}})
code, output = c.exec_run(["sh", "-c", "echo out; echo err >&2; exit 4"], demux=True)
assert code == 4 and output == (b"out\n", b"err\n"), (code, output)
code, output = c.exec_run("id -u", user="7", environment={"A": "b"}, workdir="/tmp")
assert code == 0 and output == b"7\n", (code, output)
assert any("sleep 1000" in " ".join(p) for p in c.top()["Processes"])
stats = c.stats(stream=False)
assert stats["memory_stats"]["usage"] > 0 and stats["cpu_stats"]["online_cpus"] > 0 and stats["precpu_stats"], stats
made = io.BytesIO()
with tarfile.open(fileobj=made, mode="w") as t:
    info = tarfile.TarInfo("given")
    info.size = 5
    t.addfile(info, io.BytesIO(b"hello"))
assert c.put_archive("/tmp", made.getvalue())
bits, stat = c.get_archive("/tmp/given")
assert stat["name"] == "given" and stat["size"] == 5, stat
with tarfile.open(fileobj=io.BytesIO(b"".join(bits))) as t:
    assert t.extractfile("given").read() == b"hello"
assert {"Path": "/tmp/given", "Kind": 1} in c.diff(), c.diff()
with tarfile.open(fileobj=io.BytesIO(b"".join(c.export()))) as t:
    assert "tmp/given" in t.getnames()
c.update(mem_limit="64m", memswap_limit="64m")
c.rename("sdk-renamed")
c.pause()
c.reload()
assert c.status == "paused" and c.name == "sdk-renamed", (c.status, c.name)
c.unpause()
image = c.commit("sdk-commit", tag="1", message="made")
assert client.containers.run("sdk-commit:1", ["cat", "/tmp/given"], remove=True) == b"hello"
saved = b"".join(image.save(named=True))
client.images.remove("sdk-commit:1")
assert client.images.load(saved)[0].tags == ["sdk-commit:1"]
client.images.remove("sdk-commit:1")
c.remove(force=True, v=True)

# Volumes, and what is pruned.
# The commit has made /data a volume of the image, so its container had one of its own.
assert "sdk-volume" in [v.name for v in client.volumes.list()]
assert len(client.volumes.prune()["VolumesDeleted"]) == 1
assert [v.name for v in client.volumes.list()] == ["sdk-volume"], client.volumes.list()
client.volumes.get("sdk-volume").remove()
client.volumes.create("sdk-made", labels={"a": "b"})
assert client.volumes.get("sdk-made").attrs["Labels"] == {"a": "b"}
client.volumes.get("sdk-made").remove()
c = client.containers.run("busybox", ["true"], detach=True)
c.wait()
assert client.containers.prune()["ContainersDeleted"] == [c.id]
assert client.df()["ImageUsage"]["TotalCount"] > 0, client.df()

# Health, and what a restart policy does.
c = client.containers.run(
    "busybox",
    ["sleep", "1000"],
    detach=True,
    healthcheck={"test": ["CMD", "true"], "interval": 100_000_000},
    restart_policy={"Name": "on-failure", "MaximumRetryCount": 3},
)
for _ in range(200):
    c.reload()
    if c.attrs["State"]["Health"]["Status"] == "healthy":
        break
    time.sleep(0.05)
else:
    raise AssertionError(c.attrs["State"])
c.remove(force=True)

# Networks that are there without being created, and containers on them.
assert sorted(n.name for n in client.networks.list()) == ["bridge", "host", "none"]
for mode in ["bridge", "host", "none"]:
    c = client.containers.run("busybox", ["sleep", "1000"], detach=True, network_mode=mode)
    network = client.networks.get(mode)
    assert c.id in network.attrs["Containers"], (mode, network.attrs)
    assert [m.id for m in network.containers if m.id == c.id] == [c.id]
    c.remove(force=True)
assert client.networks.prune() == {"NetworksDeleted": []}
try:
    client.networks.get("bridge").remove()
    raise AssertionError("the default bridge can be removed")
except docker.errors.APIError as e:
    assert e.status_code == 403, e

# Networks of one's own.
pool = docker.types.IPAMPool(subnet="10.231.20.0/24", iprange="10.231.20.64/26", gateway="10.231.20.1", aux_addresses={"printer": "10.231.20.64"})
network = client.networks.create(
    "sdk-net", driver="bridge", ipam=docker.types.IPAMConfig(pool_configs=[pool]), labels={"sdk": "yes"}, options={"com.docker.network.driver.mtu": "1400"}, attachable=True
)
network.reload()
assert network.attrs["IPAM"]["Config"][0]["AuxiliaryAddresses"] == {"printer": "10.231.20.64"}, network.attrs
assert network.attrs["Options"] == {"com.docker.network.driver.mtu": "1400"} and network.attrs["Labels"] == {"sdk": "yes"}, network.attrs
assert [n.name for n in client.networks.list(filters={"label": "sdk"})] == ["sdk-net"]
try:
    client.networks.create("sdk-net", check_duplicate=True)
    raise AssertionError("two networks of one name")
except docker.errors.APIError as e:
    assert e.status_code == 409, e
c = client.containers.run("busybox", ["sleep", "1000"], detach=True, network="sdk-net")
c.reload()
assert c.attrs["NetworkSettings"]["Networks"]["sdk-net"]["IPAddress"] == "10.231.20.65", c.attrs["NetworkSettings"]
client.networks.get("bridge").connect(c)
network.disconnect(c)
network.connect(c, ipv4_address="10.231.20.9", aliases=["web"], driver_opt={"com.docker.network.endpoint.ifname": "front0"})
c.reload()
endpoint = c.attrs["NetworkSettings"]["Networks"]["sdk-net"]
assert endpoint["IPAddress"] == "10.231.20.9" and "web" in endpoint["Aliases"] and "web" in endpoint["DNSNames"], endpoint
assert sorted(c.attrs["NetworkSettings"]["Networks"]) == ["bridge", "sdk-net"]
code, out = c.exec_run(["ip", "-o", "-4", "addr", "show", "dev", "front0"])
assert code == 0 and b"10.231.20.9/24" in out, out
try:
    network.remove()
    raise AssertionError("a network with somebody on it can be removed")
except docker.errors.APIError as e:
    assert e.status_code == 403, e
c.remove(force=True)
network.remove()

# Limits, devices and namespaces.
donor = client.containers.run("busybox", ["sleep", "1000"], detach=True, ipc_mode="shareable", name="sdk-donor")
out = client.containers.run(
    "busybox",
    ["sh", "-c", "readlink /proc/self/ns/ipc; grep -c peer /etc/hosts"],
    remove=True,
    ipc_mode="container:sdk-donor",
    links={"sdk-donor": "peer"},
    pids_limit=50,
    device_cgroup_rules=["c 1:11 r"],
    sysctls={"net.ipv4.ip_forward": "0"},
    oom_score_adj=10,
)
assert out.split()[1] == b"1", out
donor.remove(force=True)
