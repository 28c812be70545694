// The OpenSSL that Node brings along, reached by dlsym: nothing is linked and nothing is shipped. Where Node was built without it (or
// with another library) `Load` names what is missing, and JavaScript takes node:crypto instead. Prototypes as of OpenSSL 3.
#pragma once

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

// OSSL_PARAM of <openssl/core.h>.
struct OpenSslParam {
  const char* key;
  unsigned type;
  void* data;
  size_t bytes;
  size_t returned;
};

struct OpenSsl {
  using Ctx = void;
  using Key = void;
  using KeyCtx = void;

  // ChaCha20-Poly1305, and ChaCha20 alone (EVP_CIPHER).
  const void* (*chacha20_poly1305)() = nullptr;
  const void* (*chacha20)() = nullptr;
  Ctx* (*ctx_new)() = nullptr;
  void (*ctx_free)(Ctx*) = nullptr;
  int (*ctx_ctrl)(Ctx*, int, int, void*) = nullptr;
  int (*init)(Ctx*, const void* cipher, void* engine, const uint8_t* key, const uint8_t* iv, int seal) = nullptr;
  int (*update)(Ctx*, uint8_t* out, int* out_len, const uint8_t* in, int in_len) = nullptr;
  int (*final)(Ctx*, uint8_t* out, int* out_len) = nullptr;
  // What EVP's cipher is made of. Optional: OpenSSL's own, not its public interface.
  void (*chacha20_words)(uint8_t* out, const uint8_t* in, size_t len, const uint32_t key[8], const uint32_t counter[4]) = nullptr;
  size_t (*poly1305_size)() = nullptr;
  void (*poly1305_init)(void*, const uint8_t key[32]) = nullptr;
  void (*poly1305_update)(void*, const uint8_t*, size_t) = nullptr;
  void (*poly1305_final)(void*, uint8_t tag[16]) = nullptr;
  // X25519 (EVP_PKEY).
  Key* (*key_private)(int type, void* engine, const uint8_t*, size_t) = nullptr;
  Key* (*key_public)(int type, void* engine, const uint8_t*, size_t) = nullptr;
  int (*key_get_public)(const Key*, uint8_t*, size_t*) = nullptr;
  void (*key_free)(Key*) = nullptr;
  KeyCtx* (*maker_new)(void* library, const char* name, const char* properties) = nullptr;
  int (*maker_init)(KeyCtx*) = nullptr;
  int (*maker_make)(KeyCtx*, Key**, int selection, OpenSslParam*) = nullptr;
  KeyCtx* (*derive_new)(Key*, void* engine) = nullptr;
  int (*derive_init)(KeyCtx*) = nullptr;
  int (*derive_peer)(KeyCtx*, Key*) = nullptr;
  int (*derive)(KeyCtx*, uint8_t*, size_t*) = nullptr;
  void (*derive_free)(KeyCtx*) = nullptr;
  // Refused keys leave entries in the thread's error queue, which node:crypto would report as its own.
  void (*clear_errors)() = nullptr;

  // Returns the name of the first symbol that is missing, or null.
  const char* Load() {
    const char* missing = nullptr;
    auto find = [&missing](auto& into, const char* name) {
      void* symbol = dlsym(RTLD_DEFAULT, name);
      if (symbol == nullptr && missing == nullptr) missing = name;
      into = reinterpret_cast<std::remove_reference_t<decltype(into)>>(symbol);
    };
    find(chacha20_poly1305, "EVP_chacha20_poly1305");
    find(chacha20, "EVP_chacha20");
    find(ctx_new, "EVP_CIPHER_CTX_new");
    find(ctx_free, "EVP_CIPHER_CTX_free");
    find(ctx_ctrl, "EVP_CIPHER_CTX_ctrl");
    find(init, "EVP_CipherInit_ex");
    find(update, "EVP_CipherUpdate");
    find(final, "EVP_CipherFinal_ex");
    find(key_private, "EVP_PKEY_new_raw_private_key");
    find(key_public, "EVP_PKEY_new_raw_public_key");
    find(key_get_public, "EVP_PKEY_get_raw_public_key");
    find(key_free, "EVP_PKEY_free");
    find(maker_new, "EVP_PKEY_CTX_new_from_name");
    find(maker_init, "EVP_PKEY_fromdata_init");
    find(maker_make, "EVP_PKEY_fromdata");
    find(derive_new, "EVP_PKEY_CTX_new");
    find(derive_init, "EVP_PKEY_derive_init");
    find(derive_peer, "EVP_PKEY_derive_set_peer");
    find(derive, "EVP_PKEY_derive");
    find(derive_free, "EVP_PKEY_CTX_free");
    find(clear_errors, "ERR_clear_error");
    const char* needed = missing;
    find(chacha20_words, "ChaCha20_ctr32");
    find(poly1305_size, "Poly1305_ctx_size");
    find(poly1305_init, "Poly1305_Init");
    find(poly1305_update, "Poly1305_Update");
    find(poly1305_final, "Poly1305_Final");
    return needed;
  }
};
