// Loads a program of the kernel's own bytecode (eBPF) for a cls_bpf filter: bpf(2), no library, no compiler, no maps, no BTF.
#include "addon.h"

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

// bpfLoad(program, license): descriptor. Throws with the verifier's last words.
static Napi::Value BpfLoad(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    throw Napi::TypeError::New(env, "argument program must be a Uint8Array");
  }
  auto program = info[0].As<Napi::Uint8Array>();
  std::string license = StringArgument(info, 1, "license");
  std::string words(16 * 1024, '\0');
  bpf_attr wish;
  auto load = [&](bool tell) {
    memset(&wish, 0, sizeof wish);
    wish.prog_type = BPF_PROG_TYPE_SCHED_CLS;
    wish.insns = reinterpret_cast<uint64_t>(program.Data());
    wish.insn_cnt = static_cast<uint32_t>(program.ByteLength() / sizeof(bpf_insn));
    wish.license = reinterpret_cast<uint64_t>(license.c_str());
    if (tell) {
      wish.log_level = 1;
      wish.log_buf = reinterpret_cast<uint64_t>(words.data());
      wish.log_size = static_cast<uint32_t>(words.size());
    }
    return static_cast<int>(syscall(SYS_bpf, BPF_PROG_LOAD, &wish, sizeof wish));
  };
  int fd = load(false);
  if (fd < 0) {
    int error = errno;
    const char* hint = error == EPERM ? "loading a program needs CAP_BPF or CAP_SYS_ADMIN" : "";
    if (error != EPERM && load(true) < 0) {
      std::string told = words.c_str();
      ThrowErrno(env, error, "bpf", "BPF_PROG_LOAD", told.size() > 500 ? told.substr(told.size() - 500) : told);
    }
    ThrowErrno(env, error, "bpf", "BPF_PROG_LOAD", hint);
  }
  return Napi::Number::New(env, fd);
}

void ExportBpf(Napi::Env env, Napi::Object exports) { exports.Set("bpfLoad", Napi::Function::New<BpfLoad>(env, "bpfLoad")); }
