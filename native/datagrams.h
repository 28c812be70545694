// Datagrams as columns: received ones cut into slots, slots gathered into messages for sendmmsg(2). Nothing of Node and no system call in here,
// so that the fuzzer links it alone.
//
// Every number in the columns is JavaScript's and is checked here before it becomes an address.
#pragma once

#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cstdint>
#include <cstring>

#ifndef IP_RECVFRAGSIZE
#define IP_RECVFRAGSIZE 25
#endif
#ifndef IPV6_RECVFRAGSIZE
#define IPV6_RECVFRAGSIZE 77
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

// Columns of src/link/wireguard/columns.ts.
struct Datagrams {
  uint8_t* data = nullptr;  // null: free entry
  int32_t data_bytes = 0;
  int32_t* from = nullptr;
  int32_t* off = nullptr;
  int32_t* len = nullptr;
  int32_t* endpoint = nullptr;
  uint8_t* ecn = nullptr;
  uint8_t* outcome = nullptr;
  int32_t slots = 0;
};

// Words of an endpoint (src/link/wireguard/endpoint.ts).
enum Endpoint { kFamily = 0, kPort = 1, kAddress = 2, kScope = 6, kOwnInterface = 7, kOwnAddress = 8, kEndpointWords = 12 };
constexpr uint8_t kPass = 0;

// What one datagram of the kernel may have: 64 KiB, room for a stride.
constexpr int32_t kMessageBytes = 65536;
// Segments of one message (UDP_MAX_SEGMENTS of older kernels), and its bytes without headers.
constexpr int32_t kSegments = 64;
constexpr int32_t kMessageMost = 65535 - 48;

inline bool Within(const Datagrams& d, int32_t off, int32_t len) {
  return off >= 0 && len >= 0 && off <= d.data_bytes && len <= d.data_bytes - off;
}

// -- received --

// What the kernel says about a message: who sent it, how long its segments are.
struct Arrival {
  int32_t endpoint[kEndpointWords];
  int32_t segment;  // 0: it is one datagram
  uint8_t ecn;
  int16_t tos;  // DSCP and ECN; −1: not told
  bool fragmented, truncated;
};

inline void ReadAddress(const sockaddr_storage& from, Arrival* into) {
  memset(into, 0, sizeof *into);
  into->tos = -1;
  int32_t* words = into->endpoint;
  if (from.ss_family == AF_INET) {
    const auto& four = reinterpret_cast<const sockaddr_in&>(from);
    words[kFamily] = 4;
    words[kPort] = ntohs(four.sin_port);
    words[kAddress] = static_cast<int32_t>(ntohl(four.sin_addr.s_addr));
  } else if (from.ss_family == AF_INET6) {
    const auto& six = reinterpret_cast<const sockaddr_in6&>(from);
    words[kFamily] = 6;
    words[kPort] = ntohs(six.sin6_port);
    for (int i = 0; i < 4; i++) {
      uint32_t word;
      memcpy(&word, six.sin6_addr.s6_addr + 4 * i, 4);
      words[kAddress + i] = static_cast<int32_t>(ntohl(word));
    }
    words[kScope] = static_cast<int32_t>(six.sin6_scope_id);
  }
}

inline void ReadControl(msghdr* message, Arrival* into) {
  into->truncated = (message->msg_flags & MSG_TRUNC) != 0;
  for (cmsghdr* c = CMSG_FIRSTHDR(message); c != nullptr; c = CMSG_NXTHDR(message, c)) {
    const uint8_t* value = CMSG_DATA(c);
    size_t bytes = c->cmsg_len - CMSG_LEN(0);
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS && bytes >= 1) {
      into->ecn = value[0] & 3;
      into->tos = value[0];
    }
    if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS && bytes >= 4) {
      int tos;
      memcpy(&tos, value, sizeof tos);
      into->ecn = static_cast<uint8_t>(tos & 3);
      into->tos = static_cast<int16_t>(tos & 255);
    }
    if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO && bytes >= 4) {
      int size;
      memcpy(&size, value, sizeof size);
      into->segment = size;
    }
    bool fragments = (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVFRAGSIZE) || (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVFRAGSIZE);
    if (fragments && bytes >= 4) {
      int size;
      memcpy(&size, value, sizeof size);
      into->fragmented = size > 0;
    }
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO && bytes >= sizeof(in_pktinfo)) {
      in_pktinfo info;
      memcpy(&info, value, sizeof info);
      into->endpoint[kOwnInterface] = info.ipi_ifindex;
      into->endpoint[kOwnAddress] = static_cast<int32_t>(ntohl(info.ipi_spec_dst.s_addr));
    }
    if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO && bytes >= sizeof(in6_pktinfo)) {
      in6_pktinfo info;
      memcpy(&info, value, sizeof info);
      into->endpoint[kOwnInterface] = static_cast<int32_t>(info.ipi6_ifindex);
      for (int i = 0; i < 4; i++) {
        uint32_t word;
        memcpy(&word, info.ipi6_addr.s6_addr + 4 * i, 4);
        into->endpoint[kOwnAddress + i] = static_cast<int32_t>(ntohl(word));
      }
    }
  }
}

// Writes slots for the message data[off…off+bytes); returns the next free slot. What has no slot left is lost, as in a full socket buffer.
inline int32_t Spread(const Datagrams& d, int32_t slot, int32_t off, int32_t bytes, const Arrival& arrival) {
  int32_t segment = arrival.segment > 0 ? arrival.segment : bytes;
  for (int32_t at = 0; at < bytes && slot < d.slots; at += segment, slot++) {
    d.off[slot] = off + at;
    d.len[slot] = bytes - at < segment ? bytes - at : segment;
    d.ecn[slot] = arrival.ecn;
    memcpy(d.endpoint + slot * kEndpointWords, arrival.endpoint, sizeof arrival.endpoint);
    if (bytes - at <= segment) return slot + 1;
  }
  return slot;
}

