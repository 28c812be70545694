// TUN packets cut into wire-sized ones, and opened packets joined into one for the TUN: what GSO and GRO are to the kernel.
// Nothing of Node in here, so that the fuzzer links it alone.
//
// Split: a packet of up to 64 KiB with its vnet header becomes segments, each with headers and checksums of its own. What the vnet header says is
// checked against the packet; hdr_len is not believed at all. A packet may make more segments than there is room for: the rest waits in here.
//
// Join: neighbours of one TCP flow become one packet, as the kernel's own GRO does it: consecutive sequence numbers, headers and options otherwise equal,
// full-sized but for the last, a right checksum each, because afterwards nobody looks at it any more. No byte is copied: the result is a
// list of pieces for writev(2), whose first carries the headers. Order within a flow is kept; between flows it has none. UDP datagrams of one length are joined
// too, where the kernel takes that (Linux 6.2), and become what they were again: a tunnel inside of a link (VXLAN, QUIC) costs a write for many.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <cstring>

#include "sum.h"

constexpr int32_t kVnetHeader = 10;
constexpr int32_t kLongest = 65535;

constexpr uint8_t kNeedsCsum = 1;
constexpr uint8_t kGsoNone = 0;
constexpr uint8_t kGsoTcp4 = 1;
constexpr uint8_t kGsoTcp6 = 4;
constexpr uint8_t kGsoUdp = 5;
constexpr uint8_t kGsoEcn = 0x80;

constexpr uint8_t kTcp = 6;
constexpr uint8_t kUdp = 17;
constexpr uint8_t kFin = 1, kPsh = 8, kAck = 16, kCwr = 128;

inline uint32_t Be16(const uint8_t* at) { return static_cast<uint32_t>(at[0] << 8 | at[1]); }
inline uint32_t Be32(const uint8_t* at) { return Be16(at) << 16 | Be16(at + 2); }
inline void PutBe16(uint8_t* at, uint32_t value) {
  at[0] = static_cast<uint8_t>(value >> 8);
  at[1] = static_cast<uint8_t>(value);
}
inline void PutBe32(uint8_t* at, uint32_t value) {
  PutBe16(at, value >> 16);
  PutBe16(at + 2, value);
}
// Of the vnet header, which is in the machine's order.
inline uint32_t Host16(const uint8_t* at) {
  uint16_t value;
  memcpy(&value, at, sizeof value);
  return value;
}
inline void PutHost16(uint8_t* at, uint32_t value) {
  uint16_t narrow = static_cast<uint16_t>(value);
  memcpy(at, &narrow, sizeof narrow);
}

inline bool IsSix(const uint8_t* ip) { return ip[0] >> 4 == 6; }

// Sum of the pseudo-header: addresses, protocol, length of layer 4 (RFC 9293, 3.1; RFC 8200, 8.1).
inline uint32_t PseudoSum(const uint8_t* ip, uint32_t proto, uint32_t length) {
  return IsSix(ip) ? InternetSum(ip + 8, 32, proto + length) : InternetSum(ip + 12, 8, proto + length);
}

inline void WriteIpv4Sum(uint8_t* ip, int32_t header) {
  PutBe16(ip + 10, 0);
  PutBe16(ip + 10, ~InternetSum(ip, static_cast<size_t>(header), 0));
}

// Takes the outer header's ECN over when the packet leaves the tunnel (RFC 6040, 4.2). False: congestion was met on the way and the packet's
// sender cannot be told (or its header makes no sense), so it has to be dropped.
inline bool LeaveTunnel(uint8_t* ip, int32_t len, uint32_t outer) {
  bool six = IsSix(ip);
  if ((outer & 3) == 1 && len >= 20 && (six ? ip[1] >> 4 & 3 : ip[1] & 3) == 2) {
    // ECT(0) inside became ECT(1) on the way: a mark weaker than congestion, which is kept.
    if (!six && ((ip[0] & 15) < 5 || (ip[0] & 15) * 4 > len)) return false;
    ip[1] ^= six ? 0x30 : 3;
    if (!six) WriteIpv4Sum(ip, (ip[0] & 15) * 4);
    return true;
  }
  if ((outer & 3) != 3) return true;
  if (!six && ((ip[0] & 15) < 5 || (ip[0] & 15) * 4 > len)) return false;
  uint32_t ecn = six ? ip[1] >> 4 & 3 : ip[1] & 3;
  if (ecn == 0) return false;
  if (six) {
    ip[1] |= 0x30;
  } else {
    ip[1] |= 3;
    WriteIpv4Sum(ip, (ip[0] & 15) * 4);
  }
  return true;
}

