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
#include "datagrams.h"
#include "frames.h"
#include "outer.h"
#include "slots.h"

#include <linux/filter.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#ifndef IP_RECVFRAGSIZE
#define IP_RECVFRAGSIZE 25
#endif
#ifndef IPV6_RECVFRAGSIZE
#define IPV6_RECVFRAGSIZE 77
#endif

namespace {

constexpr int32_t kReceived = 64;
constexpr int32_t kReceivedBytes = 512 * 1024;
constexpr int32_t kStride = kMessageBytes + 1600;
constexpr int32_t kSent = 32;
constexpr int32_t kHeaders = 256;
constexpr int32_t kInFront = 64;
constexpr int32_t kFrameMost = kEthernet + 2 * 4 + kLongest;
constexpr int kSocketBuffer = 7 << 20;
constexpr timeval kSendPatience = {0, 200'000};
// Bits of Arrival (columns.ts).
constexpr uint8_t kFragmented = 1, kTruncated = 2;

struct Frames {
  uint8_t* data = nullptr;  // null: free entry
  int32_t data_bytes = 0;
  int32_t *off = nullptr, *len = nullptr, *segment = nullptr, *source = nullptr, *endpoint = nullptr;
  int32_t *out_frame = nullptr, *out_remote = nullptr, *answer = nullptr, *remotes = nullptr;
  // Of each port: the descriptor, what its SO_NO_CHECK is (−1 = not known), the port's number; then the TAP for outer packets, −1 = none. Shared by all columns of a link.
  int32_t* sockets = nullptr;
  uint8_t *arrival = nullptr, *outcome = nullptr, *header = nullptr, *outer = nullptr;
  int16_t* tos = nullptr;
  int32_t slots = 0, copies = 0, known_remotes = 0, ports = 0;
  Napi::Reference<Napi::Array> keep;
};

// A message that waits in `messages`.
struct Sending {
  int32_t datagrams, pieces;  // pieces a datagram
};

struct Vxlan {
  std::vector<Frames> entries;
  FrameCutter cutter;
  Joiner joiner;
  mmsghdr messages[std::max(kReceived, kSent)];
  sockaddr_storage addresses[std::max(kReceived, kSent)];
  alignas(cmsghdr) uint8_t control[std::max(kReceived, kSent)][kControlBytes];
  iovec pieces[2 * kHeaders + kSegments];
  uint8_t headers[kHeaders][kVxlanHeader + FrameCutter::kHeaderMost];
  Sending sending[kSent];
  int32_t ready, used_pieces, used_headers, lost, fd, port, mode;
  int32_t usual_bytes = kMessageBytes;

  Frames* find(int32_t id) {
    if (id < 0 || static_cast<size_t>(id) >= entries.size() || entries[static_cast<size_t>(id)].data == nullptr) return nullptr;
    return &entries[static_cast<size_t>(id)];
  }
};

napi_value Number(napi_env env, int32_t number) {
  napi_value value = nullptr;
  napi_create_int32(env, number, &value);
  return value;
}

bool Ints(napi_env env, napi_callback_info info, int32_t* into, size_t wanted, Vxlan** vxlan) {
  napi_value args[4];
  size_t count = 4;
  void* data = nullptr;
  if (napi_get_cb_info(env, info, &count, args, nullptr, &data) != napi_ok) return false;
  *vxlan = static_cast<Vxlan*>(data);
  for (size_t i = 0; i < wanted; i++) {
    if (napi_get_value_int32(env, args[i], &into[i]) != napi_ok) return false;
  }
  return true;
}

void Wish(int fd, int level, int option, int value) { (void)setsockopt(fd, level, option, &value, sizeof value); }

bool FrameWithin(const Frames& f, int32_t i, int32_t in_front) {
  return i >= 0 && i < f.slots && f.off[i] >= in_front && f.len[i] >= kEthernet && f.off[i] <= f.data_bytes && f.len[i] <= f.data_bytes - f.off[i];
}

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
  Wish(fd, SOL_SOCKET, SO_SNDBUF, kSocketBuffer);
  Wish(fd, SOL_SOCKET, SO_SNDBUFFORCE, kSocketBuffer);
  (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &kSendPatience, sizeof kSendPatience);
  if (receives) {
    Wish(fd, SOL_SOCKET, SO_RCVBUF, kSocketBuffer);
    Wish(fd, SOL_SOCKET, SO_RCVBUFFORCE, kSocketBuffer);
    Wish(fd, IPPROTO_UDP, UDP_GRO, 1);
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
  Frames f;
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
  Frames* entry = static_cast<Vxlan*>(info.Data())->find(IntArgument(info, 0, "frames"));
  if (entry == nullptr) throw Napi::RangeError::New(info.Env(), "no such frames");
  *entry = Frames();
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
  Frames* f = vxlan->find(args[1]);
  return Number(env, f == nullptr ? -EINVAL : ReadFrames(args[0], *f));
}

static bool WriteAll(int fd, const iovec* pieces, int32_t count) {
  ssize_t bytes;
  do {
    bytes = writev(fd, pieces, count);
  } while (bytes < 0 && errno == EINTR);
  return bytes >= 0;
}

// The datagrams of one message, one by one: the kernel did not want them together.
static void SendApart(Vxlan* vxlan, int32_t m) {
  msghdr message = vxlan->messages[m].msg_hdr;
  int32_t per = vxlan->sending[m].pieces;
  // Without the length of the segments, which is the last of the control data.
  message.msg_controllen -= CMSG_SPACE(sizeof(uint16_t));
  if (message.msg_controllen == 0) message.msg_control = nullptr;
  for (int32_t i = 0; i < vxlan->sending[m].datagrams; i++) {
    message.msg_iov = vxlan->messages[m].msg_hdr.msg_iov + i * per;
    message.msg_iovlen = static_cast<size_t>(per);
    ssize_t bytes;
    do {
      bytes = sendmsg(vxlan->fd, &message, 0);
    } while (bytes < 0 && errno == EINTR);
    if (bytes < 0) vxlan->lost++;
  }
}

static void Flush(Vxlan* vxlan, Frames* f) {
  int32_t ready = vxlan->ready;
  if (ready > 0 && f->sockets[f->ports + vxlan->port] != vxlan->mode) {
    Wish(vxlan->fd, SOL_SOCKET, SO_NO_CHECK, vxlan->mode);
    f->sockets[f->ports + vxlan->port] = vxlan->mode;
  }
  for (int32_t done = 0; done < ready;) {
    int got = sendmmsg(vxlan->fd, vxlan->messages + done, static_cast<unsigned>(ready - done), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      if ((errno == EIO || errno == EMSGSIZE || errno == EINVAL) && vxlan->sending[done].datagrams > 1) SendApart(vxlan, done);
      else vxlan->lost += vxlan->sending[done].datagrams;
      got = 1;
    }
    done += got;
  }
  vxlan->ready = vxlan->used_pieces = vxlan->used_headers = 0;
}

// One more message of the pieces from `first` on.
static void Depart(Vxlan* vxlan, const Frames& f, int32_t remote, int32_t tos, int32_t first, int32_t datagrams, int32_t per, int32_t segment) {
  int32_t m = vxlan->ready++;
  const int32_t* endpoint = f.remotes + remote * kEndpointWords;
  msghdr& message = vxlan->messages[m].msg_hdr;
  message = {};
  message.msg_name = &vxlan->addresses[m];
  message.msg_namelen = WriteAddress(endpoint, &vxlan->addresses[m]);
  message.msg_iov = vxlan->pieces + first;
  message.msg_iovlen = static_cast<size_t>(datagrams * per);
  size_t used = 0;
  bool six = endpoint[kFamily] == 6;
  if (tos > 0) Append(vxlan->control[m], &used, six ? static_cast<int>(IPPROTO_IPV6) : static_cast<int>(IPPROTO_IP), six ? IPV6_TCLASS : IP_TOS, static_cast<int>(tos));
  if (datagrams > 1) Append(vxlan->control[m], &used, IPPROTO_UDP, UDP_SEGMENT, static_cast<uint16_t>(segment));
  message.msg_controllen = used;
  message.msg_control = used == 0 ? nullptr : vxlan->control[m];
  vxlan->sending[m] = {datagrams, per};
}

// Room for one more message of `datagrams`, by this socket and in this mode.
static void Room(Vxlan* vxlan, Frames* f, int32_t port, int32_t mode, int32_t headers) {
  bool full = vxlan->ready == kSent || vxlan->used_headers + headers > kHeaders || vxlan->used_pieces + std::max(2 * headers, kSegments) > 2 * kHeaders + kSegments;
  if (full || vxlan->port != port || vxlan->mode != mode) Flush(vxlan, f);
  vxlan->port = port;
  vxlan->mode = mode;
  vxlan->fd = f->sockets[port];
}

// A super-frame as one outer packet. False: it has to be cut up here.
static bool SendWhole(Vxlan* vxlan, Frames* f, int32_t frame, int32_t remote, int32_t port) {
  const int32_t* endpoint = f->remotes + remote * kEndpointWords;
  int fd = f->sockets[3 * f->ports];
  if (fd < 0 || endpoint[kFamily] != 4) return false;
  uint8_t head[kOuterBytes];
  uint8_t* data = f->data + f->off[frame];
  const OuterWay way = {static_cast<uint32_t>(endpoint[kAddress]), f->sockets[2 * f->ports + port], endpoint[kPort], std::max<int32_t>(f->tos[frame], 0)};
  if (!WriteOuter(f->outer, f->header, way, data, f->len[frame], head)) return false;
  Flush(vxlan, f);  // of the same flow, perhaps
  const iovec pieces[2] = {{head, sizeof head}, {data, static_cast<size_t>(f->len[frame])}};
  return WriteAll(fd, pieces, 2);
}

static void SendSuper(Vxlan* vxlan, Frames* f, int32_t frame, int32_t remote, int32_t port) {
  if (SendWhole(vxlan, f, frame, remote, port)) return;
  FrameCutter& cutter = vxlan->cutter;
  if (!cutter.Load(f->data + f->off[frame], f->len[frame])) {
    vxlan->lost++;
    return;
  }
  while (!cutter.done()) {
    // A last single one has a checksum too: it belongs to a run.
    Room(vxlan, f, port, 0, kSegments);
    int32_t first = vxlan->used_pieces, bytes = 0, count = 0, segment = cutter.message_bytes();
    while (!cutter.done() && count < kSegments && bytes + cutter.next_bytes() <= kMessageMost) {
      bytes += cutter.next_bytes();
      cutter.Next(f->header, vxlan->headers[vxlan->used_headers++], vxlan->pieces + vxlan->used_pieces);
      vxlan->used_pieces += 2;
      count++;
    }
    if (count == 0) return;  // cannot be: the endpoint has compared with the MTU
    Depart(vxlan, *f, remote, f->tos[frame], first, count, 2, segment);
  }
}

// Pair k and those behind it that fit into one message with it. Returns the next pair.
static int32_t SendRun(Vxlan* vxlan, Frames* f, int32_t k, int32_t n) {
  int32_t frame = f->out_frame[k], remote = f->out_remote[k], port = f->source[frame], tos = f->tos[frame];
  int32_t segment = f->len[frame] + kVxlanHeader, bytes = segment, count = 1, last = segment, end = k + 1;
  while (end < n && count < kSegments && last == segment) {
    int32_t next = f->out_frame[end];
    if (f->out_remote[end] != remote || !FrameWithin(*f, next, kVxlanHeader) || f->segment[next] != 0) break;
    last = f->len[next] + kVxlanHeader;
    if (f->source[next] != port || f->tos[next] != tos || last > segment || bytes + last > kMessageMost) break;
    bytes += last;
    count++;
    end++;
  }
  bool six = f->remotes[remote * kEndpointWords + kFamily] == 6;
  Room(vxlan, f, port, count == 1 && !six ? 1 : 0, 0);
  int32_t first = vxlan->used_pieces;
  for (int32_t i = k; i < end; i++) {
    int32_t at = f->out_frame[i];
    vxlan->pieces[vxlan->used_pieces++] = {f->data + f->off[at] - kVxlanHeader, static_cast<size_t>(f->len[at] + kVxlanHeader)};
  }
  Depart(vxlan, *f, remote, tos, first, count, 1, segment);
  return end;
}

// vxlanSend(frames, n): pairs 0…n. Returns how many datagrams the kernel did not take.
static napi_value VxlanSend(napi_env env, napi_callback_info info) {
  int32_t args[2];
  Vxlan* vxlan = nullptr;
  if (!Ints(env, info, args, 2, &vxlan)) return Number(env, -EINVAL);
  Frames* f = vxlan->find(args[0]);
  if (f == nullptr) return Number(env, -EINVAL);
  int32_t n = std::min(args[1], f->copies);
  vxlan->ready = vxlan->used_pieces = vxlan->used_headers = vxlan->lost = 0;
  vxlan->port = vxlan->fd = -1;
  for (int32_t k = 0; k < n;) {
    int32_t frame = f->out_frame[k], remote = f->out_remote[k];
    if (!FrameWithin(*f, frame, kInFront / 2) || remote < 0 || remote >= f->known_remotes || f->source[frame] < 0 || f->source[frame] >= f->ports) {
      k++;
    } else if (f->segment[frame] > 0) {
      SendSuper(vxlan, f, frame, remote, f->source[frame]);
      k++;
    } else {
      k = SendRun(vxlan, f, k, n);
    }
  }
  Flush(vxlan, f);
  return Number(env, vxlan->lost);
}

// -- hot: the way in --

static void ReadArrival(msghdr* message, Arrival* into, uint8_t* arrival, int16_t* tos) {
  *arrival = (message->msg_flags & MSG_TRUNC) != 0 ? kTruncated : 0;
  *tos = -1;
  for (cmsghdr* c = CMSG_FIRSTHDR(message); c != nullptr; c = CMSG_NXTHDR(message, c)) {
    const uint8_t* value = CMSG_DATA(c);
    size_t bytes = c->cmsg_len - CMSG_LEN(0);
    int word = 0;
    memcpy(&word, value, std::min(bytes, sizeof word));
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS && bytes >= 1) *tos = value[0];
    if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS && bytes >= 4) *tos = static_cast<int16_t>(word & 255);
    if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO && bytes >= 4) into->segment = word;
    bool fragments = (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVFRAGSIZE) || (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVFRAGSIZE);
    if (fragments && word > 0) *arrival = static_cast<uint8_t>(*arrival | kFragmented);
  }
}

