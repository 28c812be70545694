// Ethernet super-frames of a TAP cut into VXLAN messages: what segment.h is to IP packets. Nothing of Node and no system call in here.
//
// No payload is copied: a message is a list of pieces for sendmsg(2), for every frame its header (VXLAN, Ethernet, IP, TCP or UDP; written here) and its part
// of the payload, where it was read to. The vnet header says which kind it is; where headers end is read from the frame itself.
#pragma once

#include "segment.h"

constexpr int32_t kVxlanHeader = 8;
constexpr int32_t kEthernet = 14;
constexpr int32_t kUdpL4 = 5;

// Where the IP header of a frame is, behind at most two VLAN tags; 0 = it carries none.
inline int32_t FindIp(const uint8_t* frame, int32_t len) {
  int32_t at = 12;
  for (int32_t tags = 0; tags < 2 && at + 6 <= len && (Be16(frame + at) == 0x8100 || Be16(frame + at) == 0x88a8); tags++) at += 4;
  if (at + 2 + 20 > len) return 0;
  uint32_t type = Be16(frame + at);
  const uint8_t* ip = frame + at + 2;
  if (type == 0x0800 && ip[0] >> 4 == 4 && (ip[0] & 15) >= 5) return at + 2;
  return type == 0x86dd && ip[0] >> 4 == 6 && at + 2 + 40 <= len ? at + 2 : 0;
}

// Completes the checksum that a vnet header asks for. False: it points outside of the frame.
inline bool CompleteSum(uint8_t* frame, int32_t len, const uint8_t* vnet) {
  if ((vnet[0] & kNeedsCsum) == 0) return true;
  int32_t start = static_cast<int32_t>(Host16(vnet + 6)), offset = static_cast<int32_t>(Host16(vnet + 8));
  if (start < kEthernet || start > len || offset > len - start - 2) return false;
  uint32_t field = ~InternetSum(frame + start, static_cast<size_t>(len - start), 0) & 0xffff;
  PutBe16(frame + start + offset, field == 0 ? 0xffff : field);
  return true;
}

// A frame whose TCP or UDP checksum is only begun (the pseudo-header's sum): a sender on the same host, whose kernel left the rest, and the cutting of super-frames,
// to a network card that is none (veth). The TAP's kernel takes both over again. A complete checksum that has that value by chance is computed once
// more, to the same end. `mtu`: of the tunnel, which the size of the segments follows from, since nobody tells it. False: it is complete.
inline bool FindPartial(const uint8_t* frame, int32_t len, int32_t mtu, uint8_t* vnet) {
  int32_t l3 = FindIp(frame, len);
  if (l3 == 0) return false;
  const uint8_t* ip = frame + l3;
  bool six = IsSix(ip);
  if (!six && (Be16(ip + 6) & 0x3fff) != 0) return false;
  uint8_t proto = six ? ip[6] : ip[9];
  int32_t header = six ? 40 : (ip[0] & 15) * 4;
  int32_t total = static_cast<int32_t>(six ? 40 + Be16(ip + 4) : Be16(ip + 2));
  int32_t l4 = l3 + header, offset = proto == kTcp ? 16 : 6;
  if ((proto != kTcp && proto != kUdp) || total > len - l3 || total < header + (proto == kTcp ? 20 : 8)) return false;
  if (Be16(frame + l4 + offset) != PseudoSum(ip, proto, static_cast<uint32_t>(total - header))) return false;
  memset(vnet, 0, kVnetHeader);
  vnet[0] = kNeedsCsum;
  PutHost16(vnet + 6, static_cast<uint32_t>(l4));
  PutHost16(vnet + 8, static_cast<uint32_t>(offset));
  int32_t tcp = proto == kTcp ? (frame[l4 + 12] >> 4) * 4 : 0;
  int32_t size = mtu - header - tcp;
  if (total > mtu && tcp >= 20 && total >= header + tcp && size > 0) {
    vnet[1] = six ? kGsoTcp6 : kGsoTcp4;
    PutHost16(vnet + 2, static_cast<uint32_t>(l4 + tcp));
    PutHost16(vnet + 4, static_cast<uint32_t>(size));
  }
  return true;
}

class FrameCutter {
 public:
  // Longest header of a frame that is cut: two tags, IPv6 with extensions, TCP options.
  static constexpr int32_t kHeaderMost = 256;

