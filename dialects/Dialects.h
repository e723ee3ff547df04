// The only list of Moray's dialects.
#ifndef MORAY_DIALECTS_DIALECTS_H
#define MORAY_DIALECTS_DIALECTS_H

namespace mlir {
class DialectRegistry;
} // namespace mlir

namespace moray {
/// Registers lm, mla, moe and cmd.
void registerDialects(mlir::DialectRegistry &registry);
} // namespace moray

#endif