inline uint32_t EcnOf(const uint8_t* ip) { return IsSix(ip) ? ip[1] >> 4 & 3 : ip[1] & 3; }

// -- split --

class Splitter {
 public:
  // Where the next packet is to be read to: vnet header first.
  uint8_t* room() { return memory_ + kRoomAt; }
  static constexpr int32_t kRoomBytes = kVnetHeader + kLongest;
  bool empty() const { return len_ == 0; }

  // A packet of `bytes` has been read there, its vnet header included. False: it makes no sense, and is forgotten.
  bool Load(int32_t bytes) { return Load(room(), bytes); }

  // The same for a packet that stands elsewhere, where it stays until it is cut up. Its checksum may be completed there.
  bool Load(uint8_t* vnet, int32_t bytes) {
    len_ = 0;
    int32_t len = bytes - kVnetHeader;
    uint8_t* ip = ip_ = vnet + kVnetHeader;
    if (len < 20 || bytes > kRoomBytes || (ip[0] >> 4 != 4 && (ip[0] >> 4 != 6 || len < 40))) return false;
    uint32_t type = vnet[1] & ~kGsoEcn;
    l4_ = static_cast<int32_t>(Host16(vnet + 6));
    if (type == kGsoNone) {
      if ((vnet[0] & kNeedsCsum) && !Complete(ip, len, l4_, static_cast<int32_t>(Host16(vnet + 8)))) return false;
      payload_ = len;
      size_ = kLongest;
    } else if (!LoadGso(ip, len, type, static_cast<int32_t>(Host16(vnet + 4)))) {
      return false;
    }
    at_ = payload_;
    index_ = 0;
    type_ = type;
    len_ = len;
    return true;
  }

  void Forget() { len_ = 0; }

  bool may_fragment() const { return !IsSix(ip_) && (Be16(ip_ + 6) & 0x4000) == 0; }

  // Bytes of the next segment, 0 = none is left.
  int32_t next_bytes() const { return len_ == 0 ? 0 : payload_ + Part(); }

  // Writes it, next_bytes() long.
  void Next(uint8_t* out) {
    int32_t part = Part();
    const uint8_t* ip = ip_;
    memcpy(out, ip, static_cast<size_t>(payload_));
    memcpy(out + payload_, ip + at_, static_cast<size_t>(part));
    at_ += part;
    bool last = at_ >= len_;
    if (type_ != kGsoNone) Head(out, part, last);
    index_++;
    if (last) len_ = 0;
  }

 private:
  static constexpr int32_t kRoomAt = 6;  // the IP header stands at 16 then
  int32_t Part() const { return len_ - at_ < size_ ? len_ - at_ : size_; }

  static bool Complete(uint8_t* ip, int32_t len, int32_t start, int32_t offset) {
    if (start < 20 || start > len || offset > len - start - 2) return false;
    uint32_t field = ~InternetSum(ip + start, static_cast<size_t>(len - start), 0) & 0xffff;
    // Zero means "none" to UDP; both spellings of it are the same sum.
    PutBe16(ip + start + offset, field == 0 ? 0xffff : field);
    return true;
  }

  bool LoadGso(const uint8_t* ip, int32_t len, uint32_t type, int32_t size) {
    bool six = IsSix(ip);
    int32_t least = six ? 40 : (ip[0] & 15) * 4;
    if (size < 1 || least < 20 || l4_ < least || l4_ > len - 8 || (!six && l4_ != least)) return false;
    if (type == kGsoUdp) {
      payload_ = l4_ + 8;
    } else {
      if (type != (six ? kGsoTcp6 : kGsoTcp4) || l4_ > len - 20) return false;
      int32_t header = (ip[l4_ + 12] >> 4) * 4;
      if (header < 20 || header > len - l4_) return false;
      payload_ = l4_ + header;
    }
    size_ = size;
    return true;
  }