static int32_t ReceiveMessages(Vxlan* vxlan, const Frames& f, int fd) {
  int32_t room = std::min({kReceived, (f.data_bytes - kInFront + kStride - kMessageBytes) / kStride, std::max(8, kReceivedBytes / vxlan->usual_bytes)});
  for (int32_t i = 0; i < room; i++) {
    vxlan->pieces[i] = {f.data + kInFront + i * kStride, static_cast<size_t>(kMessageBytes)};
    msghdr& message = vxlan->messages[i].msg_hdr;
    message = {};
    message.msg_name = &vxlan->addresses[i];
    message.msg_namelen = sizeof vxlan->addresses[i];
    message.msg_iov = &vxlan->pieces[i];
    message.msg_iovlen = 1;
    message.msg_control = vxlan->control[i];
    message.msg_controllen = kControlBytes;
  }
  int got;
  do {
    got = recvmmsg(fd, vxlan->messages, static_cast<unsigned>(room), MSG_DONTWAIT, nullptr);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return errno == EAGAIN ? 0 : -errno;
  int32_t slot = 0, longest = 1;
  for (int32_t i = 0; i < got; i++) {
    int32_t bytes = static_cast<int32_t>(vxlan->messages[i].msg_len);
    longest = std::max(longest, bytes);
    Arrival from;
    uint8_t arrival;
    int16_t tos;
    ReadAddress(vxlan->addresses[i], &from);
    ReadArrival(&vxlan->messages[i].msg_hdr, &from, &arrival, &tos);
    int32_t segment = from.segment > 0 ? from.segment : std::max(bytes, 1);
    int32_t at = 0;
    do {
      if (slot == f.slots) break;  // lost, as in a full socket buffer
      f.off[slot] = kInFront + i * kStride + at;
      f.len[slot] = std::min(segment, bytes - at);
      f.tos[slot] = tos;
      f.arrival[slot] = arrival;
      f.segment[slot] = 0;
      memcpy(f.endpoint + slot * kEndpointWords, from.endpoint, sizeof from.endpoint);
      slot++;
      at += segment;
    } while (at < bytes);
  }
  vxlan->usual_bytes = longest;
  return slot;
}

// vxlanReceive(fd, frames)
static napi_value VxlanReceive(napi_env env, napi_callback_info info) {
  int32_t args[2];
  Vxlan* vxlan = nullptr;
  if (!Ints(env, info, args, 2, &vxlan)) return Number(env, -EINVAL);
  Frames* f = vxlan->find(args[1]);
  return Number(env, f == nullptr ? -EINVAL : ReceiveMessages(vxlan, *f, args[0]));
}

// An untagged IP packet that says itself how long it is may be joined; padding behind it goes.
static void AddFrame(Joiner* joiner, uint8_t* frame, int32_t len, int32_t mtu) {
  uint8_t vnet[kVnetHeader];
  if (FindPartial(frame, len, mtu, vnet)) {
    joiner->AddFrame(frame, len, vnet);
    return;
  }
  if (FindIp(frame, len) == kEthernet) {
    uint8_t* ip = frame + kEthernet;
    int32_t total = static_cast<int32_t>(IsSix(ip) ? 40 + Be16(ip + 4) : Be16(ip + 2));
    if (total >= 20 && total <= len - kEthernet) {
      joiner->Add(ip, total, true);
      return;
    }
  }
  joiner->AddFrame(frame, len);
}

// tapJoin(fd, frames, n, mtu): slots 0…n whose outcome is PASS, TCP neighbours in one write. Returns the writes that the kernel did not take.
static napi_value TapJoin(napi_env env, napi_callback_info info) {
  int32_t args[4];
  Vxlan* vxlan = nullptr;
  if (!Ints(env, info, args, 4, &vxlan)) return Number(env, -EINVAL);
  Frames* f = vxlan->find(args[1]);
  if (f == nullptr) return Number(env, -EINVAL);
  Joiner& joiner = vxlan->joiner;
  joiner.Begin(kEthernet);
  joiner.joins_udp = kernel_takes_udp;
  int32_t n = std::min({args[2], f->slots, Joiner::kSlots});
  for (int32_t i = 0; i < n; i++) {
    if (f->outcome[i] == kPass && FrameWithin(*f, i, 0)) AddFrame(&joiner, f->data + f->off[i], f->len[i], args[3]);
  }
  int32_t lost = 0;
  joiner.Flush(true, [&](const iovec* pieces, int32_t count) { lost += WriteAll(args[0], pieces, count) ? 0 : 1; });
  return Number(env, lost);
}

// tapAnswer(fd, frames, n): answers 0…n. Returns the writes that the kernel did not take.
static napi_value TapAnswer(napi_env env, napi_callback_info info) {
  int32_t args[3];
  Vxlan* vxlan = nullptr;
  if (!Ints(env, info, args, 3, &vxlan)) return Number(env, -EINVAL);
  Frames* f = vxlan->find(args[1]);
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
