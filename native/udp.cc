// UDP sockets in batches, and the TUN's half of a tunnel: what a WireGuard link does with the kernel, four calls a batch.
//
//     tunSplit    TUN packets → segments in slots, ready to be sealed in place          udpSend      slots → few messages (UDP_SEGMENT)
//     udpReceive  messages (UDP_GRO) → datagrams in slots, ready to be opened in place   tunJoin      opened slots → few TUN writes
//     batchSplit  packets of a batch → segments in slots, as tunSplit                    batchJoin    opened slots → packets of a batch
//
// The last two are for a link of the engine: there the TUN's half of the tunnel is a batch. What is joined is copied into it, once, so that the engine sees
// one packet where a TUN would have been written one.
//
// Columns are registered once, as batches are (tun.cc). The arithmetic is in segment.h and datagrams.h. What the hot calls need beside the columns
// stands in one block a thread, made at start. They allocate and throw nothing.
//
// Segmentation by the kernel is a wish: a message that is refused (EIO: the device cannot compute checksums; EINVAL or EMSGSIZE: segments above the path's MTU,
// which are then fragmented) is sent again datagram by datagram. The same with the source address, which may have gone (EINVAL, or ENETUNREACH since some 6.x).
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "batches.h"
#include "datagrams.h"
#include "segment.h"
#include "socket.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sock_diag.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

namespace {

struct Registered : Datagrams {
  Napi::Reference<Napi::Array> keep;
};

struct Udp : Messages {
  std::vector<Registered> entries;
  Batches* batches;
  Splitter splitter;
  Splitter from_batch;
  Fragmenter fragmenter;
  int32_t split = 0;  // of the batch's list, how many have been taken
  Joiner joiner;
  Joiner to_batch;
  iovec pieces[kSent * kSegments];
  Departure departures[kSent];

  Registered* find(int32_t id) {
    if (id < 0 || static_cast<size_t>(id) >= entries.size() || entries[static_cast<size_t>(id)].data == nullptr) return nullptr;
    return &entries[static_cast<size_t>(id)];
  }
};

}  // namespace

// -- sockets --

// udpOpen(family, port, mark) → { fd, port }
static Napi::Value UdpOpen(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int32_t family = IntArgument(info, 0, "family");
  int32_t port = IntArgument(info, 1, "port");
  int32_t mark = IntArgument(info, 2, "mark");
  bool six = family == 6;
  if ((!six && family != 4) || port < 0 || port > 65535) throw Napi::RangeError::New(env, "udpOpen(4 | 6, port, mark)");
  int fd = socket(six ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);
  if (fd < 0) ThrowErrno(env, errno, "socket");
  if (mark != 0 && setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) < 0) {
    int error = errno;
    close(fd);
    ThrowErrno(env, error, "setsockopt SO_MARK", "", "a mark on packets needs CAP_NET_ADMIN");
  }
  WishToSend(fd);
  WishToReceive(fd);
  if (six) {
    Wish(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    Wish(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    Wish(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
  } else {
    // As the kernel's WireGuard: no DF outside, unless the owner wants it (udpDontFragment). A forged "too big" makes no hole then.
    Wish(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
    Wish(fd, IPPROTO_IP, IP_PKTINFO, 1);
    Wish(fd, IPPROTO_IP, IP_RECVTOS, 1);
  }
  sockaddr_storage address = {};
  socklen_t bytes = six ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  address.ss_family = six ? AF_INET6 : AF_INET;
  auto* in_port = six ? &reinterpret_cast<sockaddr_in6*>(&address)->sin6_port : &reinterpret_cast<sockaddr_in*>(&address)->sin_port;
  *in_port = htons(static_cast<uint16_t>(port));
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), bytes) < 0 || getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes) < 0) {
    int error = errno;
    close(fd);
    ThrowErrno(env, error, "bind", "UDP port " + std::to_string(port), error == EADDRINUSE ? "another program has this port" : "");
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("fd", Napi::Number::New(env, fd));
  result.Set("port", Napi::Number::New(env, ntohs(*in_port)));
  return result;
}

