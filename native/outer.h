// A TCP super-frame of a TAP as one outer packet, which the kernel (or its network card) cuts up as late as it can: what frames.h does by hand where the kernel cannot.
// Nothing of Node and no system call in here.
//
// Linux 6.17 takes packets from a TAP whose vnet header says that they are a UDP tunnel's around a TCP super-frame (virtio's UDP_TUNNEL_GSO). What leaves is what
// the kernel's own vxlan device makes of such a frame: a UDP checksum of 0, DF, an outer IP header a segment.
#pragma once

#include "frames.h"

constexpr int32_t kOuterVnet = 24;
// Ethernet, IPv4 and UDP: what the caller gives once, as far as it is the same for all packets of a link.
constexpr int32_t kOuterHeaders = kEthernet + 20 + 8;
constexpr int32_t kOuterBytes = kOuterVnet + kOuterHeaders + kVxlanHeader;
constexpr uint8_t kGsoTunnel4 = 0x20;

// Where a packet of a link goes: addresses and ports in host order.
struct OuterWay {
  uint32_t remote;
  int32_t source_port, port, tos;
};

// Writes all that stands in front of the frame, which has a vnet header of its own in front. False: it is not TCP, is tagged, makes no sense, or is too long.
inline bool WriteOuter(const uint8_t* headers, const uint8_t* vxlan, const OuterWay& way, const uint8_t* frame, int32_t len, uint8_t* out) {
  const uint8_t* vnet = frame - kVnetHeader;
  uint32_t type = vnet[1] & ~kGsoEcn;
  if (type != kGsoTcp4 && type != kGsoTcp6) return false;
  FrameCutter check;
  if ((vnet[0] & kNeedsCsum) == 0 || Host16(vnet + 8) != 16 || FindIp(frame, len) != kEthernet || !check.Load(frame, len)) return false;
  int32_t l4 = static_cast<int32_t>(Host16(vnet + 6));
  int32_t udp = 8 + kVxlanHeader + len, total = 20 + udp;
  if (total > 65535) return false;
  constexpr int32_t shift = kOuterHeaders + kVxlanHeader;
  memset(out, 0, kOuterVnet);
  out[0] = kNeedsCsum;
  out[1] = static_cast<uint8_t>(vnet[1] | kGsoTunnel4);
  PutHost16(out + 2, static_cast<uint32_t>(shift + check.message_bytes() - kVxlanHeader) - Host16(vnet + 4));
  PutHost16(out + 4, Host16(vnet + 4));
  PutHost16(out + 6, static_cast<uint32_t>(shift + l4));
  PutHost16(out + 8, 16);
  PutHost16(out + 20, kEthernet + 20);
  PutHost16(out + 22, shift + kEthernet);
  uint8_t* ip = out + kOuterVnet + kEthernet;
  memcpy(out + kOuterVnet, headers, kOuterHeaders);
  ip[1] = static_cast<uint8_t>(way.tos);
  PutBe16(ip + 2, static_cast<uint32_t>(total));
  PutBe32(ip + 16, way.remote);
  WriteIpv4Sum(ip, 20);
  PutBe16(ip + 20, static_cast<uint32_t>(way.source_port));
  PutBe16(ip + 22, static_cast<uint32_t>(way.port));
  PutBe16(ip + 24, static_cast<uint32_t>(udp));
  PutBe16(ip + 26, 0);
  memcpy(ip + 28, vxlan, kVxlanHeader);
  return true;
}
