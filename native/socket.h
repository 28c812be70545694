// What the addon's files about UDP sockets share (udp.cc, vxlan.cc): arguments of the hot calls, options that are wishes, and receiving many messages at once.
#pragma once

#include "addon.h"
#include "datagrams.h"

#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

// Messages a call: few large ones or many small ones, half a MiB of the cache either way. Their places are not a power of two apart: all small
// ones would share the same few lines of the cache.
constexpr int32_t kReceived = 64;
constexpr int32_t kReceivedBytes = 512 * 1024;
constexpr int32_t kStride = kMessageBytes + 1600;
constexpr int32_t kSent = 32;
constexpr int kSocketBuffer = 7 << 20;
// A send waits for the socket buffer, which holds back the TUN and with it the senders; but not for ever.
constexpr timeval kSendPatience = {0, 200'000};

inline napi_value Number(napi_env env, int32_t number) {
  napi_value value = nullptr;
  napi_create_int32(env, number, &value);
  return value;
}

// The arguments of a raw call, whole numbers all, and its owner. False: there are fewer than `wanted` (5 at most).
template <typename Owner>
inline bool Ints(napi_env env, napi_callback_info info, int32_t* into, size_t wanted, Owner** owner) {
  napi_value args[5];
  size_t count = 5;
  void* data = nullptr;
  if (napi_get_cb_info(env, info, &count, args, nullptr, &data) != napi_ok) return false;
  *owner = static_cast<Owner*>(data);
  for (size_t i = 0; i < wanted; i++) {
    if (napi_get_value_int32(env, args[i], &into[i]) != napi_ok) return false;
  }
  return true;
}

inline void Wish(int fd, int level, int option, int value) { (void)setsockopt(fd, level, option, &value, sizeof value); }

inline void WishToSend(int fd) {
  Wish(fd, SOL_SOCKET, SO_SNDBUF, kSocketBuffer);
  Wish(fd, SOL_SOCKET, SO_SNDBUFFORCE, kSocketBuffer);
  (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &kSendPatience, sizeof kSendPatience);
}

inline void WishToReceive(int fd) {
  Wish(fd, SOL_SOCKET, SO_RCVBUF, kSocketBuffer);
  Wish(fd, SOL_SOCKET, SO_RCVBUFFORCE, kSocketBuffer);
  Wish(fd, IPPROTO_UDP, UDP_GRO, 1);
}

inline bool WriteAll(int fd, const iovec* pieces, int32_t count) {
  ssize_t bytes;
  do {
    bytes = writev(fd, pieces, count);
  } while (bytes < 0 && errno == EINTR);
  return bytes >= 0;
}

// Messages under way, in either direction.
struct Messages {
  static constexpr int32_t kMost = kReceived > kSent ? kReceived : kSent;
  mmsghdr messages[kMost];
  sockaddr_storage addresses[kMost];
  alignas(cmsghdr) uint8_t control[kMost][kControlBytes];
  iovec places[kReceived];
  int32_t usual_bytes = kMessageBytes;  // of the longest message of the last call

  // Reads what is there into `data`, message i at i · kStride, and calls take(i · kStride, bytes, arrival) for each. Returns −errno, or what `take` returned last.
  template <typename Take>
  int32_t Receive(int fd, uint8_t* data, int32_t data_bytes, Take take) {
    int32_t room = std::min({kReceived, (data_bytes + kStride - kMessageBytes) / kStride, std::max(8, kReceivedBytes / usual_bytes)});
    for (int32_t i = 0; i < room; i++) {
      places[i] = {data + i * kStride, static_cast<size_t>(kMessageBytes)};
      msghdr& message = messages[i].msg_hdr;
      message = {};
      message.msg_name = &addresses[i];
      message.msg_namelen = sizeof addresses[i];
      message.msg_iov = &places[i];
      message.msg_iovlen = 1;
      message.msg_control = control[i];
      message.msg_controllen = kControlBytes;
    }
    int got;
    do {
      got = recvmmsg(fd, messages, static_cast<unsigned>(room), MSG_DONTWAIT, nullptr);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return errno == EAGAIN ? 0 : -errno;
    int32_t longest = 1, slot = 0;
    for (int32_t i = 0; i < got; i++) {
      int32_t bytes = static_cast<int32_t>(messages[i].msg_len);
      longest = std::max(longest, bytes);
      Arrival arrival;
      ReadAddress(addresses[i], &arrival);
      ReadControl(&messages[i].msg_hdr, &arrival);
      slot = take(slot, i * kStride, bytes, arrival);
    }
    usual_bytes = longest;
    return slot;
  }
};
