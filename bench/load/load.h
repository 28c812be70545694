// What the three programs in one share: options, clocks, the payload.
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <map>
#include <string>
#include <vector>

constexpr int64_t kSecond = 1000000000;

inline int64_t Now(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec * kSecond + t.tv_nsec;
}

[[noreturn]] inline void Fail(const std::string& text) {
  fprintf(stderr, "load: %s\n", text.c_str());
  exit(1);
}

[[noreturn]] inline void FailErrno(const std::string& what) { Fail(what + ": " + strerror(errno)); }

/** `--name value` pairs; a name that nobody asks for is an error. */
class Options {
 public:
  Options(int argc, char** argv) {
    for (int i = 0; i < argc; i += 2) {
      if (strncmp(argv[i], "--", 2) != 0 || i + 1 >= argc) Fail(std::string("expected --name value at ") + argv[i]);
      values_[argv[i] + 2] = argv[i + 1];
    }
  }

  std::string Text(const std::string& name, const char* fallback = nullptr) {
    auto found = values_.find(name);
    if (found == values_.end()) {
      if (fallback == nullptr) Fail("--" + name + " is missing");
      return fallback;
    }
    std::string value = found->second;
    values_.erase(found);
    return value;
  }

  double Number(const std::string& name, double fallback) {
    std::string text = Text(name, "");
    if (text.empty()) return fallback;
    char* end;
    double value = strtod(text.c_str(), &end);
    if (*end != 0 || value < 0) Fail("--" + name + " takes a number of at least 0, not \"" + text + "\"");
    return value;
  }

  void Done() const {
    if (!values_.empty()) Fail("no such option: --" + values_.begin()->first);
  }

 private:
  std::map<std::string, std::string> values_;
};

/** First bytes of each datagram's payload. `run` keeps late packets of an earlier measurement out of the next. */
struct __attribute__((packed)) Payload {
  uint32_t run;
  uint32_t flow;
  uint64_t sequence;
  int64_t sent;  // CLOCK_REALTIME, which is what the kernel stamps arrivals with
};

/** The value below which that share of the sorted values lies. */
inline double Quantile(const std::vector<double>& sorted, double share) {
  if (sorted.empty()) return 0;
  return sorted[static_cast<size_t>(share * static_cast<double>(sorted.size() - 1) + 0.5)];
}

void Send(Options& options);
void Sink(Options& options);
void Connect(Options& options);
