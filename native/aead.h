// Sealing and opening WireGuard's transport messages, one and by the batch, with OpenSSL's ChaCha20-Poly1305 (RFC 8439).
// Nothing of Node in here, so that the fuzzer links it alone.
//
// A transport message: type 4 and three zero bytes, receiver index, counter (64 bit; all little endian), ciphertext, tag of 16 bytes.
// The nonce is 4 zero bytes and the counter. No additional data.
//
// Two cipher contexts a thread, one for each direction (and one for cookies), whatever the number of keys: a key is 32 bytes in an array of JavaScript's,
// named by its slot, and is given to the context with each packet that has another key than the packet before. So a session costs no native
// memory, and ending it means to overwrite the slot (and Forget, for the copy in the context).
//
// The short way: EVP spends as much on a packet as the cipher does on a kilobyte of it (parameters looked up by name, twice a packet). So batches call
// the two functions that EVP's cipher calls, ChaCha20 and Poly1305, in the order of RFC 8439, section 2.8: no cipher of our own, only its order. They are
// exported by Node's binary but no public interface, so at start both ways are compared, and EVP is used where they differ or are not there.
//
// Every number in the columns is JavaScript's and is checked here before it becomes an address.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "openssl.h"

constexpr int32_t kHeaderBytes = 16;
constexpr int32_t kTagBytes = 16;
constexpr int32_t kKeyBytes = 32;
constexpr int32_t kNonceBytes = 12;
// The padding that seal may be asked for.
constexpr int32_t kPadMax = 15;

constexpr int kCtrlGetTag = 0x10;
constexpr int kCtrlSetTag = 0x11;

// The columns of src/link/wireguard/columns.ts.
struct Columns {
  uint8_t* data = nullptr;  // null: free entry
  int32_t data_bytes = 0;
  const uint8_t* source = nullptr;
  int32_t source_bytes = 0;
  int32_t* from = nullptr;
  int32_t* off = nullptr;
  int32_t* len = nullptr;
  int32_t* pad = nullptr;
  int32_t* key = nullptr;
  int32_t* lo = nullptr;
  int32_t* hi = nullptr;
  int32_t* receiver = nullptr;
  int32_t slots = 0;  // that all columns have
};

inline void StoreWord(uint8_t* at, uint32_t word) {
  at[0] = static_cast<uint8_t>(word);
  at[1] = static_cast<uint8_t>(word >> 8);
  at[2] = static_cast<uint8_t>(word >> 16);
  at[3] = static_cast<uint8_t>(word >> 24);
}

inline uint32_t LoadWord(const uint8_t* at) {
  return static_cast<uint32_t>(at[0]) | static_cast<uint32_t>(at[1]) << 8 | static_cast<uint32_t>(at[2]) << 16 |
         static_cast<uint32_t>(at[3]) << 24;
}

inline bool Inside(int32_t off, int32_t len, int32_t bytes) { return off >= 0 && len >= 0 && off <= bytes && len <= bytes - off; }

class Aead {
 public:
  ~Aead() {
    if (seal_ != nullptr) ssl_->ctx_free(seal_);
    if (open_ != nullptr) ssl_->ctx_free(open_);
    if (stream_ != nullptr) ssl_->ctx_free(stream_);
  }

  // False when OpenSSL has no such cipher (a FIPS provider).
  bool Start(const OpenSsl* ssl) {
    ssl_ = ssl;
    seal_ = ssl->ctx_new();
    open_ = ssl->ctx_new();
    stream_ = ssl->ctx_new();
    const void* cipher = ssl->chacha20_poly1305();
    static const uint8_t zero[kKeyBytes] = {};
    const void* stream = ssl->chacha20();
    bool good = seal_ != nullptr && open_ != nullptr && stream_ != nullptr && cipher != nullptr && stream != nullptr &&
                ssl->init(stream_, stream, nullptr, zero, zero, 1) == 1 && ssl->init(seal_, cipher, nullptr, zero, zero, 1) == 1 &&
                ssl->init(open_, cipher, nullptr, zero, zero, 0) == 1;
    if (good) short_way_ = ProveShortWay();
    return good;
  }

  bool short_way() const { return short_way_; }

  // Overwrites the keys that the contexts hold.
  void Forget() {
    static const uint8_t zero[kKeyBytes] = {};
    ssl_->init(seal_, nullptr, nullptr, zero, zero, 1);
    ssl_->init(open_, nullptr, nullptr, zero, zero, 0);
    ssl_->init(stream_, nullptr, nullptr, zero, zero, 1);
    if (short_way_) explicit_bzero(poly_.get(), kPolyMost);
  }

