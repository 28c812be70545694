"""What systemd does for a Type=notify service, as far as the tests need it: starts it with the variables of sd_notify(3) and
sd_listen_fds(3), prints each message as a JSON line, and keeps descriptors (FDSTORE) from one start to the next.

    manager.py SOCKET      on stdin: {"start": [argv], "env": {}} or {"signal": "USR2"}, a line each
                           on stdout: {"message": "READY=1\\n…", "fds": 0}, {"pid": 1}, {"exit": 0}
"""
import array, json, os, select, signal, socket, sys

path = sys.argv[1]
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sock.bind(path)
os.chmod(path, 0o777)
stored = []  # (name, descriptor)
pid = None


def say(**what):
    print(json.dumps(what), flush=True)


def receive():
    text, ancillary, _, _ = sock.recvmsg(65536, socket.CMSG_SPACE(64 * 4))
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    fields = dict(line.split("=", 1) for line in text.decode().splitlines())
    if fields.get("FDSTOREREMOVE") == "1":
        for name, fd in [one for one in stored if one[0] == fields["FDNAME"]]:
            os.close(fd)
            stored.remove((name, fd))
    for fd in fds:
        if fields.get("FDSTORE") == "1":
            stored.append((fields["FDNAME"], fd))
        else:
            os.close(fd)
    say(message=text.decode(), fds=len(fds), stored=len(stored))


def start(argv, env):
    global pid
    pid = os.fork()
    if pid == 0:
        high = [os.dup2(fd, 100 + i) for i, (_, fd) in enumerate(stored)]
        for i, fd in enumerate(high):
            os.dup2(fd, 3 + i)
        os.closerange(3 + len(high), 200)
        listen = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(high)),
                  "LISTEN_FDNAMES": ":".join(name for name, _ in stored)} if high else {}
        os.dup2(2, 1)
        os.execvpe(argv[0], argv, {**os.environ, **env, **listen, "NOTIFY_SOCKET": path})
    say(pid=pid)


reads = [sock, 0]
rest = b""
while True:
    ready, _, _ = select.select(reads, [], [], 0.05)
    if sock in ready:
        receive()
        continue
    if pid is not None:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            pid = None
            say(exit=os.waitstatus_to_exitcode(status))
    if 0 in ready:
        more = os.read(0, 65536)
        if not more:
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
            os.unlink(path)
            sys.exit(0)
        rest += more
        *lines, rest = rest.split(b"\n")
        for line in lines:
            order = json.loads(line)
            if "start" in order:
                start(order["start"], order.get("env", {}))
            elif pid is not None:
                os.kill(pid, getattr(signal, "SIG" + order["signal"]))