// udpMark(fd, mark)
static void UdpMark(const Napi::CallbackInfo& info) {
  int mark = IntArgument(info, 1, "mark");
  if (setsockopt(IntArgument(info, 0, "fd"), SOL_SOCKET, SO_MARK, &mark, sizeof mark) < 0) {
    ThrowErrno(info.Env(), errno, "setsockopt SO_MARK", "", "a mark on packets needs CAP_NET_ADMIN");
  }
}

// udpDontFragment(fd, family): DF outside, and nothing is sent that the kernel knows to be too long for the path.
static void UdpDontFragment(const Napi::CallbackInfo& info) {
  int fd = IntArgument(info, 0, "fd");
  bool six = IntArgument(info, 1, "family") == 6;
  int value = six ? IPV6_PMTUDISC_DO : IP_PMTUDISC_DO;
  if (setsockopt(fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, &value, sizeof value) < 0) {
    ThrowErrno(info.Env(), errno, "setsockopt MTU_DISCOVER");
  }
}

// udpPathMtu(endpoint, mark): what the kernel knows of the path; 0 = no way there.
static Napi::Value UdpPathMtu(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_int32_array ||
      info[0].As<Napi::TypedArray>().ElementLength() < static_cast<size_t>(kEndpointWords)) {
    throw Napi::TypeError::New(env, "udpPathMtu(endpoint: Int32Array, mark)");
  }
  const int32_t* endpoint = info[0].As<Napi::Int32Array>().Data();
  int mark = IntArgument(info, 1, "mark");
  bool six = endpoint[kFamily] == 6;
  sockaddr_storage to;
  socklen_t bytes = WriteAddress(endpoint, &to);
  int fd = socket(six ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);
  if (fd < 0) return Napi::Number::New(env, 0);
  if (mark != 0) (void)setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark);
  int mtu = 0;
  socklen_t size = sizeof mtu;
  if (connect(fd, reinterpret_cast<sockaddr*>(&to), bytes) < 0 || getsockopt(fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_MTU : IP_MTU, &mtu, &size) < 0) mtu = 0;
  close(fd);
  return Napi::Number::New(env, mtu);
}

// -- columns --

static Napi::Value DatagramsRegister(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  constexpr size_t kViews = 7;
  constexpr napi_typedarray_type kTypes[kViews] = {napi_uint8_array, napi_int32_array, napi_int32_array, napi_int32_array,
                                                   napi_int32_array, napi_uint8_array, napi_uint8_array};
  Napi::Array views = Napi::Array::New(env, kViews);
  size_t slots = INT32_MAX / kEndpointWords;
  for (size_t i = 0; i < kViews; i++) {
    if (!info[i].IsTypedArray() || info[i].As<Napi::TypedArray>().TypedArrayType() != kTypes[i]) {
      throw Napi::TypeError::New(env, "datagramsRegister(data: Uint8Array; from, off, len, endpoint: Int32Array; ecn, outcome: Uint8Array)");
    }
    views.Set(static_cast<uint32_t>(i), info[i]);
    size_t length = info[i].As<Napi::TypedArray>().ElementLength();
    if (i > 0) slots = std::min(slots, i == 4 ? length / kEndpointWords : length);
  }
  auto data = info[0].As<Napi::Uint8Array>();
  if (data.ByteLength() > INT32_MAX || data.ByteLength() == 0) throw Napi::RangeError::New(env, "data must have 1 byte to 2 GiB");
  Registered entry;
  entry.data = data.Data();
  entry.data_bytes = static_cast<int32_t>(data.ByteLength());
  entry.from = info[1].As<Napi::Int32Array>().Data();
  entry.off = info[2].As<Napi::Int32Array>().Data();
  entry.len = info[3].As<Napi::Int32Array>().Data();
  entry.endpoint = info[4].As<Napi::Int32Array>().Data();
  entry.ecn = info[5].As<Napi::Uint8Array>().Data();
  entry.outcome = info[6].As<Napi::Uint8Array>().Data();
  entry.slots = static_cast<int32_t>(slots);
  entry.keep = Napi::Persistent(views);
  auto* udp = static_cast<Udp*>(info.Data());
  size_t id = 0;
  while (id < udp->entries.size() && udp->entries[id].data != nullptr) id++;
  if (id == udp->entries.size()) udp->entries.emplace_back();
  udp->entries[id] = std::move(entry);
  return Napi::Number::New(env, static_cast<double>(id));
}

