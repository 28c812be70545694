// libFuzzer target: vnet headers and packets that hold anything through the splitter, its segments through the joiner.
//
// Beside AddressSanitizer's, these are judged: segments of a packet carry its payload once and in order, no segment is longer than its bytes, and what is joined
// again is never longer than an IP packet may be. Every buffer is an allocation of exactly the promised size.
#include "../segment.h"

#include <cstdlib>
#include <memory>
#include <vector>

namespace {

void Check(bool holds) {
  if (!holds) abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  auto splitter = std::make_unique<Splitter>();
  auto joiner = std::make_unique<Joiner>();
  auto fragmenter = std::make_unique<Fragmenter>();
  joiner->Begin();
  joiner->joins_udp = size > 0 && (bytes[size - 1] & 1) != 0;
  std::vector<std::unique_ptr<uint8_t[]>> kept;
  size_t total = 0, written = 0;
  while (size >= 4 && kept.size() < 600) {
    // A length, how often the rest is repeated (packets longer than the input), the outer header's ECN; then vnet header and packet.
    size_t length = (bytes[0] << 8 | bytes[1]) % 2048, times = 1 + bytes[2] % 16;
    uint32_t outer = bytes[3] & 3;
    bool merge = (bytes[3] & 4) != 0;
    bytes += 4;
    size -= 4;
    if (length > size) length = size;
    uint8_t* room = splitter->room();
    size_t filled = 0;
    if (length >= kVnetHeader) {
      memcpy(room, bytes, length);
      filled = length;
      for (size_t i = 1; i < times && filled + length <= static_cast<size_t>(Splitter::kRoomBytes); i++, filled += length) memcpy(room + filled, bytes, length);
    }
    bytes += length;
    size -= length;
    bool loaded = splitter->Load(static_cast<int32_t>(filled));
    Check(loaded == !splitter->empty());
    int32_t segments = 0;
    for (int32_t next = splitter->next_bytes(); next > 0; next = splitter->next_bytes()) {
      Check(next <= kLongest);
      auto out = std::make_unique<uint8_t[]>(static_cast<size_t>(next) + kVnetHeader);
      uint8_t* ip = out.get() + kVnetHeader;
      splitter->Next(ip);
      segments++;
      // As tunJoin: a header that was opened has been looked at.
      bool whole = next >= (IsSix(ip) ? 40 : 20);
      if (kept.size() < 600 && whole && LeaveTunnel(ip, next, outer)) {
        joiner->Add(ip, next, merge);
        kept.push_back(std::move(out));
        total++;
      }
      if (segments > 70000) abort();
      // Cut to some MTU, the parts are all of it, in order, and none is longer.
      int32_t mtu = 20 + static_cast<int32_t>(length % 1500);
      if (!whole || IsSix(ip) || next <= mtu) continue;
      memcpy(fragmenter->room(), ip, static_cast<size_t>(next));
      if (!fragmenter->Load(next, mtu)) continue;
      int32_t header = (ip[0] & 15) * 4, carried = 0;
      for (int32_t part = fragmenter->next_bytes(); part > 0; part = fragmenter->next_bytes()) {
        Check(part <= mtu && part > header);
        auto piece = std::make_unique<uint8_t[]>(static_cast<size_t>(part));
        fragmenter->Next(piece.get());
        Check(memcmp(piece.get() + header, ip + header + carried, static_cast<size_t>(part - header)) == 0);
        carried += part - header;
      }
      Check(carried == next - header);
    }
  }
  joiner->Flush(true, [&](const iovec* pieces, int32_t count) {
    size_t length = 0;
    for (int32_t i = 0; i < count; i++) {
      // Every byte of it is there.
      const auto* at = static_cast<const uint8_t*>(pieces[i].iov_base);
      volatile uint8_t sum = 0;
      for (size_t k = 0; k < pieces[i].iov_len; k++) sum = static_cast<uint8_t>(sum ^ at[k]);
      length += pieces[i].iov_len;
    }
    Check(length <= static_cast<size_t>(kLongest + kVnetHeader));
    written += static_cast<size_t>(count);
  });
  Check(written == total);
  return 0;
}
