// load send: UDP packets of one size at a fixed rate.
//
// Theory of operation. A packet socket writes whole Ethernet frames, so that a million flows need no million sockets, nothing
// is grouped on the way (no GSO), and a packet costs the client as little as it can: what is measured is the router.
// The rate is kept by a token clock: packets that are due since the start, less those that were sent, sent in one sendmmsg of
// at most kBatch; then sleep until the next batch is due. A generator that was off the processor for long would owe a burst
// that no real sender sends and that overflows any queue, so the debt is cut to `debt` packets: it offers less, and says so
// (`sent`, `forgiven`). Flow n is (destination port, source, source port, destination) by mixed radix; flows come in an order without
// neighbours (multiplication by a number that has no divisor in common with the number of flows).
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <numeric>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "load.h"

namespace {

constexpr int kBatch = 64;
constexpr int kEthernet = 14;
constexpr int kIp = kEthernet;
constexpr int kUdp = kIp + 20;
constexpr int kPayload = kUdp + 8;
constexpr int kMaxFrame = 1514;

struct Flows {
  uint32_t from, to;
  uint64_t sources, sports, targets, dports;
  uint32_t sport, dport, dport_step;
  uint64_t count, stride;
};

uint32_t Address(const std::string& text) {
  in_addr parsed;
  if (inet_pton(AF_INET, text.c_str(), &parsed) != 1) Fail("not an IPv4 address: " + text);
  return ntohl(parsed.s_addr);
}

void Put16(uint8_t* at, uint32_t value) {
  at[0] = static_cast<uint8_t>(value >> 8);
  at[1] = static_cast<uint8_t>(value);
}

void Put32(uint8_t* at, uint32_t value) {
  Put16(at, value >> 16);
  Put16(at + 2, value);
}

uint32_t Sum(const uint8_t* at, int bytes, uint32_t sum) {
  for (int i = 0; i + 1 < bytes; i += 2) sum += static_cast<uint32_t>(at[i] << 8 | at[i + 1]);
  if (bytes & 1) sum += static_cast<uint32_t>(at[bytes - 1] << 8);
  return sum;
}

uint32_t Fold(uint32_t sum) {
  sum = (sum & 0xffff) + (sum >> 16);
  return ((sum & 0xffff) + (sum >> 16)) & 0xffff;
}

/** The frame of one flow's next packet; both checksums as a real sender would have them. */
void Write(uint8_t* frame, int length, const Flows& flows, uint64_t flow, Payload payload) {
  uint64_t n = flow;
  const uint32_t dport = flows.dport + flows.dport_step * static_cast<uint32_t>(n % flows.dports);
  n /= flows.dports;
  const uint32_t source = flows.from + static_cast<uint32_t>(n % flows.sources);
  n /= flows.sources;
  const uint32_t sport = flows.sport + static_cast<uint32_t>(n % flows.sports);
  n /= flows.sports;
  const uint32_t target = flows.to + static_cast<uint32_t>(n % flows.targets);

  uint8_t* ip = frame + kIp;
  Put16(ip + 10, 0);
  Put32(ip + 12, source);
  Put32(ip + 16, target);
  Put16(ip + 10, ~Fold(Sum(ip, 20, 0)));
  uint8_t* udp = frame + kUdp;
  Put16(udp, sport);
  Put16(udp + 2, dport);
  Put16(udp + 6, 0);
  memcpy(frame + kPayload, &payload, sizeof payload);
  const int bytes = length - 20;
  const uint32_t sum = Fold(Sum(udp, bytes, Sum(ip + 12, 8, 17 + static_cast<uint32_t>(bytes))));
  Put16(udp + 6, sum == 0xffff ? 0xffff : ~sum);
}

int Open(const std::string& interface) {
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (fd < 0) FailErrno("packet socket");
  sockaddr_ll address = {};
  address.sll_family = AF_PACKET;
  address.sll_ifindex = static_cast<int>(if_nametoindex(interface.c_str()));
  if (address.sll_ifindex == 0) Fail("no interface " + interface);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) FailErrno("bind to " + interface);
  int on = 1;
  setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on);
  return fd;
}

void Mac(const std::string& text, uint8_t* into) {
  unsigned b[6];
  if (sscanf(text.c_str(), "%x:%x:%x:%x:%x:%x", b, b + 1, b + 2, b + 3, b + 4, b + 5) != 6) Fail("not a MAC: " + text);
  for (int i = 0; i < 6; i++) into[i] = static_cast<uint8_t>(b[i]);
}

void SleepUntil(int64_t moment) {
  timespec t = {moment / kSecond, moment % kSecond};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr);
}

}  // namespace

