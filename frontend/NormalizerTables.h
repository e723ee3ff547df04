// Puts the tables of canonical composition (NFC) into a tokenizer.
#ifndef MORAY_FRONTEND_NORMALIZERTABLES_H
#define MORAY_FRONTEND_NORMALIZERTABLES_H

#include "tokenizer_generated.h"

namespace moray::frontend {

// Fills combining, decompositions and compositions, which makes the runtime normalise text to NFC.
void addNfcTables(schema::TokenizerT &tables);

} // namespace moray::frontend

#endif // MORAY_FRONTEND_NORMALIZERTABLES_H
