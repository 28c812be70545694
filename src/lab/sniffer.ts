/**
 * A capture for user namespaces: tcpdump started by uid 0 insists on changing groups before it captures, which a namespace
 * with a single mapped user forbids. So Python (needed to build the addon anyway) opens the packet socket with the
 * filter that tcpdump compiled, and tcpdump only prints what it is fed as pcap, as nobody of one more namespace (it changes groups even to read).
 */
export const SNIFFER = `
import os, signal, socket, struct, subprocess, sys
device, text, options = sys.argv[1], sys.argv[2], sys.argv[3:]
code = subprocess.run(['tcpdump', '-ddd', '-y', 'EN10MB', text], check=True, capture_output=True, text=True).stdout.split('\\n')[1:]
program = b''.join(struct.pack('HBBI', *map(int, line.split())) for line in code if line)
import ctypes
buffer = ctypes.create_string_buffer(program)
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
sock.setsockopt(socket.SOL_SOCKET, 26, struct.pack('HL', len(program) // 8, ctypes.addressof(buffer)))
sock.bind((device, 0))
sock.setsockopt(263, 1, struct.pack('iHH8s', socket.if_nametoindex(device), 1, 0, b''))  # PACKET_MR_PROMISC
out = subprocess.Popen(['unshare', '--user', 'tcpdump', '-r', '-', '-n', '-l', '-tt', *options], stdin=subprocess.PIPE, start_new_session=True)
out.stdin.write(struct.pack('=IHHiIII', 0xa1b23c4d, 2, 4, 0, 0, 262144, 1))
out.stdin.flush()
def stop(*_): raise KeyboardInterrupt
signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)
SO_TIMESTAMPNS = 35
sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
print('listening on', device, file=sys.stderr, flush=True)
try:
    while True:
        frame, extra, _, _ = sock.recvmsg(262144, 512)
        seconds, nanos = struct.unpack('qq', extra[0][2]) if extra else (0, 0)
        out.stdin.write(struct.pack('=IIII', seconds & 0xffffffff, nanos, len(frame), len(frame)) + frame)
        out.stdin.flush()
except KeyboardInterrupt:
    pass
packets, drops = struct.unpack('II', sock.getsockopt(263, 6, 8))
out.stdin.close()
out.wait()
print(drops, 'packets dropped by kernel', file=sys.stderr, flush=True)
`;
