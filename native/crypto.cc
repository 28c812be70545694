// Crypto for JavaScript: the batch calls on transport messages, and single calls for handshakes. The arithmetic is in aead.h and blake2s.h.
//
// Columns are registered once, as batches are (tun.cc): references are kept and the memory's place is remembered. Keys and cipher contexts
// belong to the thread (environment). The single calls take whole Uint8Arrays and check their lengths here.
#include "addon.h"
#include "aead.h"
#include "blake2s.h"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace {

struct Entry : Columns {
  Napi::Reference<Napi::Array> keep;
};

struct Crypto {
  OpenSsl ssl;
  Aead aead;
  bool ready = false;
  std::vector<Entry> entries;

  Entry* find(int32_t id) {
    if (id < 0 || static_cast<size_t>(id) >= entries.size() || entries[static_cast<size_t>(id)].data == nullptr) return nullptr;
    return &entries[static_cast<size_t>(id)];
  }
};

struct Bytes {
  uint8_t* data = nullptr;
  size_t size = 0;
  bool given = false;
};

// null and undefined are empty; anything else must be a Uint8Array (a Buffer is one).
bool Take(napi_env env, napi_value value, Bytes* into) {
  napi_valuetype kind;
  if (napi_typeof(env, value, &kind) != napi_ok) return false;
  if (kind == napi_null || kind == napi_undefined) return true;
  napi_typedarray_type type;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &into->size, &data, nullptr, nullptr) != napi_ok) return false;
  into->data = static_cast<uint8_t*>(data);
  into->given = true;
  return type == napi_uint8_array;
}

napi_value Number(napi_env env, int32_t number) {
  napi_value value = nullptr;
  napi_create_int32(env, number, &value);
  return value;
}

napi_value Boolean(napi_env env, bool yes) {
  napi_value value = nullptr;
  napi_get_boolean(env, yes, &value);
  return value;
}

napi_value Refuse(napi_env env, const char* words) {
  napi_throw_type_error(env, nullptr, words);
  return nullptr;
}

}  // namespace

// -- single calls --

// blake2s(out, key | null, bytes, off, len)
static napi_value HashCall(napi_env env, napi_callback_info info) {
  napi_value args[5];
  size_t count = 5;
  Bytes out, key, in;
  int32_t off = 0, len = 0;
  if (napi_get_cb_info(env, info, &count, args, nullptr, nullptr) != napi_ok || !Take(env, args[0], &out) ||
      !Take(env, args[1], &key) || !Take(env, args[2], &in) || napi_get_value_int32(env, args[3], &off) != napi_ok ||
      napi_get_value_int32(env, args[4], &len) != napi_ok || out.size < 1 || out.size > blake2s::kOutBytes ||
      key.size > blake2s::kKeyBytes || in.size > INT32_MAX || !Inside(off, len, static_cast<int32_t>(in.size))) {
    return Refuse(env, "blake2s(out: 1 to 32 bytes, key: up to 32 bytes or null, bytes, off, len)");
  }
  uint8_t sum[blake2s::kOutBytes];
  blake2s::Hash(sum, out.size, key.data, key.size, in.data + off, static_cast<size_t>(len));
  memcpy(out.data, sum, out.size);
  return nullptr;
}

// x25519(out, secret, other | null)
static napi_value X25519Call(napi_env env, napi_callback_info info) {
  napi_value args[3];
  size_t count = 3;
  void* data = nullptr;
  Bytes out, secret, other;
  if (napi_get_cb_info(env, info, &count, args, nullptr, &data) != napi_ok || !Take(env, args[0], &out) ||
      !Take(env, args[1], &secret) || !Take(env, args[2], &other) || out.size != 32 || secret.size != 32 ||
      (other.given && other.size != 32) || !static_cast<Crypto*>(data)->ready) {
    return Refuse(env, "x25519(out, secret, other | null): 32 bytes each, where cryptoMissing() is empty");
  }
  const OpenSsl& ssl = static_cast<Crypto*>(data)->ssl;
  return Boolean(env, !other.given ? X25519Public(ssl, out.data, secret.data) : X25519Shared(ssl, out.data, secret.data, other.data));
}

