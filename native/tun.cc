// TUN queues and the batch calls on them: the hot half of the addon.
//
// A batch is five typed arrays of src/batch.ts. batchRegister keeps references to them and remembers where their memory is:
// a backing store does not move or go away while its view is referenced. tunReceive and tunTransmit then take two or three
// small integers and touch that memory only. They allocate nothing and throw nothing; each read(2) and write(2) is one packet,
// the only way a TUN has.
//
// Batches belong to the thread (environment) that registered them: the table is reached by the function's data pointer,
// so there is no lock, and one worker cannot name another's batch.
#include "batches.h"
#include "outer.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <vector>

// Since Linux 6.2; older headers lack them.
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
// Since Linux 6.17.
#ifndef TUN_F_UDP_TUNNEL_GSO
#define TUN_F_UDP_TUNNEL_GSO 0x80
#endif

// -- opening --

static const char* OpenHint(int error) {
  switch (error) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
      return "the kernel's tun driver is not there; run `modprobe tun`, or start the container with --device=/dev/net/tun";
    case EPERM:
    case EACCES:
      return "no access to the device; run as root, or allow it to the container (--device=/dev/net/tun)";
    default:
      return "";
  }
}

static const char* AttachHint(int error) {
  switch (error) {
    case EPERM:
      return "making or opening a TUN needs CAP_NET_ADMIN";
    case EBUSY:
      return "another process holds this device";
    case EINVAL:
      return "a device of this name exists and is of another kind";
    case E2BIG:
      return "the device has no queue left";
    default:
      return "";
  }
}

// Asks for every offload and then for less, until the kernel agrees. 0 = none: packets come one by one, checksums complete.
static unsigned SetOffloads(int fd) {
  constexpr unsigned tso = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
  constexpr unsigned wishes[] = {tso | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6, tso | TUN_F_TSO_ECN, tso, TUN_F_CSUM};
  for (unsigned wish : wishes) {
    if (ioctl(fd, TUNSETOFFLOAD, static_cast<unsigned long>(wish)) != 0) continue;
    if ((wish & TUN_F_USO4) != 0) kernel_takes_udp = true;
    return wish;
  }
  (void)ioctl(fd, TUNSETOFFLOAD, 0UL);
  return 0;
}

static Napi::Value Open(const Napi::CallbackInfo& info, int kind, int header) {
  Napi::Env env = info.Env();
  std::string name = StringArgument(info, 0, "name");
  if (name.empty() || name.size() >= IFNAMSIZ) ThrowErrno(env, EINVAL, "tunOpen", name, "a device name has 1 to 15 bytes");

  int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) ThrowErrno(env, errno, "open", "/dev/net/tun", OpenHint(errno));
  ifreq request = {};
  request.ifr_flags = static_cast<short>(kind | IFF_NO_PI | IFF_VNET_HDR);
  memcpy(request.ifr_name, name.data(), name.size());
  if (ioctl(fd, TUNSETIFF, &request) < 0) {
    int error = errno;
    close(fd);
    ThrowErrno(env, error, "ioctl TUNSETIFF", name, AttachHint(error));
  }
  // A device that outlived another program may have another header size.
  if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0) {
    int error = errno;
    close(fd);
    ThrowErrno(env, error, "ioctl TUNSETVNETHDRSZ", name);
  }
  unsigned offloads = header == kVnetBytes ? SetOffloads(fd) : TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_UDP_TUNNEL_GSO;
  if (header != kVnetBytes && ioctl(fd, TUNSETOFFLOAD, static_cast<unsigned long>(offloads)) < 0) {
    int error = errno;
    close(fd);
    ThrowErrno(env, error, "ioctl TUNSETOFFLOAD", name, "the kernel segments no packets of UDP tunnels for a TAP; Linux 6.17 does");
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("fd", Napi::Number::New(env, fd));
  result.Set("name", Napi::String::New(env, request.ifr_name));
  result.Set("offloads", Napi::Number::New(env, offloads));
  return result;
}

static Napi::Value TunOpen(const Napi::CallbackInfo& info) { return Open(info, IFF_TUN | IFF_MULTI_QUEUE, kVnetBytes); }

// Ethernet frames instead of IP packets, one queue; gone when nobody holds it.
static Napi::Value TapOpen(const Napi::CallbackInfo& info) { return Open(info, IFF_TAP, kVnetBytes); }

