/* Uses an installed runtime: asks for a file that is not there and expects a status that says so. */
#include <moray/runtime.h>
#include <stdio.h>

int main(void) {
  moray_model *model = NULL;
  moray_status *status = moray_model_load("missing.moray", NULL, &model);
  printf("version %s, code %d: %s\n", moray_runtime_version(), moray_status_code(status), moray_status_message(status));
  int failed = status == NULL || model != NULL;
  moray_status_free(status);
  return failed;
}
