// Lists the ranks among which each expert's rows are spread.
#include "runtime/comm/exchange_table.h"
#include "runtime/schema/exchange_abi.h"

namespace moray::rt::comm {

void fillExchangeTable(const Placement &placement, uint32_t home, std::vector<int32_t> &table) {
  const uint32_t experts = placement.experts();
  const uint64_t hash = placement.hash(), ranksAt = moray_exchange_table_ranks(experts);
  table.assign(ranksAt, 0);
  table[0] = static_cast<int32_t>(static_cast<uint32_t>(hash ^ hash >> 32));
  for (uint32_t expert = 0; expert < experts; ++expert) {
    for (uint32_t rank : placement.candidates(expert, home))
      table.push_back(static_cast<int32_t>(rank));
    table[MORAY_TABLE_FIRST + expert + 1] = static_cast<int32_t>(table.size() - ranksAt);
  }
  for (uint32_t expert : placement.expertsOn(home))
    table[moray_exchange_table_resident(experts) + expert] = 1;
}

} // namespace moray::rt::comm
