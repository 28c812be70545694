// Waiting: epoll and eventfd for a worker that blocks, a libuv watch for the main loop that must not, the clock of both, and who comes first.
#include "addon.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include <cerrno>
#include <ctime>
#include <memory>

// Tags are bits of a positive int32.
static constexpr int32_t kTags = 31;

static Napi::Value PollerCreate(const Napi::CallbackInfo& info) {
  int fd = epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) ThrowErrno(info.Env(), errno, "epoll_create1");
  return Napi::Number::New(info.Env(), fd);
}

static void PollerAdd(const Napi::CallbackInfo& info) {
  int poller = IntArgument(info, 0, "poller");
  int fd = IntArgument(info, 1, "fd");
  int32_t tag = IntArgument(info, 2, "tag");
  if (tag < 0 || tag >= kTags) throw Napi::RangeError::New(info.Env(), "argument tag must be 0 to 30");
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u32 = static_cast<uint32_t>(tag);
  if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0) ThrowErrno(info.Env(), errno, "epoll_ctl");
}

static void PollerRemove(const Napi::CallbackInfo& info) {
  int poller = IntArgument(info, 0, "poller");
  int fd = IntArgument(info, 1, "fd");
  if (epoll_ctl(poller, EPOLL_CTL_DEL, fd, nullptr) < 0) ThrowErrno(info.Env(), errno, "epoll_ctl");
}

// Hot: called once a batch.
static napi_value PollerWait(napi_env env, napi_callback_info info) {
  napi_value args[2];
  size_t count = 2;
  int32_t poller = -1, timeout = 0;
  uint32_t bits = 0;
  int error = EINVAL;
  if (napi_get_cb_info(env, info, &count, args, nullptr, nullptr) == napi_ok &&
      napi_get_value_int32(env, args[0], &poller) == napi_ok && napi_get_value_int32(env, args[1], &timeout) == napi_ok) {
    epoll_event events[kTags];
    int ready = epoll_wait(poller, events, kTags, timeout);
    error = ready < 0 && errno != EINTR ? errno : 0;
    for (int i = 0; i < ready; i++) bits |= 1u << events[i].data.u32;
  }
  // A wrong descriptor is a bug of the caller's, and would otherwise be a loop at full speed.
  if (error != 0) {
    napi_throw_error(env, uv_err_name(-error), "pollerWait: not a poller, or not a number");
    return nullptr;
  }
  napi_value value = nullptr;
  napi_create_uint32(env, bits, &value);
  return value;
}

static Napi::Value WakeCreate(const Napi::CallbackInfo& info) {
  int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) ThrowErrno(info.Env(), errno, "eventfd");
  return Napi::Number::New(info.Env(), fd);
}

static void WakeSet(const Napi::CallbackInfo& info) {
  int fd = IntArgument(info, 0, "fd");
  uint64_t one = 1;
  // EAGAIN: the counter is full, so the sleeper is awake anyway.
  if (write(fd, &one, sizeof one) < 0 && errno != EAGAIN) ThrowErrno(info.Env(), errno, "write", "eventfd");
}

static void WakeClear(const Napi::CallbackInfo& info) {
  int fd = IntArgument(info, 0, "fd");
  uint64_t count;
  // EAGAIN: nobody had set it.
  if (read(fd, &count, sizeof count) < 0 && errno != EAGAIN) ThrowErrno(info.Env(), errno, "read", "eventfd");
}

static void CloseFd(const Napi::CallbackInfo& info) {
  // After EINTR the descriptor is closed all the same (Linux).
  if (close(IntArgument(info, 0, "fd")) < 0 && errno != EINTR) ThrowErrno(info.Env(), errno, "close");
}

// For packets that one thread has for another: a write is a packet, as on a TUN.
static Napi::Value PairCreate(const Napi::CallbackInfo& info) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0) ThrowErrno(info.Env(), errno, "socketpair");
  Napi::Array pair = Napi::Array::New(info.Env(), 2);
  for (uint32_t i = 0; i < 2; i++) {
    int bytes = 4 << 20;
    (void)setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    (void)setsockopt(ends[i], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
    pair.Set(i, Napi::Number::New(info.Env(), ends[i]));
  }
  return pair;
}

static Napi::Value Boottime(const Napi::CallbackInfo& info) {
  timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return Napi::Number::New(info.Env(), static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec / 1000000));
}

// -- watch --
//
// A Watch lives from watch() until libuv has closed its handle. Two things end it: the function given to JavaScript, and the
// end of the environment (a worker that stops), which waits for the close by an asynchronous cleanup hook.

