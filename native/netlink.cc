// Raw netlink: one socket, one datagram in, one datagram out. Messages are written and read in TypeScript (host/netlink).
#include "addon.h"

#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif

// Room for a burst of notifications (a bridge with hundreds of ports going down); without CAP_NET_ADMIN the kernel caps it.
static constexpr int kReceiveBuffer = 4 * 1024 * 1024;

static Napi::Value NetlinkOpen(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int protocol = IntArgument(info, 0, "protocol");
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
  if (fd < 0) ThrowErrno(env, errno, "socket", "AF_NETLINK");

  auto fail = [&](const char* syscall) {
    int error = errno;
    close(fd);
    ThrowErrno(env, error, syscall, "AF_NETLINK");
  };
  int on = 1;
  // Kernels before 4.12 do not know it; then errors come without their text.
  (void)setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBuffer, sizeof kReceiveBuffer) < 0) {
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &kReceiveBuffer, sizeof kReceiveBuffer);
  }
  sockaddr_nl self = {};
  self.nl_family = AF_NETLINK;
  if (bind(fd, reinterpret_cast<sockaddr*>(&self), sizeof self) < 0) fail("bind");
  if (info[1].IsArray()) {
    Napi::Array groups = info[1].As<Napi::Array>();
    for (uint32_t i = 0; i < groups.Length(); i++) {
      int group = groups.Get(i).ToNumber().Int32Value();
      if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) < 0) {
        fail("setsockopt NETLINK_ADD_MEMBERSHIP");
      }
    }
  }
  return Napi::Number::New(env, fd);
}

static void NetlinkSend(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int fd = IntArgument(info, 0, "fd");
  if (!info[1].IsTypedArray()) throw Napi::TypeError::New(env, "argument message must be a Uint8Array");
  Napi::Uint8Array message = info[1].As<Napi::Uint8Array>();
  sockaddr_nl kernel = {};
  kernel.nl_family = AF_NETLINK;
  ssize_t sent;
  do {
    sent = sendto(fd, message.Data(), message.ByteLength(), 0, reinterpret_cast<sockaddr*>(&kernel), sizeof kernel);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) ThrowErrno(env, errno, "sendto", "AF_NETLINK");
}

static int64_t MonotonicMillis() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1000000;
}

// Waits until `fd` is readable. 1 ready, 0 time-out, −errno.
static int AwaitReadable(int fd, int timeout) {
  int64_t deadline = MonotonicMillis() + timeout;
  for (;;) {
    pollfd entry = {fd, POLLIN, 0};
    int ready = poll(&entry, 1, timeout);
    if (ready > 0) return 1;
    if (ready == 0) return 0;
    if (errno != EINTR) return -errno;
    if (timeout > 0) {
      int64_t left = deadline - MonotonicMillis();
      timeout = left > 0 ? static_cast<int>(left) : 0;
    }
  }
}

static Napi::Value NetlinkReceive(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int fd = IntArgument(info, 0, "fd");
  if (!info[1].IsTypedArray()) throw Napi::TypeError::New(env, "argument into must be a Uint8Array");
  Napi::Uint8Array into = info[1].As<Napi::Uint8Array>();
  int timeout = IntArgument(info, 2, "timeoutMs");
  auto result = [&](ssize_t value) { return Napi::Number::New(env, static_cast<double>(value)); };

  for (;;) {
    int ready = AwaitReadable(fd, timeout);
    if (ready <= 0) return result(ready);
    sockaddr_nl from = {};
    iovec room = {into.Data(), into.ByteLength()};
    msghdr header = {};
    header.msg_name = &from;
    header.msg_namelen = sizeof from;
    header.msg_iov = &room;
    header.msg_iovlen = 1;
    // MSG_TRUNC: a datagram that does not fit is told by its true length and lost, not cut in silence.
    ssize_t bytes = recvmsg(fd, &header, MSG_TRUNC | MSG_DONTWAIT);
    if (bytes < 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      return result(-errno);
    }
    // Any process may write to our port id; only the kernel (port id 0) is believed.
    if (from.nl_pid != 0) continue;
    if (static_cast<size_t>(bytes) > into.ByteLength()) return result(-EMSGSIZE);
    return result(bytes);
  }
}

void ExportNetlink(Napi::Env env, Napi::Object exports) {
  exports.Set("netlinkOpen", Napi::Function::New<NetlinkOpen>(env, "netlinkOpen"));
  exports.Set("netlinkSend", Napi::Function::New<NetlinkSend>(env, "netlinkSend"));
  exports.Set("netlinkReceive", Napi::Function::New<NetlinkReceive>(env, "netlinkReceive"));
}