  void Head(uint8_t* out, int32_t part, bool last) {
    uint32_t length = static_cast<uint32_t>(payload_ - l4_ + part);
    if (IsSix(out)) {
      PutBe16(out + 4, static_cast<uint32_t>(payload_ - 40 + part));
    } else {
      PutBe16(out + 2, static_cast<uint32_t>(payload_ + part));
      PutBe16(out + 4, Be16(out + 4) + static_cast<uint32_t>(index_));
      WriteIpv4Sum(out, l4_);
    }
    uint8_t* l4 = out + l4_;
    uint32_t proto = type_ == kGsoUdp ? kUdp : kTcp;
    uint8_t* field = l4 + (proto == kUdp ? 6 : 16);
    if (proto == kUdp) {
      PutBe16(l4 + 4, length);
    } else {
      PutBe32(l4 + 4, Be32(l4 + 4) + static_cast<uint32_t>(index_) * static_cast<uint32_t>(size_));
      if (!last) l4[13] &= static_cast<uint8_t>(~(kFin | kPsh));
      if (index_ > 0) l4[13] &= static_cast<uint8_t>(~kCwr);
    }
    PutBe16(field, 0);
    uint32_t sum = ~InternetSum(l4, length, PseudoSum(out, proto, length)) & 0xffff;
    PutBe16(field, proto == kUdp && sum == 0 ? 0xffff : sum);
  }

  // 16 more at the end: sums read whole words.
  alignas(64) uint8_t memory_[kRoomAt + kRoomBytes + 16] = {};
  uint8_t* ip_ = nullptr;
  int32_t len_ = 0;      // of the packet, 0 = none
  int32_t payload_ = 0;  // where it begins, and with it the length of the headers
  int32_t l4_ = 0;
  int32_t size_ = 0;  // of a segment's payload
  int32_t at_ = 0;
  int32_t index_ = 0;
  uint32_t type_ = kGsoNone;
};

// -- fragments --

// An IPv4 packet without DF that is too long for a link, cut in order (RFC 791, 3.2). It may be a fragment itself.
class Fragmenter {
 public:
  // Where the packet is to be written to.
  uint8_t* room() { return memory_; }
  bool empty() const { return len_ == 0; }
  void Forget() { len_ = 0; }

  // A packet of `len` stands there. False: nothing of it fits.
  bool Load(int32_t len, int32_t mtu) {
    len_ = 0;
    header_ = (memory_[0] & 15) * 4;
    if (header_ < 20 || header_ >= len || mtu - header_ < 8) return false;
    at_ = header_;
    mtu_ = mtu;
    len_ = len;
    return true;
  }

  int32_t next_bytes() const { return len_ == 0 ? 0 : header_ + Part(); }

  void Next(uint8_t* out) {
    int32_t part = Part();
    memcpy(out, memory_, static_cast<size_t>(header_));
    memcpy(out + header_, memory_ + at_, static_cast<size_t>(part));
    uint32_t word = Be16(memory_ + 6);
    uint32_t offset = (word & kOffset) + static_cast<uint32_t>(at_ - header_) / 8;
    bool last = at_ + part >= len_;
    PutBe16(out + 2, static_cast<uint32_t>(header_ + part));
    PutBe16(out + 6, (last ? word & kMf : kMf) | (offset & kOffset));
    WriteIpv4Sum(out, header_);
    if (at_ == header_ && header_ > 20) DropOptions();
    at_ += part;
    if (last) len_ = 0;
  }

 private:
  static constexpr uint32_t kMf = 0x2000, kOffset = 0x1fff;

  int32_t Part() const {
    int32_t room = (mtu_ - header_) & ~7;
    return len_ - at_ <= mtu_ - header_ ? len_ - at_ : room;
  }

  // Options that only the first fragment carries become "no operation" in the others: their headers stay as long.
  void DropOptions() {
    for (int32_t at = 20; at < header_ && memory_[at] != 0;) {
      int32_t bytes = memory_[at] == 1 ? 1 : at + 1 < header_ ? memory_[at + 1] : 0;
      if (bytes < 1 || (memory_[at] != 1 && bytes < 2) || bytes > header_ - at) return;
      if ((memory_[at] & 0x80) == 0) memset(memory_ + at, 1, static_cast<size_t>(bytes));
      at += bytes;
    }
  }

