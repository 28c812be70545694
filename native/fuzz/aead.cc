// libFuzzer target: columns that hold anything, because JavaScript writes them, through sealing and opening.
//
// The cipher is a stand-in that touches exactly the bytes that it is promised and remembers the key, so that AddressSanitizer sees the first byte too many
// of ours (OpenSSL's own code has no sanitizer in it) and a packet sealed with one key does not open with another. Every array is an allocation of its own of
// exactly the promised size. The input is a program: each step is an opcode and its operands.
#include "../aead.h"

#include <cstdlib>
#include <memory>

namespace {

struct Toy {
  uint8_t key[kKeyBytes];
  uint8_t nonce[16];
  uint8_t tag[kTagBytes];
  uint8_t sum;
  bool seal;
};

const void* ToyCipher() { return reinterpret_cast<const void*>(1); }
void* ToyNew() { return new Toy(); }
void ToyFree(void* toy) { delete static_cast<Toy*>(toy); }

int ToyInit(void* at, const void*, void*, const uint8_t* key, const uint8_t* iv, int seal) {
  auto* toy = static_cast<Toy*>(at);
  if (key != nullptr) memcpy(toy->key, key, kKeyBytes);
  if (iv != nullptr) memcpy(toy->nonce, iv, kNonceBytes);
  toy->seal = seal == 1;
  toy->sum = 0;
  return 1;
}

int ToyUpdate(void* at, uint8_t* out, int* out_len, const uint8_t* in, int len) {
  auto* toy = static_cast<Toy*>(at);
  for (int i = 0; i < len; i++) {
    uint8_t byte = in[i];
    uint8_t coded = static_cast<uint8_t>(byte ^ toy->key[i % kKeyBytes] ^ toy->nonce[4 + i % 8]);
    toy->sum = static_cast<uint8_t>(toy->sum * 31 + (toy->seal ? coded : byte));
    if (out != nullptr) out[i] = coded;
  }
  *out_len = len;
  return 1;
}

void ToyTag(const Toy* toy, uint8_t* tag) {
  for (int i = 0; i < kTagBytes; i++) tag[i] = static_cast<uint8_t>(toy->key[i] + toy->nonce[i % kNonceBytes] + toy->sum + i);
}

int ToyFinal(void* at, uint8_t*, int* out_len) {
  auto* toy = static_cast<Toy*>(at);
  *out_len = 0;
  uint8_t tag[kTagBytes];
  ToyTag(toy, tag);
  return toy->seal || memcmp(tag, toy->tag, kTagBytes) == 0 ? 1 : 0;
}

int ToyCtrl(void* at, int what, int len, void* bytes) {
  auto* toy = static_cast<Toy*>(at);
  if (len != kTagBytes) abort();
  if (what == kCtrlGetTag) ToyTag(toy, static_cast<uint8_t*>(bytes));
  if (what == kCtrlSetTag) memcpy(toy->tag, bytes, kTagBytes);
  return 1;
}

constexpr int32_t kSlots = 12;
constexpr int32_t kBytes = 4096;
constexpr int32_t kKeys = 3;

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
  OpenSsl ssl;
  ssl.chacha20_poly1305 = ssl.chacha20 = ToyCipher;
  ssl.ctx_new = ToyNew;
  ssl.ctx_free = ToyFree;
  ssl.init = ToyInit;
  ssl.update = ToyUpdate;
  ssl.final = ToyFinal;
  ssl.ctx_ctrl = ToyCtrl;
  Aead aead;
  Check(aead.Start(&ssl));

  bool in_place = input.take(1) % 2 == 0;
  auto data = std::make_unique<uint8_t[]>(kBytes);
  auto apart = std::make_unique<uint8_t[]>(kBytes);
  auto keys = std::make_unique<uint8_t[]>(kKeys * kKeyBytes);
  for (int i = 0; i < kKeys * kKeyBytes; i++) keys[i] = static_cast<uint8_t>(i * 7);
  std::unique_ptr<int32_t[]> columns[8];
  for (auto& column : columns) column = std::make_unique<int32_t[]>(kSlots);
  Columns c;
  c.data = data.get();
  c.data_bytes = kBytes;
  c.source = in_place ? data.get() : apart.get();
  c.source_bytes = kBytes;
  c.from = columns[0].get();
  c.off = columns[1].get();
  c.len = columns[2].get();
  c.pad = columns[3].get();
  c.key = columns[4].get();
  c.lo = columns[5].get();
  c.hi = columns[6].get();
  c.receiver = columns[7].get();
  c.slots = kSlots;

  for (int steps = 0; steps < 64 && input.left > 0; steps++) {
    switch (input.take(1) % 5) {
      case 0:
        columns[input.take(1) % 8][input.take(1) % kSlots] = static_cast<int32_t>(input.take(4));
        break;
      case 1: {  // a slot that makes sense
        int32_t i = static_cast<int32_t>(input.take(1) % kSlots);
        c.off[i] = static_cast<int32_t>(input.take(2) % kBytes);
        c.from[i] = in_place ? c.off[i] + kHeaderBytes : static_cast<int32_t>(input.take(2) % kBytes);
        c.len[i] = static_cast<int32_t>(input.take(1));
        c.pad[i] = static_cast<int32_t>(input.take(1) % 16);
        c.key[i] = static_cast<int32_t>(input.take(1) % kKeys);
        break;
      }
      case 2:
        aead.SealBatch(c, static_cast<int32_t>(input.take(1)) - 4, keys.get(), kKeys);
        break;
      case 3:
        aead.OpenBatch(c, static_cast<int32_t>(input.take(1)) - 4, keys.get(), kKeys);
        break;
      default: {  // what was sealed opens to the same bytes
        int32_t len = static_cast<int32_t>(input.take(1)), pad = static_cast<int32_t>(input.take(1) % 16);
        int32_t off = static_cast<int32_t>(input.take(2) % (kBytes - 400));
        for (int32_t i = 0; i < len; i++) data[off + kHeaderBytes + i] = static_cast<uint8_t>(i * 3);
        c.off[0] = off;
        c.from[0] = off + kHeaderBytes;
        if (!in_place) memcpy(apart.get() + c.from[0], data.get() + c.from[0], static_cast<size_t>(len));
        c.len[0] = len;
        c.pad[0] = pad;
        c.key[0] = 1;
        Check(aead.SealBatch(c, 1, keys.get(), kKeys) == 1 && c.len[0] == kHeaderBytes + len + pad + kTagBytes);
        c.key[0] = 1;
        Check(aead.OpenBatch(c, 1, keys.get(), kKeys) == 1 && c.len[0] == len + pad);
        for (int32_t i = 0; i < len; i++) Check(data[off + kHeaderBytes + i] == static_cast<uint8_t>(i * 3));
        for (int32_t i = 0; i < pad; i++) Check(data[off + kHeaderBytes + len + i] == 0);
      }
    }
  }
  return 0;
}
