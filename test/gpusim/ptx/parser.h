// Parses PTX text into a ModuleSyntax.
#pragma once

#include <string_view>

#include "test/gpusim/ptx/ast.h"

namespace gpusim::ptx {

// Throws SyntaxError. Debug information (.file, .loc, .section) is skipped.
ModuleSyntax parse(std::string_view text);

} // namespace gpusim::ptx
