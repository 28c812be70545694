// Pairs of frame and remote become messages: the way out of a VXLAN endpoint, behind the columns.
//
// A super-frame leaves whole where the kernel takes it (outer.h), else it is cut up, a message for a run (UDP_SEGMENT); single frames of one length, one remote and one
// flow share a message. What waits goes out when its socket, its checksum mode or its room changes, and at the end: a flow's order is kept.
#pragma once

#include "frame-columns.h"
#include "outer.h"
#include "socket.h"

class Outbox : public Messages {
 public:
  // Pairs 0…n. Returns how many datagrams the kernel did not take.
  int32_t Send(Frames* f, int32_t n) {
    n = std::min(n, f->copies);
    ready_ = used_pieces_ = used_headers_ = lost_ = 0;
    port_ = fd_ = -1;
    for (int32_t k = 0; k < n;) {
      int32_t frame = f->out_frame[k], remote = f->out_remote[k];
      if (!FrameWithin(*f, frame, kInFront / 2) || remote < 0 || remote >= f->known_remotes || f->source[frame] < 0 || f->source[frame] >= f->ports) {
        k++;
      } else if (f->segment[frame] > 0) {
        SendSuper(f, frame, remote, f->source[frame]);
        k++;
      } else {
        k = SendRun(f, k, n);
      }
    }
    Flush(f);
    return lost_;
  }

 private:
  static constexpr int32_t kHeaders = 256;

  // A message that waits in `messages`.
  struct Sending {
    int32_t datagrams, pieces;  // pieces a datagram
  };

  // The datagrams of one message, one by one: the kernel did not want them together.
  void SendApart(int32_t m) {
    msghdr message = messages[m].msg_hdr;
    int32_t per = sending_[m].pieces;
    // Without the length of the segments, which is the last of the control data.
    message.msg_controllen -= CMSG_SPACE(sizeof(uint16_t));
    if (message.msg_controllen == 0) message.msg_control = nullptr;
    for (int32_t i = 0; i < sending_[m].datagrams; i++) {
      message.msg_iov = messages[m].msg_hdr.msg_iov + i * per;
      message.msg_iovlen = static_cast<size_t>(per);
      ssize_t bytes;
      do {
        bytes = sendmsg(fd_, &message, 0);
      } while (bytes < 0 && errno == EINTR);
      if (bytes < 0) lost_++;
    }
  }

  void Flush(Frames* f) {
    int32_t ready = ready_;
    if (ready > 0 && f->sockets[f->ports + port_] != mode_) {
      Wish(fd_, SOL_SOCKET, SO_NO_CHECK, mode_);
      f->sockets[f->ports + port_] = mode_;
    }
    for (int32_t done = 0; done < ready;) {
      int got = sendmmsg(fd_, messages + done, static_cast<unsigned>(ready - done), 0);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) {
        if ((errno == EIO || errno == EMSGSIZE || errno == EINVAL) && sending_[done].datagrams > 1) SendApart(done);
        else lost_ += sending_[done].datagrams;
        got = 1;
      }
      done += got;
    }
    ready_ = used_pieces_ = used_headers_ = 0;
  }

  // One more message of the pieces from `first` on.
  void Depart(const Frames& f, int32_t remote, int32_t tos, int32_t first, int32_t datagrams, int32_t per, int32_t segment) {
    int32_t m = ready_++;
    const int32_t* endpoint = f.remotes + remote * kEndpointWords;
    msghdr& message = messages[m].msg_hdr;
    message = {};
    message.msg_name = &addresses[m];
    message.msg_namelen = WriteAddress(endpoint, &addresses[m]);
    message.msg_iov = pieces_ + first;
    message.msg_iovlen = static_cast<size_t>(datagrams * per);
    size_t used = 0;
    bool six = endpoint[kFamily] == 6;
    if (tos > 0) Append(control[m], &used, six ? static_cast<int>(IPPROTO_IPV6) : static_cast<int>(IPPROTO_IP), six ? IPV6_TCLASS : IP_TOS, static_cast<int>(tos));
    if (datagrams > 1) Append(control[m], &used, IPPROTO_UDP, UDP_SEGMENT, static_cast<uint16_t>(segment));
    message.msg_controllen = used;
    message.msg_control = used == 0 ? nullptr : control[m];
    sending_[m] = {datagrams, per};
  }

  // Room for one more message of `datagrams`, by this socket and in this mode.
  void Room(Frames* f, int32_t port, int32_t mode, int32_t headers) {
    bool full = ready_ == kSent || used_headers_ + headers > kHeaders || used_pieces_ + std::max(2 * headers, kSegments) > 2 * kHeaders + kSegments;
    if (full || port_ != port || mode_ != mode) Flush(f);
    port_ = port;
    mode_ = mode;
    fd_ = f->sockets[port];
  }

  // A super-frame as one outer packet. False: it has to be cut up here.
  bool SendWhole(Frames* f, int32_t frame, int32_t remote, int32_t port) {
    const int32_t* endpoint = f->remotes + remote * kEndpointWords;
    int fd = f->sockets[3 * f->ports];
    if (fd < 0 || endpoint[kFamily] != 4) return false;
    uint8_t head[kOuterBytes];
    uint8_t* data = f->data + f->off[frame];
    const OuterWay way = {static_cast<uint32_t>(endpoint[kAddress]), f->sockets[2 * f->ports + port], endpoint[kPort], std::max<int32_t>(f->tos[frame], 0)};
    if (!WriteOuter(f->outer, f->header, way, data, f->len[frame], head)) return false;
    Flush(f);  // of the same flow, perhaps
    const iovec pieces[2] = {{head, sizeof head}, {data, static_cast<size_t>(f->len[frame])}};
    return WriteAll(fd, pieces, 2);
  }

  void SendSuper(Frames* f, int32_t frame, int32_t remote, int32_t port) {
    if (SendWhole(f, frame, remote, port)) return;
    FrameCutter& cutter = cutter_;
    if (!cutter.Load(f->data + f->off[frame], f->len[frame])) {
      lost_++;
      return;
    }
    while (!cutter.done()) {
      // A last single one has a checksum too: it belongs to a run.
      Room(f, port, 0, kSegments);
      int32_t first = used_pieces_, bytes = 0, count = 0, segment = cutter.message_bytes();
      while (!cutter.done() && count < kSegments && bytes + cutter.next_bytes() <= kMessageMost) {
        bytes += cutter.next_bytes();
        cutter.Next(f->header, headers_[used_headers_++], pieces_ + used_pieces_);
        used_pieces_ += 2;
        count++;
      }
      if (count == 0) return;  // cannot be: the endpoint has compared with the MTU
      Depart(*f, remote, f->tos[frame], first, count, 2, segment);
    }
  }

  // Pair k and those behind it that fit into one message with it. Returns the next pair.
  int32_t SendRun(Frames* f, int32_t k, int32_t n) {
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
    Room(f, port, count == 1 && !six ? 1 : 0, 0);
    int32_t first = used_pieces_;
    for (int32_t i = k; i < end; i++) {
      int32_t at = f->out_frame[i];
      pieces_[used_pieces_++] = {f->data + f->off[at] - kVxlanHeader, static_cast<size_t>(f->len[at] + kVxlanHeader)};
    }
    Depart(*f, remote, tos, first, count, 1, segment);
    return end;
  }

  FrameCutter cutter_;
  iovec pieces_[2 * kHeaders + kSegments];
  uint8_t headers_[kHeaders][kVxlanHeader + FrameCutter::kHeaderMost];
  Sending sending_[kSent];
  int32_t ready_, used_pieces_, used_headers_, lost_, fd_, port_, mode_;
};
