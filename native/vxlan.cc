// The edges of a VXLAN endpoint: a TAP on one side, bound UDP sockets on the other, few calls a batch.
//
//     tapRead       frames and super-frames → slots, single ones with their checksums complete      vxlanSend    pairs → few messages (UDP_SEGMENT)
//     vxlanReceive  messages (UDP_GRO) → datagrams in slots                                           tapJoin      PASS slots → few TAP writes
//                                                                                                    tapAnswer    answers → TAP writes
//
// Between them src/link/vxlan/vtep.ts decides, once for a super-frame: it is cut up here (frames.h), when its remotes are known, and its payload is copied by
// the kernel alone. The columns are those of src/link/vxlan/columns.ts, registered once. What the hot calls need beside them stands in one block a
// thread. They allocate and throw nothing.
//
// Checksums. A single datagram over IPv4 leaves without a UDP checksum, as RFC 7348 wants it. The kernel segments only datagrams that have one
// (and receivers join only those), so a run of several has it; it is the network card's to compute, or nobody's where both ends are on one host. The option is the
// socket's and is switched when the mode of sending changes, which a flow rarely does.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "addon.h"
#include "slots.h"
#include "vxlan-out.h"

#include <linux/filter.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

namespace {

// Longest frame: two tags and an IP packet.
constexpr int32_t kFrameMost = kEthernet + 2 * 4 + kLongest;

struct Registered : Frames {
  Napi::Reference<Napi::Array> keep;
};

struct Vxlan : Outbox {
  std::vector<Registered> entries;
  Joiner joiner;

  Registered* find(int32_t id) {
    if (id < 0 || static_cast<size_t>(id) >= entries.size() || entries[static_cast<size_t>(id)].data == nullptr) return nullptr;
    return &entries[static_cast<size_t>(id)];
  }
};

}  // namespace

// -- sockets --

// vxlanOpen(endpoint, ttl, receives, device) → { fd, port }: bound to the address and port of the endpoint (0 = any port), and to a device ('' = none).
static Napi::Value VxlanOpen(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_int32_array ||
      info[0].As<Napi::TypedArray>().ElementLength() < static_cast<size_t>(kEndpointWords)) {
    throw Napi::TypeError::New(env, "vxlanOpen(endpoint: Int32Array, ttl, receives)");
  }
  const int32_t* endpoint = info[0].As<Napi::Int32Array>().Data();
  int32_t ttl = IntArgument(info, 1, "ttl");
  bool receives = info[2].ToBoolean();
  std::string device = StringArgument(info, 3, "device");
  bool six = endpoint[kFamily] == 6;
  int level = six ? static_cast<int>(IPPROTO_IPV6) : static_cast<int>(IPPROTO_IP);
  int fd = socket(six ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);
  if (fd < 0) ThrowErrno(env, errno, "socket");
  if (!device.empty() && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device.data(), static_cast<socklen_t>(device.size())) < 0) {
    int error = errno;
    close(fd);
    ThrowErrno(env, error, "setsockopt SO_BINDTODEVICE", device);
  }
  if (six) Wish(fd, level, IPV6_V6ONLY, 1);
  // DF, whatever somebody says about the path (REQ-46, 51): a forged "too big" makes no hole.
  Wish(fd, level, six ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, six ? IPV6_PMTUDISC_PROBE : IP_PMTUDISC_PROBE);
  Wish(fd, level, six ? IPV6_UNICAST_HOPS : IP_TTL, ttl);
  WishToSend(fd);
  if (receives) {
    WishToReceive(fd);
    Wish(fd, level, six ? IPV6_RECVTCLASS : IP_RECVTOS, 1);
    Wish(fd, level, six ? IPV6_RECVFRAGSIZE : IP_RECVFRAGSIZE, 1);
  } else {
    // Nobody reads it: nothing is to pile up in it.
    sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
    sock_fprog program = {1, &drop};
    (void)setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
  }
  sockaddr_storage address = {};
  socklen_t bytes = WriteAddress(endpoint, &address);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), bytes) < 0 || getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes) < 0) {
    int error = errno;
    close(fd);
    const char* hint = error == EADDRINUSE ? "another program (or a vxlan device of the kernel) has this port" : error == EADDRNOTAVAIL ? "this host has not that address" : "";
    ThrowErrno(env, error, "bind", "UDP port " + std::to_string(endpoint[kPort]), hint);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("fd", Napi::Number::New(env, fd));
  uint16_t port = six ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port : reinterpret_cast<sockaddr_in*>(&address)->sin_port;
  result.Set("port", Napi::Number::New(env, ntohs(port)));
  return result;
}

// -- columns --