void Send(Options& o) {
  Flows flows = {};
  flows.from = Address(o.Text("from"));
  flows.to = Address(o.Text("to"));
  flows.sources = static_cast<uint64_t>(o.Number("sources", 1));
  flows.sport = static_cast<uint32_t>(o.Number("sport", 5000));
  flows.sports = static_cast<uint64_t>(o.Number("sports", 1));
  flows.targets = static_cast<uint64_t>(o.Number("targets", 1));
  flows.dport = static_cast<uint32_t>(o.Number("dport", 7000));
  flows.dports = static_cast<uint64_t>(o.Number("dports", 1));
  flows.dport_step = static_cast<uint32_t>(o.Number("dport-step", 1));
  flows.count = static_cast<uint64_t>(o.Number("flows", 1));
  const std::string interface = o.Text("interface");
  const std::string mac = o.Text("mac"), own = o.Text("own-mac");
  const double rate = o.Number("rate", 0);  // 0: as fast as it goes
  const double seconds = o.Number("seconds", 1);
  const uint64_t packets = static_cast<uint64_t>(o.Number("packets", 0));  // 0: until the time is over
  const double debt = o.Number("debt", 256);
  const int length = static_cast<int>(o.Number("length", 64));
  const uint32_t run = static_cast<uint32_t>(o.Number("run", 1));
  const bool realtime = o.Number("realtime", 0) != 0;
  o.Done();
  if (length < 28 + static_cast<int>(sizeof(Payload)) || length > 1500) Fail("--length is that of the IP packet, 52 to 1500");
  if (flows.count < 1 || flows.count > flows.sources * flows.sports * flows.targets * flows.dports)
    Fail("there are not that many combinations of sources, ports and targets");
  flows.stride = flows.count / 2 + flows.count / 8 + 1;
  while (std::gcd(flows.stride, flows.count) != 1) flows.stride++;

  const int fd = Open(interface);
  prctl(PR_SET_TIMERSLACK, 1);
  sched_param priority = {};
  priority.sched_priority = 1;
  const bool first = realtime && sched_setscheduler(0, SCHED_FIFO, &priority) == 0;

  static uint8_t frames[kBatch][kMaxFrame];
  mmsghdr messages[kBatch] = {};
  iovec pieces[kBatch];
  for (int i = 0; i < kBatch; i++) {
    uint8_t* frame = frames[i];
    Mac(mac, frame);
    Mac(own, frame + 6);
    Put16(frame + 12, ETH_P_IP);
    frame[kIp] = 0x45;
    Put16(frame + kIp + 2, static_cast<uint32_t>(length));
    Put16(frame + kIp + 6, 0x4000);  // DF, as Linux sends it
    frame[kIp + 8] = 64;
    frame[kIp + 9] = 17;
    Put16(frame + kUdp + 4, static_cast<uint32_t>(length - 20));
    pieces[i] = {frame, static_cast<size_t>(kEthernet + length)};
    messages[i].msg_hdr.msg_iov = &pieces[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }

  // A batch each 50 µs: often enough for queues of a few hundred packets, seldom enough to sleep in between.
  const double per_batch = rate == 0 ? kBatch : std::min<double>(kBatch, std::max(1.0, rate * 50e-6));
  const int64_t start = Now(CLOCK_MONOTONIC);
  const int64_t end = start + static_cast<int64_t>(seconds * kSecond);
  uint64_t sent = 0, refused = 0, flow = 0;
  double forgiven = 0;
  int64_t now = start;
  for (; now < end && (packets == 0 || sent < packets); now = Now(CLOCK_MONOTONIC)) {
    int n = kBatch;
    if (rate != 0) {
      double due = static_cast<double>(now - start) * rate / kSecond - static_cast<double>(sent) - forgiven + 1;
      if (due > debt) {
        forgiven += due - debt;
        due = debt;
      }
      if (due < per_batch) {
        SleepUntil(now + static_cast<int64_t>((per_batch - due) / rate * kSecond) + 1);
        continue;
      }
      n = std::min(kBatch, static_cast<int>(due));
    }
    if (packets != 0) n = static_cast<int>(std::min<uint64_t>(static_cast<uint64_t>(n), packets - sent));
    const int64_t stamp = Now(CLOCK_REALTIME);
    for (int i = 0; i < n; i++) {
      Write(frames[i], length, flows, flow, {run, static_cast<uint32_t>(flow), sent + static_cast<uint64_t>(i), stamp});
      flow = (flow + flows.stride) % flows.count;
    }
    int done = 0;
    while (done < n) {
      int taken = sendmmsg(fd, messages + done, static_cast<unsigned>(n - done), 0);
      if (taken > 0) {
        done += taken;
      } else if (errno == ENOBUFS || errno == EAGAIN) {
        refused++;
        if (Now(CLOCK_MONOTONIC) > end) break;
        SleepUntil(Now(CLOCK_MONOTONIC) + 20000);
      } else if (errno != EINTR) {
        FailErrno("sendmmsg on " + interface);
      }
    }
    sent += static_cast<uint64_t>(done);
  }
  const double took = static_cast<double>(now - start) / kSecond;
  printf("{\"sent\":%llu,\"seconds\":%.6f,\"forgiven\":%.0f,\"refused\":%llu,\"realtime\":%s}\n",
         static_cast<unsigned long long>(sent), took, forgiven, static_cast<unsigned long long>(refused),
         first ? "true" : "false");
}