// A TAP to write packets of UDP tunnels to (outer.h).
static Napi::Value TapOpenOuter(const Napi::CallbackInfo& info) { return Open(info, IFF_TAP, kOuterVnet); }

static void TakesUdp(const Napi::CallbackInfo& info) { kernel_takes_udp = info[0].ToBoolean().Value(); }

// A queue that another program has opened. { name, offloads, vnet: does it speak vnet headers }
static Napi::Value TunAdopt(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int fd = IntArgument(info, 0, "fd");
  ifreq request = {};
  if (ioctl(fd, TUNGETIFF, &request) < 0) ThrowErrno(env, errno, "ioctl TUNGETIFF", "", "the descriptor is no attached TUN");
  if ((request.ifr_flags & IFF_TUN) == 0 || (request.ifr_flags & IFF_NO_PI) == 0) {
    ThrowErrno(env, EINVAL, "tunAdopt", request.ifr_name, "it must be a TUN (not a TAP) opened with IFF_NO_PI");
  }
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) ThrowErrno(env, errno, "fcntl");
  bool vnet = (request.ifr_flags & IFF_VNET_HDR) != 0;
  int header = kVnetBytes;
  if (vnet && ioctl(fd, TUNSETVNETHDRSZ, &header) < 0) ThrowErrno(env, errno, "ioctl TUNSETVNETHDRSZ", request.ifr_name);
  Napi::Object result = Napi::Object::New(env);
  result.Set("name", Napi::String::New(env, request.ifr_name));
  result.Set("offloads", Napi::Number::New(env, vnet ? SetOffloads(fd) : 0));
  result.Set("vnet", Napi::Boolean::New(env, vnet));
  return result;
}

static void TunPersist(const Napi::CallbackInfo& info) {
  int fd = IntArgument(info, 0, "fd");
  unsigned long on = info[1].ToBoolean() ? 1 : 0;
  if (ioctl(fd, TUNSETPERSIST, on) < 0) ThrowErrno(info.Env(), errno, "ioctl TUNSETPERSIST");
}

// -- batches --

template <typename View>
static View ViewArgument(const Napi::CallbackInfo& info, size_t index, napi_typedarray_type type, const char* what) {
  if (!info[index].IsTypedArray() || info[index].As<Napi::TypedArray>().TypedArrayType() != type) {
    throw Napi::TypeError::New(info.Env(), std::string("argument ") + what);
  }
  return info[index].As<View>();
}

static Napi::Value BatchRegister(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto ctl = ViewArgument<Napi::Int32Array>(info, 0, napi_int32_array, "ctl must be an Int32Array");
  auto data = ViewArgument<Napi::Uint8Array>(info, 1, napi_uint8_array, "data must be a Uint8Array");
  auto off = ViewArgument<Napi::Int32Array>(info, 2, napi_int32_array, "off must be an Int32Array");
  auto len = ViewArgument<Napi::Int32Array>(info, 3, napi_int32_array, "len must be an Int32Array");
  auto list = ViewArgument<Napi::Int32Array>(info, 4, napi_int32_array, "list must be an Int32Array");
  int32_t limit_slots = IntArgument(info, 5, "limitSlots");
  int32_t limit_bytes = IntArgument(info, 6, "limitBytes");
  size_t slots = std::min({off.ElementLength(), len.ElementLength(), list.ElementLength()});

  if (ctl.ElementLength() < kCtlWords || slots > INT32_MAX || data.ByteLength() > INT32_MAX - kPacketBytes) {
    throw Napi::RangeError::New(env, "the batch's arrays have impossible lengths");
  }
  if (limit_slots < 1 || static_cast<size_t>(limit_slots) > slots) {
    throw Napi::RangeError::New(env, "limitSlots must be 1 to the number of slots");
  }
  if (limit_bytes < kHeadroom + kPacketBytes || static_cast<size_t>(limit_bytes) > data.ByteLength()) {
    throw Napi::RangeError::New(env, "limitBytes must leave room for one packet of 64 KiB and be inside data");
  }
  Batch batch;
  batch.ctl = ctl.Data();
  batch.data = data.Data();
  batch.off = off.Data();
  batch.len = len.Data();
  batch.list = list.Data();
  batch.data_bytes = static_cast<int32_t>(data.ByteLength());
  batch.slots = static_cast<int32_t>(slots);
  batch.limit_slots = limit_slots;
  batch.limit_bytes = limit_bytes;
  Napi::Array views = Napi::Array::New(env, 5);
  for (uint32_t i = 0; i < 5; i++) views.Set(i, info[i]);
  batch.keep = Napi::Persistent(views);

  auto* batches = static_cast<Batches*>(info.Data());
  size_t id = 0;
  while (id < batches->entries.size() && batches->entries[id].ctl != nullptr) id++;
  if (id == batches->entries.size()) batches->entries.emplace_back();
  batches->entries[id] = std::move(batch);
  return Napi::Number::New(env, static_cast<double>(id));
}