  // A super-frame with its vnet header in front. False: it makes no sense.
  bool Load(const uint8_t* frame, int32_t len) {
    const uint8_t* vnet = frame - kVnetHeader;
    uint32_t type = vnet[1] & ~kGsoEcn;
    int32_t size = static_cast<int32_t>(Host16(vnet + 4));
    l3_ = FindIp(frame, len);
    l4_ = static_cast<int32_t>(Host16(vnet + 6));
    if (l3_ == 0 || size < 1) return false;
    six_ = IsSix(frame + l3_);
    int32_t least = l3_ + (six_ ? 40 : (frame[l3_] & 15) * 4);
    if (l4_ < least || (!six_ && l4_ != least) || l4_ > len - 8) return false;
    udp_ = type == kUdpL4;
    if (udp_) {
      headers_ = l4_ + 8;
    } else {
      if (type != (six_ ? kGsoTcp6 : kGsoTcp4) || l4_ > len - 20) return false;
      int32_t header = (frame[l4_ + 12] >> 4) * 4;
      if (header < 20 || header > len - l4_) return false;
      headers_ = l4_ + header;
    }
    if (headers_ > kHeaderMost || headers_ >= len) return false;
    frame_ = frame;
    len_ = len;
    size_ = size;
    at_ = headers_;
    index_ = 0;
    return true;
  }

  bool done() const { return at_ >= len_; }
  // Bytes of a full message: all but the last are as long.
  int32_t message_bytes() const { return kVxlanHeader + headers_ + size_; }
  int32_t next_bytes() const { return kVxlanHeader + headers_ + Part(); }

  // The next frame: its header is written to `out` (kVxlanHeader + kHeaderMost bytes), its pieces to pieces[0] and [1].
  void Next(const uint8_t* vxlan, uint8_t* out, iovec* pieces) {
    int32_t part = Part();
    bool last = at_ + part >= len_;
    memcpy(out, vxlan, kVxlanHeader);
    uint8_t* frame = out + kVxlanHeader;
    memcpy(frame, frame_, static_cast<size_t>(headers_));
    uint8_t* ip = frame + l3_;
    uint32_t length = static_cast<uint32_t>(headers_ - l4_ + part);
    if (six_) {
      PutBe16(ip + 4, static_cast<uint32_t>(headers_ - l3_ - 40 + part));
    } else {
      PutBe16(ip + 2, static_cast<uint32_t>(headers_ - l3_ + part));
      PutBe16(ip + 4, Be16(ip + 4) + static_cast<uint32_t>(index_));
      WriteIpv4Sum(ip, l4_ - l3_);
    }
    uint8_t* l4 = frame + l4_;
    uint8_t* field = l4 + (udp_ ? 6 : 16);
    if (udp_) {
      PutBe16(l4 + 4, length);
    } else {
      PutBe32(l4 + 4, Be32(l4 + 4) + static_cast<uint32_t>(index_) * static_cast<uint32_t>(size_));
      if (!last) l4[13] &= static_cast<uint8_t>(~(kFin | kPsh));
      if (index_ > 0) l4[13] &= static_cast<uint8_t>(~kCwr);
    }
    PutBe16(field, 0);
    uint32_t sum = PseudoSum(ip, udp_ ? kUdp : kTcp, length);
    // Headers of TCP and UDP have an even length, so the payload's words stay aligned to the sum's.
    sum = InternetSum(l4, static_cast<size_t>(headers_ - l4_), sum);
    sum = ~InternetSum(frame_ + at_, static_cast<size_t>(part), sum) & 0xffff;
    PutBe16(field, udp_ && sum == 0 ? 0xffff : sum);
    pieces[0] = {out, static_cast<size_t>(kVxlanHeader + headers_)};
    pieces[1] = {const_cast<uint8_t*>(frame_) + at_, static_cast<size_t>(part)};
    at_ += part;
    index_++;
  }

 private:
  int32_t Part() const { return len_ - at_ < size_ ? len_ - at_ : size_; }

  const uint8_t* frame_ = nullptr;
  int32_t len_ = 0, l3_ = 0, l4_ = 0, headers_ = 0, size_ = 0, at_ = 0, index_ = 0;
  bool six_ = false, udp_ = false;
};
