// BLAKE2s (RFC 7693): unkeyed and keyed, any output of 1 to 32 bytes. Nothing of Node in here, so that the fuzzer links it alone.
//
// Why it is here: WireGuard's mac1 and mac2 are keyed BLAKE2s of 16 bytes, which OpenSSL (and so node:crypto) cannot compute
// before 3.2, and a flood is judged by mac1 alone, so it has to be cheap. Written after section 3 of the RFC, checked with its
// vector and self-test. No table look-up depends on data and nothing branches on it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace blake2s {

constexpr size_t kBlockBytes = 64;
constexpr size_t kOutBytes = 32;
constexpr size_t kKeyBytes = 32;

constexpr uint32_t kIv[8] = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19};

constexpr uint8_t kSigma[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};

inline uint32_t Load(const uint8_t* at) {
  return static_cast<uint32_t>(at[0]) | static_cast<uint32_t>(at[1]) << 8 | static_cast<uint32_t>(at[2]) << 16 |
         static_cast<uint32_t>(at[3]) << 24;
}

inline uint32_t Turn(uint32_t word, int bits) { return word >> bits | word << (32 - bits); }

// Section 3.2: the compression function F. `done` counts the bytes so far, this block's included.
inline void Compress(uint32_t h[8], const uint8_t block[kBlockBytes], uint64_t done, bool last) {
  uint32_t m[16], v[16];
  for (int i = 0; i < 16; i++) m[i] = Load(block + 4 * i);
  for (int i = 0; i < 8; i++) {
    v[i] = h[i];
    v[i + 8] = kIv[i];
  }
  v[12] ^= static_cast<uint32_t>(done);
  v[13] ^= static_cast<uint32_t>(done >> 32);
  if (last) v[14] = ~v[14];
  auto mix = [&v](int a, int b, int c, int d, uint32_t x, uint32_t y) {
    v[a] += v[b] + x;
    v[d] = Turn(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = Turn(v[b] ^ v[c], 12);
    v[a] += v[b] + y;
    v[d] = Turn(v[d] ^ v[a], 8);
    v[c] += v[d];
    v[b] = Turn(v[b] ^ v[c], 7);
  };
  for (const auto& s : kSigma) {
    mix(0, 4, 8, 12, m[s[0]], m[s[1]]);
    mix(1, 5, 9, 13, m[s[2]], m[s[3]]);
    mix(2, 6, 10, 14, m[s[4]], m[s[5]]);
    mix(3, 7, 11, 15, m[s[6]], m[s[7]]);
    mix(0, 5, 10, 15, m[s[8]], m[s[9]]);
    mix(1, 6, 11, 12, m[s[10]], m[s[11]]);
    mix(2, 7, 8, 13, m[s[12]], m[s[13]]);
    mix(3, 4, 9, 14, m[s[14]], m[s[15]]);
  }
  for (int i = 0; i < 8; i++) h[i] ^= v[i] ^ v[i + 8];
}

// Section 3.3. `out_bytes` 1 to 32, `key_bytes` 0 to 32 (the caller has checked). `out` may be part of `in`.
inline void Hash(uint8_t* out, size_t out_bytes, const uint8_t* key, size_t key_bytes, const uint8_t* in, size_t in_bytes) {
  uint32_t h[8];
  for (int i = 0; i < 8; i++) h[i] = kIv[i];
  h[0] ^= 0x01010000u ^ static_cast<uint32_t>(key_bytes) << 8 ^ static_cast<uint32_t>(out_bytes);
  uint8_t block[kBlockBytes] = {};
  uint64_t done = 0;
  if (key_bytes > 0) {
    memcpy(block, key, key_bytes);
    done = kBlockBytes;
    Compress(h, block, done, in_bytes == 0);
  }
  while (in_bytes > kBlockBytes) {
    done += kBlockBytes;
    Compress(h, in, done, false);
    in += kBlockBytes;
    in_bytes -= kBlockBytes;
  }
  if (in_bytes > 0 || key_bytes == 0) {
    memset(block, 0, sizeof block);
    if (in_bytes > 0) memcpy(block, in, in_bytes);
    Compress(h, block, done + in_bytes, true);
  }
  for (size_t i = 0; i < out_bytes; i++) out[i] = static_cast<uint8_t>(h[i / 4] >> 8 * (i % 4));
  explicit_bzero(block, sizeof block);
  explicit_bzero(h, sizeof h);
}

}  // namespace blake2s