  alignas(64) uint8_t memory_[kLongest + 17] = {};
  int32_t len_ = 0, header_ = 0, at_ = 0, mtu_ = 0;
};

// -- join --

// Slots of opened packets become packets for the TUN. `Write(pieces, count)` is called for each.
class Joiner {
 public:
  static constexpr int32_t kSlots = 4096;
  // Flows that may grow at once; more of them are written one by one.
  static constexpr int32_t kOpen = 8;

  // Whether the kernel takes UDP datagrams that are joined; known when the first TUN was opened.
  bool joins_udp = false;

  // `front`: bytes of a link header that stand in front of each IP header and are part of what is written: 0, or 14 for Ethernet.
  void Begin(int32_t front = 0) {
    groups_ = open_ = count_ = written_ = 0;
    front_ = front;
  }

  // A frame that is no IP packet and not to be joined; with a link header in front only.
  // `vnet`: its vnet header, null = an empty one.
  void AddFrame(uint8_t* frame, int32_t len, const uint8_t* vnet = nullptr) {
    if (count_ >= kSlots) return;
    if (vnet != nullptr) open_ = 0;  // it may be of any flow: nothing is to overtake it
    Packet packet{};
    packet.ip = frame + front_;
    packet.len = len - front_;
    packet.next = -1;
    int32_t at = groups_++;
    all_[at] = {};
    all_[at].first = all_[at].last = Keep(packet);
    all_[at].pieces = 1;
    if (vnet != nullptr) {
      memcpy(all_[at].vnet, vnet, kVnetHeader);
      all_[at].own = true;
    }
  }

  // The IP packet at `ip`, in front of which are kVnetHeader bytes that may be overwritten. Its length was checked against its own header.
  // `merge`: the device takes GSO packets.
  void Add(uint8_t* ip, int32_t len, bool merge) {
    if (count_ >= kSlots) return;  // cannot be: the caller has no more slots
    Packet packet{};
    packet.ip = ip;
    packet.len = len;
    packet.next = -1;
    Look(&packet, joins_udp);
    if (packet.payload > 0 && merge) {
      for (int32_t i = open_ - 1; i >= 0; i--) {
        Group& group = all_[growing_[i]];
        if (!SameFlow(packets_[group.first], packet)) continue;
        if (packet.plain && SameLink(packets_[group.first], packet) && Grow(&group, packet)) return;
        Close(i);  // what comes later must not overtake
        break;
      }
    } else if (packet.proto != 0) {
      for (int32_t i = open_ - 1; i >= 0; i--) {
        if (SameFlow(packets_[all_[growing_[i]].first], packet)) Close(i);
      }
    }
    int32_t at = groups_++;
    Group& group = all_[at];
    group.first = group.last = Keep(packet);
    group.pieces = 1;
    group.own = false;
    group.bytes = len;
    group.size = packet.payload;
    bool tcp = packet.proto == kTcp;
    group.sequence = tcp ? Be32(ip + packet.l4 + 4) + static_cast<uint32_t>(packet.payload) : 0;
    group.flags = tcp ? ip[packet.l4 + 13] : 0;
    if (!merge || !packet.plain || packet.payload == 0 || (group.flags & kPsh)) return;
    if (open_ == kOpen) Close(0);
    growing_[open_++] = at;
  }

  // Writes all groups in the order in which they began. `vnet`: with vnet headers.
  template <typename Write>
  void Flush(bool vnet, Write write) {
    while (Next(vnet, write)) continue;
  }

