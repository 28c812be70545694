// Load for the benches, and its measure: one small program, because a generator must have neither a garbage collector nor an
// event loop between two packets, and because the product's addon should not carry what only a bench needs.
//
//   load send     UDP packets at a fixed rate, from any number of flows        send.cc
//   load sink     receives and counts them                                     sink.cc
//   load connect  TCP connections at a fixed rate, each from a port of its own connect.cc
//
// Each prints one JSON object on stdout when it is done. `npm run bench` builds it into build/bench/.
#include "load.h"

int main(int argc, char** argv) {
  if (argc < 2) Fail("usage: load send|sink|connect --name value ...");
  Options options(argc - 2, argv + 2);
  std::string verb = argv[1];
  if (verb == "send") {
    Send(options);
  } else if (verb == "sink") {
    Sink(options);
  } else if (verb == "connect") {
    Connect(options);
  } else {
    Fail("no such verb: " + verb);
  }
  return 0;
}