namespace {

struct Watch {
  uv_poll_t poll;
  Napi::Env env;
  Napi::FunctionReference readable;
  napi_async_cleanup_hook_handle hook = nullptr;
  // Told when the watch is gone, for the function that JavaScript holds.
  std::shared_ptr<Watch*> self;

  explicit Watch(Napi::Env env) : poll(), env(env), self(std::make_shared<Watch*>(this)) { poll.data = this; }
};

}  // namespace

static void WatchEnd(Watch* watch) {
  if (*watch->self == nullptr) return;
  *watch->self = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(&watch->poll), [](uv_handle_t* handle) {
    auto* gone = static_cast<Watch*>(handle->data);
    napi_remove_async_cleanup_hook(gone->hook);
    Napi::HandleScope scope(gone->env);
    delete gone;
  });
}

static void WatchReady(uv_poll_t* poll, int status, int events);

static int WatchStart(Watch* watch) { return uv_poll_start(&watch->poll, UV_READABLE, WatchReady); }

static void WatchReady(uv_poll_t* poll, int status, int) {
  auto* watch = static_cast<Watch*>(poll->data);
  std::shared_ptr<Watch*> self = watch->self;
  Napi::HandleScope scope(watch->env);
  try {
    watch->readable.MakeCallback(watch->env.Global(), {});
  } catch (const Napi::Error& error) {
    napi_fatal_exception(watch->env, error.Value());
  }
  // An error on the socket (netlink: ENOBUFS) stops libuv's poll; the callback has read the error, so go on.
  if (status < 0 && *self != nullptr) WatchStart(watch);
}

static Napi::Value WatchFd(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int fd = IntArgument(info, 0, "fd");
  if (!info[1].IsFunction()) throw Napi::TypeError::New(env, "argument readable must be a function");
  uv_loop_t* loop;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) throw Napi::Error::New(env);

  auto* watch = new Watch(env);
  int error = uv_poll_init(loop, &watch->poll, fd);
  if (error != 0) {
    delete watch;
    ThrowErrno(env, -error, "uv_poll_init");
  }
  watch->readable = Napi::Persistent(info[1].As<Napi::Function>());
  auto cleanup = [](napi_async_cleanup_hook_handle, void* data) { WatchEnd(static_cast<Watch*>(data)); };
  napi_add_async_cleanup_hook(env, cleanup, watch, &watch->hook);
  error = WatchStart(watch);
  if (error != 0) {
    WatchEnd(watch);
    ThrowErrno(env, -error, "uv_poll_start");
  }
  return Napi::Function::New(
      env,
      [self = watch->self](const Napi::CallbackInfo&) {
        if (*self != nullptr) WatchEnd(*self);
      },
      "end");
}

// Linux keeps the nice value for each thread: `who` 0 is the calling one.
static Napi::Value RaisePriority(const Napi::CallbackInfo& info) {
  int nice = IntArgument(info, 0, "nice");
  bool chosen = getpriority(PRIO_PROCESS, 0) != 0; // by whoever started us
  bool failed = !chosen && setpriority(PRIO_PROCESS, 0, nice) < 0;
  return Napi::Number::New(info.Env(), failed ? errno : 0);
}

void ExportWait(Napi::Env env, Napi::Object exports) {
  exports.Set("pollerCreate", Napi::Function::New<PollerCreate>(env, "pollerCreate"));
  exports.Set("pollerAdd", Napi::Function::New<PollerAdd>(env, "pollerAdd"));
  exports.Set("pollerRemove", Napi::Function::New<PollerRemove>(env, "pollerRemove"));
  ExportRaw(env, exports, "pollerWait", PollerWait, nullptr);
  exports.Set("wakeCreate", Napi::Function::New<WakeCreate>(env, "wakeCreate"));
  exports.Set("wakeSet", Napi::Function::New<WakeSet>(env, "wakeSet"));
  exports.Set("wakeClear", Napi::Function::New<WakeClear>(env, "wakeClear"));
  exports.Set("closeFd", Napi::Function::New<CloseFd>(env, "closeFd"));
  exports.Set("pairCreate", Napi::Function::New<PairCreate>(env, "pairCreate"));
  exports.Set("boottime", Napi::Function::New<Boottime>(env, "boottime"));
  exports.Set("raisePriority", Napi::Function::New<RaisePriority>(env, "raisePriority"));
  exports.Set("watch", Napi::Function::New<WatchFd>(env, "watch"));
}
