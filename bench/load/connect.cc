// load connect: new TCP connections at a fixed rate, each from a source port that was not used before.
//
// Connection n comes from source address n mod sources, port first + n / sources (explicit bind, so that no port comes twice);
// it sends one line, reads until the server closes, and is closed. Whatever else happens is counted by its name: refused
// (RST, or an ICMP error that says so), reset later, timed out. Nothing is tried again.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "load.h"

namespace {

constexpr char kRequest[] = "GET / HTTP/1.0\r\n\r\n";

struct Connection {
  int fd;
  int64_t begun;
  bool open;
};

struct Counts {
  uint64_t begun = 0, done = 0, refused = 0, reset = 0, timeout = 0, local = 0;
  std::vector<double> millis;
};

void End(std::vector<Connection>& all, size_t id) {
  close(all[id].fd);
  all[id].fd = -1;
}

void Failed(Counts& counts, int error) {
  switch (error) {
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EACCES:
      counts.refused++;
      break;
    case ETIMEDOUT:
      counts.timeout++;
      break;
    case ECONNRESET:
    case EPIPE:
      counts.reset++;
      break;
    default:
      counts.local++;
  }
}

void Begin(std::vector<Connection>& all, int poll, Counts& counts, uint32_t from, uint64_t sources, uint32_t sport,
           const sockaddr_in& to) {
  const uint64_t n = counts.begun++;
  sockaddr_in own = {};
  own.sin_family = AF_INET;
  own.sin_addr.s_addr = htonl(from + static_cast<uint32_t>(n % sources));
  own.sin_port = htons(static_cast<uint16_t>(sport + n / sources));
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) FailErrno("socket");
  int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, reinterpret_cast<sockaddr*>(&own), sizeof own) != 0) FailErrno("bind to a source port");
  all.push_back({fd, Now(CLOCK_MONOTONIC), false});
  epoll_event event = {};
  event.events = EPOLLOUT;
  event.data.u64 = all.size() - 1;
  epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0 && errno != EINPROGRESS) {
    Failed(counts, errno);
    End(all, all.size() - 1);
  }
}

void Ready(std::vector<Connection>& all, int poll, size_t id, Counts& counts) {
  Connection& c = all[id];
  if (c.fd < 0) return;
  if (!c.open) {
    int error = 0;
    socklen_t bytes = sizeof error;
    getsockopt(c.fd, SOL_SOCKET, SO_ERROR, &error, &bytes);
    if (error != 0) {
      Failed(counts, error);
      return End(all, id);
    }
    c.open = true;
    counts.millis.push_back(static_cast<double>(Now(CLOCK_MONOTONIC) - c.begun) / 1e6);
    if (write(c.fd, kRequest, sizeof kRequest - 1) < 0) {
      Failed(counts, errno);
      return End(all, id);
    }
    epoll_event event = {};
    event.events = EPOLLIN;
    event.data.u64 = id;
    epoll_ctl(poll, EPOLL_CTL_MOD, c.fd, &event);
    return;
  }
  char answer[4096];
  for (;;) {
    const ssize_t n = read(c.fd, answer, sizeof answer);
    if (n > 0) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n == 0) {
      counts.done++;
    } else {
      Failed(counts, errno);
    }
    return End(all, id);
  }
}

}  // namespace

void Connect(Options& o) {
  in_addr parsed;
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  if (inet_pton(AF_INET, o.Text("to").c_str(), &to.sin_addr) != 1) Fail("--to takes an IPv4 address");
  to.sin_port = htons(static_cast<uint16_t>(o.Number("port", 80)));
  if (inet_pton(AF_INET, o.Text("from").c_str(), &parsed) != 1) Fail("--from takes an IPv4 address");
  const uint32_t from = ntohl(parsed.s_addr);
  const uint64_t sources = static_cast<uint64_t>(o.Number("sources", 20));
  const uint32_t sport = static_cast<uint32_t>(o.Number("sport", 10000));
  const double rate = o.Number("rate", 1000), seconds = o.Number("seconds", 60), patience = o.Number("patience", 5);
  o.Done();
  const uint64_t total = static_cast<uint64_t>(rate * seconds);
  if (sport + total / sources >= 65536) Fail("the source ports would run out: more sources or fewer connections");
  rlimit files = {};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  prctl(PR_SET_TIMERSLACK, 1);

  const int poll = epoll_create1(EPOLL_CLOEXEC);
  std::vector<Connection> all;
  all.reserve(total);
  Counts counts;
  size_t oldest = 0;
  const int64_t start = Now(CLOCK_MONOTONIC);
  const int64_t patient = static_cast<int64_t>(patience * kSecond);
  std::vector<epoll_event> events(256);
  while (counts.begun < total || oldest < all.size()) {
    const int64_t now = Now(CLOCK_MONOTONIC);
    const double due = static_cast<double>(now - start) * rate / kSecond;
    while (counts.begun < total && static_cast<double>(counts.begun) < due) Begin(all, poll, counts, from, sources, sport, to);
    while (oldest < all.size() && (all[oldest].fd < 0 || now - all[oldest].begun > patient)) {
      if (all[oldest].fd >= 0) {
        counts.timeout++;
        End(all, oldest);
      }
      oldest++;
    }
    const int n = epoll_wait(poll, events.data(), static_cast<int>(events.size()), 1);
    for (int i = 0; i < n; i++) Ready(all, poll, events[static_cast<size_t>(i)].data.u64, counts);
  }
  std::sort(counts.millis.begin(), counts.millis.end());
  printf("{\"begun\":%llu,\"done\":%llu,\"refused\":%llu,\"reset\":%llu,\"timeout\":%llu,\"local\":%llu,"
         "\"seconds\":%.3f,\"p50\":%.3f,\"p99\":%.3f,\"max\":%.3f}\n",
         static_cast<unsigned long long>(counts.begun), static_cast<unsigned long long>(counts.done),
         static_cast<unsigned long long>(counts.refused), static_cast<unsigned long long>(counts.reset),
         static_cast<unsigned long long>(counts.timeout), static_cast<unsigned long long>(counts.local),
         static_cast<double>(Now(CLOCK_MONOTONIC) - start) / kSecond, Quantile(counts.millis, 0.5),
         Quantile(counts.millis, 0.99), Quantile(counts.millis, 1));
}
