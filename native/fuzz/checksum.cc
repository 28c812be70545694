// libFuzzer target: the sum of any bytes, at any alignment and of any length, equals the slow one, and reads nothing else.
// The bytes stand at the very end of an allocation, so that AddressSanitizer sees the first byte too many.
#include "../sum.h"

#include <cstdlib>
#include <memory>

static uint32_t SlowSum(const uint8_t* at, size_t len, uint32_t initial) {
  uint64_t sum = initial;
  for (size_t i = 0; i < len; i++) sum += static_cast<uint64_t>(at[i]) << (i % 2 == 0 ? 8 : 0);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint32_t>(sum);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  if (size < 5) return 0;
  size_t shift = input[0] % 64;
  uint32_t initial;
  memcpy(&initial, input + 1, sizeof initial);
  size_t len = size - 5;
  auto room = std::make_unique<uint8_t[]>(shift + len);
  memcpy(room.get() + shift, input + 5, len);
  const uint8_t* at = room.get() + shift;
  uint32_t slow = SlowSum(at, len, initial);
  if (InternetSum(at, len, initial) != slow) abort();
  // Whatever this machine would choose: both ways of adding.
  uint32_t plain = len == 0 ? 0 : Fold(SumPlain(at, len));
  if (Fold(static_cast<uint64_t>(__builtin_bswap16(static_cast<uint16_t>(plain))) + initial) != slow) abort();
  return 0;
}