static void BatchRelease(const Napi::CallbackInfo& info) {
  Batch* batch = static_cast<Batches*>(info.Data())->find(IntArgument(info, 0, "batch"));
  if (batch == nullptr) throw Napi::RangeError::New(info.Env(), "no such batch");
  *batch = Batch();
}

// -- hot: no allocation, no exception; the loops are in slots.h, where the fuzzer finds them --

static napi_value TunReceive(napi_env env, napi_callback_info info) {
  napi_value args[2];
  size_t count = 2;
  void* data = nullptr;
  int32_t fd = -1, id = -1, result = -EINVAL;
  if (napi_get_cb_info(env, info, &count, args, nullptr, &data) == napi_ok &&
      napi_get_value_int32(env, args[0], &fd) == napi_ok && napi_get_value_int32(env, args[1], &id) == napi_ok) {
    Batch* batch = static_cast<Batches*>(data)->find(id);
    if (batch != nullptr) result = Receive(fd, batch);
  }
  napi_value value = nullptr;
  napi_create_int32(env, result, &value);
  return value;
}

static napi_value TunTransmit(napi_env env, napi_callback_info info) {
  napi_value args[3];
  size_t count = 3;
  void* data = nullptr;
  int32_t fd = -1, id = -1, n = 0, result = 0;
  if (napi_get_cb_info(env, info, &count, args, nullptr, &data) == napi_ok &&
      napi_get_value_int32(env, args[0], &fd) == napi_ok && napi_get_value_int32(env, args[1], &id) == napi_ok &&
      napi_get_value_int32(env, args[2], &n) == napi_ok) {
    Batch* batch = static_cast<Batches*>(data)->find(id);
    if (batch != nullptr) result = Transmit(fd, batch, n);
  }
  napi_value value = nullptr;
  napi_create_int32(env, result, &value);
  return value;
}

void ExportTun(Napi::Env env, Napi::Object exports, Batches* batches) {
  exports.Set("tunOpen", Napi::Function::New<TunOpen>(env, "tunOpen"));
  exports.Set("tapOpen", Napi::Function::New<TapOpen>(env, "tapOpen"));
  exports.Set("takesUdp", Napi::Function::New<TakesUdp>(env, "takesUdp"));
  exports.Set("tapOpenOuter", Napi::Function::New<TapOpenOuter>(env, "tapOpenOuter"));
  exports.Set("tunAdopt", Napi::Function::New<TunAdopt>(env, "tunAdopt"));
  exports.Set("tunPersist", Napi::Function::New<TunPersist>(env, "tunPersist"));
  exports.Set("batchRegister", Napi::Function::New<BatchRegister>(env, "batchRegister", batches));
  exports.Set("batchRelease", Napi::Function::New<BatchRelease>(env, "batchRelease", batches));
  ExportRaw(env, exports, "tunReceive", TunReceive, batches);
  ExportRaw(env, exports, "tunTransmit", TunTransmit, batches);

  Napi::Object layout = Napi::Object::New(env);
  const std::pair<const char*, int32_t> words[] = {
      {"HEADROOM", kHeadroom}, {"VNET_BYTES", kVnetBytes}, {"PACKET_BYTES", kPacketBytes}, {"COUNT", kCount},
      {"USED", kUsed},         {"SECONDS", kSeconds},      {"MILLIS", kMillis}};
  for (const auto& [name, value] : words) layout.Set(name, Napi::Number::New(env, value));
  layout.Freeze();
  exports.Set("layout", layout);
}
