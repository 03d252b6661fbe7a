#include "base/status.h"

namespace kvi {

const char* status_name(Status status) {
  switch (status) {
#define KVI_STATUS_NAME(name, value, text) \
  case Status::name: return #name;
    KVI_STATUS_MAP(KVI_STATUS_NAME)
#undef KVI_STATUS_NAME
  }
  return "UNKNOWN";
}

}  // namespace kvi
