// libFuzzer target: columns that hold anything gathered into messages, received messages with any control data cut into slots.
#include "../datagrams.h"

#include <cstdlib>
#include <memory>

namespace {

constexpr int32_t kSlots = 24;
constexpr int32_t kBytes = 8192;

struct Input {
  const uint8_t* at;
  size_t left;

  uint32_t take(size_t bytes) {
    uint32_t value = 0;
    for (; bytes > 0 && left > 0; bytes--, left--) value = value << 8 | *at++;
    return value;
  }
};

void Check(bool holds) {
  if (!holds) abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  Input input{bytes, size};
  auto data = std::make_unique<uint8_t[]>(kBytes);
  auto from = std::make_unique<int32_t[]>(kSlots), off = std::make_unique<int32_t[]>(kSlots), len = std::make_unique<int32_t[]>(kSlots);
  auto endpoint = std::make_unique<int32_t[]>(kSlots * kEndpointWords);
  auto ecn = std::make_unique<uint8_t[]>(kSlots), outcome = std::make_unique<uint8_t[]>(kSlots);
  Datagrams d;
  d.data = data.get();
  d.data_bytes = kBytes;
  d.from = from.get();
  d.off = off.get();
  d.len = len.get();
  d.endpoint = endpoint.get();
  d.ecn = ecn.get();
  d.outcome = outcome.get();
  d.slots = kSlots;

  for (int steps = 0; steps < 48 && input.left > 0; steps++) {
    switch (input.take(1) % 6) {
      case 0:
        off[input.take(1) % kSlots] = static_cast<int32_t>(input.take(4));
        break;
      case 1:
        len[input.take(1) % kSlots] = static_cast<int32_t>(input.take(4));
        break;
      case 2: {  // slots behind one another
        int32_t at = 0, part = static_cast<int32_t>(input.take(1)) + 1;
        for (int32_t i = 0; i < kSlots; i++, at += part) {
          off[i] = at;
          len[i] = part;
        }
        break;
      }
      case 3: {
        int32_t i = static_cast<int32_t>(input.take(1) % kSlots);
        outcome[i] = static_cast<uint8_t>(input.take(1) % 3);
        ecn[i] = static_cast<uint8_t>(input.take(1));
        endpoint[i * kEndpointWords + static_cast<int32_t>(input.take(1) % kEndpointWords)] = static_cast<int32_t>(input.take(4));
        break;
      }
      case 4: {  // all of it is sent
        int32_t count = 0, datagrams = 0, wanted = 0;
        for (int32_t i = 0; i < kSlots; i++) wanted += Sendable(d, i) ? 1 : 0;
        iovec pieces[kSegments];
        Departure departure;
        for (int32_t i = 0; Gather(d, i, kSlots, true, &departure, pieces, &count); i = departure.end) {
          Check(departure.end > i && count >= 1 && count <= kSegments && departure.bytes <= kMessageMost);
          size_t sum = 0;
          for (int32_t k = 0; k < count; k++) {
            auto* at = static_cast<uint8_t*>(pieces[k].iov_base);
            Check(at >= d.data && at + pieces[k].iov_len <= d.data + kBytes);
            sum += pieces[k].iov_len;
          }
          Check(sum == static_cast<size_t>(departure.bytes));
          datagrams += departure.datagrams;
          auto control = std::make_unique<uint8_t[]>(kControlBytes);
          sockaddr_storage to;
          const int32_t* where = d.endpoint + departure.first * kEndpointWords;
          Check(WriteAddress(where, &to) <= sizeof to);
          Check(WriteControl(where, d.ecn[departure.first], departure, true, control.get()) <= kControlBytes);
        }
        Check(datagrams == wanted);
        break;
      }
      case 5: {  // a message arrives
        size_t length = input.take(1) % (kControlBytes + 1);
        auto control = std::make_unique<uint8_t[]>(kControlBytes);
        for (size_t i = 0; i < length; i++) control[i] = static_cast<uint8_t>(input.take(1));
        sockaddr_storage address = {};
        address.ss_family = input.take(1) % 2 ? AF_INET : AF_INET6;
        Arrival arrival;
        ReadAddress(address, &arrival);
        arrival.segment = static_cast<int32_t>(input.take(2)) - 100;
        arrival.ecn = 0;
        int32_t first = static_cast<int32_t>(input.take(1) % (kSlots + 1));
        int32_t end = Spread(d, first, 0, static_cast<int32_t>(input.take(2) % (kBytes + 1)), arrival);
        Check(end >= first && end <= kSlots);
        for (int32_t i = first; i < end; i++) Check(Within(d, d.off[i], d.len[i]));
        break;
      }
    }
  }
  return 0;
}
