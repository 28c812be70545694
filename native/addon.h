// What the files of the addon share: how each hands its functions over, and how a failed system call becomes an Error.
#pragma once

#include <napi.h>

#include <string>

struct Batches;

// Each file puts its functions on `exports`; addon.cc calls them all.
void ExportTun(Napi::Env env, Napi::Object exports, Batches* batches);
void ExportWait(Napi::Env env, Napi::Object exports);
void ExportMemory(Napi::Env env, Napi::Object exports);
void ExportNetlink(Napi::Env env, Napi::Object exports);
void ExportChecksum(Napi::Env env, Napi::Object exports);
void ExportNotify(Napi::Env env, Napi::Object exports);
void ExportCrypto(Napi::Env env, Napi::Object exports);
void ExportUdp(Napi::Env env, Napi::Object exports, Batches* batches);
void ExportVxlan(Napi::Env env, Napi::Object exports);
void ExportBpf(Napi::Env env, Napi::Object exports);

// Throws an Error with `code`, `errno` (negative, as Node has it) and `syscall`. The message reads
// "EPERM: operation not permitted, ioctl TUNSETIFF 'tun0': HINT".
[[noreturn]] void ThrowErrno(Napi::Env env, int error, const char* syscall, const std::string& what = "",
                             const std::string& hint = "");

// Arguments of the calls that are not hot. Each throws a TypeError that names the argument.
int32_t IntArgument(const Napi::CallbackInfo& info, size_t index, const char* name);
std::string StringArgument(const Napi::CallbackInfo& info, size_t index, const char* name);

// Gives a raw N-API function the name under which JavaScript calls it. For the hot calls: the C++ wrapper costs a third more.
void ExportRaw(Napi::Env env, Napi::Object exports, const char* name, napi_callback call, void* data);
