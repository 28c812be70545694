// Slots of a batch and the two loops over them: nothing of Node in here, so that the fuzzer links it alone.
#pragma once

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <ctime>

// The twin of the constants in src/batch.ts; the test compares them by `layout`.
constexpr int32_t kHeadroom = 64;
constexpr int32_t kVnetBytes = 10;
constexpr int32_t kPacketBytes = 65536;
enum Ctl { kCount = 0, kUsed = 1, kSeconds = 2, kMillis = 3, kCtlWords = 4 };
static_assert(kHeadroom % 16 == 0 && kPacketBytes % 16 == 0, "IP headers must stay on multiples of 16");

// Whether the kernel takes UDP super-packets from a TUN or TAP (Linux 6.2); known when the first was opened.
inline std::atomic<bool> kernel_takes_udp{false};

// Memory of one batch, as JavaScript registered it.
struct Slots {
  int32_t* ctl = nullptr;  // null: free entry
  uint8_t* data = nullptr;
  int32_t* off = nullptr;
  int32_t* len = nullptr;
  int32_t* list = nullptr;
  int32_t data_bytes = 0;
  // Slots that off, len and list all have.
  int32_t slots = 0;
  int32_t limit_slots = 0;
  int32_t limit_bytes = 0;
};

// No allocation, no exception.

// Appends packets of `fd` until EAGAIN or the limits. Returns how many, or −errno when there are none because of an error.
inline int32_t Receive(int fd, const Slots* batch) {
  int32_t* ctl = batch->ctl;
  timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  ctl[kSeconds] = static_cast<int32_t>(now.tv_sec);
  ctl[kMillis] = static_cast<int32_t>(static_cast<uint32_t>(now.tv_sec) * 1000u + static_cast<uint32_t>(now.tv_nsec / 1000000));

  int32_t first = ctl[kCount];
  int32_t used = ctl[kUsed];
  // JavaScript owns these words; a bug there must not become a write outside of the batch.
  if (first < 0 || used < 0 || used % 16 != 0) return -EINVAL;
  int32_t slot = first;
  while (slot < batch->limit_slots && used <= batch->limit_bytes - (kHeadroom + kPacketBytes)) {
    int32_t off = used + kHeadroom;
    ssize_t bytes = read(fd, batch->data + off - kVnetBytes, kVnetBytes + kPacketBytes);
    if (bytes < kVnetBytes) {
      if (bytes < 0 && errno == EINTR) continue;
      // What was read before the error is handed out first; the next call meets the error again.
      if (bytes < 0 && errno != EAGAIN && slot == first) return -errno;
      break;
    }
    int32_t len = static_cast<int32_t>(bytes) - kVnetBytes;
    batch->off[slot] = off;
    batch->len[slot] = len;
    slot++;
    used = (off + len + 15) & ~15;
  }
  ctl[kCount] = slot;
  ctl[kUsed] = used;
  return slot - first;
}

// Writes packets list[0…n) with their vnet headers; entries that point outside are passed over. Returns how many were taken.
inline int32_t Transmit(int fd, const Slots* batch, int32_t n) {
  if (n > batch->slots) n = batch->slots;
  int32_t taken = 0;
  for (int32_t i = 0; i < n; i++) {
    int32_t slot = batch->list[i];
    if (slot < 0 || slot >= batch->slots) continue;
    int32_t off = batch->off[slot];
    int32_t len = batch->len[slot];
    if (off < kVnetBytes || len < 0 || off > batch->data_bytes || len > batch->data_bytes - off) continue;
    ssize_t bytes;
    do {
      bytes = write(fd, batch->data + off - kVnetBytes, static_cast<size_t>(kVnetBytes + len));
    } while (bytes < 0 && errno == EINTR);
    if (bytes >= 0) taken++;
  }
  return taken;
}
