// libFuzzer target: received VXLAN messages that hold anything are cut into slots, taken out of the tunnel and handed to the joiner; super-frames of a TAP with vnet
// headers that hold anything are cut up, or get outer headers.
//
// Beside AddressSanitizer's, these are judged: slots lie in their message, what is written to the TAP is made of bytes of the frames and never longer than a frame may
// be, the parts of a super-frame carry its payload once and in order, and outer headers say how long the packet is.
#include "../frame-columns.h"
#include "../outer.h"

#include <cstdlib>
#include <memory>
#include <vector>

namespace {

void Check(bool holds) {
  if (!holds) abort();
}

struct Input {
  const uint8_t* at;
  size_t left;
  uint32_t Byte() { return left == 0 ? 0 : (left--, *at++); }
  uint32_t Word() { return Byte() << 8 | Byte(); }
};

// In an allocation of exactly the promised size, `front` bytes behind its begin.
std::unique_ptr<uint8_t[]> Take(Input* input, size_t front, size_t length) {
  auto room = std::make_unique<uint8_t[]>(front + length);
  for (size_t i = 0; i < length; i++) room[front + i] = static_cast<uint8_t>(input->Byte());
  return room;
}

void FromTunnel(Input* input) {
  constexpr int32_t kSlots = 24;
  int32_t bytes = static_cast<int32_t>(input->Word() % 4096);
  Arrival arrival = {};
  arrival.segment = static_cast<int32_t>(input->Word() % 2000);
  arrival.fragmented = (input->Byte() & 1) != 0;
  int32_t mtu = static_cast<int32_t>(input->Word());
  auto data = Take(input, kInFront, static_cast<size_t>(bytes));
  std::vector<int32_t> off(kSlots), len(kSlots), segment(kSlots), endpoint(kSlots * kEndpointWords);
  std::vector<uint8_t> flags(kSlots), outcome(kSlots);
  std::vector<int16_t> tos(kSlots);
  Frames f;
  f.data = data.get();
  f.data_bytes = kInFront + bytes;
  f.off = off.data();
  f.len = len.data();
  f.segment = segment.data();
  f.endpoint = endpoint.data();
  f.arrival = flags.data();
  f.outcome = outcome.data();
  f.tos = tos.data();
  f.slots = kSlots;
  int32_t n = SpreadFrames(f, 0, kInFront, bytes, arrival);
  Check(n >= 1 && n <= kSlots);
  auto joiner = std::make_unique<Joiner>();
  joiner->Begin(kEthernet);
  joiner->joins_udp = true;
  size_t total = 0, written = 0;
  for (int32_t i = 0; i < n; i++) {
    Check(off[static_cast<size_t>(i)] >= kInFront && len[static_cast<size_t>(i)] >= 0);
    Check(off[static_cast<size_t>(i)] + len[static_cast<size_t>(i)] <= f.data_bytes);
    // As Vtep.fromTunnel does it: the header goes; what is too short, or came in fragments, is not for the TAP.
    outcome[static_cast<size_t>(i)] = flags[static_cast<size_t>(i)] != 0 || len[static_cast<size_t>(i)] < kVxlanHeader + kEthernet ? 1 : kPass;
    if (outcome[static_cast<size_t>(i)] != kPass) continue;
    off[static_cast<size_t>(i)] += kVxlanHeader;
    len[static_cast<size_t>(i)] -= kVxlanHeader;
    total++;
  }
  AddFrames(joiner.get(), f, n, mtu);
  joiner->Flush(true, [&](const iovec* pieces, int32_t count) {
    size_t length = 0;
    for (int32_t i = 0; i < count; i++) {
      const auto* at = static_cast<const uint8_t*>(pieces[i].iov_base);
      volatile uint8_t sum = 0;
      for (size_t k = 0; k < pieces[i].iov_len; k++) sum = static_cast<uint8_t>(sum ^ at[k]);
      length += pieces[i].iov_len;
    }
    Check(length <= static_cast<size_t>(kVnetHeader + kEthernet + kLongest));
    written += static_cast<size_t>(count) - 1;  // without the vnet header
  });
  Check(written == total);
}

void FromTap(Input* input) {
  size_t length = input->Word() % 3000;
  auto data = Take(input, 0, kVnetHeader + length);
  uint8_t* frame = data.get() + kVnetHeader;
  int32_t len = static_cast<int32_t>(length);
  const uint8_t vxlan[kVxlanHeader] = {8};
  const uint8_t headers[kOuterHeaders] = {};
  uint8_t outer[kOuterBytes];
  if (WriteOuter(headers, vxlan, {0x01020304, 50000, 4789, 3}, frame, len, outer)) {
    const uint8_t* ip = outer + kOuterVnet + kEthernet;
    Check(static_cast<int32_t>(Be16(ip + 2)) == 20 + 8 + kVxlanHeader + len && Be16(ip + 24) == Be16(ip + 2) - 20);
    // The headers that are to be in one piece end inside of the frame, behind where its sum begins.
    int32_t begin = static_cast<int32_t>(Host16(outer + 6)), end = static_cast<int32_t>(Host16(outer + 2)), shift = kOuterHeaders + kVxlanHeader;
    Check(begin >= shift + kEthernet + 20 && end >= begin + 20 && end <= shift + len);
  }
  FrameCutter cutter;
  if (cutter.Load(frame, len)) {
    const uint8_t* next = nullptr;
    size_t carried = 0;
    while (!cutter.done()) {
      uint8_t header[kVxlanHeader + FrameCutter::kHeaderMost];
      iovec pieces[2];
      int32_t said = cutter.next_bytes();
      cutter.Next(vxlan, header, pieces);
      Check(static_cast<size_t>(said) == pieces[0].iov_len + pieces[1].iov_len && pieces[0].iov_base == header && pieces[1].iov_len > 0);
      const auto* part = static_cast<const uint8_t*>(pieces[1].iov_base);
      Check(next == nullptr || part == next);
      next = part + pieces[1].iov_len;
      carried += pieces[1].iov_len;
    }
    Check(next == frame + len && carried < length);
  }
  CompleteSum(frame, len, data.get());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  Input input = {bytes, size};
  if ((input.Byte() & 1) != 0) FromTunnel(&input);
  else FromTap(&input);
  return 0;
}