static void DatagramsRelease(const Napi::CallbackInfo& info) {
  Registered* entry = static_cast<Udp*>(info.Data())->find(IntArgument(info, 0, "datagrams"));
  if (entry == nullptr) throw Napi::RangeError::New(info.Env(), "no such datagrams");
  *entry = Registered();
}

// -- hot: the way in --

// udpFilter(fd, program: Uint8Array) → was it taken?
static Napi::Value UdpFilter(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[1].IsTypedArray() || info[1].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) throw Napi::TypeError::New(env, "udpFilter(fd, program: Uint8Array)");
  auto bytes = info[1].As<Napi::Uint8Array>();
  int fd = IntArgument(info, 0, "fd");
  if (bytes.ByteLength() == 0) {
    int unused = 0;
    return Napi::Boolean::New(env, setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof unused) == 0);
  }
  std::vector<sock_filter> filter(bytes.ByteLength() / sizeof(sock_filter));
  memcpy(filter.data(), bytes.Data(), filter.size() * sizeof(sock_filter));
  sock_fprog program = {static_cast<unsigned short>(filter.size()), filter.data()};
  return Napi::Boolean::New(env, setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0);
}

// udpDropped(fd)
static Napi::Value UdpDropped(const Napi::CallbackInfo& info) {
  uint32_t memory[SK_MEMINFO_VARS] = {};
  socklen_t bytes = sizeof memory;
  (void)getsockopt(IntArgument(info, 0, "fd"), SOL_SOCKET, SO_MEMINFO, memory, &bytes);
  return Napi::Number::New(info.Env(), memory[SK_MEMINFO_DROPS]);
}

// udpQueued(fd): how full the socket's queue is, in 1024ths.
static napi_value UdpQueued(napi_env env, napi_callback_info info) {
  int32_t fd;
  Udp* udp = nullptr;
  uint32_t memory[SK_MEMINFO_VARS] = {};
  socklen_t bytes = sizeof memory;
  if (!Ints(env, info, &fd, 1, &udp) || getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &bytes) < 0 || memory[SK_MEMINFO_RCVBUF] == 0) return Number(env, 0);
  return Number(env, static_cast<int32_t>(uint64_t{memory[SK_MEMINFO_RMEM_ALLOC]} * 1024 / memory[SK_MEMINFO_RCVBUF]));
}

// udpReceive(fd, datagrams)
static napi_value UdpReceive(napi_env env, napi_callback_info info) {
  int32_t args[2];
  Udp* udp = nullptr;
  if (!Ints(env, info, args, 2, &udp)) return Number(env, -EINVAL);
  Registered* d = udp->find(args[1]);
  if (d == nullptr) return Number(env, -EINVAL);
  auto spread = [&](int32_t slot, int32_t off, int32_t bytes, const Arrival& arrival) { return Spread(*d, slot, off, bytes, arrival); };
  return Number(env, udp->Receive(args[0], d->data, d->data_bytes, spread));
}

// Hands opened packets to the joiner.
static void AddOpened(Joiner* joiner, const Datagrams& d, int32_t n, bool merge) {
  constexpr int32_t kInFront = 16;
  n = std::min(n, std::min(d.slots, Joiner::kSlots));
  for (int32_t i = 0; i < n; i++) {
    if (d.outcome[i] != kPass || d.len[i] < 20 || d.off[i] < 0 || d.off[i] > d.data_bytes - kInFront || !Within(d, d.off[i] + kInFront, d.len[i])) continue;
    uint8_t* ip = d.data + d.off[i] + kInFront;
    if (IsSix(ip) && d.len[i] < 40) continue;
    if (LeaveTunnel(ip, d.len[i], d.ecn[i])) joiner->Add(ip, d.len[i], merge);
  }
}

