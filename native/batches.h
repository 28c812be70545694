// The batches of a thread (environment), as tun.cc registers them, for whoever moves packets in or out of one.
#pragma once

#include "addon.h"
#include "slots.h"

#include <vector>

struct Batch : Slots {
  Napi::Reference<Napi::Array> keep;
};

struct Batches {
  std::vector<Batch> entries;

  Batch* find(int32_t id) {
    if (id < 0 || static_cast<size_t>(id) >= entries.size() || entries[static_cast<size_t>(id)].ctl == nullptr) return nullptr;
    return &entries[static_cast<size_t>(id)];
  }
};
