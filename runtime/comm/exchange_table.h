// The placement of one layer in the form that the GPU kernels of dispatch read.
#pragma once
#include "runtime/comm/placement.h"

namespace moray::rt::comm {

// Fills `table` with the words of schema/exchange_abi.h for rank `home`; at most moray_exchange_table_bytes.
void fillExchangeTable(const Placement &placement, uint32_t home, std::vector<int32_t> &table);

} // namespace moray::rt::comm