// -- to be sent --

// One message: slots first…end that go to one endpoint, equally long but for the last. Those between that are not to be sent are passed over.
struct Departure {
  int32_t first, end, datagrams, segment, bytes;
};

inline bool Sendable(const Datagrams& d, int32_t i) {
  return d.outcome[i] == kPass && d.len[i] > 0 && d.len[i] <= kMessageMost && Within(d, d.off[i], d.len[i]);
}

// The message that begins at or behind slot i; false: there is none before n. Pieces of it are written to `pieces` (kSegments at most), their number to *count.
inline bool Gather(const Datagrams& d, int32_t i, int32_t n, bool several, Departure* into, iovec* pieces, int32_t* count) {
  while (i < n && !Sendable(d, i)) i++;
  if (i >= n) return false;
  const int32_t* endpoint = d.endpoint + i * kEndpointWords;
  *into = {i, i + 1, 1, d.len[i], d.len[i]};
  pieces[0] = {d.data + d.off[i], static_cast<size_t>(d.len[i])};
  *count = 1;
  if (!several) return true;
  int32_t last = i;
  for (int32_t k = i + 1; k < n && into->datagrams < kSegments && d.len[last] == into->segment; k++) {
    if (d.outcome[k] != kPass) continue;
    if (!Sendable(d, k) || d.len[k] > into->segment || into->bytes + d.len[k] > kMessageMost || d.ecn[k] != d.ecn[i]) break;
    if (memcmp(d.endpoint + k * kEndpointWords, endpoint, kEndpointWords * sizeof(int32_t)) != 0) break;
    iovec& piece = pieces[*count - 1];
    if (static_cast<uint8_t*>(piece.iov_base) + piece.iov_len == d.data + d.off[k]) {
      piece.iov_len += static_cast<size_t>(d.len[k]);
    } else {
      pieces[(*count)++] = {d.data + d.off[k], static_cast<size_t>(d.len[k])};
    }
    into->bytes += d.len[k];
    into->datagrams++;
    into->end = k + 1;
    last = k;
  }
  return true;
}

inline socklen_t WriteAddress(const int32_t* endpoint, sockaddr_storage* to) {
  memset(to, 0, sizeof(sockaddr_in6));
  if (endpoint[kFamily] == 6) {
    auto* six = reinterpret_cast<sockaddr_in6*>(to);
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(static_cast<uint16_t>(endpoint[kPort]));
    six->sin6_scope_id = static_cast<uint32_t>(endpoint[kScope]);
    for (int i = 0; i < 4; i++) {
      uint32_t word = htonl(static_cast<uint32_t>(endpoint[kAddress + i]));
      memcpy(six->sin6_addr.s6_addr + 4 * i, &word, 4);
    }
    return sizeof *six;
  }
  auto* four = reinterpret_cast<sockaddr_in*>(to);
  four->sin_family = AF_INET;
  four->sin_port = htons(static_cast<uint16_t>(endpoint[kPort]));
  four->sin_addr.s_addr = htonl(static_cast<uint32_t>(endpoint[kAddress]));
  return sizeof *four;
}

constexpr size_t kControlBytes = 128;

template <typename Value>
inline void Append(uint8_t* buffer, size_t* used, int level, int type, const Value& value) {
  auto* c = reinterpret_cast<cmsghdr*>(buffer + *used);
  memset(c, 0, CMSG_SPACE(sizeof value));
  c->cmsg_level = level;
  c->cmsg_type = type;
  c->cmsg_len = CMSG_LEN(sizeof value);
  memcpy(CMSG_DATA(c), &value, sizeof value);
  *used += CMSG_SPACE(sizeof value);
}

// Own address (where it is known and wanted), ECN, length of the segments. The interface is left to the route: an address may have moved.
inline size_t WriteControl(const int32_t* endpoint, uint8_t ecn, const Departure& departure, bool source, uint8_t* buffer) {
  size_t used = 0;
  bool six = endpoint[kFamily] == 6;
  if (source && !six && endpoint[kOwnAddress] != 0) {
    in_pktinfo info = {};
    info.ipi_spec_dst.s_addr = htonl(static_cast<uint32_t>(endpoint[kOwnAddress]));
    Append(buffer, &used, IPPROTO_IP, IP_PKTINFO, info);
  }
  if (source && six && (endpoint[kOwnAddress] | endpoint[kOwnAddress + 1] | endpoint[kOwnAddress + 2] | endpoint[kOwnAddress + 3]) != 0) {
    in6_pktinfo info = {};
    for (int i = 0; i < 4; i++) {
      uint32_t word = htonl(static_cast<uint32_t>(endpoint[kOwnAddress + i]));
      memcpy(info.ipi6_addr.s6_addr + 4 * i, &word, 4);
    }
    // A link-local address is nothing without its link.
    if (endpoint[kScope] != 0) info.ipi6_ifindex = static_cast<unsigned>(endpoint[kScope]);
    Append(buffer, &used, IPPROTO_IPV6, IPV6_PKTINFO, info);
  }
  if ((ecn & 3) != 0) Append(buffer, &used, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_TCLASS : IP_TOS, static_cast<int>(ecn & 3));
  if (departure.datagrams > 1) Append(buffer, &used, IPPROTO_UDP, UDP_SEGMENT, static_cast<uint16_t>(departure.segment));
  return used;
}
