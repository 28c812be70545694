// libFuzzer target: batches on a descriptor that hands out packets of any length, with columns that hold anything, because
// JavaScript writes them. A TUN gives one packet a read(2) and takes one a write(2); so does a pair of datagram sockets.
//
// The input is a program: each step is an opcode and its operands (see the switch). Every array is an allocation of its own
// of exactly the promised size, so that AddressSanitizer sees the first byte too many.
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

// A device may fill all the room that it is offered; most packets here are shorter, so the room is filled for them.
static ssize_t FillingRead(int fd, void* into, size_t room) {
  memset(into, 0xee, room);
  return read(fd, into, room);
}

#define read FillingRead
#include "../slots.h"
#undef read

namespace {

constexpr int32_t kSlots = 24;
constexpr int32_t kDataBytes = 4 * (kHeadroom + kPacketBytes);

struct Input {
  const uint8_t* at;
  size_t left;

  uint32_t take(size_t bytes) {
    uint32_t value = 0;
    for (; bytes > 0 && left > 0; bytes--, left--) value = value << 8 | *at++;
    return value;
  }
};

void Check(bool holds) {
  if (!holds) abort();
}

// After a receive from a batch whose words were sane: slots stand in order, apart, inside, on multiples of 16.
void CheckSlots(const Slots& batch, int32_t first, int32_t taken) {
  int32_t end = 0;
  for (int32_t slot = first; slot < first + taken; slot++) {
    Check(batch.off[slot] % 16 == 0 && batch.off[slot] - kHeadroom >= end);
    Check(batch.len[slot] >= 0 && batch.len[slot] <= kPacketBytes);
    end = batch.off[slot] + batch.len[slot];
  }
  Check(end <= batch.limit_bytes && batch.ctl[kCount] == first + taken && batch.ctl[kCount] <= batch.slots);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  Input input{bytes, size};
  int fds[2];
  Check(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
  auto ctl = std::make_unique<int32_t[]>(kCtlWords);
  static auto data = std::make_unique<uint8_t[]>(kDataBytes);
  auto off = std::make_unique<int32_t[]>(kSlots);
  auto len = std::make_unique<int32_t[]>(kSlots);
  auto list = std::make_unique<int32_t[]>(kSlots);
  Slots batch;
  batch.ctl = ctl.get();
  batch.data = data.get();
  batch.off = off.get();
  batch.len = len.get();
  batch.list = list.get();
  batch.data_bytes = kDataBytes;
  batch.slots = kSlots;
  // As batchRegister lets them be.
  batch.limit_slots = 1 + static_cast<int32_t>(input.take(1)) % kSlots;
  int32_t least = kHeadroom + kPacketBytes;
  uint32_t more = input.take(3);
  batch.limit_bytes = more % 2 ? kDataBytes : least + static_cast<int32_t>(more % (kDataBytes - least));
  static std::vector<uint8_t> packet(kVnetBytes + kPacketBytes + 64, 0x5a);
  bool sane = true;

  for (int steps = 0; steps < 64 && input.left > 0; steps++) {
    switch (input.take(1) % 7) {
      case 0: {  // a packet arrives, also a short or an overlong one
        size_t length = input.take(3) % packet.size();
        (void)!send(fds[1], packet.data(), length, 0);
        break;
      }
      case 1: {  // a small one, or the largest
        size_t length = input.take(1);
        (void)!send(fds[1], packet.data(), length == 255 ? kVnetBytes + kPacketBytes : length, 0);
        break;
      }
      case 2: {
        int32_t first = ctl[kCount];
        int32_t taken = Receive(fds[0], &batch);
        if (sane && taken > 0) CheckSlots(batch, first, taken);
        break;
      }
      case 3:
        Transmit(fds[0], &batch, static_cast<int32_t>(input.take(1)) - 8);
        while (recv(fds[1], packet.data(), packet.size(), 0) > 0) {
        }
        break;
      case 4:  // an empty batch, as each cycle begins
        ctl[kCount] = ctl[kUsed] = 0;
        sane = true;
        break;
      case 5:  // any word of ctl
        ctl[input.take(1) % kCtlWords] = static_cast<int32_t>(input.take(4));
        sane = false;
        break;
      default: {  // any entry of a column
        int32_t* columns[] = {off.get(), len.get(), list.get()};
        int32_t* column = columns[input.take(1) % 3];
        column[input.take(1) % kSlots] = static_cast<int32_t>(input.take(4));
      }
    }
  }
  close(fds[0]);
  close(fds[1]);
  return 0;
}
