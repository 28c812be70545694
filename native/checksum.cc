// The internet checksum for JavaScript; the arithmetic is in sum.h.
#include "addon.h"
#include "sum.h"

static napi_value Checksum(napi_env env, napi_callback_info info) {
  napi_value args[4];
  size_t count = 4;
  int64_t off = 0, len = 0;
  uint32_t initial = 0;
  napi_typedarray_type type = napi_uint8_array;
  size_t size = 0;
  void* data = nullptr;
  if (napi_get_cb_info(env, info, &count, args, nullptr, nullptr) != napi_ok ||
      napi_get_typedarray_info(env, args[0], &type, &size, &data, nullptr, nullptr) != napi_ok ||
      type != napi_uint8_array || napi_get_value_int64(env, args[1], &off) != napi_ok ||
      napi_get_value_int64(env, args[2], &len) != napi_ok || napi_get_value_uint32(env, args[3], &initial) != napi_ok) {
    napi_throw_type_error(env, nullptr, "checksum(bytes: Uint8Array, off, len, initial)");
    return nullptr;
  }
  if (off < 0 || len < 0 || static_cast<uint64_t>(off) > size || static_cast<uint64_t>(len) > size - off) {
    napi_throw_range_error(env, nullptr, "checksum: off and len are outside of bytes");
    return nullptr;
  }
  uint32_t sum = InternetSum(static_cast<const uint8_t*>(data) + off, static_cast<size_t>(len), initial);
  napi_value value = nullptr;
  napi_create_uint32(env, sum, &value);
  return value;
}

void ExportChecksum(Napi::Env env, Napi::Object exports) { ExportRaw(env, exports, "checksum", Checksum, nullptr); }
