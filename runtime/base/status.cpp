// Builds status objects; the only place of the runtime that formats error text.
#include "runtime/base/status.h"
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

struct moray_status {
  int code;
  char *message;
};

namespace {

// Returned when there is no memory left to describe an error; never freed.
char oomMessage[] = "error[E5001]: out of memory while reporting an error";
moray_status oomStatus = {moray::rt::kE5001, oomMessage};

// Exit codes of the tools: 2 usage, 4 artifact incompatible, 5 integrity, 6 resources, 7 request failed, 8 device
// fault, 9 another rank.
int exitCodeOf(int code) {
  switch (code) {
  case moray::rt::kE4001:
  case moray::rt::kE4023:
  case moray::rt::kE5002:
  case moray::rt::kE5008:
  case moray::rt::kE5009:
  case moray::rt::kE5014:
  case moray::rt::kE5101:
  case moray::rt::kE5102:
  case moray::rt::kE5103:
  case moray::rt::kE5112:
    return 2;
  case moray::rt::kE4002:
  case moray::rt::kE4003:
  case moray::rt::kE4004:
  case moray::rt::kE4022:
  case moray::rt::kE4024:
  case moray::rt::kE4026:
  case moray::rt::kE5011:
  case moray::rt::kE5012:
  case moray::rt::kE5018:
  case moray::rt::kE5019:
    return 4;
  case moray::rt::kE5001:
  case moray::rt::kE5010:
  case moray::rt::kE5015:
  case moray::rt::kE5016:
  case moray::rt::kE5017:
  case moray::rt::kE5110:
    return 6;
  case moray::rt::kE5013:
  case moray::rt::kE5020:
  case moray::rt::kE5021:
  case moray::rt::kE5022:
    return 8;
  case moray::rt::kE5104:
  case moray::rt::kE5105:
  case moray::rt::kE5106:
  case moray::rt::kE5107:
  case moray::rt::kE5108:
  case moray::rt::kE5109:
  case moray::rt::kE5111:
  case moray::rt::kE5113:
  case moray::rt::kE5114:
  case moray::rt::kE5115:
    return 9;
  default:
    return code < 5000 ? 5 : 7;
  }
}

} // namespace

int moray_status_code(const moray_status *status) { return status ? status->code : 0; }

int moray_status_exit_code(const moray_status *status) { return status ? exitCodeOf(status->code) : 0; }

const char *moray_status_message(const moray_status *status) { return status ? status->message : "ok"; }

void moray_status_free(moray_status *status) {
  if (!status || status == &oomStatus)
    return;
  free(status->message);
  free(status);
}

moray::rt::Status moray::rt::fail(Code code, const char *format, ...) {
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  const int textSize = vsnprintf(nullptr, 0, format, args);
  va_end(args);
  constexpr int prefixSize = 14; // "error[E4001]: "
  auto *status = static_cast<moray_status *>(malloc(sizeof(moray_status)));
  auto *message = textSize < 0 ? nullptr : static_cast<char *>(malloc(static_cast<size_t>(prefixSize + textSize) + 1));
  if (!status || !message) {
    va_end(again);
    free(status);
    free(message);
    return Status(&oomStatus);
  }
  snprintf(message, prefixSize + 1, "error[E%04d]: ", static_cast<int>(code));
  vsnprintf(message + prefixSize, static_cast<size_t>(textSize) + 1, format, again);
  va_end(again);
  *status = {code, message};
  return Status(status);
}