// tunJoin(fd, datagrams, n, vnet): returns the packets that the kernel took, each counted once however many were joined in it.
static napi_value TunJoin(napi_env env, napi_callback_info info) {
  int32_t args[4];
  Udp* udp = nullptr;
  if (!Ints(env, info, args, 4, &udp)) return Number(env, -EINVAL);
  Registered* d = udp->find(args[1]);
  if (d == nullptr) return Number(env, -EINVAL);
  bool vnet = args[3] != 0;
  Joiner& joiner = udp->joiner;
  joiner.Begin();
  joiner.joins_udp = kernel_takes_udp;
  AddOpened(&joiner, *d, args[2], vnet);
  int32_t taken = 0;
  joiner.Flush(vnet, [&](const iovec* pieces, int32_t count) {
    taken += WriteAll(args[0], pieces, count) ? 1 : 0;
  });
  return Number(env, taken);
}

// batchJoin(datagrams, n, batch, more): appends to the batch what fits; 0 = there is no more. `more` goes on with what did not fit last time.
static napi_value BatchJoin(napi_env env, napi_callback_info info) {
  int32_t args[4];
  Udp* udp = nullptr;
  if (!Ints(env, info, args, 4, &udp)) return Number(env, -EINVAL);
  Registered* d = udp->find(args[0]);
  Batch* batch = udp->batches->find(args[2]);
  if (d == nullptr || batch == nullptr) return Number(env, -EINVAL);
  Joiner& joiner = udp->to_batch;
  if (args[3] == 0) {
    joiner.Begin();
    joiner.joins_udp = kernel_takes_udp;
    AddOpened(&joiner, *d, args[1], true);
  }
  int32_t slot = batch->ctl[kCount], used = batch->ctl[kUsed], first = slot;
  if (slot < 0 || used < 0 || used % 16 != 0) return Number(env, -EINVAL);
  auto place = [&](const iovec* pieces, int32_t count) {
    uint8_t* at = batch->data + used + kHeadroom - kVnetBytes;
    int32_t bytes = 0;
    for (int32_t i = 0; i < count; i++) {
      memcpy(at + bytes, pieces[i].iov_base, pieces[i].iov_len);
      bytes += static_cast<int32_t>(pieces[i].iov_len);
    }
    batch->off[slot] = used + kHeadroom;
    batch->len[slot] = bytes - kVnetBytes;
    used = (used + kHeadroom + bytes - kVnetBytes + 15) & ~15;
    slot++;
  };
  while (slot < batch->limit_slots && used <= batch->limit_bytes - (kHeadroom + kPacketBytes) && joiner.Next(true, place)) continue;
  batch->ctl[kCount] = slot;
  batch->ctl[kUsed] = used;
  return Number(env, slot - first);
}

// -- hot: the way out --

// The next slot of columns that are being filled with packets to be sealed in place; false: it has no room for `bytes`.
struct Filling {
  static constexpr int32_t kInFront = 16, kBehind = 16 + 15;
  const Datagrams& d;
  int32_t slot = 0, used = 0;

  uint8_t* Take(int32_t bytes) {
    if (slot >= d.slots || bytes > d.data_bytes - used - kInFront - kBehind) return nullptr;
    d.off[slot] = used;
    d.from[slot] = used + kInFront;
    d.len[slot] = bytes;
    // Behind one another without a gap where the padded packet is a multiple of 16: then the kernel copies one piece.
    uint8_t* ip = d.data + used + kInFront;
    used += kInFront + ((bytes + 15) & ~15) + 16;
    return ip;
  }

  void Done(const uint8_t* ip) { d.ecn[slot++] = static_cast<uint8_t>(EcnOf(ip)); }
};

