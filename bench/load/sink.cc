// load sink: receives what `load send` sent, until SIGTERM or SIGINT.
//
// Theory of operation. One UDP socket takes every destination address (the namespace has local routes for them). It is drained
// with recvmmsg and then left alone for half a millisecond, so that the sink costs the two cores as little as it can: no wake-up
// for each packet. Delays do not suffer: the kernel stamps each arrival (SO_TIMESTAMPNS, only with --delays 1) on the clock
// that the sender wrote into the packet. What the socket's own queue dropped is not the router's loss and is told apart.
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>

#include "load.h"

namespace {

constexpr int kBatch = 256;
constexpr int kBytes = 64;  // the payload's head is enough; the rest is cut off
volatile sig_atomic_t stopped = 0;

int Open(int port, bool stamps) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) FailErrno("socket");
  int room = 64 << 20, on = 1;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) != 0)
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  if (stamps) setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) FailErrno("bind to UDP port");
  return fd;
}

uint32_t Dropped(int fd) {
  uint32_t words[SK_MEMINFO_VARS] = {};
  socklen_t bytes = sizeof words;
  return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, words, &bytes) == 0 ? words[SK_MEMINFO_DROPS] : 0;
}

int64_t Arrival(msghdr& header) {
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS) continue;
    timespec t;
    memcpy(&t, CMSG_DATA(c), sizeof t);
    return t.tv_sec * kSecond + t.tv_nsec;
  }
  return 0;
}

/** Delays of a stream, and its longest silence beyond what the sender's own silence explains. */
struct Delays {
  std::vector<double> micros;
  int64_t last_arrival = 0, last_sent = 0;
  double gap = 0;

  void Add(const Payload& payload, int64_t arrival) {
    if (arrival == 0) return;
    micros.push_back(static_cast<double>(arrival - payload.sent) / 1000);
    if (last_arrival != 0) {
      const int64_t own = std::max<int64_t>(0, payload.sent - last_sent);
      gap = std::max(gap, static_cast<double>(arrival - last_arrival - own) / 1000);
    }
    last_arrival = arrival;
    last_sent = payload.sent;
  }
};

}  // namespace

void Sink(Options& o) {
  const int port = static_cast<int>(o.Number("port", 7000));
  const uint32_t run = static_cast<uint32_t>(o.Number("run", 1));
  const bool delays = o.Number("delays", 0) != 0;
  o.Done();
  const int fd = Open(port, delays);
  struct sigaction action = {};
  action.sa_handler = [](int) { stopped = 1; };
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);

  static uint8_t bytes[kBatch][kBytes];
  static uint8_t control[kBatch][64];
  mmsghdr messages[kBatch] = {};
  iovec pieces[kBatch];
  for (int i = 0; i < kBatch; i++) {
    pieces[i] = {bytes[i], kBytes};
    messages[i].msg_hdr.msg_iov = &pieces[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  uint64_t received = 0, foreign = 0;
  Delays seen;
  fprintf(stderr, "ready\n");
  for (;;) {
    const bool last = stopped != 0;  // one more look after the signal
    for (;;) {
      for (int i = 0; delays && i < kBatch; i++) {
        messages[i].msg_hdr.msg_control = control[i];
        messages[i].msg_hdr.msg_controllen = sizeof control[i];
      }
      int n = recvmmsg(fd, messages, kBatch, 0, nullptr);
      if (n < 0 && errno != EAGAIN && errno != EINTR) FailErrno("recvmmsg");
      for (int i = 0; i < n; i++) {
        Payload payload;
        memcpy(&payload, bytes[i], sizeof payload);
        if (messages[i].msg_len < sizeof payload || payload.run != run) {
          foreign++;
          continue;
        }
        received++;
        if (delays) seen.Add(payload, Arrival(messages[i].msg_hdr));
      }
      if (n < kBatch) break;
    }
    if (last) break;
    timespec pause = {0, 500000};
    nanosleep(&pause, nullptr);
  }
  std::sort(seen.micros.begin(), seen.micros.end());
  printf("{\"received\":%llu,\"foreign\":%llu,\"overflow\":%u", static_cast<unsigned long long>(received),
         static_cast<unsigned long long>(foreign), Dropped(fd));
  if (delays) {
    printf(",\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f,\"gap\":%.1f", Quantile(seen.micros, 0.5),
           Quantile(seen.micros, 0.99), Quantile(seen.micros, 0.999), Quantile(seen.micros, 1), seen.gap);
  }
  printf("}\n");
}
