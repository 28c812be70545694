// The columns of src/link/vxlan/columns.ts, and the loops over them that need no system call: received messages cut into slots, slots handed to the joiner.
// Nothing of Node in here, so that the fuzzer links it alone. Every number in the columns is JavaScript's and is checked before it becomes an address.
#pragma once

#include "datagrams.h"
#include "frames.h"

#include <algorithm>

// Bits of Arrival (columns.ts).
constexpr uint8_t kFragmented = 1, kTruncated = 2;
// Free in front of the first message, for headers that take the place of the tunnel's.
constexpr int32_t kInFront = 64;

struct Frames {
  uint8_t* data = nullptr;  // null: free entry
  int32_t data_bytes = 0;
  int32_t *off = nullptr, *len = nullptr, *segment = nullptr, *source = nullptr, *endpoint = nullptr;
  int32_t *out_frame = nullptr, *out_remote = nullptr, *answer = nullptr, *remotes = nullptr;
  // Of each port: the descriptor, what its SO_NO_CHECK is (−1 = not known), the port's number; then the TAP for outer packets, −1 = none. Shared by all columns of a link.
  int32_t* sockets = nullptr;
  uint8_t *arrival = nullptr, *outcome = nullptr, *header = nullptr, *outer = nullptr;
  int16_t* tos = nullptr;
  int32_t slots = 0, copies = 0, known_remotes = 0, ports = 0;
};

inline bool FrameWithin(const Frames& f, int32_t i, int32_t in_front) {
  return i >= 0 && i < f.slots && f.off[i] >= in_front && f.len[i] >= kEthernet && f.off[i] <= f.data_bytes && f.len[i] <= f.data_bytes - f.off[i];
}

// Slots from `slot` on for the message data[off…off+bytes); returns the next free one. What has no slot left is lost, as in a full socket buffer.
inline int32_t SpreadFrames(const Frames& f, int32_t slot, int32_t off, int32_t bytes, const Arrival& arrival) {
  int32_t segment = arrival.segment > 0 ? arrival.segment : std::max(bytes, 1);
  int32_t at = 0;
  do {
    if (slot == f.slots) break;
    f.off[slot] = off + at;
    f.len[slot] = std::min(segment, bytes - at);
    f.tos[slot] = arrival.tos;
    f.arrival[slot] = static_cast<uint8_t>((arrival.truncated ? kTruncated : 0) | (arrival.fragmented ? kFragmented : 0));
    f.segment[slot] = 0;
    memcpy(f.endpoint + slot * kEndpointWords, arrival.endpoint, sizeof arrival.endpoint);
    slot++;
    at += segment;
  } while (at < bytes);
  return slot;
}

// An untagged IP packet that says itself how long it is may be joined; padding behind it goes. `mtu`: of the tunnel.
inline void AddFrame(Joiner* joiner, uint8_t* frame, int32_t len, int32_t mtu) {
  uint8_t vnet[kVnetHeader];
  if (FindPartial(frame, len, mtu, vnet)) {
    joiner->AddFrame(frame, len, vnet);
    return;
  }
  if (FindIp(frame, len) == kEthernet) {
    uint8_t* ip = frame + kEthernet;
    int32_t total = static_cast<int32_t>(IsSix(ip) ? 40 + Be16(ip + 4) : Be16(ip + 2));
    if (total >= 20 && total <= len - kEthernet) {
      joiner->Add(ip, total, true);
      return;
    }
  }
  joiner->AddFrame(frame, len);
}

// Slots 0…n whose outcome is PASS.
inline void AddFrames(Joiner* joiner, const Frames& f, int32_t n, int32_t mtu) {
  n = std::min({n, f.slots, Joiner::kSlots});
  for (int32_t i = 0; i < n; i++) {
    if (f.outcome[i] == kPass && FrameWithin(f, i, 0)) AddFrame(joiner, f.data + f.off[i], f.len[i], mtu);
  }
}