// aeadSeal(key, nonce, bytes, off, len, ad | null) and aeadOpen: in place, `len` without the tag, which stands behind.
template <bool seal>
static napi_value AeadCall(napi_env env, napi_callback_info info) {
  napi_value args[6];
  size_t count = 6;
  void* data = nullptr;
  Bytes key, nonce, bytes, ad;
  int32_t off = 0, len = 0;
  if (napi_get_cb_info(env, info, &count, args, nullptr, &data) != napi_ok || !Take(env, args[0], &key) ||
      !Take(env, args[1], &nonce) || !Take(env, args[2], &bytes) || napi_get_value_int32(env, args[3], &off) != napi_ok ||
      napi_get_value_int32(env, args[4], &len) != napi_ok || !Take(env, args[5], &ad) || key.size != kKeyBytes ||
      nonce.size != kNonceBytes || bytes.size > INT32_MAX || ad.size > INT32_MAX || len > INT32_MAX - kTagBytes ||
      len < 0 || !Inside(off, len + kTagBytes, static_cast<int32_t>(bytes.size)) || !static_cast<Crypto*>(data)->ready) {
    return Refuse(env, "aeadSeal and aeadOpen(key: 32 bytes, nonce: 12 bytes, bytes, off, len, ad | null): len and a tag must fit");
  }
  Aead& aead = static_cast<Crypto*>(data)->aead;
  int32_t ad_len = static_cast<int32_t>(ad.size);
  bool good = seal ? aead.Seal(key.data, nonce.data, bytes.data + off, len, ad.data, ad_len)
                   : aead.Open(key.data, nonce.data, bytes.data + off, len, ad.data, ad_len);
  return Boolean(env, good);
}

// hchacha20(out, key, nonce of 16 bytes)
static napi_value HChaCha20Call(napi_env env, napi_callback_info info) {
  napi_value args[3];
  size_t count = 3;
  void* data = nullptr;
  Bytes out, key, nonce;
  if (napi_get_cb_info(env, info, &count, args, nullptr, &data) != napi_ok || !Take(env, args[0], &out) ||
      !Take(env, args[1], &key) || !Take(env, args[2], &nonce) || out.size != kKeyBytes || key.size != kKeyBytes ||
      nonce.size != 16 || !static_cast<Crypto*>(data)->ready) {
    return Refuse(env, "hchacha20(out: 32 bytes, key: 32 bytes, nonce: 16 bytes)");
  }
  return Boolean(env, static_cast<Crypto*>(data)->aead.HChaCha20(out.data, key.data, nonce.data));
}

static napi_value ForgetCall(napi_env env, napi_callback_info info) {
  void* data = nullptr;
  size_t count = 0;
  if (napi_get_cb_info(env, info, &count, nullptr, nullptr, &data) == napi_ok && static_cast<Crypto*>(data)->ready) {
    static_cast<Crypto*>(data)->aead.Forget();
  }
  return nullptr;
}

// -- columns --

static Napi::Value ColumnsRegister(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  constexpr size_t kWords = 8;
  Entry entry;
  Napi::Array views = Napi::Array::New(env, 2 + kWords);
  for (size_t i = 0; i < 2 + kWords; i++) {
    napi_typedarray_type wanted = i < 2 ? napi_uint8_array : napi_int32_array;
    if (!info[i].IsTypedArray() || info[i].As<Napi::TypedArray>().TypedArrayType() != wanted) {
      throw Napi::TypeError::New(env, "cryptoRegister(data, source: Uint8Array; from, off, len, pad, key, lo, hi, receiver: Int32Array)");
    }
    views.Set(static_cast<uint32_t>(i), info[i]);
  }
  auto data = info[0].As<Napi::Uint8Array>();
  auto source = info[1].As<Napi::Uint8Array>();
  if (data.ByteLength() > INT32_MAX || source.ByteLength() > INT32_MAX || data.ByteLength() == 0) {
    throw Napi::RangeError::New(env, "data and source must have 1 byte to 2 GiB");
  }
  entry.data = data.Data();
  entry.data_bytes = static_cast<int32_t>(data.ByteLength());
  entry.source = source.Data();
  entry.source_bytes = static_cast<int32_t>(source.ByteLength());
  size_t slots = INT32_MAX;
  int32_t** const columns[kWords] = {&entry.from, &entry.off, &entry.len, &entry.pad, &entry.key, &entry.lo, &entry.hi, &entry.receiver};
  for (size_t i = 0; i < kWords; i++) {
    auto column = info[2 + i].As<Napi::Int32Array>();
    *columns[i] = column.Data();
    slots = std::min(slots, column.ElementLength());
  }
  entry.slots = static_cast<int32_t>(slots);
  entry.keep = Napi::Persistent(views);

  auto* crypto = static_cast<Crypto*>(info.Data());
  size_t id = 0;
  while (id < crypto->entries.size() && crypto->entries[id].data != nullptr) id++;
  if (id == crypto->entries.size()) crypto->entries.emplace_back();
  crypto->entries[id] = std::move(entry);
  return Napi::Number::New(env, static_cast<double>(id));
}

