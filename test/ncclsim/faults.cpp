// Reading of planted faults.
#include "test/ncclsim/faults.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace ncclsim {

std::vector<Fault> readFaults(int rank) {
  static constexpr const char *kinds[] = {"delay", "kill", "stop", "count", "order", "error", "init"};
  const char *variable = getenv("MORAY_NCCLSIM_FAULT");
  std::vector<Fault> faults;
  std::string rest = variable ? variable : "";
  while (!rest.empty()) {
    const std::string one = rest.substr(0, rest.find(','));
    rest.erase(0, one.size() + 1);
    char kind[16] = "";
    int place = -1;
    unsigned long long operation = 1;
    unsigned milliseconds = 0;
    int read = sscanf(one.c_str(), "%15[a-z]@%d:%llu:%u", kind, &place, &operation, &milliseconds);
    size_t which = 0;
    while (which < std::size(kinds) && strcmp(kinds[which], kind) != 0)
      ++which;
    if (read < 2 || which == std::size(kinds))
      fprintf(stderr, "ncclsim: MORAY_NCCLSIM_FAULT: '%s' is not KIND@RANK:OPERATION:MILLISECONDS\n", one.c_str());
    else if (place == rank)
      faults.push_back({Fault::Kind(which), operation, milliseconds});
  }
  return faults;
}

} // namespace ncclsim