static Napi::Value VxlanRegister(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  constexpr size_t kViews = 16;
  constexpr napi_typedarray_type kTypes[kViews] = {
      napi_uint8_array, napi_int32_array, napi_int32_array, napi_int32_array, napi_int32_array, napi_int32_array, napi_uint8_array,
      napi_uint8_array, napi_int16_array, napi_int32_array, napi_int32_array, napi_int32_array, napi_int32_array, napi_uint8_array,
      napi_int32_array, napi_uint8_array};
  Napi::Array views = Napi::Array::New(env, kViews);
  size_t slots = INT32_MAX / kEndpointWords;
  size_t lengths[kViews];
  for (size_t i = 0; i < kViews; i++) {
    if (!info[i].IsTypedArray() || info[i].As<Napi::TypedArray>().TypedArrayType() != kTypes[i]) {
      throw Napi::TypeError::New(env, "vxlanRegister: argument " + std::to_string(i) + " is of a wrong type");
    }
    views.Set(static_cast<uint32_t>(i), info[i]);
    lengths[i] = info[i].As<Napi::TypedArray>().ElementLength();
    if (i >= 1 && i <= 8) slots = std::min(slots, i == 5 ? lengths[i] / kEndpointWords : lengths[i]);
  }
  slots = std::min(slots, lengths[11]);
  auto data = info[0].As<Napi::Uint8Array>();
  if (data.ByteLength() > INT32_MAX || data.ByteLength() == 0 || lengths[13] < kVxlanHeader ||
      lengths[14] % 3 != 1 || lengths[15] < kOuterHeaders) {
    throw Napi::RangeError::New(env, "data must have 1 byte to 2 GiB, the header 8 bytes, sockets three words a port and one, the outer headers 42 bytes");
  }
  auto ints = [&](size_t i) { return info[i].As<Napi::Int32Array>().Data(); };
  auto bytes = [&](size_t i) { return info[i].As<Napi::Uint8Array>().Data(); };
  Registered f;
  f.data = data.Data();
  f.data_bytes = static_cast<int32_t>(data.ByteLength());
  f.off = ints(1);
  f.len = ints(2);
  f.segment = ints(3);
  f.source = ints(4);
  f.endpoint = ints(5);
  f.arrival = bytes(6);
  f.outcome = bytes(7);
  f.tos = info[8].As<Napi::Int16Array>().Data();
  f.out_frame = ints(9);
  f.out_remote = ints(10);
  f.answer = ints(11);
  f.remotes = ints(12);
  f.header = bytes(13);
  f.sockets = ints(14);
  f.slots = static_cast<int32_t>(slots);
  f.copies = static_cast<int32_t>(std::min(lengths[9], lengths[10]));
  f.known_remotes = static_cast<int32_t>(lengths[12] / kEndpointWords);
  f.outer = bytes(15);
  f.ports = static_cast<int32_t>(lengths[14] / 3);
  f.keep = Napi::Persistent(views);
  auto* vxlan = static_cast<Vxlan*>(info.Data());
  size_t id = 0;
  while (id < vxlan->entries.size() && vxlan->entries[id].data != nullptr) id++;
  if (id == vxlan->entries.size()) vxlan->entries.emplace_back();
  vxlan->entries[id] = std::move(f);
  return Napi::Number::New(env, static_cast<double>(id));
}

static void VxlanRelease(const Napi::CallbackInfo& info) {
  Registered* entry = static_cast<Vxlan*>(info.Data())->find(IntArgument(info, 0, "frames"));
  if (entry == nullptr) throw Napi::RangeError::New(info.Env(), "no such frames");
  *entry = Registered();
}

// -- hot: the way out --

static int32_t ReadFrames(int fd, const Frames& f) {
  int32_t slot = 0, used = 0;
  while (slot < f.slots && f.data_bytes - used >= kInFront + kFrameMost + 16) {
    uint8_t* frame = f.data + used + kInFront;
    ssize_t bytes = read(fd, frame - kVnetHeader, static_cast<size_t>(kFrameMost + kVnetHeader));
    if (bytes < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN && slot == 0) return -errno;
      break;
    }
    int32_t len = static_cast<int32_t>(bytes) - kVnetHeader;
    const uint8_t* vnet = frame - kVnetHeader;
    if (len < 0) continue;
    f.off[slot] = used + kInFront;
    f.len[slot] = len;
    f.segment[slot] = (vnet[1] & ~kGsoEcn) == kGsoNone ? 0 : static_cast<int32_t>(Host16(vnet + 4));
    if (f.segment[slot] == 0 && !CompleteSum(frame, len, vnet)) continue;
    slot++;
    used = (used + kInFront + len + 15) & ~15;
  }
  return slot;
}