static void ColumnsRelease(const Napi::CallbackInfo& info) {
  Entry* entry = static_cast<Crypto*>(info.Data())->find(IntArgument(info, 0, "columns"));
  if (entry == nullptr) throw Napi::RangeError::New(info.Env(), "no such columns");
  *entry = Entry();
}

// -- hot: aeadSealBatch(columns, n, keys), aeadOpenBatch(columns, n, keys). No allocation, no exception. --

template <bool seal>
static napi_value BatchCall(napi_env env, napi_callback_info info) {
  napi_value args[3];
  size_t count = 3;
  void* data = nullptr;
  int32_t id = -1, n = 0;
  Bytes keys;
  if (napi_get_cb_info(env, info, &count, args, nullptr, &data) != napi_ok ||
      napi_get_value_int32(env, args[0], &id) != napi_ok || napi_get_value_int32(env, args[1], &n) != napi_ok ||
      !Take(env, args[2], &keys)) {
    return Number(env, -1);
  }
  auto* crypto = static_cast<Crypto*>(data);
  Entry* entry = crypto->find(id);
  if (entry == nullptr || !crypto->ready) return Number(env, -1);
  int32_t slots = static_cast<int32_t>(std::min<size_t>(keys.size / kKeyBytes, INT32_MAX));
  return Number(env, seal ? crypto->aead.SealBatch(*entry, n, keys.data, slots) : crypto->aead.OpenBatch(*entry, n, keys.data, slots));
}

void ExportCrypto(Napi::Env env, Napi::Object exports) {
  auto* crypto = new Crypto();
  env.AddCleanupHook([](Crypto* gone) { delete gone; }, crypto);
  const char* missing = crypto->ssl.Load();
  crypto->ready = missing == nullptr && crypto->aead.Start(&crypto->ssl);
  exports.Set("cryptoMissing", Napi::String::New(env, crypto->ready ? "" : missing != nullptr ? missing : "ChaCha20-Poly1305"));
  exports.Set("cryptoShortWay", Napi::Boolean::New(env, crypto->ready && crypto->aead.short_way()));
  exports.Set("cryptoRegister", Napi::Function::New<ColumnsRegister>(env, "cryptoRegister", crypto));
  exports.Set("cryptoRelease", Napi::Function::New<ColumnsRelease>(env, "cryptoRelease", crypto));
  ExportRaw(env, exports, "blake2s", HashCall, crypto);
  ExportRaw(env, exports, "x25519", X25519Call, crypto);
  ExportRaw(env, exports, "aeadSeal", AeadCall<true>, crypto);
  ExportRaw(env, exports, "aeadOpen", AeadCall<false>, crypto);
  ExportRaw(env, exports, "hchacha20", HChaCha20Call, crypto);
  ExportRaw(env, exports, "aeadForget", ForgetCall, crypto);
  ExportRaw(env, exports, "aeadSealBatch", BatchCall<true>, crypto);
  ExportRaw(env, exports, "aeadOpenBatch", BatchCall<false>, crypto);
}
