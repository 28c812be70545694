// Memory that JavaScript sees as an ArrayBuffer and other threads or processes see too.
//
// Each call maps anew: several worker threads that map one file get several addresses of the same pages. Atomics work across
// them because an aligned 32-bit access is an ordinary lock-prefixed (x64) or exclusive (arm64) access to the page. The futex
// calls are the shared kind (no FUTEX_PRIVATE_FLAG), which the kernel keys by page, not by address.
//
// Every page of a file is allocated before it is mapped: a store into a hole of a full tmpfs would be SIGBUS, which nothing
// in JavaScript can catch.
#include "addon.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cmath>
#include <ctime>

// Largest size that a Number holds exactly and a Node ArrayBuffer takes.
static constexpr double kLargestMap = 64.0 * 1024 * 1024 * 1024;

static size_t SizeArgument(const Napi::CallbackInfo& info, size_t index) {
  double bytes = info[index].IsNumber() ? info[index].As<Napi::Number>().DoubleValue() : -1;
  if (!(bytes >= 1 && bytes <= kLargestMap) || bytes != std::floor(bytes)) {
    throw Napi::RangeError::New(info.Env(), "argument bytes must be an integer from 1 to 64 GiB");
  }
  return static_cast<size_t>(bytes);
}

// Pages of 2 MiB where the kernel gives them (Linux 6.1; it need not be switched on in /sys): a packet's row and index bucket lie
// anywhere in the table, and with pages of 4 KiB each of them costs a walk of the page tables, twice as long in a virtual machine.
// Price: the first time some 0.6 ms for each 2 MiB. Bought: 20 to 30 % more packets at 1,000,000 flows. A kernel that knows no
// MADV_COLLAPSE, or has no such page left, leaves small ones.
static constexpr size_t kHugePage = 2 * 1024 * 1024;
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

// mmap, and `huge`: at an address that is a multiple of kHugePage. MAP_FAILED with errno set when there is no room.
static void* MapShared(int fd, size_t bytes, int flags, bool huge) {
  if (!huge) return mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | flags, fd, 0);
  // Room that surely holds such an address; what is left over on both sides goes back.
  size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  size_t length = (bytes + page - 1) & ~(page - 1);
  size_t room = length + kHugePage;
  void* reserved = mmap(nullptr, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return MAP_FAILED;
  char* start = static_cast<char*>(reserved);
  char* aligned = start + (kHugePage - reinterpret_cast<uintptr_t>(start) % kHugePage) % kHugePage;
  void* base = mmap(aligned, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | flags, fd, 0);
  if (base == MAP_FAILED) {
    int error = errno;
    munmap(reserved, room);
    errno = error;
    return MAP_FAILED;
  }
  if (aligned > start) munmap(start, aligned - start);
  if (aligned + length < start + room) munmap(aligned + length, start + room - aligned - length);
  madvise(base, bytes - bytes % kHugePage, MADV_COLLAPSE);
  return base;
}

static Napi::ArrayBuffer Wrap(Napi::Env env, void* base, size_t bytes) {
  try {
    return Napi::ArrayBuffer::New(
        env, base, bytes, [](Napi::Env, void* data, size_t* length) { munmap(data, *length), delete length; },
        new size_t(bytes));
  } catch (...) {
    munmap(base, bytes);
    throw;
  }
}

// Opens `path`, or creates it. `created` tells which: then a failure has to take the file away again.
static int OpenOrCreate(const char* path, bool* created) {
  for (;;) {
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    *created = fd >= 0;
    if (fd >= 0 || errno != EEXIST) return fd;
    fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    // ENOENT: somebody deleted it between the two calls.
    if (fd >= 0 || errno != ENOENT) return fd;
  }
}

static Napi::Value MapFile(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::string path = StringArgument(info, 0, "path");
  size_t bytes = SizeArgument(info, 1);
  bool created;
  int fd = OpenOrCreate(path.c_str(), &created);
  if (fd < 0) ThrowErrno(env, errno, "open", path);

  auto fail = [&](int error, const char* syscall, const char* hint) {
    close(fd);
    if (created) unlink(path.c_str());
    ThrowErrno(env, error, syscall, path, hint);
  };
  struct stat status;
  if (fstat(fd, &status) < 0) fail(errno, "fstat", "");
  if (!S_ISREG(status.st_mode)) fail(EINVAL, "open", "not an ordinary file");

  // posix_fallocate returns its error, and writes to every block where the file system knows no fallocate.
  int error;
  do {
    error = posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  } while (error == EINTR);
  if (error != 0) {
    fail(error, "fallocate", error == ENOSPC ? "no room for the whole file; make the file system larger or the table smaller" : "");
  }
  void* base = MapShared(fd, bytes, 0, info[2].ToBoolean());
  if (base == MAP_FAILED) fail(errno, "mmap", "");
  close(fd);

  Napi::Object result = Napi::Object::New(env);
  result.Set("buffer", Wrap(env, base, bytes));
  result.Set("created", Napi::Boolean::New(env, created));
  return result;
}

static Napi::Value MapAnonymous(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  size_t bytes = SizeArgument(info, 0);
  bool huge = info[1].ToBoolean();
  // Only pages that are there can be joined to large ones.
  void* base = MapShared(-1, bytes, huge ? MAP_ANONYMOUS | MAP_POPULATE : MAP_ANONYMOUS, huge);
  if (base == MAP_FAILED) ThrowErrno(env, errno, "mmap");
  return Wrap(env, base, bytes);
}

static int32_t* WordArgument(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_int32_array) {
    throw Napi::TypeError::New(env, "argument words must be an Int32Array");
  }
  Napi::Int32Array words = info[0].As<Napi::Int32Array>();
  int32_t index = IntArgument(info, 1, "index");
  if (index < 0 || static_cast<size_t>(index) >= words.ElementLength()) {
    throw Napi::RangeError::New(env, "argument index is outside of words");
  }
  return words.Data() + index;
}

static void FutexWait(const Napi::CallbackInfo& info) {
  int32_t* word = WordArgument(info);
  int32_t expected = IntArgument(info, 2, "expected");
  int32_t timeout = IntArgument(info, 3, "timeoutMs");
  if (timeout < 0) timeout = 0;
  timespec limit = {timeout / 1000, (timeout % 1000) * 1000000L};
  // Woken, changed already, timed out or interrupted are all the same to the caller, who looks at the word again.
  if (syscall(SYS_futex, word, FUTEX_WAIT, expected, &limit, nullptr, 0) < 0 && errno != EAGAIN && errno != ETIMEDOUT &&
      errno != EINTR) {
    ThrowErrno(info.Env(), errno, "futex");
  }
}

static void FutexWake(const Napi::CallbackInfo& info) {
  int32_t* word = WordArgument(info);
  if (syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0) < 0) ThrowErrno(info.Env(), errno, "futex");
}

void ExportMemory(Napi::Env env, Napi::Object exports) {
  exports.Set("mapFile", Napi::Function::New<MapFile>(env, "mapFile"));
  exports.Set("mapAnonymous", Napi::Function::New<MapAnonymous>(env, "mapAnonymous"));
  exports.Set("futexWait", Napi::Function::New<FutexWait>(env, "futexWait"));
  exports.Set("futexWake", Napi::Function::New<FutexWake>(env, "futexWake"));
}