  // The next group; false: there is none.
  template <typename Write>
  bool Next(bool vnet, Write write) {
    if (written_ < groups_) {
      Group& group = all_[written_++];
      Packet& head = packets_[group.first];
      int32_t in_front = vnet ? kVnetHeader : 0;
      // In front of a link header there may be no room for it.
      uint8_t* header = front_ > 0 ? vnet_ : head.ip - kVnetHeader;
      if (vnet) memset(header, 0, kVnetHeader);
      if (vnet && front_ > 0 && group.own) memcpy(vnet_, group.vnet, kVnetHeader);
      if (group.pieces > 1) Finish(group, head, header, front_);
      int32_t count = 0;
      if (front_ > 0) {
        if (vnet) pieces_[count++] = {vnet_, kVnetHeader};
        in_front = front_;
      }
      pieces_[count++] = {head.ip - in_front, static_cast<size_t>(head.len + in_front)};
      for (int32_t at = head.next; at >= 0; at = packets_[at].next) {
        Packet& part = packets_[at];
        int32_t skip = part.len - part.payload;
        pieces_[count++] = {part.ip + skip, static_cast<size_t>(part.payload)};
      }
      write(pieces_, count);
      return true;
    }
    Begin();
    return false;
  }

 private:
  // As many as fit into 64 KiB with some sense, and what writev takes.
  static constexpr int32_t kPieces = 128;
  // UDP_MAX_SEGMENTS of older kernels.
  static constexpr int32_t kDatagrams = 64;

  struct Packet {
    uint8_t* ip;
    int32_t len, l4, payload, next;
    uint8_t proto;  // kTcp or kUdp: not a fragment, and its ports can be read; 0: something else
    bool plain;  // may be joined, as far as its own header is concerned
  };
  struct Group {
    int32_t first, last, pieces, bytes, size;
    uint32_t sequence;  // of the byte that comes next
    uint8_t flags;
    bool own;  // has a vnet header of its own
    uint8_t vnet[kVnetHeader];
  };

  int32_t Keep(const Packet& packet) {
    packets_[count_] = packet;
    return count_++;
  }

  void Close(int32_t i) {
    for (; i + 1 < open_; i++) growing_[i] = growing_[i + 1];
    open_--;
  }

  static void Look(Packet* packet, bool udp) {
    const uint8_t* ip = packet->ip;
    bool six = IsSix(ip);
    if (ip[six ? 6 : 9] == kUdp) {
      if (udp) LookUdp(packet, six);
      return;
    }
    // Options and extension headers are rare: such packets go one by one.
    if (six ? packet->len < 60 || ip[6] != kTcp : packet->len < 40 || ip[0] != 0x45 || ip[9] != kTcp || (Be16(ip + 6) & 0x3fff) != 0) return;
    packet->l4 = six ? 40 : 20;
    const uint8_t* tcp = ip + packet->l4;
    int32_t header = (tcp[12] >> 4) * 4;
    if (header < 20 || header > packet->len - packet->l4) return;
    packet->proto = kTcp;
    packet->payload = packet->len - packet->l4 - header;
    // What is joined gets a new sum of its IP header: a wrong one must not become right.
    packet->plain = (tcp[13] & ~kPsh) == kAck && (six || InternetSum(ip, 20, 0) == 0xffff);
  }

  // With DF alone: the kernel gives the parts identifications in a row, which without it say which fragments belong together. And with a checksum alone:
  // the parts will have one.
  static void LookUdp(Packet* packet, bool six) {
    const uint8_t* ip = packet->ip;
    if (six ? packet->len < 48 : packet->len < 28 || ip[0] != 0x45 || (Be16(ip + 6) & 0x3fff) != 0) return;
    packet->l4 = six ? 40 : 20;
    const uint8_t* udp = ip + packet->l4;
    packet->proto = kUdp;
    if (static_cast<int32_t>(Be16(udp + 4)) != packet->len - packet->l4) return;
    packet->payload = packet->len - packet->l4 - 8;
    packet->plain = Be16(udp + 6) != 0 && (six || ((ip[6] & 0x40) != 0 && InternetSum(ip, 20, 0) == 0xffff));
  }

  static bool SameFlow(const Packet& a, const Packet& b) {
    if (a.l4 != b.l4 || a.proto != b.proto || a.proto == 0) return false;
    bool six = a.l4 == 40;
    return memcmp(a.ip + a.l4, b.ip + b.l4, 4) == 0 && memcmp(a.ip + (six ? 8 : 12), b.ip + (six ? 8 : 12), six ? 32 : 8) == 0;
  }