  // HChaCha20 (draft-irtf-cfrg-xchacha, section 2.2): the ChaCha20 block without its last addition. OpenSSL adds the input words at the end, and
  // those that matter here, constants and nonce, are known: they are subtracted again, and there is no cipher of our own.
  bool HChaCha20(uint8_t out[kKeyBytes], const uint8_t* key, const uint8_t nonce[16]) {
    static constexpr uint32_t kSigma[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    uint8_t block[64] = {};
    int part = 0;
    if (ssl_->init(stream_, nullptr, nullptr, key, nonce, 1) != 1 || ssl_->update(stream_, block, &part, block, sizeof block) != 1) return false;
    for (int i = 0; i < 4; i++) {
      StoreWord(out + 4 * i, LoadWord(block + 4 * i) - kSigma[i]);
      StoreWord(out + 16 + 4 * i, LoadWord(block + 48 + 4 * i) - LoadWord(nonce + 4 * i));
    }
    explicit_bzero(block, sizeof block);
    return true;
  }

  // Encrypts `len` bytes in place; the tag goes behind them.
  bool Seal(const uint8_t* key, const uint8_t nonce[kNonceBytes], uint8_t* bytes, int32_t len, const uint8_t* ad, int32_t ad_len) {
    int part = 0;
    return ssl_->init(seal_, nullptr, nullptr, key, nonce, 1) == 1 &&
           (ad_len == 0 || ssl_->update(seal_, nullptr, &part, ad, ad_len) == 1) &&
           (len == 0 || ssl_->update(seal_, bytes, &part, bytes, len) == 1) &&
           ssl_->final(seal_, bytes + len, &part) == 1 && ssl_->ctx_ctrl(seal_, kCtrlGetTag, kTagBytes, bytes + len) == 1;
  }

  // Decrypts `len` bytes in place, whose tag stands behind them. False: forged, and the bytes are rubbish.
  bool Open(const uint8_t* key, const uint8_t nonce[kNonceBytes], uint8_t* bytes, int32_t len, const uint8_t* ad, int32_t ad_len) {
    int part = 0;
    uint8_t after[kTagBytes];  // final writes nothing for a stream cipher, but must not be given the tag to write to
    return ssl_->init(open_, nullptr, nullptr, key, nonce, 0) == 1 &&
           ssl_->ctx_ctrl(open_, kCtrlSetTag, kTagBytes, bytes + len) == 1 &&
           (ad_len == 0 || ssl_->update(open_, nullptr, &part, ad, ad_len) == 1) &&
           (len == 0 || ssl_->update(open_, bytes, &part, bytes, len) == 1) && ssl_->final(open_, after, &part) == 1;
  }

  // Packets 0…n: plaintext source[from…from+len) becomes the transport message data[off…), `pad` zeros behind the plaintext.
  // len becomes the message's bytes, or 0 where the columns make no sense. Returns how many were sealed.
  int32_t SealBatch(const Columns& c, int32_t n, const uint8_t* keys, int32_t key_slots) {
    if (n > c.slots) n = c.slots;
    int32_t last_key = -1, sealed = 0;
    for (int32_t i = 0; i < n; i++) {
      int32_t from = c.from[i], off = c.off[i], len = c.len[i], pad = c.pad[i], key = c.key[i];
      c.len[i] = 0;
      if (key < 0 || key >= key_slots || pad < 0 || pad > kPadMax || !Inside(from, len, c.source_bytes)) continue;
      if (len > c.data_bytes - kHeaderBytes - kTagBytes - kPadMax) continue;
      if (!Inside(off, kHeaderBytes + len + pad + kTagBytes, c.data_bytes)) continue;
      uint8_t* message = c.data + off;
      uint8_t* text = message + kHeaderBytes;
      if (c.source + from != text) memmove(text, c.source + from, static_cast<size_t>(len));
      if (pad > 0) memset(text + len, 0, static_cast<size_t>(pad));
      StoreWord(message, 4);
      StoreWord(message + 4, static_cast<uint32_t>(c.receiver[i]));
      StoreWord(message + 8, static_cast<uint32_t>(c.lo[i]));
      StoreWord(message + 12, static_cast<uint32_t>(c.hi[i]));
      uint8_t nonce[kNonceBytes] = {};
      memcpy(nonce + 4, message + 8, 8);
      if (short_way_) {
        SealShort(keys + static_cast<size_t>(key) * kKeyBytes, nonce, text, len + pad);
        c.len[i] = kHeaderBytes + len + pad + kTagBytes;
        sealed++;
        continue;
      }
      const uint8_t* with = key == last_key ? nullptr : keys + static_cast<size_t>(key) * kKeyBytes;
      last_key = key;
      if (!Seal(with, nonce, text, len + pad, nullptr, 0)) {
        last_key = -1;
        continue;
      }
      c.len[i] = kHeaderBytes + len + pad + kTagBytes;
      sealed++;
    }
    return sealed;
  }

  // Messages 0…n: data[off…off+len) is a transport message; its counter is written to lo and hi. Its plaintext stands at off + 16 then, and
  // len becomes its bytes: −1 where the tag is wrong, the columns make no sense, or key is negative (nobody's). Returns how many were opened.
  int32_t OpenBatch(const Columns& c, int32_t n, const uint8_t* keys, int32_t key_slots) {
    if (n > c.slots) n = c.slots;
    int32_t last_key = -1, opened = 0;
    for (int32_t i = 0; i < n; i++) {
      int32_t off = c.off[i], len = c.len[i], key = c.key[i];
      c.len[i] = -1;
      if (key < 0 || key >= key_slots || len < kHeaderBytes + kTagBytes || !Inside(off, len, c.data_bytes)) continue;
      uint8_t* message = c.data + off;
      c.lo[i] = static_cast<int32_t>(LoadWord(message + 8));
      c.hi[i] = static_cast<int32_t>(LoadWord(message + 12));
      uint8_t nonce[kNonceBytes] = {};
      memcpy(nonce + 4, message + 8, 8);
      int32_t text = len - kHeaderBytes - kTagBytes;
      if (short_way_) {
        if (!OpenShort(keys + static_cast<size_t>(key) * kKeyBytes, nonce, message + kHeaderBytes, text)) continue;
        c.len[i] = text;
        opened++;
        continue;
      }
      const uint8_t* with = key == last_key ? nullptr : keys + static_cast<size_t>(key) * kKeyBytes;
      last_key = key;
      if (!Open(with, nonce, message + kHeaderBytes, text, nullptr, 0)) continue;
      c.len[i] = text;
      opened++;
    }
    return opened;
  }

 private:
  // -- the short way --

  static constexpr int32_t kBlock = 64;

  // Both leave the one-time key's block on the stack; it is overwritten there.
  void SealShort(const uint8_t* key, const uint8_t nonce[kNonceBytes], uint8_t* bytes, int32_t len) {
    uint32_t words[8], counter[4];
    Begin(key, nonce, words, counter);
    counter[0] = 1;
    if (len > 0) ssl_->chacha20_words(bytes, bytes, static_cast<size_t>(len), words, counter);
    Tag(bytes, len, bytes + len);
    explicit_bzero(words, sizeof words);
  }

  bool OpenShort(const uint8_t* key, const uint8_t nonce[kNonceBytes], uint8_t* bytes, int32_t len) {
    uint32_t words[8], counter[4];
    uint8_t tag[kTagBytes];
    Begin(key, nonce, words, counter);
    Tag(bytes, len, tag);
    uint8_t different = 0;
    for (int i = 0; i < kTagBytes; i++) different = static_cast<uint8_t>(different | (tag[i] ^ bytes[len + i]));
    counter[0] = 1;
    if (different == 0 && len > 0) ssl_->chacha20_words(bytes, bytes, static_cast<size_t>(len), words, counter);
    explicit_bzero(words, sizeof words);
    return different == 0;
  }

  // The cipher's state in words, and Poly1305 keyed with the first half of block 0.
  void Begin(const uint8_t* key, const uint8_t nonce[kNonceBytes], uint32_t words[8], uint32_t counter[4]) {
    for (int i = 0; i < 8; i++) words[i] = LoadWord(key + 4 * i);
    counter[0] = 0;
    for (int i = 0; i < 3; i++) counter[i + 1] = LoadWord(nonce + 4 * i);
    uint8_t block[kBlock] = {};
    ssl_->chacha20_words(block, block, kBlock, words, counter);
    ssl_->poly1305_init(poly_.get(), block);
    explicit_bzero(block, sizeof block);
  }

  // Over the ciphertext, filled up to 16 bytes, and both lengths.
  void Tag(const uint8_t* bytes, int32_t len, uint8_t tag[kTagBytes]) {
    uint8_t rest[32] = {};
    int32_t whole = len & ~15, part = len & 15, used = part > 0 ? 16 : 0;
    memcpy(rest, bytes + whole, static_cast<size_t>(part));
    StoreWord(rest + used + 8, static_cast<uint32_t>(len));
    ssl_->poly1305_update(poly_.get(), bytes, static_cast<size_t>(whole));
    ssl_->poly1305_update(poly_.get(), rest, static_cast<size_t>(used + 16));
    ssl_->poly1305_final(poly_.get(), tag);
  }

  // Are the functions there, and do they what EVP does? Lengths on both sides of every loop in them.
  bool ProveShortWay() {
    if (ssl_->chacha20_words == nullptr || ssl_->poly1305_size == nullptr || ssl_->poly1305_init == nullptr ||
        ssl_->poly1305_update == nullptr || ssl_->poly1305_final == nullptr)
      return false;
    size_t size = ssl_->poly1305_size();
    if (size == 0 || size > kPolyMost) return false;
    poly_.reset(new (std::align_val_t(64)) uint8_t[kPolyMost]);
    static constexpr int32_t kLengths[] = {0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 255, 256, 511, 512, 513, 1023, 1024, 1025, 1420, 1424, 2047};
    uint8_t key[kKeyBytes], nonce[kNonceBytes], slow[2048 + kTagBytes], fast[2048 + kTagBytes];
    for (int i = 0; i < kKeyBytes; i++) key[i] = static_cast<uint8_t>(i * 11 + 3);
    for (int i = 0; i < kNonceBytes; i++) nonce[i] = static_cast<uint8_t>(i < 4 ? 0 : 250 - i);
    for (int32_t len : kLengths) {
      for (int32_t i = 0; i < len; i++) slow[i] = fast[i] = static_cast<uint8_t>(i * 7 + len);
      SealShort(key, nonce, fast, len);
      if (!Seal(key, nonce, slow, len, nullptr, 0) || memcmp(slow, fast, static_cast<size_t>(len + kTagBytes)) != 0) return false;
      if (!OpenShort(key, nonce, fast, len)) return false;
      for (int32_t i = 0; i < len; i++) {
        if (fast[i] != static_cast<uint8_t>(i * 7 + len)) return false;
      }
      slow[0] ^= 1;
      if (OpenShort(key, nonce, slow, len)) return false;
    }
    return true;
  }

  // OpenSSL's context has a few hundred bytes, and wants 8 of alignment at most; more costs nothing.
  static constexpr size_t kPolyMost = 2048;
  struct Free {
    void operator()(uint8_t* at) const { operator delete[](at, std::align_val_t(64)); }
  };
  std::unique_ptr<uint8_t[], Free> poly_;
  bool short_way_ = false;
  const OpenSsl* ssl_ = nullptr;
  OpenSsl::Ctx* seal_ = nullptr;
  OpenSsl::Ctx* open_ = nullptr;
  OpenSsl::Ctx* stream_ = nullptr;
};

constexpr int kX25519 = 1034;       // EVP_PKEY_X25519
constexpr int kKeyPair = 0x87;      // EVP_PKEY_KEYPAIR
constexpr unsigned kOctets = 5;     // OSSL_PARAM_OCTET_STRING

// A private key with some public key beside it. Without one OpenSSL computes it, which costs nearly as much as the multiplication that is wanted;
// a derivation never looks at it.
inline OpenSsl::Key* PrivateKey(const OpenSsl& ssl, const uint8_t secret[32]) {
  uint8_t own[32], unused[32] = {9};
  memcpy(own, secret, sizeof own);
  OpenSslParam params[] = {{"priv", kOctets, own, sizeof own, 0}, {"pub", kOctets, unused, sizeof unused, 0}, {nullptr, 0, nullptr, 0, 0}};
  OpenSsl::Key* key = nullptr;
  OpenSsl::KeyCtx* maker = ssl.maker_new(nullptr, "X25519", nullptr);
  if (maker != nullptr && (ssl.maker_init(maker) != 1 || ssl.maker_make(maker, &key, kKeyPair, params) != 1)) key = nullptr;
  if (maker != nullptr) ssl.derive_free(maker);
  explicit_bzero(own, sizeof own);
  return key;
}

// X25519 (RFC 7748): the public key of `secret`.
inline bool X25519Public(const OpenSsl& ssl, uint8_t out[32], const uint8_t secret[32]) {
  size_t bytes = 32;
  OpenSsl::Key* mine = ssl.key_private(kX25519, nullptr, secret, 32);
  bool good = mine != nullptr && ssl.key_get_public(mine, out, &bytes) == 1 && bytes == 32;
  if (mine != nullptr) ssl.key_free(mine);
  return good;
}

// The shared secret. False: refused (`other` has a low order).
inline bool X25519Shared(const OpenSsl& ssl, uint8_t out[32], const uint8_t secret[32], const uint8_t other[32]) {
  size_t bytes = 32;
  OpenSsl::Key* mine = PrivateKey(ssl, secret);
  OpenSsl::Key* theirs = ssl.key_public(kX25519, nullptr, other, 32);
  OpenSsl::KeyCtx* ctx = mine == nullptr || theirs == nullptr ? nullptr : ssl.derive_new(mine, nullptr);
  bool good = ctx != nullptr && ssl.derive_init(ctx) == 1 && ssl.derive_peer(ctx, theirs) == 1 && ssl.derive(ctx, out, &bytes) == 1 &&
              bytes == 32;
  if (ctx != nullptr) ssl.derive_free(ctx);
  if (theirs != nullptr) ssl.key_free(theirs);
  if (mine != nullptr) ssl.key_free(mine);
  if (!good) ssl.clear_errors();
  return good;
}
