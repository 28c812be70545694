// Messages to the service manager (sd_notify): one datagram on a unix socket, descriptors attached. Node has no such socket.
#include "addon.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <vector>

// What the kernel lets one message carry (SCM_MAX_FD).
static constexpr uint32_t kMostFds = 253;

static void NotifySend(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::string path = StringArgument(info, 0, "path");
  if (!info[1].IsString()) throw Napi::TypeError::New(env, "argument text must be a string");
  std::string text = info[1].As<Napi::String>().Utf8Value();
  if (!info[2].IsArray()) throw Napi::TypeError::New(env, "argument fds must be an array");
  Napi::Array list = info[2].As<Napi::Array>();
  if (list.Length() > kMostFds) throw Napi::RangeError::New(env, "argument fds: at most 253");
  std::vector<int> fds;
  for (uint32_t i = 0; i < list.Length(); i++) {
    Napi::Value fd = list.Get(i);
    if (!fd.IsNumber()) throw Napi::TypeError::New(env, "argument fds must hold numbers");
    fds.push_back(fd.As<Napi::Number>().Int32Value());
  }

  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) ThrowErrno(env, ENAMETOOLONG, "sendmsg", path);
  memcpy(address.sun_path, path.data(), path.size());
  // "@name" is the abstract socket "\0name", whose length counts: no zero ends it.
  socklen_t length = offsetof(sockaddr_un, sun_path) + path.size() + 1;
  if (address.sun_path[0] == '@') {
    address.sun_path[0] = '\0';
    length--;
  }

  iovec part = {text.data(), text.size()};
  msghdr message = {};
  message.msg_name = &address;
  message.msg_namelen = length;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  std::vector<char> control(fds.empty() ? 0 : CMSG_SPACE(fds.size() * sizeof(int)));
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
  }

  // Non-blocking: a manager that does not read must not hold up the router.
  int socket_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (socket_fd < 0) ThrowErrno(env, errno, "socket");
  ssize_t sent = sendmsg(socket_fd, &message, MSG_NOSIGNAL);
  int error = sent < 0 ? errno : 0;
  close(socket_fd);
  if (error != 0) ThrowErrno(env, error, "sendmsg", path);
}

void ExportNotify(Napi::Env env, Napi::Object exports) {
  exports.Set("notifySend", Napi::Function::New<NotifySend>(env, "notifySend"));
}