// tunSplit(fd, datagrams, vnet): as many segments as there are slots and bytes for; −errno when the device is gone.
static napi_value TunSplit(napi_env env, napi_callback_info info) {
  int32_t args[3];
  Udp* udp = nullptr;
  if (!Ints(env, info, args, 3, &udp)) return Number(env, -EINVAL);
  Registered* d = udp->find(args[1]);
  if (d == nullptr) return Number(env, -EINVAL);
  Splitter& splitter = udp->splitter;
  int32_t in_front = args[2] != 0 ? kVnetHeader : 0;
  Filling filling{*d};
  while (filling.slot < d->slots) {
    if (splitter.empty()) {
      uint8_t* room = splitter.room();
      memset(room, 0, kVnetHeader);
      ssize_t bytes = read(args[0], room + kVnetHeader - in_front, static_cast<size_t>(Splitter::kRoomBytes - kVnetHeader + in_front));
      if (bytes < 0 && errno == EINTR) continue;
      if (bytes < 0) {
        if (errno != EAGAIN && filling.slot == 0) return Number(env, -errno);
        break;
      }
      if (!splitter.Load(static_cast<int32_t>(bytes) + kVnetHeader - in_front)) continue;
    }
    uint8_t* ip = filling.Take(splitter.next_bytes());
    if (ip == nullptr) break;
    splitter.Next(ip);
    filling.Done(ip);
  }
  return Number(env, filling.slot);
}

// batchSplit(batch, n, datagrams, mtu, more): segments of the packets list[0…n), those above `mtu` without DF in fragments; 0 = there are no more.
// `more` goes on with what did not fit last time; the batch must not have changed since.
static napi_value BatchSplit(napi_env env, napi_callback_info info) {
  int32_t args[5];
  Udp* udp = nullptr;
  if (!Ints(env, info, args, 5, &udp)) return Number(env, -EINVAL);
  Batch* batch = udp->batches->find(args[0]);
  Registered* d = udp->find(args[2]);
  if (batch == nullptr || d == nullptr) return Number(env, -EINVAL);
  Splitter& splitter = udp->from_batch;
  Fragmenter& fragmenter = udp->fragmenter;
  int32_t n = std::min(args[1], batch->slots), mtu = args[3];
  if (args[4] == 0) {
    splitter.Forget();
    fragmenter.Forget();
    udp->split = 0;
  }
  Filling filling{*d};
  for (;;) {
    if (!fragmenter.empty()) {
      uint8_t* ip = filling.Take(fragmenter.next_bytes());
      if (ip == nullptr) break;
      fragmenter.Next(ip);
      filling.Done(ip);
    } else if (!splitter.empty()) {
      int32_t bytes = splitter.next_bytes();
      if (bytes > mtu && splitter.may_fragment()) {
        splitter.Next(fragmenter.room());
        fragmenter.Load(bytes, mtu);
        continue;
      }
      uint8_t* ip = filling.Take(bytes);
      if (ip == nullptr) break;
      splitter.Next(ip);
      filling.Done(ip);
    } else {
      if (udp->split >= n) break;
      int32_t slot = batch->list[udp->split++];
      if (slot < 0 || slot >= batch->slots) continue;
      int32_t off = batch->off[slot], len = batch->len[slot];
      if (off < kVnetBytes || len < 0 || off > batch->data_bytes || len > batch->data_bytes - off) continue;
      splitter.Load(batch->data + off - kVnetBytes, len + kVnetBytes);
    }
  }
  return Number(env, filling.slot);
}

static void Prepare(Udp* udp, const Datagrams& d, int32_t m, int32_t pieces, int32_t count, bool source) {
  const Departure& departure = udp->departures[m];
  const int32_t* endpoint = d.endpoint + departure.first * kEndpointWords;
  msghdr& message = udp->messages[m].msg_hdr;
  message = {};
  message.msg_name = &udp->addresses[m];
  message.msg_namelen = WriteAddress(endpoint, &udp->addresses[m]);
  message.msg_iov = udp->pieces + pieces;
  message.msg_iovlen = static_cast<size_t>(count);
  message.msg_controllen = WriteControl(endpoint, d.ecn[departure.first], departure, source, udp->control[m]);
  message.msg_control = message.msg_controllen == 0 ? nullptr : udp->control[m];
}

static bool SourceRefused(int error) { return error == EINVAL || error == ENETUNREACH || error == EADDRNOTAVAIL; }

