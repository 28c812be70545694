// libFuzzer target: BLAKE2s of any bytes and lengths reads and writes only what it was given; the same bytes at another alignment give the same sum.
#include "../blake2s.h"

#include <cstdlib>
#include <memory>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  if (size < 3) return 0;
  size_t out_bytes = 1 + input[0] % blake2s::kOutBytes;
  size_t key_bytes = input[1] % (blake2s::kKeyBytes + 1);
  size_t shift = input[2] % 16;
  input += 3;
  size -= 3;
  if (key_bytes > size) key_bytes = size;
  auto key = std::make_unique<uint8_t[]>(key_bytes);
  if (key_bytes > 0) memcpy(key.get(), input, key_bytes);
  size_t len = size - key_bytes;
  auto at = std::make_unique<uint8_t[]>(len);
  auto shifted = std::make_unique<uint8_t[]>(shift + len);
  if (len > 0) {
    memcpy(at.get(), input + key_bytes, len);
    memcpy(shifted.get() + shift, at.get(), len);
  }
  auto one = std::make_unique<uint8_t[]>(out_bytes);
  auto two = std::make_unique<uint8_t[]>(out_bytes);
  blake2s::Hash(one.get(), out_bytes, key.get(), key_bytes, at.get(), len);
  blake2s::Hash(two.get(), out_bytes, key.get(), key_bytes, shifted.get() + shift, len);
  if (memcmp(one.get(), two.get(), out_bytes) != 0) abort();
  return 0;
}