  bool SameLink(const Packet& a, const Packet& b) const {
    return front_ == 0 || memcmp(a.ip - front_, b.ip - front_, static_cast<size_t>(front_)) == 0;
  }

  static bool SumRight(const Packet& packet) {
    uint32_t length = static_cast<uint32_t>(packet.len - packet.l4);
    return InternetSum(packet.ip + packet.l4, length, PseudoSum(packet.ip, packet.proto, length)) == 0xffff;
  }

  // Everything that the joined packet says once, for all its parts.
  static bool SameHeaders(const Packet& a, const Packet& b) {
    if (a.l4 == 40 ? memcmp(a.ip, b.ip, 4) != 0 || a.ip[7] != b.ip[7]
                   : a.ip[1] != b.ip[1] || a.ip[6] != b.ip[6] || a.ip[8] != b.ip[8])
      return false;
    if (a.proto == kUdp) return true;
    const uint8_t* x = a.ip + a.l4;
    const uint8_t* y = b.ip + b.l4;
    int32_t header = (x[12] >> 4) * 4;
    return memcmp(x + 8, y + 8, 5) == 0                     // acknowledgement, length of the header
           && memcmp(x + 14, y + 14, 2) == 0                // window
           && memcmp(x + 18, y + 18, static_cast<size_t>(header - 18)) == 0;  // options
  }

  bool Grow(Group* group, const Packet& packet) {
    Packet& head = packets_[group->first];
    bool tcp = packet.proto == kTcp;
    if (packet.payload > group->size || group->pieces == (tcp ? kPieces : kDatagrams) || group->bytes + packet.payload > kLongest) return false;
    if ((tcp && Be32(packet.ip + packet.l4 + 4) != group->sequence) || !SameHeaders(head, packet)) return false;
    if (group->pieces == 1 && !SumRight(head)) return false;
    if (!SumRight(packet)) return false;
    int32_t at = Keep(packet);
    packets_[group->last].next = at;
    group->last = at;
    group->pieces++;
    group->bytes += packet.payload;
    group->sequence += static_cast<uint32_t>(packet.payload);
    if (tcp) group->flags = static_cast<uint8_t>(group->flags | packet.ip[packet.l4 + 13]);
    if (packet.payload < group->size || (group->flags & kPsh)) {
      for (int32_t i = 0; i < open_; i++) {
        if (&all_[growing_[i]] == group) Close(i);
      }
    }
    return true;
  }

  // The first packet's headers speak for the whole: lengths, the pseudo-header's sum for whoever cuts it up again, and the vnet header.
  static void Finish(const Group& group, Packet& head, uint8_t* vnet, int32_t front) {
    uint8_t* ip = head.ip;
    bool six = head.l4 == 40;
    if (six) {
      PutBe16(ip + 4, static_cast<uint32_t>(group.bytes - 40));
    } else {
      PutBe16(ip + 2, static_cast<uint32_t>(group.bytes));
      WriteIpv4Sum(ip, 20);
    }
    uint8_t* l4 = ip + head.l4;
    uint32_t length = static_cast<uint32_t>(group.bytes - head.l4);
    bool tcp = head.proto == kTcp;
    int32_t field = tcp ? 16 : 6;
    if (tcp) l4[13] = group.flags;
    else PutBe16(l4 + 4, length);
    PutBe16(l4 + field, PseudoSum(ip, head.proto, length));
    vnet[0] = kNeedsCsum;
    vnet[1] = !tcp ? kGsoUdp : six ? kGsoTcp6 : kGsoTcp4;
    PutHost16(vnet + 2, static_cast<uint32_t>(front + head.l4 + (tcp ? (l4[12] >> 4) * 4 : 8)));
    PutHost16(vnet + 4, static_cast<uint32_t>(group.size));
    PutHost16(vnet + 6, static_cast<uint32_t>(front + head.l4));
    PutHost16(vnet + 8, static_cast<uint32_t>(field));
  }

  Packet packets_[kSlots];
  Group all_[kSlots];
  int32_t growing_[kOpen];
  iovec pieces_[kPieces + 1];
  uint8_t vnet_[kVnetHeader];
  int32_t front_ = 0;
  int32_t count_ = 0, groups_ = 0, open_ = 0, written_ = 0;
};