// tapRead(fd, frames): frames until there are no more, or no more room. −errno when the device is gone.
static napi_value TapRead(napi_env env, napi_callback_info info) {
  int32_t args[2];
  Vxlan* vxlan = nullptr;
  if (!Ints(env, info, args, 2, &vxlan)) return Number(env, -EINVAL);
  Registered* f = vxlan->find(args[1]);
  return Number(env, f == nullptr ? -EINVAL : ReadFrames(args[0], *f));
}

// vxlanSend(frames, n): pairs 0…n. Returns how many datagrams the kernel did not take.
static napi_value VxlanSend(napi_env env, napi_callback_info info) {
  int32_t args[2];
  Vxlan* vxlan = nullptr;
  if (!Ints(env, info, args, 2, &vxlan)) return Number(env, -EINVAL);
  Registered* f = vxlan->find(args[0]);
  if (f == nullptr) return Number(env, -EINVAL);
  return Number(env, vxlan->Send(f, args[1]));
}

// -- hot: the way in --

// vxlanReceive(fd, frames)
static napi_value VxlanReceive(napi_env env, napi_callback_info info) {
  int32_t args[2];
  Vxlan* vxlan = nullptr;
  if (!Ints(env, info, args, 2, &vxlan)) return Number(env, -EINVAL);
  Registered* f = vxlan->find(args[1]);
  if (f == nullptr || f->data_bytes < kInFront) return Number(env, -EINVAL);
  auto spread = [&](int32_t slot, int32_t off, int32_t bytes, const Arrival& arrival) { return SpreadFrames(*f, slot, kInFront + off, bytes, arrival); };
  return Number(env, vxlan->Receive(args[0], f->data + kInFront, f->data_bytes - kInFront, spread));
}

// tapJoin(fd, frames, n, mtu): slots 0…n whose outcome is PASS, TCP neighbours in one write. Returns the writes that the kernel did not take.
static napi_value TapJoin(napi_env env, napi_callback_info info) {
  int32_t args[4];
  Vxlan* vxlan = nullptr;
  if (!Ints(env, info, args, 4, &vxlan)) return Number(env, -EINVAL);
  Registered* f = vxlan->find(args[1]);
  if (f == nullptr) return Number(env, -EINVAL);
  Joiner& joiner = vxlan->joiner;
  joiner.Begin(kEthernet);
  joiner.joins_udp = kernel_takes_udp;
  AddFrames(&joiner, *f, args[2], args[3]);
  int32_t lost = 0;
  joiner.Flush(true, [&](const iovec* pieces, int32_t count) { lost += WriteAll(args[0], pieces, count) ? 0 : 1; });
  return Number(env, lost);
}

// tapAnswer(fd, frames, n): answers 0…n. Returns the writes that the kernel did not take.
static napi_value TapAnswer(napi_env env, napi_callback_info info) {
  int32_t args[3];
  Vxlan* vxlan = nullptr;
  if (!Ints(env, info, args, 3, &vxlan)) return Number(env, -EINVAL);
  Registered* f = vxlan->find(args[1]);
  if (f == nullptr) return Number(env, -EINVAL);
  uint8_t vnet[kVnetHeader] = {};
  int32_t lost = 0;
  for (int32_t i = 0; i < std::min(args[2], f->slots); i++) {
    int32_t slot = f->answer[i];
    if (!FrameWithin(*f, slot, 0)) continue;
    const iovec pieces[2] = {{vnet, sizeof vnet}, {f->data + f->off[slot], static_cast<size_t>(f->len[slot])}};
    lost += WriteAll(args[0], pieces, 2) ? 0 : 1;
  }
  return Number(env, lost);
}

void ExportVxlan(Napi::Env env, Napi::Object exports) {
  auto* vxlan = new Vxlan;  // not Vxlan(): that would touch all of it
  env.AddCleanupHook([](Vxlan* gone) { delete gone; }, vxlan);
  exports.Set("vxlanOpen", Napi::Function::New<VxlanOpen>(env, "vxlanOpen"));
  exports.Set("vxlanRegister", Napi::Function::New<VxlanRegister>(env, "vxlanRegister", vxlan));
  exports.Set("vxlanRelease", Napi::Function::New<VxlanRelease>(env, "vxlanRelease", vxlan));
  ExportRaw(env, exports, "tapRead", TapRead, vxlan);
  ExportRaw(env, exports, "tapJoin", TapJoin, vxlan);
  ExportRaw(env, exports, "tapAnswer", TapAnswer, vxlan);
  ExportRaw(env, exports, "vxlanReceive", VxlanReceive, vxlan);
  ExportRaw(env, exports, "vxlanSend", VxlanSend, vxlan);
}
