// Exports only. What each function does, returns and throws is written in src/native.ts; how, at the head of each file here.
#include "batches.h"

#include <cstring>

#include <uv.h>

static const char* ErrorCode(int error) {
  switch (error) {
    case EBADFD:  // libuv has no name for these, and a TUN whose device is gone answers with the first
      return "EBADFD";
    case ENOTUNIQ:
      return "ENOTUNIQ";
    default:
      return uv_err_name(-error);
  }
}

void ThrowErrno(Napi::Env env, int error, const char* syscall, const std::string& what, const std::string& hint) {
  const char* code = ErrorCode(error);
  std::string message = std::string(code) + ": " + strerror(error) + ", " + syscall;
  if (!what.empty()) message += " '" + what + "'";
  if (!hint.empty()) message += ": " + hint;
  Napi::Error failure = Napi::Error::New(env, message);
  failure.Set("code", Napi::String::New(env, code));
  failure.Set("errno", Napi::Number::New(env, -error));
  failure.Set("syscall", Napi::String::New(env, syscall));
  throw failure;
}

int32_t IntArgument(const Napi::CallbackInfo& info, size_t index, const char* name) {
  if (!info[index].IsNumber()) {
    throw Napi::TypeError::New(info.Env(), std::string("argument ") + name + " must be a number");
  }
  return info[index].As<Napi::Number>().Int32Value();
}

std::string StringArgument(const Napi::CallbackInfo& info, size_t index, const char* name) {
  if (!info[index].IsString()) {
    throw Napi::TypeError::New(info.Env(), std::string("argument ") + name + " must be a string");
  }
  std::string text = info[index].As<Napi::String>().Utf8Value();
  // The kernel would stop reading here and act on another name than the one given.
  if (text.find('\0') != std::string::npos) {
    throw Napi::TypeError::New(info.Env(), std::string("argument ") + name + " must not contain a zero byte");
  }
  return text;
}

void ExportRaw(Napi::Env env, Napi::Object exports, const char* name, napi_callback call, void* data) {
  napi_value function;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, call, data, &function) != napi_ok) {
    throw Napi::Error::New(env);
  }
  exports.Set(name, Napi::Value(env, function));
}

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("version", Napi::String::New(env, TUNGATE_VERSION));
  auto* batches = new Batches();
  env.AddCleanupHook([](Batches* gone) { delete gone; }, batches);
  ExportTun(env, exports, batches);
  ExportWait(env, exports);
  ExportMemory(env, exports);
  ExportNetlink(env, exports);
  ExportChecksum(env, exports);
  ExportNotify(env, exports);
  ExportCrypto(env, exports);
  ExportUdp(env, exports, batches);
  ExportVxlan(env, exports);
  ExportBpf(env, exports);
  return exports;
}

NODE_API_MODULE(tungate, Init)