// One message again, in pieces; at last without the source address. Returns how many datagrams went out.
static int32_t SendAgain(Udp* udp, const Datagrams& d, int fd, int32_t m) {
  Departure whole = udp->departures[m];
  int32_t sent = 0;
  bool source = true;
  for (int32_t i = whole.first; i < whole.end; i++) {
    iovec piece;
    int32_t count;
    if (!Gather(d, i, i + 1, false, &udp->departures[m], &piece, &count)) continue;
    for (;;) {
      Prepare(udp, d, m, 0, 1, source);
      udp->messages[m].msg_hdr.msg_iov = &piece;
      ssize_t bytes = sendmsg(fd, &udp->messages[m].msg_hdr, 0);
      if (bytes >= 0) sent++;
      if (bytes < 0 && errno == EINTR) continue;
      if (bytes >= 0 || !source || !SourceRefused(errno)) break;
      source = false;
    }
  }
  return sent;
}

static int32_t SendMessages(Udp* udp, const Datagrams& d, int four, int six, int32_t n) {
  int32_t sent = 0;
  for (int32_t i = 0; i < n;) {
    int32_t ready = 0, pieces = 0, family = 0;
    while (ready < kSent) {
      int32_t count = 0;
      Departure& departure = udp->departures[ready];
      if (!Gather(d, i, n, true, &departure, udp->pieces + pieces, &count)) {
        i = n;
        break;
      }
      int32_t its = d.endpoint[departure.first * kEndpointWords + kFamily];
      if (family != 0 && its != family) break;
      family = its;
      Prepare(udp, d, ready, pieces, count, true);
      pieces += count;
      i = departure.end;
      ready++;
    }
    int fd = family == 6 ? six : four;
    if (fd < 0) continue;
    for (int32_t done = 0; done < ready;) {
      int got = sendmmsg(fd, udp->messages + done, static_cast<unsigned>(ready - done), 0);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) {
        if (errno == EIO || errno == EMSGSIZE || SourceRefused(errno)) sent += SendAgain(udp, d, fd, done);
        got = 1;  // the first one is lost, or was sent
      } else {
        for (int32_t k = done; k < done + got; k++) sent += udp->departures[k].datagrams;
      }
      done += got;
    }
  }
  return sent;
}

// udpSend(four, six, datagrams, n): returns how many datagrams the kernel took.
static napi_value UdpSend(napi_env env, napi_callback_info info) {
  int32_t args[4];
  Udp* udp = nullptr;
  if (!Ints(env, info, args, 4, &udp)) return Number(env, -EINVAL);
  Registered* d = udp->find(args[2]);
  return Number(env, d == nullptr ? -EINVAL : SendMessages(udp, *d, args[0], args[1], std::min(args[3], d->slots)));
}

void ExportUdp(Napi::Env env, Napi::Object exports, Batches* batches) {
  auto* udp = new Udp;  // not Udp(): that would touch all of it
  udp->batches = batches;
  env.AddCleanupHook([](Udp* gone) { delete gone; }, udp);
  exports.Set("udpOpen", Napi::Function::New<UdpOpen>(env, "udpOpen"));
  exports.Set("udpDontFragment", Napi::Function::New<UdpDontFragment>(env, "udpDontFragment"));
  exports.Set("udpFilter", Napi::Function::New<UdpFilter>(env, "udpFilter"));
  exports.Set("udpDropped", Napi::Function::New<UdpDropped>(env, "udpDropped"));
  exports.Set("udpPathMtu", Napi::Function::New<UdpPathMtu>(env, "udpPathMtu"));
  exports.Set("udpMark", Napi::Function::New<UdpMark>(env, "udpMark"));
  exports.Set("datagramsRegister", Napi::Function::New<DatagramsRegister>(env, "datagramsRegister", udp));
  exports.Set("datagramsRelease", Napi::Function::New<DatagramsRelease>(env, "datagramsRelease", udp));
  ExportRaw(env, exports, "udpReceive", UdpReceive, udp);
  ExportRaw(env, exports, "udpQueued", UdpQueued, udp);
  ExportRaw(env, exports, "udpSend", UdpSend, udp);
  ExportRaw(env, exports, "tunSplit", TunSplit, udp);
  ExportRaw(env, exports, "tunJoin", TunJoin, udp);
  ExportRaw(env, exports, "batchSplit", BatchSplit, udp);
  ExportRaw(env, exports, "batchJoin", BatchJoin, udp);
}
